"""The app: its three screens as modes, the keys that hold everywhere, the palette's commands, and a quiet end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme

from tui.crash import report
from tui.hangup import watch_terminal
from tui.messages import ModelChosen, RunChosen
from tui.modal import Palette
from tui.screens.help import TEXTUALS_OWN, HelpScreen
from tui.screens.sample import SampleScreen

MODES = {"sample": "Sample", "train": "Train", "runs": "Runs"}
# Every colour stands in the 256-colour table too, so that the look survives SSH, which forgets truecolor.
DARK = Theme(
    name="minidiff",
    primary="#5fafff",
    secondary="#87afd7",
    accent="#ffaf5f",
    foreground="#d0d0d0",
    background="#121212",
    surface="#1c1c1c",
    panel="#262626",
    success="#87d787",
    warning="#ffd75f",
    error="#ff5f5f",
    dark=True,
    variables={
        "footer-background": "#1c1c1c",
        "footer-key-foreground": "#5fafff",
        "footer-description-foreground": "#9e9e9e",
        "block-cursor-background": "#005f87",
        "block-cursor-foreground": "#ffffff",
        "input-cursor-background": "#5fafff",
        "border": "#5fafff",
        "border-blurred": "#3a3a3a",
    },
)
HANGUP_SECONDS = 1.0  # for a clean end after the terminal is gone; then the process ends as it is


class MinidiffApp(App[None]):
    """Sample, Train and Runs over the runs in `root`; opens on `mode`, watching `run` where one is named."""

    TITLE = "minidiff"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    DEFAULT_MODE = "sample"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-normal"), (120, "-wide")]  # noqa: RUF012 - as App declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "show('sample')", "Sample", show=False),
        Binding("2", "show('train')", "Train", show=False),
        Binding("3", "show('runs')", "Runs", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+q", "quit", "Quit", show=False),
    ]

    def __init__(self, root: Path, *, mode: str = "sample", run: str | None = None) -> None:
        super().__init__()
        self.root = root
        self.watched = run  # the run that the Train screen showed last; told to the user on leaving
        self._first_mode = mode
        self.add_mode("sample", lambda: SampleScreen(root))
        self.add_mode("train", self._train_screen)
        self.add_mode("runs", self._runs_screen)
        self.register_theme(DARK)
        self.theme = DARK.name

    def _train_screen(self) -> Screen[None]:
        from tui.screens.train import TrainScreen  # brings pydantic, which the first screen does without

        return TrainScreen(self.root, self.watched)

    def _runs_screen(self) -> Screen[None]:
        from tui.screens.runs import RunsScreen

        return RunsScreen(self.root)

    def on_mount(self) -> None:
        """Open the screen asked for, and make sure that the app never outlives its terminal."""
        if self._first_mode != self.DEFAULT_MODE:
            self.switch_mode(self._first_mode)
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self.exit)
            loop.add_signal_handler(signal.SIGHUP, self._end_without_terminal)
            watch_terminal(partial(loop.call_soon_threadsafe, self._end_without_terminal))

    def _end_without_terminal(self) -> None:
        # What Textual still writes on its way out can block for ever once nobody reads.
        last_resort = threading.Timer(HANGUP_SECONDS, os._exit, (128 + signal.SIGHUP,))
        last_resort.daemon = True
        last_resort.start()
        self.exit(return_code=128 + signal.SIGHUP)

    def _fatal_error(self) -> None:
        # Textual would print the traceback with the values of every variable.
        self.panic(Text(report(self._exception or RuntimeError("unknown"))))

    def action_show(self, mode: str) -> None:
        """Go to a screen; what it shows goes on meanwhile."""
        self.switch_mode(mode)

    def action_help(self) -> None:
        """Lay the keys of this screen over it."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

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

    def action_command_palette(self) -> None:
        """Open the palette, unless it is open here."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette())

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
        yield SystemCommand("Screenshot", "Save this screen as an SVG picture", self._save_screenshot)
        yield SystemCommand("Quit", "Leave; training goes on", self.action_quit)

    def _save_screenshot(self) -> None:
        self.set_timer(0.1, self.deliver_screenshot)  # once the palette is gone from the picture
