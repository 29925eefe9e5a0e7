"""The Sample screen: recording, engine, timeline and grids."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pipeline_folder import write_pipeline
from repository import REPOSITORY
from sample_screen import choice, is_live, is_shown, notifications, sample_tiny, screen_of, text_of
from textual.widgets import Input
from waiting import until

from core.config.sampling import defaults_for
from core.config.training import TrainConfig
from core.runs.directory import CONFIG, MODEL, builtin_directories
from tui.app import MinidiffApp
from tui.widgets.image_grid import ImageGrid
from tui.widgets.timeline import Timeline

if TYPE_CHECKING:
    pass


@pytest.mark.usefixtures("builtin")
@pytest.mark.parametrize("size", [(80, 24), (60, 20)])
async def test_the_screen_opens_with_a_labelled_recording_playing(tmp_path: Path, size: tuple[int, int]) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=size) as pilot:
        timeline = screen_of(app).timeline
        await pilot.pause()
        assert timeline.playing
        assert "recorded" in text_of(app, "#predicted-caption")
        before = timeline.position
        await until(pilot, lambda: timeline.position > before, "the recording plays")


@pytest.mark.usefixtures("builtin")
async def test_the_engine_takes_over_from_the_recording(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: is_live(app), "the engine is live")
        assert app.screen.query_one("#seed", Input).value == "1"


async def test_the_app_opens_on_another_built_in_model(tmp_path: Path) -> None:
    if "fast-mnist" not in builtin_directories():
        pytest.skip("the built-in model is not in this tree")
    app = MinidiffApp(tmp_path, model="fast-mnist")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "recorded" in text_of(app, "#predicted-caption")
        await until(pilot, lambda: is_live(app), "the engine is live")
        await until(pilot, lambda: is_shown(screen_of(app), "fast-mnist", 4), "it is sampled in its 4 steps")
        assert choice(app, "sampler").chosen == "consistency"


@pytest.mark.usefixtures("builtin")
async def test_the_app_opens_on_a_run_and_names_one_that_does_not_exist(model_root: Path) -> None:
    app = MinidiffApp(model_root, model="classy")
    async with app.run_test(size=(120, 40)) as pilot:
        steps = defaults_for(TrainConfig()).steps
        await until(pilot, lambda: is_shown(screen_of(app), "classy", steps), "the run is sampled")
    app = MinidiffApp(model_root, model="nothing")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: is_live(app), "the default model is sampled")
        assert any("there is no model nothing with weights" in notice.message for notice in app._notifications)


WITHOUT_A_MODEL = """
import asyncio
from pathlib import Path
from textual.widgets import Static
from tui.app import MinidiffApp
from tui.screens.draw import MaskScreen
from tui.screens.export import ExportScreen
from tui.screens.nearest import NearestScreen

