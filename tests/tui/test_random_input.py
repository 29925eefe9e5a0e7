"""A storm of keys, clicks and resizes over every screen, from a seed: nothing raises, and the app still answers.

STORM=10000 python -m pytest tests/tui/test_random_input.py    the whole of it; a thousand in an ordinary run
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

BLOWS = int(os.environ.get("STORM", "1000"))
BATCH = 10  # blows between two looks at whether the app is still there
SIZES = ((60, 20), (80, 24), (100, 30), (120, 40), (200, 60), (30, 8), (1, 1))
NOT_PRESSED = {"q", "ctrl+q", "ctrl+c", "ctrl+z"}  # which leave
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
    for place in ("app", "pilot"):  # which wait after each key for up to a second until nothing plays any more
        monkeypatch.setattr(f"textual.{place}.wait_for_idle", one_turn)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    root.mkdir()
    (root / "tiny").symlink_to(model_root / "tiny")
    now = time.time()
    write_run(root, "running", training(2.2, name="running"), weights=True)
    write_run(root, "stopped", [*training(1.1, name="stopped"), Stopped(step=515, reason="on request", time=now)])
    write_run(root, "failed", [*training(0.4, name="failed"), Failed(step=100, message="out of [memory]", time=now)])
    storm = random.Random(seed)
    left = BLOWS // 2
    with held(root / "running"):
        while left > 0:
            left = await until_it_leaves(MinidiffApp(root), storm, left)


async def one_turn(*_: object) -> None:
    """Let the other tasks have their turn."""
    await asyncio.sleep(0)


async def until_it_leaves(app: MinidiffApp, storm: random.Random, blows: int) -> int:
    """Let the storm blow on an app until it is over, or has hit Quit in the palette; how many blows are left."""
    app.animation_level = "none"  # each of them would be waited for
    async with app.run_test(size=(80, 24)) as pilot:
        for left in range(blows, 0, -1):
            await blow(app, pilot, storm)
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


async def blow(app: MinidiffApp, pilot: Pilot[None], storm: random.Random) -> None:
    """A key, a click or another size."""
    match storm.randrange(20):
        case 0:
            await pilot.resize_terminal(*storm.choice(SIZES))
        case 1 | 2 | 3:
            width, height = app.size
            at = Offset(storm.randrange(max(1, width)), storm.randrange(max(1, height)))
            with contextlib.suppress(NoWidget, OutOfBounds):  # the pilot's: nothing is laid out there yet
                await pilot.click(offset=at, times=storm.choice((1, 1, 1, 2)))
        case 4:
            app.action_show(storm.choice(list(MODES)))
        case _:
            await pilot.press(storm.choice([key for key in KEYS if key not in NOT_PRESSED]))
