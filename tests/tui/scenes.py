"""Reproducible scenes of every screen, for snapshots, layout tests and the pictures of the docs."""

from __future__ import annotations

import dataclasses
import math
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import NoReturn

import pytest
from bench_replies import ideal_replies, plane_replies
from race_files import write_race
from runlogs import held, training, write_run
from textual.pilot import Pilot
from textual.widgets import Input, Static
from waiting import until

from core.config.datasets import INFO, DatasetInfo
from core.config.sampling import Sampling
from core.config.training import TrainConfig
from core.data.datasets import load_dataset
from core.engine.ideal_messages import IdealRequest
from core.engine.lab import LabImage, lab_replies
from core.engine.plane_messages import PlaneReply, PlaneRequest
from core.engine.protocol import LabReply, NearestReply, SampleRequest, SamplingInfo
from core.runs.description import DatasetDescription, RunDescription
from core.runs.directory import builtin_directories
from core.runs.events import Failed, Stopped
from core.runs.status import Status
from core.runs.trajectory import RECORDING, Denoising, Frame, load_recording
from core.system.devices import DeviceInfo
from core.system.gpu_processes import GpuProcess
from core.system.gpu_sensors import GpuSensors
from core.system.machine_usage import MachineUsage
from core.system.process_usage import ProcessUsage
from tui.app import MinidiffApp
from tui.io.system_monitor import HISTORY_LENGTH, History, SystemMonitor, device_key, percent_of
from tui.lab.plane_panels import StepsPanel
from tui.messages import (
    FrameSampled,
    LabReplied,
    NearestReplied,
    RunDescribed,
    SamplingFinished,
    SamplingStarted,
)
from tui.screens.compare import CompareScreen
from tui.screens.devices import DevicesScreen
from tui.screens.draw import MaskScreen
from tui.screens.lab import LabScreen
from tui.screens.nearest import NearestScreen
from tui.screens.race import RaceScreen
from tui.screens.sample import SampleScreen
from tui.screens.train import TrainScreen
from tui.settings import Settings
from tui.widgets.description import DescriptionView
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.process_table import ProcessTable
from tui.widgets.run_table import RunTable

NOW = 1_800_000_000.0  # the current time, in seconds since the epoch
GIB = 2**30
DEVICES = (
    DeviceInfo("NVIDIA H100 80GB HBM3", "cuda:0", "cuda", "GPU-0", 31 * GIB, 80 * GIB, 87.0, 61.0, 512.0),
    DeviceInfo("NVIDIA H100 MIG 1g.10gb", "cuda:1", "cuda", "MIG-1", 2 * GIB, 10 * GIB),
    DeviceInfo("AMD EPYC 9554 64-Core Processor", "cpu", "cpu", None, 93 * GIB, 256 * GIB, 34.0),
)
DESCRIPTION = RunDescription(
    data=DatasetDescription(
        name="mnist", location="found in /home/student/data/MNIST/raw", info=INFO["mnist"], train=60_000, test=10_000
    ),
    model="patch_unet",
    device="cuda",
    parameters=606_276,
    seconds=95.0,
    memory=320 * 2**20,
)
STEP = 8  # of the 12 of the recorded denoising: digits, with noise around them

Pilots = Pilot[None]


