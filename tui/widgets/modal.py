"""Overlays that close once: a second Enter, pressed before the first was heard, must not close what lies below."""

from __future__ import annotations

from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette
from textual.screen import ModalScreen, Screen, ScreenResultType


class ClosesOnce(Screen[ScreenResultType]):
    """A screen whose `dismiss` does nothing the second time, or when it is not on top."""

    _dismissed = False

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close, and hand over `result`, unless that has happened already."""
        if self._dismissed or not self.is_current:
            return AwaitComplete()
        self._dismissed = True
        return super().dismiss(result)


class Modal(ModalScreen[ScreenResultType], ClosesOnce[ScreenResultType]):
    """A modal screen that closes once; Textual takes the style of the first class only."""


class TextPage(Modal[None]):
    """A page in a frame, which scrolls where the terminal is too small for it."""

    DEFAULT_CSS = """
    TextPage {
        align: center middle;
        & > VerticalScroll {
            max-width: 100%; height: auto; max-height: 100%; scrollbar-size-vertical: 1;
            background: $surface; border: round $primary; padding: 1 2;
            border-title-color: $primary; border-subtitle-color: $foreground 50%;
        }
        & Static { height: auto; }
    }
    """


class SafeCommandPalette(CommandPalette):
    """Textual's command palette, which closes once, and turns no page of a list that was never drawn."""

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Close, unless that has happened already."""
        return super().dismiss(result) if self.is_current else AwaitComplete()

    def _action_command_list(self, action: str) -> None:
        # Where the terminal has no room for the list, Textual 8.2.8 looks for lines that it has not laid out.
        if self.query_one(CommandList).scrollable_content_region:
            super()._action_command_list(action)
