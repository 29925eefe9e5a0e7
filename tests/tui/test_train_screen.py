"""The Train screen: starting a run with the form, and watching it."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from runlogs import STEPS_PER_EPOCH, append, dataset, digits, held, started, training, window, write_run
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import ContentSwitcher, Input, ProgressBar, RichLog, Static
from waiting import until

from core.config.training import TrainConfig
from core.runs.directory import CONFIG, EVENTS
from core.runs.events import (
    LIFECYCLE,
    Download,
    Epoch,
    Event,
    Failed,
    Finished,
    Preview,
    Resumed,
    Started,
    Stopped,
    Warned,
)
from core.runs.history import RunHistory
from core.runs.status import Status, run_status, summarize
from tui.app import MinidiffApp
from tui.io.system_monitor import SystemMonitor
from tui.screens.train import TrainScreen
from tui.settings import Settings
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.image_grid import ImageGrid
from tui.widgets.run_form import RunForm


class TrainApp(App[None]):
    """An app with only the Train screen; counts bells."""

    def __init__(self, root: Path, run: str | None = None, *, describe: bool = False) -> None:
        super().__init__()
        self.train = TrainScreen(root, run, describe=describe)
        self.bells = 0

    def on_mount(self) -> None:
        self.push_screen(self.train)

    def bell(self) -> None:
        self.bells += 1

    @property
    def notices(self) -> list[str]:
        return [notice.message for notice in self._notifications]


def text_of(app: TrainApp, selector: str) -> str:
    return str(app.train.query_one(selector, Static).render())


def field(app: TrainApp, name: str) -> Input:
    return app.train.query_one(f"#field-{name}", Input)


def on_form(app: TrainApp) -> bool:
    return app.train.query_one(ContentSwitcher).current == "form"


async def test_a_name_that_is_taken_is_reported_and_the_form_stays(tmp_path: Path):
    write_run(tmp_path, "mine", training(1.1), weights=True)
    app = TrainApp(tmp_path)
    async with app.run_test() as pilot:
        field(app, "name").value = "mine"
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert "exists already" in text_of(app, "#message")
        assert on_form(app)


async def test_the_screen_attaches_to_an_active_run_and_shows_its_loss_epochs_and_samples(tmp_path: Path):
    write_run(tmp_path, "older", training(2, began=1000.0))
    path = write_run(tmp_path, "quick-2", training(3.4, name="quick-2"))
    app = TrainApp(tmp_path)
    with held(path):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.train.status is Status.RUNNING)
            assert not on_form(app)
            title, stats = text_of(app, "#title"), text_of(app, "#stats")
            assert "quick-2" in title
            assert "running" in title
            assert "epoch 4 of 30" in stats
            assert "of 14,070" in stats
            assert "images/s" in stats
            assert "left" in stats
            assert text_of(app, "#preview") == "samples after epoch 3"
            assert len(app.train.query_one(ImageGrid)._images) == 8
            assert "validation" in text_of(app, "#legend")
            bar = app.train.query_one(ProgressBar)
            assert bar.progress / bar.total == pytest.approx(3.4 / 30, abs=0.01)
            curves = app.train.query_one(CurvePlot).series(60)
            assert len(curves["epoch"][0]) == 3
            log = app.train.query_one("#log", RichLog)  # which holds lines back until it knows its width
            await until(pilot, lambda: any(line.text.startswith("epoch 3:") for line in log.lines))


async def test_a_new_run_shows_download_and_warmup_until_its_first_step(tmp_path: Path):
    path = write_run(tmp_path, "a", [])
    app = TrainApp(tmp_path, "a")
    with held(path):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "starting" in text_of(app, "#title"))
            append(path, started(time.time()))
            await until(pilot, lambda: "starting" in text_of(app, "#title"))
            append(path, Download(name="mnist", file="train-images", received=3_000_000, total=9_900_000))
            await until(pilot, lambda: "3.0 MB of 9.9 MB" in text_of(app, "#stats"))
            assert "downloading data" in text_of(app, "#title")
            append(path, dataset(time.time()), Warned(message="no MNIST here; training on glyphs"))
            await until(pilot, lambda: "no MNIST here" in text_of(app, "#banner"))
            assert app.train.query_one("#banner").display
            assert "starting" in text_of(app, "#title")
            append(path, window(12, 0.08, time.time()), window(24, 0.07, time.time()))
            await until(pilot, lambda: "running" in text_of(app, "#title"))
            assert "step 24" in text_of(app, "#stats")


async def test_epochs_and_samples_appear_when_they_are_logged(tmp_path: Path):
    path = write_run(tmp_path, "a", training(1.5))
    app = TrainApp(tmp_path, "a")
    with held(path):
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: text_of(app, "#preview") == "samples after epoch 1")
            step = 2 * STEPS_PER_EPOCH
            append(
                path,
                Preview(epoch=2, step=step, count=8, height=28, width=28, images=digits(8, 0.9)),
                Epoch(epoch=2, step=step, loss=0.0207, validation_loss=0.0199, seconds=30.0),
            )
            await until(pilot, lambda: text_of(app, "#preview") == "samples after epoch 2")
            await until(pilot, lambda: ".0207" in text_of(app, "#legend"))


@pytest.mark.parametrize(
    ("event", "words", "severity"),
    [
        (Finished(step=14_070, seconds=930.0), "finished after 14,070 steps", "information"),
        (
            Failed(step=500, message="the loss is no longer a number; lower learning_rate"),
            "lower learning_rate",
            "error",
        ),
    ],
)
async def test_the_end_of_a_run_rings_the_bell_and_notifies_once(
    tmp_path: Path, event: Event, words: str, severity: str
):
    path = write_run(tmp_path, "a", training(1.5))
    app = TrainApp(tmp_path, "a")
    with ExitStack() as trainer:
        trainer.enter_context(held(path))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.train.status is Status.RUNNING)
            append(path, event)
            await until(pilot, lambda: app.bells > 0)
            assert "starting" not in text_of(app, "#title")
            trainer.close()
            await until(pilot, lambda: not app.train.status.alive)
        assert app.bells == 1
        assert [words in notice for notice in app.notices] == [True]
        assert [notice.severity for notice in app._notifications] == [severity]


async def test_a_trainer_that_exits_unexpectedly_is_reported(tmp_path: Path):
    path = write_run(tmp_path, "a", training(1.5))
    app = TrainApp(tmp_path, "a")
    with ExitStack() as trainer:
        trainer.enter_context(held(path))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.train.status is Status.RUNNING)
            trainer.close()
            await until(pilot, lambda: app.bells == 1)
            assert "was killed, or the machine went down" in text_of(app, "#banner")
            assert "r resumes from step 469" in text_of(app, "#banner")


async def test_opening_a_run_that_ended_earlier_does_not_ring(tmp_path: Path):
    write_run(tmp_path, "a", training(30, began=1000.0))
    app = TrainApp(tmp_path, "a")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.train.status is Status.FINISHED)
        assert app.bells == 0
        assert app.notices == []
        assert "took" in text_of(app, "#stats")


async def test_a_failed_run_shows_its_error_and_can_be_resumed(tmp_path: Path):
    write_run(tmp_path, "a", [*training(2.2, began=1000.0), Failed(step=1000, message="CUDA out of memory [512 MB]")])
    app = TrainApp(tmp_path, "a")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.train.status is Status.FAILED)
        assert "CUDA out of memory [512 MB]" in text_of(app, "#banner")
        assert "r resumes from step 938" in text_of(app, "#banner")
        assert app.train.check_action("resume", ())
        assert not app.train.check_action("request", ("stop",))


async def test_the_curve_of_a_resumed_run_does_not_go_back_in_time(tmp_path: Path):
    path = write_run(tmp_path, "a", [*training(2.5, began=1000.0), Stopped(step=1172, reason="asked to")])
    app = TrainApp(tmp_path, "a")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.train.status is Status.STOPPED)
        with held(path):
            now = time.time()
            again = Resumed(name="a", device="cpu", threads=2, parameters=1, epochs=30, step=STEPS_PER_EPOCH, time=now)
            append(path, again, window(481, 0.02, now + 1), window(493, 0.02, now + 2))
            await until(pilot, lambda: app.train.history.step == 493)
        xs = app.train.query_one(CurvePlot).series(1000)["loss"][0]
        assert xs == sorted(xs)
        assert text_of(app, "#preview") == "samples after epoch 1"


async def test_a_nan_loss_is_shown(tmp_path: Path):
    path = write_run(tmp_path, "a", [*training(1.1), window(600, math.nan, time.time())])
    app = TrainApp(tmp_path, "a")
    with held(path):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.train.status is Status.RUNNING)
            append(path, Epoch(epoch=2, step=938, loss=math.nan, validation_loss=math.nan, seconds=1.0))
            await until(pilot, lambda: "nan" in text_of(app, "#legend"))


async def test_pause_and_stop_send_requests_to_the_trainer(tmp_path: Path):
    path = write_run(tmp_path, "a", training(1.1))
    app = TrainApp(tmp_path, "a")
    with held(path):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.train.status is Status.RUNNING)
            await pilot.press("p", "x")
            requests = (path / "control.jsonl").read_text()
            assert requests.index('"pause"') < requests.index('"stop"')


async def test_the_form_can_be_opened_and_closed_while_a_run_is_active(tmp_path: Path):
    path = write_run(tmp_path, "a", training(1.1))
    app = TrainApp(tmp_path, "a")
    with held(path):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.train.status is Status.RUNNING)
            await pilot.press("n")
            assert on_form(app)
            await pilot.press("escape", "escape")
            assert not on_form(app)


async def test_deleting_the_watched_run_returns_to_the_form(tmp_path: Path):
    path = write_run(tmp_path, "a", training(1.1, began=1000.0))
    app = TrainApp(tmp_path, "a")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.train.status is Status.INTERRUPTED)
        shutil.rmtree(path)
        await until(pilot, lambda: on_form(app))
        assert "run a no longer exists" in text_of(app, "#message")


async def test_an_unknown_run_is_reported_with_the_existing_ones(tmp_path: Path):
    write_run(tmp_path, "a", training(1.1, began=1000.0))
    app = TrainApp(tmp_path, "gone")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: on_form(app))
        assert "there is no run gone" in text_of(app, "#message")
        assert "existing runs: a" in text_of(app, "#message")


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60), (30, 8)])
async def test_every_size_shows_form_and_monitor(tmp_path: Path, size: tuple[int, int]):
    path = write_run(tmp_path, "a", training(2.2))
    app = TrainApp(tmp_path, "a")
    with held(path):
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.train.status is Status.RUNNING)
            await pilot.resize_terminal(80, 24)
            await pilot.press("n")
            await pilot.resize_terminal(*size)
            await pilot.pause()
            if size[1] >= 20:  # the button is visible without scrolling
                button = app.train.query_one("#start").region
                assert button.bottom <= size[1]
                assert button.right <= size[0]


async def test_enter_starts_a_trainer_that_outlives_the_screen(tmp_path: Path):
    app = TrainApp(tmp_path / "runs")
    (tmp_path / "none").mkdir()
    async with app.run_test(size=(80, 24)) as pilot:
        field(app, "name").value = "mine"
        field(app, "device").value = "cpu"
        app.train.query_one("#field-dataset", Input).value = "mnist"
        field(app, "data_root").value = str(tmp_path / "none")
        field(app, "data_root").focus()
        await pilot.press("enter")
        await until(pilot, lambda: not on_form(app))
        path = tmp_path / "runs" / "mine"
        assert (path / CONFIG).is_file()
        assert "starting" in text_of(app, "#title")
        async with asyncio.timeout(180):  # a real process, which has to load torch
            while app.train.status.alive:
                await pilot.pause(0.1)
    assert run_status(path) is Status.FAILED
    assert str(tmp_path / "none") in error_of(path)


def error_of(path: Path) -> str:
    from core.runs.status import summarize

    return summarize(path).error or ""


async def wait_for_end(pilot: Pilot[None], app: TrainApp) -> None:
    """Wait until a real trainer exits; it has to load torch."""
    async with asyncio.timeout(180):
        while app.train.status.alive:
            await pilot.pause(0.05)


async def test_stop_works_before_the_trainer_has_started(tmp_path: Path, tiny: Callable[..., TrainConfig]):
    path = tmp_path / "mine"
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        app.train.query_one(RunForm).load_defaults(tiny(name="mine", epochs=100_000).model_dump(exclude_defaults=True))
        await pilot.pause()
        await pilot.press("ctrl+s", "x")
        assert app.notices[-1] == "mine: stop requested"
        await wait_for_end(pilot, app)
        assert run_status(path) is Status.STOPPED
        assert summarize(path).step <= 2
        await pilot.press("r", "x")
        assert app.notices[-1] == "mine: stop requested"
        await wait_for_end(pilot, app)
        started, ended, begun_again, ended_again = (
            event for event in RunHistory.of(path / EVENTS).notes if isinstance(event, LIFECYCLE)
        )
        assert isinstance(started, Started)
        assert isinstance(begun_again, Started | Resumed)
        assert isinstance(ended, Stopped)
        assert isinstance(ended_again, Stopped)
        assert summarize(path).step <= 3


async def test_log_and_legend_follow_a_change_of_theme(tmp_path: Path):
    write_run(tmp_path, "a", training(1.1))
    app = MinidiffApp(tmp_path, mode="train", run="a", settings=Settings(theme="minidiff-dark"))
    async with app.run_test(size=(120, 40)) as pilot:
        log = app.screen.query_one("#log", RichLog)
        legend = app.screen.query_one("#legend", Static)

        def letters() -> list[set[object]]:
            """Text colors of the log and the legend."""
            lines = (*log.lines[:1], legend.render_line(0))
            return [{part.style.color for part in line if part.style and part.text.strip()} for line in lines]

        await until(pilot, lambda: bool(log.lines) and len(letters()[1]) > 2)
        dark = letters()
        app.theme = "minidiff-light"
        await until(pilot, lambda: bool(log.lines) and not any(a & b for a, b in zip(dark, letters(), strict=True)))


EIGHT = ", ".join(f"cuda:{index}" for index in range(8))


@pytest.mark.parametrize(
    ("devices", "description"),
    [
        ("cuda:0, cuda:1", "2 processes (cuda:0, cuda:1)"),
        (EIGHT, "8 processes"),
    ],
)
async def test_a_run_with_several_processes_shows_and_uses_all_their_devices(
    tmp_path: Path, devices: str, description: str
):
    first, *rest = training(1.1, name="together")
    path = write_run(tmp_path, "together", [dataclasses.replace(first, device="cuda:0", devices=devices), *rest])
    app = TrainApp(tmp_path, "together")
    with held(path):
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: f" · {description} · 309,057 parameters" in text_of(app, "#title"))
            meter = SystemMonitor()
            meter.read_machine(tmp_path)
    assert meter.runs == {device: ["together"] for device in devices.split(", ")}
