"""Keys pressed twice before the app handles the first: an overlay closes once, a form starts one run."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from textual.screen import Screen
from textual.widgets import Input, Select
from waiting import PATIENCE, until

from core.runs.directory import run_directories
from core.runs.status import Status, run_status
from core.runs.trajectory import Denoising, Frame
from tui.app import MinidiffApp
from tui.screens.export import ExportScreen
from tui.screens.help import HelpScreen
from tui.widgets.dialogs import ConfirmDialog
from tui.widgets.modal import SafeCommandPalette
from tui.widgets.run_form import RunForm

BLANK = Denoising("none", 0, 1, 1, 2, 2, (Frame(0, 1.0, bytes(4), None), Frame(1, 0.0, bytes(4), bytes(4))))


@pytest.mark.parametrize("overlay", ["palette", "export", "help", "confirm"])
async def test_closing_an_overlay_twice_keeps_the_screen_below(tmp_path: Path, overlay: str) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        below = app.screen
        screens: dict[str, Screen[object]] = {
            "palette": SafeCommandPalette(),
            "export": ExportScreen(BLANK, 1),
            "help": HelpScreen(below),
            "confirm": ConfirmDialog("Delete?"),
        }
        top = screens[overlay]
        await app.push_screen(top)
        top.dismiss()
        top.dismiss()
        await pilot.pause()
        assert app.screen is below


async def test_the_palette_opens_once(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_command_palette()
        await app.action_command_palette()
        await pilot.pause()
        assert [type(screen) for screen in app.screen_stack].count(SafeCommandPalette) == 1


KEYS = ("ctrl+p", "f", "question_mark", "c", "z", "e", "o", "escape", "enter", "3", "m", "r", "d", "1", "5")


@pytest.mark.parametrize("seed", range(1))
async def test_an_overlay_closed_while_it_opens_does_not_end_the_app(
    model_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each key arrives before the overlay of the previous key has opened."""
    rng = random.Random(seed)
    monkeypatch.chdir(tmp_path)  # exports are written here
    app = MinidiffApp(shutil.copytree(model_root, tmp_path / "runs"))  # which the keys may change
    async with app.run_test(size=(80, 24)) as pilot:
        for keys in (("ctrl+p", "e", "escape"), ("c", "escape"), ("question_mark", "escape"), ("o", "escape")):
            for key in keys:
                app.simulate_key(key)
            await pilot.pause()
        for _ in range(25):
            for key in rng.choices(KEYS, k=rng.randint(1, 5)):
                app.simulate_key(key)
            await pilot.pause()
            assert app.is_running


async def test_a_form_submitted_three_times_at_once_starts_one_run(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        form = app.screen.query_one(RunForm)
        form.query_one("#field-preset", Select).value = "quick"
        await pilot.pause()
        for name, value in {"device": "cpu", "limit": "16", "epochs": "1", "channels": "4"}.items():
            form.query_one(f"#field-{name}", Input).value = value
        form.query_one("#field-dataset", Input).value = "glyphs"
        for _ in range(3):
            form.submit()
        await until(pilot, lambda: bool(run_directories(tmp_path)), "a run exists")
        await pilot.pause()
        (only,) = run_directories(tmp_path)
        async with asyncio.timeout(PATIENCE):  # it ends by itself
            while run_status(only).alive:
                await pilot.pause(0.1)
    assert run_status(only) == Status.FINISHED