class Machine(SystemMonitor):
    """A system monitor with fixed readings of a GPU, a MIG device and the machine."""

    def read(self) -> None:
        """Report the devices, and histories with rising and falling values; none for the MIG device."""
        self.devices = list(DEVICES)
        for number, device in enumerate(DEVICES):
            self._record_all(f"{device_key(device)}/memory", percent_of(device.memory_used, device.memory_total), 0)
            self._record_all(f"{device_key(device)}/load", device.utilization, 12 + 6 * number)
        for quantity, value, change in (
            ("GPU-0/power", 512.0, 90),
            ("GPU-0/temperature", 61.0, 5),
            ("GPU-0/clock", 1_980.0, 40),
            ("GPU-0/memory clock", 2_619.0, 0),
            ("GPU-0/received", 1.2e9, 5e8),
            ("GPU-0/sent", 2.3e8, 1e8),
            ("swap", 6.0, 0),
            ("read", 3.1e7, 2.5e7),
            ("written", 4e6, 4e6),
            ("received", 9e5, 7e5),
            ("sent", 2e5, 1e5),
        ):
            self._record_all(quantity, value, change)

    def _record_all(self, name: str, value: float | None, change: float) -> None:
        history = self.histories[name] = History()
        for second in range(HISTORY_LENGTH):
            wave = math.sin(second / 9) + 0.5 * math.sin(second / 2.3) - 0.5 * math.sin(HISTORY_LENGTH / 2.3)
            history.add(None if value is None else value + change * wave, second)

    def read_machine(self, root: Path) -> None:
        """Report the machine and its processes."""
        self.machine = MachineUsage(
            cores=tuple(float(37 * core % 97) for core in range(16)),
            load_average=5.4,
            swap_used=1 * GIB,
            swap_total=16 * GIB,
            disk_read=3.1e7,
            disk_written=4e6,
            disk="nvme0n1p2",
            received=9e5,
            sent=2e5,
        )
        self.sensors = {"GPU-0": GpuSensors(700.0, 1_980.0, 2_619.0, 1.2e9, 2.3e8)}
        self.gpu_processes = [
            GpuProcess("GPU-0", 4711, "python -m core resume running", "student", 30 * GIB),
            GpuProcess("GPU-0", None, None, None, None),
        ]
        self.processes = [
            ProcessUsage(4711, 1, "student", 104.0, 3 * GIB, "python -m core resume running"),
            ProcessUsage(2201, 1, "student", 61.0, GIB // 2, "minidiff-tui --root runs"),
            ProcessUsage(811, 1, "root", 12.0, GIB // 8, "/usr/lib/systemd/systemd-journald"),
            ProcessUsage(3104, 1, "teacher", 3.0, 2 * GIB, None),
        ]
        self.run_pids = {4711: "running"}
        self.runs = {"cuda:0": ["running"]}
        self.disk = 412 * GIB, 894 * GIB


@contextmanager
def scenery(place: Path) -> Iterator[Path]:
    """Environment of the scenes: four runs, one of them active, two GPUs, and an engine that never becomes ready.

    Yields the root of the runs inside `place`, shown as `runs`.
    """
    silent = place / "silent"
    silent.write_text("#!/bin/sh\nexec cat > /dev/null\n")
    silent.chmod(0o755)
    with pytest.MonkeyPatch.context() as here:
        here.setattr(sys, "executable", str(silent))
        here.setattr(time, "time", lambda: NOW)
        here.setenv("TZ", "UTC")
        here.setenv("COLORTERM", "truecolor")
        time.tzset()
        here.setattr(DevicePanel, "monitor", Machine())
        here.chdir(place)
        root = Path("runs")
        _write_runs(root)
        with held(root / "running"):
            yield root
    time.tzset()


def _write_runs(root: Path) -> None:
    write_run(root, "running", training(6.3, name="running"), weights=True)
    began = NOW - 7_200
    write_run(root, "finished", training(8, total=8, name="finished", began=began, seed=1), weights=True, epochs=8)
    stopped = Stopped(step=515, reason="on request", time=NOW - 86_400)
    write_run(root, "stopped", [*training(1.1, name="stopped", began=NOW - 86_500, seed=2), stopped])
    failed = Failed(step=100, message="the dataset's folder is gone; give another with --data-root", time=NOW - 600)
    write_run(root, "failed", [*training(0.4, name="failed", began=NOW - 700, seed=3), failed])


def colour_trajectory() -> Denoising:
    """Six images of 16x24 pixels, another gradient in each channel, under less and less noise."""
    n, height, width, steps = 6, 16, 24, 4
    rng = random.Random(1)
    clean = [
        (90 * channel + 8 * (x if (i + channel) % 2 else y) + 40 * i) % 256
        for i, y, x, channel in product(range(n), range(height), range(width), range(3))
    ]
    noise = [rng.randrange(256) for _ in clean]
    frames = []
    for index in range(steps + 1):
        t = 1 - index / steps
        x = bytes(round((1 - t) * a + t * b) for a, b in zip(clean, noise, strict=True))
        read = tuple((i % 3, 99 - i) for i in range(n)) if index else None
        frames.append(Frame(index, t, x, bytes(clean) if index else None, read))
    return Denoising("landscapes", 0, steps, n, height, width, tuple(frames), 3)


Scene = Callable[[Pilots], Awaitable[None]]
SCENES: dict[str, Scene] = {}
MODES: dict[str, str] = {}  # the screen that each scene's app opens on


def scene(mode: str) -> Callable[[Scene], Scene]:
    """Register a scene for a screen, under the name of its function."""

    def register(play: Scene) -> Scene:
        SCENES[play.__name__] = play
        MODES[play.__name__] = mode
        return play

    return register


def open_app(name: str, root: Path, *, theme: str = "minidiff-dark") -> MinidiffApp:
    """Open the app for a scene, without autoplay or blinking cursors."""
    settings = Settings(theme=theme, reduced_motion=True)
    run = name if name in ("running", "finished", "failed") else None
    return MinidiffApp(root, mode=MODES[name], run=run, settings=settings, welcome=name == "welcome")


async def enter(name: str, pilot: Pilots) -> None:
    """Enter a scene."""
    await until(pilot, lambda: bool(DevicePanel.monitor.devices), "the devices are read")
    await SCENES[name](pilot)
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False
    await pilot.pause(0.05)


def text_of(pilot: Pilots, what: str) -> str:
    """Text of a line of the screen."""
    return str(pilot.app.screen.query_one(what, Static).render())


@scene("sample")
async def sample(pilot: Pilots) -> None:
    await until(pilot, lambda: "loading" in pilot.app.screen.query_one(Header).note, "the engine was started")
    await pilot.press("home", *["right"] * STEP)


@scene("sample")
async def change(pilot: Pilots) -> None:
    await sample(pilot)
    await pilot.press("v")


@scene("sample")
async def zoom(pilot: Pilots) -> None:
    await sample(pilot)
    await pilot.press("z", *["down"] * 3)


@scene("sample")
async def start(pilot: Pilots) -> None:
    await sample(pilot)
    await pilot.press("t")


@scene("sample")
async def export(pilot: Pilots) -> None:
    await sample(pilot)
    await pilot.press("e")
    pilot.app.screen.query_one(Input).value = "pictures"  # the folder of the test is another each time


@scene("sample")
async def keys(pilot: Pilots) -> None:
    await sample(pilot)
    await pilot.press("question_mark")


@scene("sample")
async def settings(pilot: Pilots) -> None:
    await sample(pilot)
    await pilot.press("f2")


@scene("sample")
async def themes(pilot: Pilots) -> None:
    await sample(pilot)
    await pilot.press("ctrl+t")


@scene("sample")
async def welcome(pilot: Pilots) -> None:
    await until(pilot, lambda: "loading" in pilot.app.screen_stack[0].query_one(Header).note, "the engine was started")


@scene("sample")
async def compare(pilot: Pilots) -> None:
    """Show two recordings instead of sampling."""
    await sample(pilot)
    await pilot.press("c")
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen)
    await until(pilot, lambda: len(screen.sides) == 2 and not screen._outdated, "the first pane is requested")
    for side, (name, home) in zip(screen.sides, builtin_directories().items(), strict=False):
        recording = load_recording(home / RECORDING)
        started = dataclasses.replace(recording, frames=())
        info = SamplingInfo(
            denoising=started,
            sampling=Sampling("euler", recording.steps, 1.0, 1.0),
            labels=None,
            class_names=("0", "1"),
            start=None,
            drawing_read=None,
            nfe=recording.steps,
            parameters=309_057,
            device="cpu",
        )
        screen.post_message(SamplingStarted(info))
        for frame in recording.frames:
            screen.post_message(FrameSampled(frame))
        screen.post_message(SamplingFinished(0.5))
        await until(pilot, lambda side=side: side.complete and not screen._outdated, f"{name} is shown")
    await until(pilot, lambda: screen.ready, "both panes are sampled")
    await pilot.press("home", *["right"] * 30)


@scene("sample")
async def colour(pilot: Pilots) -> None:
    """RGB images with class names, as if a model of 16x24 images had sampled them."""
    await sample(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, SampleScreen)
    denoising = colour_trajectory()
    info = DatasetInfo(channels=3, height=16, width=24, class_names=("sky", "meadow", "ankle boot of another name"))
    screen.bar.set_models(["landscapes"])
    screen.bar.set_request(SampleRequest(model="landscapes", steps=denoising.steps, n=denoising.n))
    screen.bar.set_config(TrainConfig(dataset_info=info))
    started = SamplingInfo(
        denoising=dataclasses.replace(denoising, frames=()),
        sampling=Sampling("euler", denoising.steps, 1.0, 1.0),
        labels=(0, 1, 2, -1, 0, 1),
        class_names=info.class_names,
        start=None,
        drawing_read=None,
        nfe=denoising.steps,
        parameters=309_057,
        device="cpu",
    )
    screen.post_message(SamplingStarted(started))
    for frame in denoising.frames:
        screen.post_message(FrameSampled(frame))
    screen.post_message(SamplingFinished(0.5))
    await until(pilot, lambda: screen.timeline.newest == denoising.steps, "all steps are there")
    await pilot.press("home", *["right"] * 3)


@scene("sample")
async def colour_zoom(pilot: Pilots) -> None:
    await colour(pilot)
    await pilot.press("z", "down", "right")


@scene("sample")
async def mask(pilot: Pilots) -> None:
    """A mask over the last of the RGB images."""
    await colour(pilot)
    denoising = colour_trajectory()
    image = denoising.frames[-1].x[-16 * 24 * 3 :]
    pilot.app.push_screen(MaskScreen(image, (16, 24, 3), (), pilot.app.size))
    await pilot.press("space", *["right"] * 6, *["down"] * 3)


@scene("sample")
async def nearest(pilot: Pilots) -> None:
    """The RGB images, each beside the one before it."""
    await colour(pilot)
    screen, denoising = pilot.app.screen, colour_trajectory()
    assert isinstance(screen, SampleScreen)
    names = ("sky", "meadow", "ankle boot of another name")
    request = SampleRequest(model="landscapes", steps=denoising.steps, n=denoising.n)
    found = NearestScreen(screen.engine, request, denoising, names)
    await pilot.app.push_screen(found)
    image = 16 * 24 * 3
    reply = NearestReply(
        height=16,
        width=24,
        channels=3,
        images=denoising.frames[-1].x[-image:] + denoising.frames[-1].x[:-image],
        indices=tuple(range(6)),
        labels=(0, 1, 2, -1, 0, 1),
        distances=(0.0, 0.1234, 0.2, 0.3, 0.4, 0.5),
    )
    found.post_message(NearestReplied(reply))
    await until(pilot, lambda: found.reply is not None, "the images are found")


@scene("train")
async def form(pilot: Pilots) -> None:
    await until(pilot, lambda: "running" in text_of(pilot, "#title"), "the active run is shown")
    await pilot.press("n", "down", "down")
    await until(pilot, lambda: "looking" in description_of(pilot), "the description was requested")
    pilot.app.screen.post_message(RunDescribed(DESCRIPTION))
    await until(pilot, lambda: "mnist" in description_of(pilot), "the description is shown")


def description_of(pilot: Pilots) -> str:
    return str(pilot.app.screen.query_one(DescriptionView).render())


@scene("train")
async def running(pilot: Pilots) -> None:
    await _watched(pilot, Status.RUNNING)


@scene("train")
async def finished(pilot: Pilots) -> None:
    await _watched(pilot, Status.FINISHED)


@scene("train")
async def failed(pilot: Pilots) -> None:
    await _watched(pilot, Status.FAILED)


async def _watched(pilot: Pilots, status: Status) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, TrainScreen)
    await until(pilot, lambda: screen.status is status and bool(screen.history.progress), f"the run is {status}")
    await until(pilot, lambda: bool(text_of(pilot, "#legend")), "the curves are drawn")


