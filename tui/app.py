"""The Textual app: screens as modes, global actions, settings and palette commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.actions import ActionParseResult
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.notifications import SeverityLevel
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import OptionList

from core.errors import ConfigError
from tui.actions import ACTIONS, bindings
from tui.follow import Follower, Leader
from tui.io.engine_client import EngineClient
from tui.leaving import active_runs, what_continues
from tui.messages import ForkChosen, KeyFollowed, ModelChosen, RunChosen, TrainingHistoryChosen
from tui.screens.help import HelpScreen
from tui.screens.sample import FIRST, SampleScreen
from tui.screens.settings import SettingsScreen, Store
from tui.screens.too_small import TooSmallScreen, is_small
from tui.screens.welcome import WelcomeScreen
from tui.settings import BY_NAME, DRAWING_CHOICES, Settings, save_setting
from tui.terminal.color_maps import COLOR_MAPS
from tui.terminal.internals import all_screens
from tui.terminal.terminal_app import TerminalApp
from tui.themes import CONTRAST, DARK, LIGHT, THEMES
from tui.widgets.choice_dialog import ChoiceDialog
from tui.widgets.modal import SafeCommandPalette
from tui.widgets.timeline import Timeline

MODES = {"sample": "Sample", "train": "Train", "runs": "Runs", "devices": "Devices", "lab": "Lab"}
INPUT = (events.Key, events.Paste, events.MouseDown, events.MouseScrollDown, events.MouseScrollUp)  # of the user


class MinidiffApp(TerminalApp):
    """The app for the runs in `root`.

    Args:
        root: the root directory of the runs.
        mode: the screen to open, a key of `MODES`.
        run: the run to watch on the Train screen.
        settings: the user's settings; default settings if None.
        settings_file: where changed settings are saved; None: nowhere.
        overrides: those of the settings that were given on the command line, by name, and are not in the file.
        notice: shown at startup, such as a problem of the settings file.
        welcome: show the welcome page first.
        lead: the file to write what the screen shows to, for others to follow.
        follow: such a file to follow.
    """

    TITLE = "minidiff"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-normal"), (120, "-wide")]  # noqa: RUF012 - as App declares it
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    shared_status = reactive("", init=False)
    """Whether this app leads or follows, and which file; shown in the header. Empty if it does neither."""

    def __init__(
        self,
        root: Path,
        *,
        mode: str = "sample",
        run: str | None = None,
        model: str | None = None,
        settings: Settings | None = None,
        settings_file: Path | None = None,
        overrides: Mapping[str, object] | None = None,
        notice: str = "",
        welcome: bool = False,
        lead: Path | None = None,
        follow: Path | None = None,
    ) -> None:
        self.DEFAULT_MODE = mode  # type: ignore[misc] # creates no other screen, and no engine for it
        self.saved_settings = settings or Settings()
        self._overrides = dict(overrides or {})
        self.settings = replace(self.saved_settings, **self._overrides)  # type: ignore[arg-type] # they are checked
        super().__init__(self.settings.frames_per_second)
        self.root = root
        self._settings_file, self._notice = settings_file, notice
        self.watched = run  # the last run shown on the Train screen; printed on exit
        self._key_receiver: Widget | None = None  # of the last key
        self._model = model  # the first one on the Sample screen; None: the default
        self._welcome = welcome
        self._leader = None if lead is None else Leader(self, lead)
        self.follower = None if follow is None else Follower(self, follow)
        self.add_mode("sample", self._sample_screen)
        self.add_mode("train", self._train_screen)
        self.add_mode("runs", self._runs_screen)
        self.add_mode("devices", self._devices_screen)
        self.add_mode("lab", self._lab_screen)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._theme_of(self.settings.theme)
        self.drawing = self.settings.drawing
        self.color_map = self.settings.color_map
        self.set_keymap(self.settings.keys)
        if self.settings.reduced_motion:
            self.animation_level = "none"

    def _theme_of(self, name: str) -> str:
        """The theme of a setting: its own, or the default for this terminal."""
        if name in self.available_themes:
            return name
        if self.console.color_system != "standard":  # not limited to the terminal's 16 colors
            return DARK.name
        return CONTRAST.name if self.no_color else "ansi-dark"  # ansi-dark needs colors

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Default plot colors for themes that define none."""
        base = DARK if self.current_theme.dark else LIGHT
        return {name: color for name, color in base.variables.items() if name == "muted" or name.startswith("plot-")}

    def _sample_screen(self) -> Screen[None]:
        still, silence = self.settings.reduced_motion, self.settings.engine_silence
        model = self._model or FIRST
        return SampleScreen(self.root, self.pacer, still=still, engine_silence=silence, model=model)

    def _train_screen(self) -> Screen[None]:
        from tui.screens.train import TrainScreen  # imports pydantic, which the first screen does not need

        silence = self.settings.engine_silence
        return TrainScreen(self.root, self.watched, self.settings.training, engine_silence=silence)

    def _runs_screen(self) -> Screen[None]:
        from tui.screens.runs import RunsScreen

        return RunsScreen(self.root)

    def _devices_screen(self) -> Screen[None]:
        from tui.screens.devices import DevicesScreen

        return DevicesScreen(self.root)

    def _lab_screen(self) -> Screen[None]:
        from tui.screens.lab import LabScreen

        still, silence = self.settings.reduced_motion, self.settings.engine_silence
        return LabScreen(self.root, self.pacer, still=still, engine_silence=silence)

    def on_mount(self) -> None:
        """Show the welcome page at the first start; Textual calls the handler of the base class, too."""
        if self._welcome:
            self.push_screen(WelcomeScreen())
        if self._notice:
            self.notify(self._notice, severity="warning", timeout=10)
        for part in (self._leader, self.follower):
            if part is not None:
                self.run_worker(part.run(), group="follow")

    def apply_setting(self, name: str, value: str | bool | float) -> None:
        """Use another value of a setting, without saving it."""
        self.settings = replace(self.settings, **{name: value})  # type: ignore[arg-type] # a value of `SETTINGS`
        match name:
            case "theme":
                self.theme = self._theme_of(self.settings.theme)
            case "drawing":
                self.drawing = self.settings.drawing
            case "color_map":
                self.color_map = self.settings.color_map
            case "frames_per_second":
                self.pacer.set_fastest(self.settings.frames_per_second)
            case "reduced_motion":
                self.animation_level = "none" if value else "full"
                for screen in all_screens(self):
                    for timeline in screen.query(Timeline):
                        timeline.still = bool(value)
            case "engine_silence":
                for screen in all_screens(self):
                    engine = getattr(screen, "engine", None)
                    if isinstance(engine, EngineClient):
                        engine.silence_seconds = self.settings.engine_silence

    def change_setting(self, name: str, value: str | bool | float) -> None:
        """Use another value of a setting, and save it for the next start."""
        self.apply_setting(name, value)
        self.saved_settings = replace(self.saved_settings, **{name: value})  # type: ignore[arg-type]
        if self._settings_file is not None:
            try:
                save_setting(self._settings_file, name, value)
            except ConfigError as error:
                self.notify(str(error), severity="warning")

    async def on_event(self, event: events.Event) -> None:
        """Note which widget receives a key."""
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded and self.screen_stack:
            self._key_receiver = self.focused or self.screen
        if self.follower is not None and isinstance(event, INPUT) and not event.is_forwarded:
            self.follower.on_input()
        await super().on_event(event)

    def follow_last_key(self, handled: asyncio.Event) -> None:
        """Set `handled` when the last key has been handled, by its receiver and by all widgets that it bubbled to."""
        if self._key_receiver is None or not self._key_receiver.post_message(KeyFollowed(handled)):
            handled.set()

    def on_key_followed(self, message: KeyFollowed) -> None:
        """The app is the last that a key bubbles to."""
        message.handled.set()

    def clear_selection(self) -> None:
        """Clear the text selection."""
        if self.screen_stack:  # on Python 3.12+ fields are filled before the first screen is on the stack
            super().clear_selection()

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Run an action, except paging in an option list without height, which fails in Textual."""
        if isinstance(default_namespace, OptionList) and not default_namespace.scrollable_content_region:
            return True
        return await super().run_action(action, default_namespace, namespaces)

    def on_resize(self, event: events.Resize) -> None:
        """Cover the screen if the terminal is too small; Textual calls the handler of the base class, too."""
        if is_small(event.size) and not isinstance(self.screen, TooSmallScreen):
            self.push_screen(TooSmallScreen())

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a notification. `markup` is ignored, because messages may quote file contents."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    async def action_help_quit(self) -> None:  # type: ignore[override] # it is awaited
        """Textual's action for Ctrl-C, which does not quit: say which key does, and what continues."""
        then = what_continues(await asyncio.to_thread(active_runs, self.root))
        self.notify(f"Press q or Ctrl-Q to quit{'; ' if then else ''}{then}")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the key that follows again while it has no effect."""
        if action == "follow":
            return self.follower is not None and self.follower.paused
        return super().check_action(action, parameters)

    def action_follow(self) -> None:
        """Follow the leading app again."""
        if self.follower is not None:
            self.follower.resume()

    def action_show(self, mode: str) -> None:
        """Switch to a screen. The current one keeps running."""
        self.switch_mode(mode)

    async def on_fork_chosen(self, message: ForkChosen) -> None:
        """Open the form for a new run, filled in with the options of another run."""
        from tui.screens.train import TrainScreen

        await self.switch_mode("train")
        if isinstance(self.screen, TrainScreen):
            self.screen.fork(message.run)

    def action_drawing(self) -> None:
        """Switch to the next drawing mode."""
        pixels = self.drawing == "kitty" or (self.images is not None and self.images.available)
        choices = [choice for choice in DRAWING_CHOICES if pixels or choice != "kitty"]
        self.apply_setting("drawing", choices[(choices.index(self.drawing) + 1) % len(choices)])
        self.notify(f"drawing mode: {self.drawing}", timeout=2)

    def action_color_map(self) -> None:
        """Switch to the next color map."""
        self.apply_setting("color_map", COLOR_MAPS[(COLOR_MAPS.index(self.color_map) + 1) % len(COLOR_MAPS)])
        self.notify(f"color map: {self.color_map}", timeout=2)

    async def action_help(self) -> None:
        """Show the help for this screen."""
        if not isinstance(self.screen, HelpScreen):
            await self.push_screen(HelpScreen(self.screen))

    async def on_model_chosen(self, message: ModelChosen) -> None:
        """Switch to the Sample screen and sample from the model."""
        await self.switch_mode("sample")
        if isinstance(self.screen, SampleScreen):
            await self.screen.choose_model(message.model)

    async def on_training_history_chosen(self, message: TrainingHistoryChosen) -> None:
        """Open the training history of a run, above the current screen."""
        from tui.screens.training_history import TrainingHistoryScreen

        still, silence = self.settings.reduced_motion, self.settings.engine_silence
        screen = TrainingHistoryScreen(self.root, message.run, self.pacer, still=still, engine_silence=silence)
        await self.push_screen(screen)

    async def on_run_chosen(self, message: RunChosen) -> None:
        """Switch to the Train screen and show the run."""
        from tui.screens.train import TrainScreen

        self.watched = message.run
        await self.switch_mode("train")
        if isinstance(self.screen, TrainScreen):
            self.screen.show_run(message.run)

    async def action_command_palette(self) -> None:  # type: ignore[override] # it is awaited
        """Open the command palette, unless it is open already."""
        if not isinstance(self.screen, SafeCommandPalette):
            await self.push_screen(SafeCommandPalette())

    async def action_change_theme(self) -> None:  # type: ignore[override] # it is awaited
        """Open the list of themes."""
        theme = BY_NAME["theme"]
        dialog = ChoiceDialog(
            theme.label, theme.choices, self.settings.theme, lambda name: self.apply_setting("theme", name)
        )
        await self.push_screen(dialog, lambda name: self.change_setting("theme", name) if name else None)

    async def action_settings(self) -> None:
        """Open the settings."""
        store = Store(
            lambda: self.settings,
            lambda: self.saved_settings,
            self._overrides,
            self._settings_file,
            self.apply_setting,
            self.change_setting,
        )
        await self.push_screen(SettingsScreen(store))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Commands of the palette: the actions of this screen and of the app, once each, with their keys."""
        found: dict[str, tuple[Binding, DOMNode, list[str]]] = {}
        ids = {action.id for action in ACTIONS}
        for node, binding, enabled, _ in screen.active_bindings.values():
            if enabled and node in (screen, self) and binding.id in ids:
                key = self.get_key_display(binding)
                found.setdefault(binding.action, (binding, node, []))[2].append(key)
        for action, (binding, node, keys) in found.items():
            if action == f"show('{self.current_mode}')":
                continue
            title = f"Go to {binding.description}" if action.startswith("show(") else binding.description
            names = " or ".join(dict.fromkeys(keys))
            yield SystemCommand(
                title,
                f"{names}: {binding.tooltip or title}",
                lambda action=action, node=node: self.call_later(self.run_action, action, node),
            )

    def action_picture(self) -> None:
        """Save the screen as SVG in the current folder."""
        self.set_timer(0.1, self._write_screenshot)  # after the palette has closed

    def _write_screenshot(self) -> None:
        try:
            path = self.save_screenshot()
        except OSError as error:
            self.notify(f"cannot write the screenshot to {Path.cwd()}: {error.strerror}", severity="error")
        else:
            self.notify(f"Saved {Path(path).resolve()}", timeout=8)
