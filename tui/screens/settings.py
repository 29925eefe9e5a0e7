"""The settings: a list of all of them with their values, which apply at once and are saved."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.text import sanitize
from tui.actions import bindings
from tui.settings import SETTINGS, Setting, Settings
from tui.widgets.choice_dialog import ChoiceDialog
from tui.widgets.modal import Modal

Value = str | bool | float
LABEL_WIDTH = 20


@dataclass(frozen=True)
class Store:
    """The settings of an app, as the screen reads and changes them."""

    current: Callable[[], Settings]
    saved: Callable[[], Settings]
    overridden: Collection[str]  # names of those that the command line sets
    file: Path | None
    preview: Callable[[str, Value], None]
    change: Callable[[str, Value], None]


class SettingsScreen(Modal[None]):
    """Lists `SETTINGS`."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("settings")
    DEFAULT_CSS = """
    SettingsScreen {
        & > Vertical { width: 76; }
        & OptionList { height: auto; max-height: 1fr; border: none !important; background: $surface; padding: 0; }
        & OptionList:focus { background-tint: $surface 0%; }
        & Static { height: auto; color: $text-muted; margin-top: 1; }
    }
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Settings"
            box.border_subtitle = "←→ changes · enter chooses · esc closes"
            yield OptionList(*(Option(self._prompt(setting), setting.name) for setting in SETTINGS))
            file = self._store.file
            where = "Changes last until you quit." if file is None else f"Saved in {sanitize(str(file))}"
            yield Static(where, markup=False)

    def _prompt(self, setting: Setting) -> Content:
        value = _text(getattr(self._store.current(), setting.name))
        note = setting.help
        if setting.name in self._store.overridden:
            saved = _text(getattr(self._store.saved(), setting.name))
            note = f"{setting.option} overrides the saved value, {saved}, while the app runs with it"
        return Content.assemble((f"{setting.label:<{LABEL_WIDTH}}", "bold"), f"‹ {value} ›", f"\n  {note}")

    @property
    def _highlighted(self) -> Setting:
        return SETTINGS[self.query_one(OptionList).highlighted or 0]

    def action_change(self, by: int) -> None:
        """Choose the next or the previous value."""
        setting = self._highlighted
        value = getattr(self._store.current(), setting.name)
        if setting.numbers:
            beyond = [number for number in setting.numbers[::by] if (number - value) * by > 0]
            self._change(setting, float(beyond[0]) if beyond else value)
        elif setting.choices:
            self._change(setting, setting.choices[(setting.choices.index(value) + by) % len(setting.choices)])
        else:
            self._change(setting, not value)

    async def on_option_list_option_selected(self) -> None:
        """Open a list of the choices, or choose the next value."""
        setting = self._highlighted
        if not setting.choices:
            self.action_change(1)
            return
        value = getattr(self._store.current(), setting.name)
        dialog = ChoiceDialog(setting.label, setting.choices, value, partial(self._store.preview, setting.name))
        await self.app.push_screen(dialog, lambda chosen: self._change(setting, chosen) if chosen else None)

    def _change(self, setting: Setting, value: Value) -> None:
        self._store.change(setting.name, value)
        self.query_one(OptionList).replace_option_prompt(setting.name, self._prompt(setting))


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, int | float) else value