@scene("runs")
async def runs(pilot: Pilots) -> None:
    table = pilot.app.screen.query_one(RunTable)
    await until(pilot, lambda: table.row_count == 4, "the runs are listed")
    await pilot.press("home")
    await until(pilot, lambda: bool(text_of(pilot, "#legend")), "the details are shown")


@scene("runs")
async def marked(pilot: Pilots) -> None:
    await runs(pilot)
    await pilot.press("space", "down", "space", "down", "space")


@scene("runs")
async def race(pilot: Pilots) -> None:
    folder = pilot.app.root / "rates"
    write_race(folder)
    screen = RaceScreen(folder)
    await pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.result is not None, "the result is shown")


@scene("runs")
async def confirm(pilot: Pilots) -> None:
    await runs(pilot)
    await pilot.press("end", "d")


@scene("runs")
async def rename(pilot: Pilots) -> None:
    await runs(pilot)
    await pilot.press("end", "R")


@scene("devices")
async def devices(pilot: Pilots) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, DevicesScreen)
    table = screen.query_one(ProcessTable)
    await until(pilot, lambda: "4711" in table.render().plain, "the devices and the processes are shown")
    await screen.on_device_panel_updated()  # as the next reading does, at the size of the whole screen


@scene("lab")
async def plane(pilot: Pilots) -> None:
    screen = await _lab(pilot, "plane")
    screen.bench.set_fields(steps=20)
    request = screen.bench.request(screen.subject)
    assert isinstance(request, PlaneRequest)
    await _show_replies(pilot, plane_replies(request))
    await until(pilot, lambda: len(screen.bench.query_one(StepsPanel).results) == 5, "the samples are shown")


