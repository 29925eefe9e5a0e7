"""An engine that exits or hangs is reported and restarted, and its request is retried once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from counts import count
from textual.message import Message
from waiting import until

from core.engine.lab_messages import ConvolutionRequest
from core.engine.protocol import DrawnImage, SampleRequest
from tui.app import MinidiffApp
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineReady, FrameSampled, LabReplied, SamplingFinished
from tui.screens.compare import CompareScreen
from tui.screens.sample import SampleScreen
from tui.settings import Settings

PATIENCE = 60.0
SILENCE = 3.0
LONG = 20_000  # steps that no engine takes while a test lasts


class Screen:
    """Takes the place of the screen: collects the engine client's messages."""

    def __init__(self, root: Path) -> None:
        self.messages: list[Message] = []
        self._news = asyncio.Event()
        self.engine = EngineClient(self._handle, root, silence_seconds=SILENCE)

    def _handle(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.messages if isinstance(message, kind)]

    async def until(self, kind: type[Message], number: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.of(kind)) < number:
                self._news.clear()
                await self._news.wait()

    @property
    def deaths(self) -> list[EngineDied]:
        return [message for message in self.messages if isinstance(message, EngineDied)]

    def signal(self, number: signal.Signals) -> int:
        pid = self.engine.pid
        assert pid is not None
        os.kill(pid, number)
        return pid

    async def sampling(self, seed: int = 0, steps: int = LONG) -> None:
        """Ask for a denoising and wait until it is under way."""
        seen = len(self.of(FrameSampled))
        await self.engine.sample(SampleRequest(model="tiny", n=1, steps=steps, seed=seed, device="cpu"))
        await self.until(FrameSampled, seen + 1)


@pytest.fixture
async def screen(model_root: Path) -> AsyncIterator[Screen]:
    made = Screen(model_root)
    yield made
    await made.engine.stop()


async def test_a_request_during_which_the_engine_was_killed_is_retried_once(screen: Screen) -> None:
    await screen.engine.sample(SampleRequest(model="tiny", n=1, steps=3, seed=1, device="cpu"))
    await screen.until(SamplingFinished)
    for number in range(1, count(1, 10) + 1):
        await screen.engine.sample(SampleRequest(model="tiny", n=1, steps=60, seed=number, device="cpu"))
        killed = screen.signal(signal.SIGKILL)
        await screen.until(SamplingFinished, number + 1)
        assert screen.engine.pid not in (None, killed)
        assert len(screen.deaths) == number
        assert (
            screen.deaths[-1].notice == "the engine was killed by SIGKILL; it is restarted and the request is retried"
        )
        assert screen.deaths[-1].restarted


async def test_a_request_that_kills_the_engine_twice_is_given_up(screen: Screen) -> None:
    await screen.sampling()
    screen.signal(signal.SIGKILL)
    await screen.until(EngineReady, 2)
    seen = len(screen.of(FrameSampled))
    await screen.until(FrameSampled, seen + 1)
    screen.signal(signal.SIGKILL)
    await screen.until(EngineDied, 2)
    assert not screen.engine.running
    assert "again on the same request" in screen.deaths[1].notice
    assert not screen.deaths[1].restarted
    await screen.engine.sample(SampleRequest(model="tiny", n=1, steps=2, seed=0, device="cpu"))
    await screen.until(SamplingFinished)


async def test_an_idle_engine_that_dies_is_restarted_a_limited_number_of_times(screen: Screen) -> None:
    await screen.engine.start()
    await screen.until(EngineReady)
    screen.signal(signal.SIGKILL)
    await screen.until(EngineReady, 2)
    assert screen.deaths[0].notice == "the engine was killed by SIGKILL; it is restarted"
    screen.signal(signal.SIGKILL)
    await screen.until(EngineDied, 2)
    assert not screen.engine.running


