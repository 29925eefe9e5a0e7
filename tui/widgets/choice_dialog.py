"""A list of choices: moving through it previews each one, escape returns to the former one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.actions import bindings
from tui.widgets.modal import Modal


class ChoiceDialog(Modal[str | None]):
    """Dismissed with the chosen value, or None.

    Args:
        title: What is chosen.
        choices: The values.
        value: The current one.
        preview: Applies a value. It is called for each highlighted one, and with `value` if the dialog is canceled.
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings("choice")
    DEFAULT_CSS = """
    ChoiceDialog {
        background: transparent;  /* the preview is behind it */
        & > Vertical { width: 46; }
        & OptionList { height: auto; max-height: 1fr; border: none !important; background: $surface; padding: 0; }
        & OptionList:focus { background-tint: $surface 0%; }
    }
    """

    def __init__(self, title: str, choices: Sequence[str], value: str, preview: Callable[[str], None]) -> None:
        super().__init__()
        self._title, self._choices, self._value, self._preview = title, choices, value, preview

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._title
            box.border_subtitle = "↑↓ previews · enter keeps · esc cancels"
            yield OptionList(*(Option(choice, choice) for choice in self._choices))

    def on_mount(self) -> None:
        """Highlight the current value."""
        if self._value in self._choices:
            self.query_one(OptionList).highlighted = self._choices.index(self._value)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show what it looks like."""
        if self.is_current:
            self._preview(str(event.option_id))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Keep it."""
        self.dismiss(str(event.option_id))

    def action_cancel(self) -> None:
        """Return to the former value."""
        if self.is_current:
            self._preview(self._value)
        self.dismiss(None)
