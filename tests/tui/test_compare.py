"""Compare shares the engine with the Sample screen: each shows only its own results."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
from textual.message import Message
from textual.widgets import Input
from waiting import until

from core.engine.codec import encode
from core.engine.protocol import Done, SampleRequest
from tui.app import MinidiffApp
from tui.io.engine_client import EngineClient
from tui.screens.compare import CompareScreen
from tui.screens.sample import SampleScreen
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
