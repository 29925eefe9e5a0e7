"""A collapsible group of form options."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static


class CollapsibleOptions(Static, can_focus=True):
    """One line that expands or collapses a group of options; posts `Toggled`.

    While collapsed, it lists the names of the options, those with changed values first.

    Attributes:
        names: Names of the options in the group.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "toggle_group", "Expand or collapse", show=False),
        Binding("right", "expand_group", show=False),
        Binding("left", "collapse_group", show=False),
    ]

    class Toggled(Message):
        """Posted when the user expanded or collapsed the group."""

    def __init__(self, names: list[str], options: Widget) -> None:
        super().__init__(classes="fold")
        self.names = names
        self._options = options
        self._changed: dict[str, str] = {}

    @property
    def expanded(self) -> bool:
        """Whether the options are visible."""
        return self._options.display

    def set_expanded(self, expanded: bool) -> None:
        """Expand or collapse the group."""
        if not expanded and self._options.has_focus_within:
            self.focus()
        self._options.display = expanded
        self._update_line()

    def set_changed(self, changed: dict[str, str]) -> None:
        """Set the options whose values differ from the preset, and their values."""
        self._changed = changed
        self._update_line()

    def _update_line(self) -> None:
        if self.expanded:
            self.update(Content.styled("▾ fewer", "$primary"), layout=False)
            return
        parts: list[tuple[str, str]] = [(f"▸ {len(self.names)} more".ljust(10), "$primary")]
        # Changed options come first, where they are visible at every width.
        for number, name in enumerate(sorted(self.names, key=lambda name: name not in self._changed)):
            parts.append(("  " if not number else ", ", "$foreground 45%"))
            if name in self._changed:
                parts.append((f"{name.replace('_', ' ')} {self._changed[name]}", "$accent"))
            else:
                parts.append((name.replace("_", " "), "$foreground 45%"))
        self.update(Content.assemble(*parts), layout=False)

    def action_toggle_group(self) -> None:
        """Expand or collapse the group."""
        self._toggle(not self.expanded)

    def action_expand_group(self) -> None:
        """Expand the group."""
        self._toggle(True)

    def action_collapse_group(self) -> None:
        """Collapse the group."""
        self._toggle(False)

    def _toggle(self, expanded: bool) -> None:
        self.set_expanded(expanded)
        self.post_message(self.Toggled())

    def on_click(self) -> None:
        self.action_toggle_group()