@scene("lab")
async def ideal(pilot: Pilots) -> None:
    screen = await _lab(pilot, "ideal")
    await until(pilot, lambda: screen.fields.is_read, "the names of the classes are read")
    request = screen.bench.request(screen.subject)
    assert isinstance(request, IdealRequest)
    await _show_replies(pilot, ideal_replies(request))


@scene("lab")
async def convolution(pilot: Pilots) -> None:
    await _benched(pilot, "convolution")


@scene("lab")
async def transposed(pilot: Pilots) -> None:
    await _benched(pilot, "transposed")


@scene("lab")
async def draw(pilot: Pilots) -> None:
    await _benched(pilot, "convolution")
    await pilot.press("w", "space", *["down"] * 5, *["right"] * 4)


async def _benched(pilot: Pilots, name: str) -> None:
    """A bench with the engine's reply for the first glyph."""
    screen = await _lab(pilot, name)
    digits = load_dataset("glyphs", split="test", limit=1)
    image = LabImage(digits.images[0] / 255, int(digits.labels[0]))
    await _show_replies(pilot, lab_replies(screen.bench.request(screen.subject), image, _no_model, _no_model))


async def _lab(pilot: Pilots, name: str) -> LabScreen:
    """The Lab with a bench visible."""
    screen = pilot.app.screen
    assert isinstance(screen, LabScreen)
    await until(pilot, lambda: "loading" in screen.query_one(Header).note, "the engine was started")
    screen.open(name)
    return screen


async def _show_replies(pilot: Pilots, replies: Iterable[LabReply | PlaneReply]) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, LabScreen)
    for reply in replies:
        screen.post_message(LabReplied(reply))
    await until(pilot, lambda: screen.bench.shown is not None, "the reply is shown")


def _no_model(*_: object) -> NoReturn:
    raise AssertionError("this bench asks no model")
