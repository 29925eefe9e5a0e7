"""The engine's client against the real engine process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from textual.message import Message
from waiting import PATIENCE, until

from core.config.sampling import CONTRAST, Sampling
from core.engine.protocol import SampleRequest
from tui.app import MinidiffApp
from tui.io.engine_client import EngineClient
from tui.messages import EngineDied, EngineReady, EngineRefused, FrameSampled, SamplingFinished, SamplingStarted


class Ear:
    """Keeps what the engine's client posts, and waits for a kind of it."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self._news = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.heard.append(message)
        self._news.set()

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.heard if isinstance(message, kind)]

    async def wait(self, kind: type[Message], count: int = 1) -> Message:
        async with asyncio.timeout(PATIENCE):
            while len(self.of(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(kind)[count - 1]


@pytest.fixture
def ear() -> Ear:
    return Ear()


async def test_a_request_returns_every_step_in_order(model_root: Path, ear: Ear) -> None:
    engine = EngineClient(ear, model_root)
    await engine.sample(SampleRequest(model="tiny", n=3, steps=4, seed=5))
    await ear.wait(SamplingFinished)
    await engine.stop()
    kinds = [type(message) for message in ear.heard]
    assert kinds == [EngineReady, SamplingStarted, *[FrameSampled] * 5, SamplingFinished]
    started = ear.of(SamplingStarted)[0]
    assert isinstance(started, SamplingStarted)
    assert (started.info.denoising.model, started.info.denoising.seed, started.info.denoising.steps) == ("tiny", 5, 4)
    frames = [message.frame for message in ear.heard if isinstance(message, FrameSampled)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].prediction is None
    assert all(len(frame.x) == 3 * 784 for frame in frames)
    assert all(frame.prediction is not None and len(frame.prediction) == 3 * 784 for frame in frames[1:])
    assert frames[4].x == frames[4].prediction  # the last state is the last prediction


async def test_sampler_guidance_and_class_are_sent_to_the_engine_and_echoed_in_its_reply(
    model_root: Path, ear: Ear
) -> None:
    engine = EngineClient(ear, model_root)
    await engine.sample(SampleRequest(model="classy", n=3, steps=2, seed=5))
    await ear.wait(SamplingFinished)
    await engine.sample(SampleRequest(model="classy", n=3, steps=2, seed=5, sampler="heun", guidance=2.0, label=7))
    await ear.wait(SamplingFinished, 2)
    await engine.sample(SampleRequest(model="tiny", n=3, steps=2, seed=5))
    await ear.wait(SamplingFinished, 3)
    await engine.stop()
    by_itself, as_asked, without_classes = ear.of(SamplingStarted)
    assert isinstance(by_itself, SamplingStarted)
    assert isinstance(as_asked, SamplingStarted)
    assert isinstance(without_classes, SamplingStarted)
    assert by_itself.info.labels == (0, 1, 2)
    assert as_asked.info.sampling == Sampling("heun", 2, 2.0, 1.0, CONTRAST)
    assert as_asked.info.labels == (7, 7, 7)
    assert as_asked.info.nfe == 5
    assert without_classes.info.labels is None


async def test_only_the_newest_request_is_answered(model_root: Path, ear: Ear) -> None:
    engine = EngineClient(ear, model_root)
    for seed in range(5):
        await engine.sample(SampleRequest(model="tiny", n=2, steps=200, seed=seed))
    await engine.sample(SampleRequest(model="tiny", n=2, steps=2, seed=99))
    await ear.wait(SamplingFinished)
    await engine.stop()
    started = [message.info.denoising.seed for message in ear.heard if isinstance(message, SamplingStarted)]
    assert started == [99]
    assert len(ear.of(FrameSampled)) == 3


async def test_an_invalid_request_is_reported_in_one_line_and_the_engine_stays_up(model_root: Path, ear: Ear) -> None:
    engine = EngineClient(ear, model_root)
    await engine.sample(SampleRequest(model="no-such-model", n=1, steps=1, seed=0))
    refusal = await ear.wait(EngineRefused)
    assert isinstance(refusal, EngineRefused)
    assert "no-such-model" in refusal.notice
    assert "\n" not in refusal.notice
    await engine.sample(SampleRequest(model="tiny", n=1, steps=1, seed=0))
    await ear.wait(SamplingFinished)
    assert not ear.of(EngineDied)
    await engine.stop()


async def test_a_killed_engine_is_reported_and_restarted_by_the_next_request(model_root: Path, ear: Ear) -> None:
    engine = EngineClient(ear, model_root)
    await engine.start()
    await ear.wait(EngineReady)
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    death = await ear.wait(EngineDied)
    assert isinstance(death, EngineDied)
    assert "SIGKILL" in death.notice
    await engine.sample(SampleRequest(model="tiny", n=1, steps=1, seed=0))
    await ear.wait(SamplingFinished)
    assert engine.pid not in (None, first)
    await engine.stop()


async def test_stopping_ends_the_process_without_a_notice(model_root: Path, ear: Ear) -> None:
    engine = EngineClient(ear, model_root)
    await engine.start()
    pid = engine.pid
    assert pid is not None
    await engine.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not ear.of(EngineDied)


FRAME = {"type": "Frame", "index": 0, "t": 1, "x": 3, "prediction": None, "read": None}
BAD_REPLIES = [
    b"[" * 60_000 + b"\n",
    b"5\n",
    b"{}\n",
    b"\xff\xfe\n",
    b"x" * 100_000 + b"\n",
    b'{"type": "Ready"}\n',
    b'{"type": "Ready", "payload": 1e400}\n',
    b'{"type": "Ready", "payload": 999999999999}\n',
    b'{"type": "Ready", "payload": -1}\n',
    b'{"type": "SampleRequest", "id": 0, "model": "a"}\n',
    json.dumps({"type": "SampledFrame", "id": 0, "frame": FRAME, "payload": 3}).encode() + b"\nabc",
    b'{"type": "CorruptionSample", "id": 0, "label": 1, "index": 0, "error": 0, "read": null, "sampled": [2, 2], '
    b'"payload": 4}\nabcd',
    b'{"type": "CorruptionSample", "id": 0, "label": 1, "index": 0, "error": 0, "read": null, "sampled": [-1, -1], '
    b'"payload": 4}\nabcd',
]


@pytest.mark.parametrize("content", BAD_REPLIES)
async def test_an_invalid_reply_is_a_value_error(tmp_path: Path, ear: Ear, content: bytes) -> None:
    replies = asyncio.StreamReader()
    replies.feed_data(content)
    replies.feed_eof()
    with pytest.raises(ValueError, match=r".+"):
        await EngineClient(ear, tmp_path).read_replies(replies)
    assert ear.heard == []


async def test_the_ui_and_its_engine_open_no_port(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        for key in "2345":
            await pilot.press(key)
            await pilot.pause()
        family = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        await until(pilot, lambda: psutil.Process().children(recursive=True) != [], "an engine runs")
        family |= {child.pid for child in psutil.Process().children(recursive=True)}
        assert [one for one in psutil.net_connections("inet") if one.pid in family] == []
