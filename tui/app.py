"""The app: its three screens as modes, the keys that hold everywhere, the palette's commands, and a quiet end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import events
from textual.actions import ActionParseResult
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.dom import DOMNode
from textual.notifications import SeverityLevel
from textual.reactive import reactive
from textual.screen import Screen
from textual.theme import Theme, ThemeProvider
from textual.widgets import OptionList

from core.system.terminal import drawable, drawing
from tui.actions import bindings
from tui.messages import ForkChosen, ModelChosen, RunChosen
from tui.screens.help import TEXTUALS_OWN, HelpScreen
from tui.screens.room import TooSmallScreen, is_small
from tui.screens.sample import SampleScreen
from tui.screens.welcome import WelcomeScreen
from tui.settings import DRAWING_CHOICES, Settings
from tui.state import remember_theme
from tui.terminal.crash_report import report
from tui.terminal.driver import TerminalDriver
from tui.terminal.frame_pacing import QUERY, FramePacer
from tui.terminal.shutdown import end_if_stuck, end_with_terminal
from tui.themes import CONTRAST, DARK, LIGHT, THEMES
from tui.widgets.modal import SafeCommandPalette

MODES = {"sample": "Sample", "train": "Train", "runs": "Runs", "devices": "Devices", "lab": "Lab"}
MISSED_SECONDS = 1.0  # between two looks at whether what was not written can be drawn
ANSWER_SECONDS = 0.5  # for the terminal's last answer, which the shell would else read as typed
HUNG_UP = 128 + signal.SIGHUP  # the exit status when the terminal is gone


class MinidiffApp(App[None]):
    """Sample, Train and Runs over the runs in `root`; opens on `mode`, watching `run` where one is named."""

    TITLE = "minidiff"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-normal"), (120, "-wide")]  # noqa: RUF012 - as App declares it
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    drawing = reactive("auto")  # how digits are drawn, on every screen

    def __init__(
        self,
        root: Path,
        *,
        mode: str = "sample",
        run: str | None = None,
        settings: Settings | None = None,
        welcome: bool = False,
    ) -> None:
        self.DEFAULT_MODE = mode  # type: ignore[misc] # so that no other screen is made, nor an engine for it
        super().__init__(driver_class=TerminalDriver)
        self.root = root
        self.settings = settings or Settings()
        self.pacer = FramePacer(self.settings.frames_per_second)
        term, encoding = os.environ.get("TERM", ""), getattr(sys.__stderr__, "encoding", None) or "utf-8"
        self.codec = drawable(term, encoding)  # of the characters that the terminal can show; None for all
        self.best_drawing = drawing(term, encoding)  # what `auto` stands for, as far as the terminal decides it
        self.watched = run  # the run that the Train screen showed last; told to the user on leaving
        self._welcome = welcome
        self.add_mode("sample", self._sample_screen)
        self.add_mode("train", self._train_screen)
        self.add_mode("runs", self._runs_screen)
        self.add_mode("devices", self._devices_screen)
        self.add_mode("lab", self._lab_screen)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._theme()
        self.drawing = self.settings.drawing
        self.set_keymap(self.settings.keys)
        if self.settings.reduced_motion:
            self.animation_level = "none"

    def _theme(self) -> str:
        """The theme that was set or chosen before, else the one that suits the terminal."""
        if self.settings.theme in self.available_themes:
            return self.settings.theme
        if self.console.color_system != "standard":  # 16 colours, which are the terminal's own
            return DARK.name
        return CONTRAST.name if self.no_color else "ansi-dark"  # without colours, those cannot be told from another

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The colours of plots for themes that have none."""
        own = DARK if self.current_theme.dark else LIGHT
        return {name: color for name, color in own.variables.items() if name == "muted" or name.startswith("plot-")}

    def _sample_screen(self) -> Screen[None]:
        still, silence = self.settings.reduced_motion, self.settings.engine_silence
        return SampleScreen(self.root, self.pacer, still=still, engine_silence=silence)

    def _train_screen(self) -> Screen[None]:
        from tui.screens.train import TrainScreen  # brings pydantic, which the first screen does without

        return TrainScreen(self.root, self.watched, self.settings.training)

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
        """Welcome who is new, and make sure that the app never outlives its terminal."""
        if self._welcome:
            self.push_screen(WelcomeScreen())
        if not self.is_headless:
            end_with_terminal(partial(self.exit, return_code=HUNG_UP), self.exit)
            self.theme_changed_signal.subscribe(self, self._remember_theme)
            self._ask()
            self.set_interval(MISSED_SECONDS, self._draw_missed)

    def _remember_theme(self, theme: Theme) -> None:
        try:
            remember_theme(theme.name)
        except OSError as error:
            self.notify(f"the theme cannot be remembered: {error.filename}: {error.strerror}", severity="warning")

    def clear_selection(self) -> None:
        """Forget what text was selected."""
        if self.screen_stack:  # from Python 3.12 on, fields are filled in while the first screen is not in it yet
            super().clear_selection()

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do what a key, a click or the palette asks for."""
        if isinstance(default_namespace, OptionList) and not default_namespace.scrollable_content_region:
            return True  # a list that a resize left without room cannot say what lies a page away
        return await super().run_action(action, default_namespace, namespaces)

    def on_resize(self, event: events.Resize) -> None:
        """Ask for more room where there is too little."""
        self.pacer.input_received(time.monotonic())  # a reattached terminal sends its size
        self._draw_missed()
        if is_small(event.size) and not isinstance(self.screen, TooSmallScreen):
            self.push_screen(TooSmallScreen())

    def post_display_hook(self) -> None:
        """Let the terminal say when it has drawn a picture."""
        if self.pacer.needs_query(time.monotonic()):
            self._ask()
        self._draw_missed()

    def _ask(self) -> None:
        driver = self._driver
        if isinstance(driver, TerminalDriver) and driver.accepts_output:  # else it would not be written, nor answered
            driver.write(QUERY)
            self.pacer.query_sent(time.monotonic())

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        """Take the terminal's answer."""
        self.pacer.reply_received(time.monotonic())
        self._draw_missed()

    def _draw_missed(self) -> None:
        """Draw the whole screen again if some of it was not written, and the terminal takes output again."""
        driver = self._driver
        if isinstance(driver, TerminalDriver) and driver.output_dropped and driver.accepts_output:
            driver.output_dropped = False
            self.refresh(layout=True)

    async def action_quit(self) -> None:
        """Leave, once the terminal has answered what it was asked."""
        end = time.monotonic() + ANSWER_SECONDS
        while self.pacer.waiting and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self.exit()

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """End the app, also on a terminal that nobody reads."""
        if not self.is_headless:
            end_if_stuck(return_code)
        super().exit(result, return_code, message)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a notice as it is written, whatever is asked: it may quote what stands in files."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def _fatal_error(self) -> None:
        # Textual would print the traceback with the values of every variable.
        if not self.is_headless:
            end_if_stuck(1)
        self.panic(Text(report(self._exception or RuntimeError("unknown"))))

    def action_show(self, mode: str) -> None:
        """Go to a screen; what it shows goes on meanwhile."""
        self.switch_mode(mode)

    async def on_fork_chosen(self, message: ForkChosen) -> None:
        """Fill in the form of a new run as another was."""
        from tui.screens.train import TrainScreen

        await self.switch_mode("train")
        if isinstance(self.screen, TrainScreen):
            self.screen.fork(message.run)

    def watch_drawing(self) -> None:
        """Draw all again where frames, too, are drawn in other characters from now on."""
        if self.is_running:
            self.refresh(layout=True)

    def action_drawing(self) -> None:
        """Draw digits in the next way there is."""
        self.drawing = DRAWING_CHOICES[(DRAWING_CHOICES.index(self.drawing) + 1) % len(DRAWING_CHOICES)]
        self.notify(
            f"digits are drawn in {self.drawing}" if self.drawing != "auto" else "digits are drawn as suits", timeout=2
        )

    async def action_help(self) -> None:
        """Lay the keys of this screen over it."""
        if not isinstance(self.screen, HelpScreen):
            await self.push_screen(HelpScreen(self.screen))

    async def on_model_chosen(self, message: ModelChosen) -> None:
        """Sample from a model that another screen named."""
        await self.switch_mode("sample")
        if isinstance(self.screen, SampleScreen):
            await self.screen.choose_model(message.model)

    async def on_run_chosen(self, message: RunChosen) -> None:
        """Show a run on the Train screen."""
        from tui.screens.train import TrainScreen

        self.watched = message.run
        await self.switch_mode("train")
        if isinstance(self.screen, TrainScreen):
            self.screen.show_run(message.run)

    async def action_command_palette(self) -> None:  # type: ignore[override] # it is awaited
        """Open the palette, unless it is open here."""
        if not isinstance(self.screen, SafeCommandPalette):
            await self.push_screen(SafeCommandPalette())

    async def action_change_theme(self) -> None:  # type: ignore[override] # it is awaited
        """Let a theme be picked by its name."""
        await self.push_screen(SafeCommandPalette(providers=[ThemeProvider], placeholder="Search for themes…"))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: the screens, then whatever a key of this screen does, then the app's own."""
        for mode, title in MODES.items():
            if mode != self.current_mode:
                yield SystemCommand(title, f"Go to the {title} screen", lambda mode=mode: self.action_show(mode))
        for node, binding, enabled, tooltip in screen.active_bindings.values():
            if enabled and binding.description and node is screen and binding.action not in TEXTUALS_OWN:
                yield SystemCommand(
                    binding.description,
                    tooltip or f"Key {self.get_key_display(binding)}",
                    lambda action=binding.action, node=node: self.call_later(self.run_action, action, node),
                )
        yield SystemCommand("Help", "The keys of this screen", self.action_help)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Drawing", "Draw digits in half blocks, quadrants, shades or ASCII", self.action_drawing)
        yield SystemCommand("Screenshot", "Save this screen as an SVG picture", self._save_screenshot)
        yield SystemCommand("Quit", "Leave; training goes on", self.action_quit)

    def _save_screenshot(self) -> None:
        self.set_timer(0.1, self.deliver_screenshot)  # once the palette is gone from the picture
