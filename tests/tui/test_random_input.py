"""Random keys, clicks and resizes on every screen: nothing raises, and the app still responds.

`RANDOM_INPUTS=10000 python -m pytest tests/tui/test_random_input.py` sends ten thousand instead of 300 inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from pathlib import Path

import pytest
from runlogs import held, training, write_run
from textual.errors import NoWidget
from textual.geometry import Offset
from textual.pilot import OutOfBounds, Pilot

from core.runs.events import Failed, Stopped
from tui.actions import ACTIONS
from tui.app import MODES, MinidiffApp
from tui.screens.help import HelpScreen

INPUTS = int(os.environ.get("RANDOM_INPUTS", "300"))
BATCH = 10  # inputs between two checks whether the app is still running
SIZES = ((60, 20), (80, 24), (100, 30), (120, 40), (200, 60), (30, 8), (1, 1))
NOT_PRESSED = {"q", "ctrl+q", "ctrl+c", "ctrl+z"}  # which quit or suspend the app
KEYS = sorted(
    {key for action in ACTIONS for key in action.keys.split(",")}
    | {"tab", "shift+tab", "up", "down", "pageup", "pagedown", "backspace", "delete", "ctrl+p", "ctrl+u"}
    | set("abcxyz019.-é/'\"[]") - NOT_PRESSED
)


@pytest.mark.parametrize("seed", [1])
async def test_no_key_click_or_resize_crashes_the_app(
    seed: int, model_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # engines and trainers end as soon as they are started
    for place in ("app", "pilot"):  # which wait up to a second after each key until no animation runs
        monkeypatch.setattr(f"textual.{place}.wait_for_idle", one_turn)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    root.mkdir()
    (root / "tiny").symlink_to(model_root / "tiny")
    now = time.time()
    write_run(root, "running", training(2.2, name="running"), weights=True)
    write_run(root, "stopped", [*training(1.1, name="stopped"), Stopped(step=515, reason="on request", time=now)])
    write_run(root, "failed", [*training(0.4, name="failed"), Failed(step=100, message="out of [memory]", time=now)])
    rng = random.Random(seed)
    left = INPUTS
    with held(root / "running"):
        while left > 0:
            left = await until_it_quits(MinidiffApp(root), rng, left)


async def one_turn(*_: object) -> None:
    """Let the other tasks run once."""
    await asyncio.sleep(0)


async def until_it_quits(app: MinidiffApp, rng: random.Random, inputs: int) -> int:
    """Send inputs to an app until all are sent, or the app quits (the palette has Quit); returns how many are left."""
    app.animation_level = "none"  # the end of each animation would be waited for
    async with app.run_test(size=(80, 24)) as pilot:
        for left in range(inputs, 0, -1):
            await send_random_input(app, pilot, rng)
            if left % BATCH == 0 and not app.is_running:
                assert app.return_code == 0
                return left
        await pilot.resize_terminal(120, 40)
        for _ in range(8):  # close dialogs and screens on top
            await pilot.press("escape")
        while len(app.screen_stack) > 1:
            app.pop_screen()
        await pilot.pause()
        app.screen.set_focus(None)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
    return 0


async def send_random_input(app: MinidiffApp, pilot: Pilot[None], rng: random.Random) -> None:
    """A key, a click or another size."""
    match rng.randrange(20):
        case 0:
            await pilot.resize_terminal(*rng.choice(SIZES))
        case 1 | 2 | 3:
            width, height = app.size
            at = Offset(rng.randrange(max(1, width)), rng.randrange(max(1, height)))
            with contextlib.suppress(NoWidget, OutOfBounds):  # the pilot's: nothing is laid out there yet
                await pilot.click(offset=at, times=rng.choice((1, 1, 1, 2)))
        case 4:
            app.action_show(rng.choice(list(MODES)))
        case _:
            await pilot.press(rng.choice([key for key in KEYS if key not in NOT_PRESSED]))
