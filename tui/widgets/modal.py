"""Modal screens that close only once, so a key pressed twice does not also close the screen below."""

from __future__ import annotations

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen, ScreenResultType

from tui.terminal.internals import CommandListPalette


class ClosesOnce(Screen[ScreenResultType]):
    """A screen that ignores `dismiss` if it was dismissed before or is not the current screen."""

    _dismissed = False

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Dismiss the screen with `result`, unless it was dismissed already."""
        if self._dismissed or not self.is_current:
            return AwaitComplete()
        self._dismissed = True
        return super().dismiss(result)


class Modal(ModalScreen[ScreenResultType], ClosesOnce[ScreenResultType]):
    """A modal screen that closes only once.

    `ModalScreen` comes first, because Textual uses the style of the first base class only. Its only child is a box with
    a border: the title is on top, the keys at the bottom.
    """

    DEFAULT_CSS = """
    Modal {
        align: center middle;
        background: $background 60%;
        & > Vertical, & > VerticalScroll {
            max-width: 100%; height: auto; max-height: 100%; padding: 1 2;
            background: $surface; border: round $primary;
            border-title-color: $primary; border-title-style: bold; border-subtitle-color: $text-muted;
        }
    }
    """


class TextPage(Modal[None]):
    """A framed page of text that scrolls if it does not fit."""

    DEFAULT_CSS = """
    TextPage {
        & > VerticalScroll { scrollbar-size-vertical: 1; }
        & Static { height: auto; }
    }
    """


class SafeCommandPalette(CommandListPalette):
    """Textual's command palette, which closes only once."""

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Dismiss the palette, unless it is no longer the current screen."""
        return super().dismiss(result) if self.is_current else AwaitComplete()