async def look():
    app = MinidiffApp(Path("nowhere"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen.query_one("#empty").display
        print(app.screen.query_one("#empty", Static).render())
        print(*(notification.message for notification in app._notifications))

asyncio.run(look())
"""


def test_an_install_without_its_model_explains_how_to_get_one(tmp_path: Path) -> None:
    for package in ("core", "tui"):
        shutil.copytree(
            REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "builtin")
        )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_MODEL], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Train a model (key 2)" in done.stdout
    assert "there is no model to sample from" in done.stdout


async def test_the_engine_starts_when_sample_is_opened_and_not_before(model_root: Path) -> None:
    app = MinidiffApp(model_root, mode="runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("1")
        screen = screen_of(app)
        assert app.current_mode == "sample"
        await until(pilot, lambda: screen.engine.running, "the engine is started")


async def test_keys_control_the_timeline(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        timeline = await sample_tiny(app, pilot)
        await pilot.press("home")
        assert (timeline.position, timeline.playing) == (0, False)
        await pilot.press("right", "right", "right", "left")
        assert timeline.position == 2
        await pilot.press("end")
        assert timeline.position == 6
        await pilot.press("right")
        assert timeline.position == 6
        await pilot.press("space")
        assert timeline.playing
        await until(pilot, lambda: not timeline.playing, "it rests on the last step")
        assert timeline.position == 6
        assert "step 6/6" in timeline.render().plain
        assert "noise 0.00" in timeline.render().plain


async def test_clicking_the_timeline_seeks(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        timeline = await sample_tiny(app, pilot)
        bar = timeline.render().plain
        drawn = [column for column, sign in enumerate(bar) if sign in "━●╌"]
        start, length = drawn[0], len(drawn)
        await pilot.click(Timeline, offset=(1 + start + length // 2, 0))
        assert timeline.position == 3
        await pilot.click(Timeline, offset=(1 + start + length - 1, 0))
        assert timeline.position == 6


async def test_looping_restarts_after_a_pause(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        timeline = await sample_tiny(app, pilot, steps=2)
        await pilot.press("l", "home", "space")
        await until(pilot, lambda: timeline.position == 2, "the last step is reached")
        await until(pilot, lambda: timeline.position == 0, "it begins again")
        assert timeline.playing


async def test_the_grids_show_the_state_and_the_prediction_of_the_step(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await sample_tiny(app, pilot)
        await pilot.press("home")
        await pilot.pause()
        noisy, predicted = (app.screen.query_one(f"#{name}-images", ImageGrid) for name in ("noisy", "predicted"))
        start = [noisy.render_line(y) for y in range(noisy.size.height)]
        assert start != [predicted.render_line(y) for y in range(predicted.size.height)]
        await pilot.press("end")
        await pilot.pause()
        last = [noisy.render_line(y) for y in range(noisy.size.height)]
        assert last != start
        assert last == [predicted.render_line(y) for y in range(predicted.size.height)]  # the same at the end


async def test_a_new_seed_is_sampled_and_shown(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await sample_tiny(app, pilot)
        screen = screen_of(app)
        field = screen.query_one("#seed", Input)
        field.focus()
        field.value = "4321"
        await pilot.press("enter")
        await until(pilot, lambda: screen.denoising is not None and screen.denoising.seed == 4321, "seed 4321 is shown")
        await pilot.press("escape", "n")
        await until(pilot, lambda: screen.denoising is not None and screen.denoising.seed != 4321, "another is shown")
        assert screen.denoising is not None
        assert field.value == str(screen.denoising.seed)


async def test_non_finite_samples_are_reported(model_root: Path, tmp_path: Path) -> None:
    import torch

    from core.models.weights import read_weights, write_tensors

    shutil.copytree(model_root / "tiny", tmp_path / "tiny")
    weights, config, step, _ = read_weights(tmp_path / "tiny" / MODEL)
    (tmp_path / "diverged").mkdir()
    huge = {name: torch.full_like(value, 1e30) for name, value in weights.items()}
    write_tensors(tmp_path / "diverged" / MODEL, "model", huge, config, step)
    (tmp_path / "diverged" / CONFIG).write_text(config.to_toml())
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen_of(app).choose_model("diverged")
        await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
        assert notifications(app)[-1].startswith("the samples are not finite")
        assert "failed" in text_of(app, "#predicted-caption")
        assert not is_live(app)
        await sample_tiny(app, pilot)
        assert is_live(app)


async def test_a_dead_engine_shows_one_notification_and_the_next_request_restarts_it(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        timeline = await sample_tiny(app, pilot)
        screen = screen_of(app)
        first = screen.engine.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
        assert "SIGKILL" in notifications(app)[-1]
        assert "\n" not in notifications(app)[-1]
        await pilot.press("n")
        await until(pilot, lambda: screen.engine.pid not in (None, first), "another engine runs")
        await until(pilot, lambda: timeline.newest == timeline.steps == 6, "it samples")


async def test_resizing_during_playback_works(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await sample_tiny(app, pilot, digits=8)
        for size in ((200, 60), (40, 30), (20, 6), (5, 3), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        for name in ("noisy", "predicted"):
            grid = app.screen.query_one(f"#{name}-images", ImageGrid)
            assert grid.region.right <= 120
            assert grid.size.height > 8


async def test_a_folder_of_diffusers_is_sampled_like_a_run(tmp_path: Path) -> None:
    write_pipeline(tmp_path / "faces")
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "faces" in screen_of(app).bar._models, "the folder is listed")
        await sample_tiny(app, pilot, model="faces")
        shown = screen_of(app).denoising
        assert shown is not None
        assert (shown.height, shown.width, len(shown.frames)) == (28, 28, 7)
        assert choice(app, "class").disabled
        assert not notifications(app)
