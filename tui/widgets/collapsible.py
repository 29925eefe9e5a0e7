"""A line that folds options away, names them, and unfolds them."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static


class CollapsibleOptions(Static, can_focus=True):
    """Names the options folded away below it, those that were changed with their values; unfolds them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "turn", "Fold or unfold", show=False),
        Binding("right", "turn(True)", show=False),
        Binding("left", "turn(False)", show=False),
    ]

    class Toggled(Message):
        """A group was folded or unfolded."""

    def __init__(self, names: list[str], rest: Widget) -> None:
        super().__init__(classes="fold")
        self.names = names
        self._rest = rest
        self._changed: dict[str, str] = {}

    @property
    def open(self) -> bool:
        """Whether the options below are in sight."""
        return self._rest.display

    def turn(self, unfold: bool) -> None:
        """Show or hide the options below."""
        if not unfold and self._rest.has_focus_within:
            self.focus()
        self._rest.display = unfold
        self._tell()

    def name_changed(self, changed: dict[str, str]) -> None:
        """Name the values among these options that are not the preset's."""
        self._changed = changed
        self._tell()

    def _tell(self) -> None:
        if self.open:
            self.update(Content.styled("▾ fewer", "$primary"), layout=False)
            return
        parts: list[tuple[str, str]] = [(f"▸ {len(self.names)} more".ljust(10), "$primary")]
        # What was changed comes first, where it is seen at every width.
        for number, name in enumerate(sorted(self.names, key=lambda name: name not in self._changed)):
            parts.append(("  " if not number else ", ", "$foreground 45%"))
            if name in self._changed:
                parts.append((f"{name.replace('_', ' ')} {self._changed[name]}", "$accent"))
            else:
                parts.append((name.replace("_", " "), "$foreground 45%"))
        self.update(Content.assemble(*parts), layout=False)

    def action_turn(self, unfold: bool | None = None) -> None:
        """Unfold, or fold what is unfolded."""
        self.turn(not self.open if unfold is None else unfold)
        self.post_message(self.Toggled())

    def on_click(self) -> None:
        """Unfold, or fold what is unfolded."""
        self.action_turn()