async def test_an_engine_that_hangs_is_killed_and_its_request_retried(screen: Screen) -> None:
    """SIGSTOP stops every thread, also the one that sends `Alive`."""
    for number in range(1, count(1, 5) + 1):
        await screen.sampling(seed=number)
        hung = screen.signal(signal.SIGSTOP)
        frames = len(screen.of(FrameSampled))
        await screen.until(EngineDied, number)
        assert "was unresponsive for 3 s" in screen.deaths[-1].notice
        assert not psutil.pid_exists(hung)
        await screen.until(EngineReady, number + 1)
        await screen.until(FrameSampled, frames + 1)


async def test_an_idle_engine_that_hangs_is_detected_by_the_next_request(screen: Screen) -> None:
    await screen.engine.start()
    await screen.until(EngineReady)
    screen.signal(signal.SIGSTOP)
    await screen.engine.sample(SampleRequest(model="tiny", n=1, steps=2, seed=0, device="cpu"))
    await screen.until(SamplingFinished)
    assert len(screen.deaths) == 1


async def test_a_request_of_the_lab_is_retried_as_one_for_samples_is(screen: Screen) -> None:
    kernel = ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
    request = ConvolutionRequest(
        model="tiny",
        image=DrawnImage("40" * 784),
        kernel=kernel,
        stride=1,
        padding=0,
        padding_mode="zeros",
        dilation=1,
        flip=False,
    )
    await screen.engine.start()
    await screen.until(EngineReady)
    screen.signal(signal.SIGSTOP)
    await screen.engine.show_lab(request)
    screen.signal(signal.SIGKILL)
    await screen.until(LabReplied)
    assert screen.deaths[0].restarted
    assert screen.engine.running


async def test_the_sample_screen_reports_that_its_engine_died_and_shows_the_result(model_root: Path) -> None:
    app = MinidiffApp(model_root, settings=Settings(engine_silence=SILENCE))
    async with app.run_test(size=(100, 30)) as pilot:
        sample = app.screen
        assert isinstance(sample, SampleScreen)

        def done(seed: int) -> bool:
            denoising = sample.denoising
            return denoising is not None and denoising.complete and (denoising.model, denoising.seed) == ("tiny", seed)

        await sample.choose_model("tiny")
        await until(pilot, lambda: done(int(sample.bar.seed)), "what was asked is shown")
        first = sample.engine.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await pilot.press("n")
        await until(pilot, lambda: any("was unresponsive" in note.message for note in app._notifications), "it is said")
        await until(pilot, lambda: sample.engine.pid not in (None, first), "another engine is there")
        await until(pilot, lambda: done(int(sample.bar.seed)), "what was asked is shown")


async def test_compare_reports_that_its_engine_died_and_shows_both_panes(model_root: Path) -> None:
    app = MinidiffApp(model_root, settings=Settings(engine_silence=SILENCE))
    async with app.run_test(size=(100, 30)) as pilot:
        sample = app.screen
        assert isinstance(sample, SampleScreen)
        await sample.choose_model("tiny")
        await until(pilot, lambda: sample.denoising is not None and sample.denoising.model == "tiny", "tiny is shown")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.ready, "both panes are there")
        compare = app.screen
        assert isinstance(compare, CompareScreen)
        killed = compare.engine.pid
        assert killed is not None
        await pilot.press("n")
        os.kill(killed, signal.SIGKILL)
        await until(
            pilot, lambda: any("killed by SIGKILL" in note.message for note in app._notifications), "it is said"
        )
        seed = int(compare.bar.seed)
        await until(
            pilot,
            lambda: compare.ready and {side.denoising.seed for side in compare.sides if side.denoising} == {seed},
            "both panes are sampled again",
        )
        assert compare.engine.pid not in (None, killed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_an_engine_ended_by_a_signal_prints_no_traceback(number: signal.Signals) -> None:
    engine = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "core.engine.server"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert engine.stdout is not None
    assert engine.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while b'"Ready"' not in await engine.stdout.readline():
            pass
        engine.send_signal(number)
        assert await engine.wait() == -number
        assert await engine.stderr.read() == b""
