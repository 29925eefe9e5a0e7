"""The Sample screen: recording, engine, timeline, controls and exports."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from PIL import Image
from pipeline_folder import write_pipeline
from repository import REPOSITORY
from selects import disabled_options
from textual.widgets import Input, OptionList, Select, Static
from waiting import until

from core.config.sampling import GUIDANCE, defaults_for
from core.config.training import TrainConfig
from core.runs.directory import CONFIG, MODEL, builtin_directories
from tui.app import MinidiffApp
from tui.screens.draw import MaskScreen
from tui.screens.export import ExportScreen
from tui.screens.nearest import NearestScreen
from tui.screens.sample import SampleScreen
from tui.widgets.compact_select import CompactSelect
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.image_grid import ImageGrid
from tui.widgets.sampling_controls import SamplingControls
from tui.widgets.timeline import Timeline

if TYPE_CHECKING:
    from textual.pilot import Pilot


def screen_of(app: MinidiffApp) -> SampleScreen:
    assert isinstance(app.screen, SampleScreen)
    return app.screen


def text_of(app: MinidiffApp, selector: str) -> str:
    return str(app.screen_stack[0].query_one(selector, Static).render())


def notifications(app: MinidiffApp) -> list[str]:
    return [notification.message for notification in app._notifications]


def is_live(app: MinidiffApp) -> bool:
    return "live" in text_of(app, "#predicted-caption")


async def sample_tiny(
    app: MinidiffApp, pilot: Pilot[None], steps: int = 6, digits: int = 2, model: str = "tiny"
) -> Timeline:
    """Sample from a run and wait until the trajectory is complete."""
    screen = screen_of(app)
    screen.query_one("#steps", Input).value = str(steps)
    screen.query_one("#images", Input).value = str(digits)
    await screen.choose_model(model)
    timeline = screen.timeline
    await until(pilot, lambda: is_shown(screen, model, steps), "the trajectory is complete")
    return timeline


def is_shown(screen: SampleScreen, model: str, steps: int) -> bool:
    shown = screen.denoising
    return shown is not None and shown.complete and (shown.model, shown.steps) == (model, steps)


def choice(app: MinidiffApp, name: str) -> CompactSelect:
    return app.screen_stack[0].query_one(f"#{name}", CompactSelect)


def typed(app: MinidiffApp, name: str) -> Input:
    return app.screen_stack[0].query_one(f"#{name}", Input)


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


async def test_digits_typed_into_a_field_do_not_change_the_screen(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        field = app.screen.query_one("#seed", Input)
        field.focus()
        field.value = ""
        await pilot.press("2", "3")
        assert field.value == "23"
        assert app.current_mode == "sample"
        await pilot.press("escape", "3")
        assert app.current_mode == "runs"


async def test_a_value_out_of_range_shows_the_range_in_a_notification(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        select = app.screen.query_one(Select)
        await until(pilot, lambda: "tiny" in [value for _, value in select._options], "tiny is offered")
        for field, value in (("steps", "0"), ("images", ""), ("steps", "-3"), ("images", "65")):
            box = app.screen.query_one(f"#{field}", Input)
            before, box.value = box.value, value
            box.focus()
            await pilot.press("enter")
            await pilot.pause()
            assert notifications(app)[-1].startswith(f"{field} must be a whole number from 1 to")
            assert repr(value) in notifications(app)[-1]
            box.value = before


async def test_runs_with_weights_are_offered_beside_the_built_in_models(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        select = app.screen.query_one(Select)
        await until(pilot, lambda: "tiny" in [value for _, value in select._options], "tiny is offered")


async def test_digits_of_one_model_never_appear_under_the_name_of_another(model_root: Path) -> None:
    """While the engine is loading, and if the chosen model cannot be sampled."""
    app = MinidiffApp(model_root, mode="train", run="tiny")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.check_action("sample", ()) is True, "the run can be sampled from")  # type: ignore[attr-defined]
        await pilot.press("s")
        await until(
            pilot,
            lambda: isinstance(app.screen, SampleScreen) and app.screen.bar.model == "tiny",
            "the model is selected",
        )
        screen, stage = screen_of(app), app.screen.query_one(DenoisingView)
        while not is_shown(screen, "tiny", screen.timeline.steps):
            assert not stage.display or screen.denoising.model == "tiny"  # type: ignore[union-attr]
            await pilot.pause()
        assert stage.display
        (model_root / "tiny" / MODEL).rename(model_root / "tiny" / "kept")
        try:
            await screen.choose_model("classy")
            await until(pilot, lambda: is_shown(screen, "classy", screen.timeline.steps), "another is sampled")
            await screen.choose_model("tiny")
            await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
            assert stage.display
            assert screen.bar.model == screen.denoising.model == "classy"  # type: ignore[union-attr]
        finally:
            (model_root / "tiny" / "kept").rename(model_root / "tiny" / MODEL)


async def test_the_controls_follow_the_capabilities_and_defaults_of_the_model(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = screen_of(app)
        await screen.choose_model("tiny")
        assert (choice(app, "sampler").chosen, typed(app, "steps").value) == ("mix", "40")
        assert disabled_options(choice(app, "sampler")) == ["ddpm", "consistency"]
        assert choice(app, "class").disabled
        assert typed(app, "guidance").disabled
        await screen.choose_model("classy")
        own = defaults_for(TrainConfig())
        assert choice(app, "sampler").chosen == own.sampler
        assert (typed(app, "steps").value, typed(app, "guidance").value) == (str(own.steps), f"{own.guidance:g}")
        assert disabled_options(choice(app, "sampler")) == []
        assert choice(app, "class").values == ["in turn", *"0123456789", "any"]
        assert not choice(app, "class").disabled
        assert not typed(app, "guidance").disabled
        await until(pilot, lambda: is_shown(screen, "classy", own.steps), "it is sampled so")


async def test_typed_values_survive_a_change_of_model_if_supported(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)):
        screen = screen_of(app)
        await screen.choose_model("classy")
        choice(app, "sampler").value = "ddpm"
        typed(app, "steps").value = "5"
        typed(app, "guidance").value = "3"
        await screen.choose_model("tiny")
        assert choice(app, "sampler").chosen == "mix"  # ddpm is not for its path
        assert typed(app, "guidance").value == "1"
        assert typed(app, "steps").value == "5"


async def test_class_and_guidance_are_requested_and_shown(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot, steps=2, digits=4, model="classy")
        screen = screen_of(app)
        choice(app, "sampler").value = "heun"  # sampled at once
        await until(pilot, lambda: f"heun, guidance {GUIDANCE}, NFE 5" in text_of(app, "#predicted-caption"), "heun")
        typed(app, "guidance").focus()
        typed(app, "guidance").value = "2.5"
        await pilot.press("enter")
        words = "heun, guidance 2.5, NFE 5"
        await until(pilot, lambda: words in text_of(app, "#predicted-caption"), "guidance is on")
        assert text_of(app, "#noisy-caption") == "Noisy state" + " " * (
            screen.query_one("#noisy-caption").size.width - 11
        )
        choice(app, "class").value = "7"
        await until(pilot, lambda: "class 7" in text_of(app, "#noisy-caption"), "sevens are asked for")
        choice(app, "class").value = "any"
        await until(pilot, lambda: "class any" in text_of(app, "#noisy-caption"), "any class is asked for")
        await until(pilot, lambda: "heun, NFE 3" in text_of(app, "#predicted-caption"), "without guidance")


async def test_the_cost_follows_the_fields(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen_of(app).choose_model("classy")
        for steps, guidance, label, cost in (
            ("10", "1", "in turn", "NFE 10"),
            ("10", "2", "in turn", "NFE 14"),
            ("10", "2", "any", "NFE 10"),
            ("1", "1", "3", "NFE 1"),
            ("", "1", "3", ""),
        ):
            typed(app, "steps").value, typed(app, "guidance").value = steps, guidance
            choice(app, "class").value = label
            await pilot.pause()
            assert text_of(app, "#cost") == cost


async def test_invalid_guidance_shows_a_notification(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen_of(app).choose_model("classy")
        for value in ("", "-1"):
            typed(app, "guidance").value = value
            typed(app, "guidance").focus()
            await pilot.press("enter")
            await pilot.pause()
            assert notifications(app)[-1].startswith("guidance ")
            assert app.focused is typed(app, "guidance")


@pytest.mark.parametrize(("width", "lines"), [(200, 1), (120, 1), (118, 2), (80, 2), (72, 2), (60, 2)])
async def test_all_controls_are_visible_at_every_width(model_root: Path, width: int, lines: int) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(width, 40)) as pilot:
        await screen_of(app).choose_model("classy")
        typed(app, "guidance").value = "2.5"
        await pilot.pause()
        bar = app.screen.query_one(SamplingControls)
        assert bar.size.height == lines
        for name in ("model", "sampler", "steps", "guidance", "class", "images", "seed", "cost"):
            part = bar.query_one(f"#{name}")
            assert bar.region.contains_region(part.region)
            assert part.region.width >= {"model": 14, "sampler": 8, "class": 10, "cost": 6}.get(name, 4)


async def test_an_unreadable_config_shows_a_notification_and_keeps_the_controls_usable(
    model_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_root / "classy", tmp_path / "classy")
    (tmp_path / "classy" / "config.toml").write_text("path = 'sideways'")
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen_of(app).choose_model("classy")
        await pilot.pause()
        assert "config.toml: path" in notifications(app)[0]
        assert choice(app, "sampler").disabled
        assert screen_of(app).bar.read().sampler is None


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


async def test_exports_are_written_and_their_paths_shown(model_root: Path, tmp_path: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot)
        for choice, start in enumerate((b"\x89PNG", b"\x89PNG", b"GIF8")):
            await pilot.press("e")
            await pilot.pause()
            app.screen.query_one(Input).value = str(tmp_path)
            count = len(notifications(app))
            await pilot.press(*["down"] * choice, "enter")
            await until(pilot, lambda count=count: len(notifications(app)) > count, "a notification is shown")
            assert notifications(app)[-1].startswith("wrote ")
            written = Path(notifications(app)[-1].removeprefix("wrote "))
            assert written.parent == tmp_path
            assert written.read_bytes().startswith(start)


async def test_an_export_dialog_opened_during_sampling_exports_the_whole_trajectory(
    model_root: Path, tmp_path: Path
) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot)
        screen = screen_of(app)
        engine = psutil.Process(screen.engine.pid)
        screen.bar.query_one("#steps", Input).value = "300"
        await pilot.press("enter")
        await until(pilot, lambda: screen.denoising is not None and screen.denoising.steps == 300, "sampling started")
        engine.suspend()
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen), "the dialog is open")
        kinds = app.screen.query_one(OptionList)
        if screen.denoising is not None and not screen.denoising.complete:
            assert kinds.get_option("gif").disabled
        engine.resume()
        await until(pilot, lambda: not kinds.get_option("gif").disabled, "all steps are sampled")
        app.screen.query_one(Input).value = str(tmp_path)
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: notifications(app)[-1:] != [] and "wrote" in notifications(app)[-1], "it is written")
        (written,) = tmp_path.glob("*.gif")
        assert "300steps" in written.name
        with Image.open(written) as image:
            assert getattr(image, "n_frames") > 100  # noqa: B009 - Pillow's types do not have it


async def test_an_export_that_cannot_be_written_shows_a_notification(model_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await sample_tiny(app, pilot)
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(Input).value = str(tmp_path / "file" / "below")
        await pilot.press("enter")
        await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
        assert "cannot write" in notifications(app)[-1]


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


async def choose(app: MinidiffApp, pilot: Pilot[None], key: str, **values: str) -> None:
    """Fill in the dialog that a key opens, and press enter."""
    await pilot.press("escape", key)
    await pilot.pause()
    for name, value in values.items():
        app.screen.query_one(f"#{name}", Input).value = value
    await pilot.press("enter")
    await pilot.pause()


def finished(app: MinidiffApp, words: str) -> bool:
    """Whether a complete trajectory is shown with these words in its caption."""
    screen = app.screen_stack[0]
    assert isinstance(screen, SampleScreen)
    shown = screen.denoising
    complete = shown is not None and shown.complete and not screen.engine.busy
    return complete and words in text_of(app, "#predicted-caption")


async def test_samples_start_from_an_image_file_a_part_of_it_or_between_two_seeds(
    rgb_root: Path, tmp_path: Path
) -> None:
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(tmp_path / "a.png")
    app = MinidiffApp(rgb_root)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = screen_of(app)
        await pilot.press("m")
        assert "start from first (t or w)" in notifications(app)[-1]
        await sample_tiny(app, pilot, steps=2, model="sprites")
        await choose(app, pilot, "t", image=str(tmp_path / "a.png"), amount="0.5")
        await until(pilot, lambda: finished(app, "from a.png at noise 0.5"), "the image is the start")
        assert "class any" in text_of(app, "#noisy-caption")
        await pilot.press("m", "space", "enter")
        await until(pilot, lambda: finished(app, "inpainting a.png, dpm2m"), "a part is generated")
        start, shown = screen._start_image, screen.denoising
        assert start is not None
        assert shown is not None
        inside = {(row * 16 + column) * 3 for row in (5, 6, 7) for column in (7, 8, 9)}
        for image in (shown.frames[-1].x[: len(start)], shown.frames[-1].x[len(start) :]):
            changed = {at for at in range(0, len(start), 3) if image[at : at + 3] != start[at : at + 3]}
            assert changed
            assert changed <= inside
        await pilot.press("n")  # the mask and the image are kept
        await until(pilot, lambda: finished(app, "inpainting a.png") and screen.denoising is not shown, "other noise")
        await pilot.press("m")
        assert isinstance(app.screen, MaskScreen)
        await pilot.press("backspace", "enter")
        await until(pilot, lambda: finished(app, "from a.png at noise 0.6"), "the mask is removed")
        await choose(app, pilot, "t", image="")
        await until(pilot, lambda: finished(app, "dpm2m") and not finished(app, "a.png"), "it starts from noise")
        await pilot.press("w", "space", "enter")
        await until(pilot, lambda: finished(app, "from a drawing at noise 0.6"), "the drawing is the start")
        assert screen._start_image is not None
        assert max(screen._start_image) == 255
        await choose(app, pilot, "t", amount="0.3")
        await until(pilot, lambda: finished(app, "from a drawing at noise 0.3"), "the noise level is another")
        await choose(app, pilot, "i", first="3", last="a seed")
        assert "a seed is neither a number" in str(app.screen.query_one("#message", Static).render())
        app.screen.query_one("#last", Input).value = "8"
        await pilot.press("enter")
        await until(pilot, lambda: finished(app, "between seeds 3 and 8"), "it is interpolated")
        await choose(app, pilot, "i", first="", last="")
        await until(pilot, lambda: finished(app, "dpm2m") and not finished(app, "seeds"), "it starts from noise again")


async def test_a_start_that_cannot_be_read_keeps_the_dialog_open_or_the_start_as_it_was(
    rgb_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    app = MinidiffApp(rgb_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot, steps=2, model="sprites")
        for values, words in (
            ({"image": "missing.png"}, "missing.png is neither a number (test image) nor a file"),
            ({"image": "1000"}, "test image must be a number from 0 to 999, not 1000"),
            ({"image": "7", "amount": "2"}, "noise level must be from 0.0001 to 1, not 2"),
        ):
            await choose(app, pilot, "t", **values)
            assert words in str(app.screen.query_one("#message", Static).render())
            await pilot.press("escape")
        await choose(app, pilot, "t", image=str(tmp_path / "notes.txt"))
        await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
        assert "not an image" in notifications(app)[-1]
        await pilot.press("n")
        await until(pilot, lambda: finished(app, "dpm2m"), "it starts from noise again")


async def test_the_nearest_training_image_is_shown_beside_each_sample(model_root: Path, tmp_path: Path) -> None:
    """And one sentence if the training images are not known, as for `tiny`."""
    from core.models.weights import read_weights, write_tensors

    weights, config, step, _ = read_weights(model_root / "tiny" / MODEL)
    drawn = config.model_copy(update={"dataset": "glyphs", "limit": 64})
    shutil.copytree(model_root / "tiny", tmp_path / "tiny")
    (tmp_path / "drawn").mkdir()
    write_tensors(tmp_path / "drawn" / MODEL, "model", weights, drawn, step)
    (tmp_path / "drawn" / CONFIG).write_text(drawn.to_toml())
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("k")
        assert notifications(app)
        for model, words in (("tiny", "does not say on which images it was trained"), ("drawn", "root mean square")):
            await sample_tiny(app, pilot, steps=2, digits=3, model=model)
            await until(pilot, lambda: not screen_of(app).engine.busy, "the engine is idle")
            await pilot.press("k")
            screen = app.screen
            assert isinstance(screen, NearestScreen)
            note = screen.query_one("#note", Static)
            await until(pilot, lambda note=note, words=words: words in str(note.render()), f"{words} is shown")
            if model == "drawn":
                reply = screen.reply
                assert reply is not None
                await pilot.pause()
                grid = screen.query_one(ImageGrid)
                drawn_text = "".join(s.text for y in range(grid.size.height) for s in grid.render_line(y))
                assert all(f"{distance:.3f}" in drawn_text for distance in reply.distances)
            await pilot.press("escape")
        await pilot.press("n")  # the engine's messages reach the Sample screen again
        await until(pilot, lambda: finished(app, ""), "a new seed is sampled")
