"""Compare: what each side shows, and the engine that it shares with the Sample screen."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import psutil
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input
from waiting import until

from core.config.training import TrainConfig
from core.engine.codec import encode
from core.engine.protocol import Done, SampleRequest
from tui.app import MinidiffApp
from tui.io.engine_client import EngineClient
from tui.screens.compare import CompareScreen, default_comparison
from tui.screens.sample import SampleScreen
from tui.widgets.image_grid import ImageGrid
from tui.widgets.sampling_controls import SamplingControls


def write_steps(bar: SamplingControls, steps: int) -> None:
    bar.query_one("#steps", Input).value = str(steps)


async def test_replies_to_one_screen_are_not_delivered_to_the_next(model_root: Path) -> None:
    messages: list[Message] = []
    engine = EngineClient(messages.append, model_root)
    try:
        await engine.sample(SampleRequest(model="tiny", n=1, steps=2, seed=0, device="cpu"))
        assert engine.busy
        engine.redirect(messages.append)
        assert not engine.busy
        late = asyncio.StreamReader()
        late.feed_data(encode(Done(id=1, seconds=1)))
        late.feed_eof()
        await engine.read_replies(late)
        assert messages == []
    finally:
        await engine.stop()


async def test_compare_opened_while_sampling_shows_its_own_result_and_the_first_request_resumes_afterwards(
    model_root: Path,
) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(100, 30)) as pilot:
        sample = app.screen
        assert isinstance(sample, SampleScreen)
        await sample.choose_model("tiny")
        await until(pilot, lambda: sample.denoising is not None and sample.denoising.model == "tiny", "tiny is shown")
        engine = psutil.Process(sample.engine.pid)
        engine.suspend()  # so that this is not answered before Compare opens
        write_steps(sample.bar, 400)
        await pilot.press("n")
        seed = int(sample.bar.seed)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "Compare is open")
        engine.resume()
        compare = app.screen
        assert isinstance(compare, CompareScreen)
        await until(pilot, lambda: bool(compare.shown), "its first side is sampled")
        for steps in (5, 300):
            for side in ("left", "right"):
                write_steps(compare.bar(side), steps)
            await pilot.press("enter")
            if steps == 5:
                await until(pilot, lambda: compare.ready and compare.longest.steps == 5, "both sides are sampled")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is sample, "Compare is closed")
        await until(
            pilot,
            lambda: sample.denoising is not None and sample.denoising.seed == seed and sample.denoising.complete,
            "the first request is sampled",
        )
        assert sample.denoising is not None
        assert sample.denoising.steps == 400
        assert [frame.index for frame in sample.denoising.frames] == list(range(401))


async def open_compare(app: MinidiffApp, pilot: Pilot[None]) -> CompareScreen:
    await pilot.press("c")
    await until(pilot, lambda: isinstance(app.screen, CompareScreen), "Compare is open")
    assert isinstance(app.screen, CompareScreen)
    return app.screen


async def test_a_side_is_shown_while_it_is_sampled(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(100, 30)) as pilot:
        assert isinstance(app.screen, SampleScreen)
        await app.screen.choose_model("tiny")
        write_steps(app.screen.bar, 1000)
        app.screen.bar.query_one("#images", Input).value = "64"  # so that sampling takes longer than the assertions
        compare = await open_compare(app, pilot)
        grid = compare.query_one("#left-images", ImageGrid)
        await until(pilot, lambda: bool(grid._images), "predictions are shown")
        assert not compare.shown["left"].complete
        assert "right" not in compare.shown


async def test_only_the_side_that_changed_is_sampled_again_and_the_other_side_is_remembered(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(100, 30)) as pilot:
        sample = app.screen
        assert isinstance(sample, SampleScreen)
        await sample.choose_model("tiny")
        write_steps(sample.bar, 4)
        compare = await open_compare(app, pilot)
        await until(pilot, lambda: compare.ready, "both sides are sampled")
        left, right = compare.shown["left"], compare.shown["right"]
        assert (left.model, left.steps, left.seed) == (right.model, right.steps, right.seed)
        write_steps(compare.bar("right"), 3)
        await pilot.press("enter")
        await until(pilot, lambda: compare.ready and compare.shown["right"].steps == 3, "the right side is sampled")
        assert compare.shown["left"] is left
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is sample, "Compare is closed")
        again = await open_compare(app, pilot)
        await until(pilot, lambda: again.ready, "both sides are sampled")
        assert (again.shown["left"].steps, again.shown["right"].steps) == (4, 3)


def test_a_model_is_first_compared_with_another_sampler_and_a_distilled_model_with_its_teacher() -> None:
    request = SampleRequest(model="a", n=8, steps=12, seed=1)
    config = TrainConfig()
    assert default_comparison(request, config, ["a"]) == dataclasses.replace(request, sampler="euler")
    with_euler = dataclasses.replace(request, sampler="euler")
    assert default_comparison(with_euler, config, ["a"]) == dataclasses.replace(request, sampler="heun")
    distilled = config.changed(objective="consistency", init_from="teacher")
    fast = dataclasses.replace(request, model="fast", steps=1)
    teacher = default_comparison(fast, distilled, ["fast", "teacher"])
    assert (teacher.model, teacher.steps, teacher.sampler) == ("teacher", None, None)
    assert default_comparison(fast, distilled, ["fast"]) == dataclasses.replace(fast, steps=4)
