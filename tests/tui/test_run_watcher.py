"""Following a run directory: what was there first, then what is appended, the status, and trainers that never begin."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runlogs import append, dataset, held, started, training, window, write_run
from textual.app import App

import tui.io.run_watcher
from core.errors import RunError
from core.runs.directory import TRAINER_LOG
from core.runs.events import Epoch, Paused, Preview
from core.runs.status import Status
from tui.io.run_watcher import EVENTS_PER_MESSAGE, LaunchedTrainer, RunWatcher, exit_reason, start_trainer
from tui.messages import EventsAppended, RunVanished, StatusChanged, TrainerLost


class Listener(App[None]):
    """Collects what a watcher posts."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[object] = asyncio.Queue()

    def on_events_appended(self, message: EventsAppended) -> None:
        self.messages.put_nowait(message)

    on_status_changed = on_trainer_lost = on_run_vanished = on_events_appended

    async def next_of(self, kind: type) -> object:
        async with asyncio.timeout(30):
            while not isinstance(message := await self.messages.get(), kind):
                pass
        return message


@pytest.fixture
async def listener():
    app = Listener()
    async with app.run_test():
        yield app


async def test_existing_events_are_reported_first_and_then_new_ones(tmp_path: Path, listener: Listener):
    path = write_run(tmp_path, "a", [started(1.0), dataset(2.0)])
    listener.run_worker(RunWatcher(listener, path).watch())
    first = await listener.next_of(EventsAppended)
    assert [event.kind for event in first.events] == ["started", "dataset"]
    assert not first.live
    append(path, window(12, 0.1, 3.0))
    second = await listener.next_of(EventsAppended)
    assert [event.step for event in second.events] == [12]
    assert second.live


async def test_a_long_log_is_delivered_in_chunks_in_order(tmp_path: Path, listener: Listener):
    events = [started(1.0), *(window(step, 0.1, step) for step in range(1, EVENTS_PER_MESSAGE + 10))]
    listener.run_worker(RunWatcher(listener, write_run(tmp_path, "a", events)).watch())
    first = await listener.next_of(EventsAppended)
    second = await listener.next_of(EventsAppended)
    assert len(first.events) == EVENTS_PER_MESSAGE
    assert [*first.events, *second.events][-1].step == EVENTS_PER_MESSAGE + 9


async def test_a_restarted_log_is_reported(tmp_path: Path, listener: Listener):
    path = write_run(tmp_path, "a", [started(1.0), dataset(2.0)])
    listener.run_worker(RunWatcher(listener, path).watch())
    assert not (await listener.next_of(EventsAppended)).reset
    (path / "events.jsonl").unlink()
    append(path, started(9.0))
    again = await listener.next_of(EventsAppended)
    assert again.reset
    assert [event.time for event in again.events] == [9.0]


async def test_the_status_follows_the_lock_and_the_log(tmp_path: Path, listener: Listener):
    path = write_run(tmp_path, "a", [started(1.0)])
    with held(path):
        listener.run_worker(RunWatcher(listener, path).watch())
        assert (await listener.next_of(StatusChanged)).status is Status.RUNNING
        append(path, Paused(step=0))
        assert (await listener.next_of(StatusChanged)).status is Status.PAUSED
    assert (await listener.next_of(StatusChanged)).status is Status.INTERRUPTED


async def test_a_deleted_run_is_reported(tmp_path: Path, listener: Listener):
    path = write_run(tmp_path, "a", [started(1.0)])
    listener.run_worker(RunWatcher(listener, path).watch())
    await listener.next_of(EventsAppended)
    shutil.rmtree(path)
    assert "run a no longer exists" in (await listener.next_of(RunVanished)).reason


def short_lived(path: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process that only says `said` stand for the trainer of the run at `path`."""
    log = path / "trainer.log"
    log.write_text("words of an earlier trainer\n")
    sizes = (path / "events.jsonl").stat().st_size, log.stat().st_size
    with open(log, "ab") as sink:
        process = subprocess.Popen([sys.executable, "-c", f"print({said!r}); raise SystemExit(1)"], stdout=sink)
    monkeypatch.setitem(tui.io.run_watcher._started, path, LaunchedTrainer(process, *sizes))


async def test_the_error_of_a_trainer_that_exits_before_it_takes_the_run_is_reported(tmp_path, listener, monkeypatch):
    path = write_run(tmp_path, "a", training(1.2, began=1000.0))
    short_lived(path, "the device cuda is not here\n", monkeypatch)
    listener.run_worker(RunWatcher(listener, path).watch())
    assert (await listener.next_of(TrainerLost)).reason == "the device cuda is not here"
    assert exit_reason(path) == "the device cuda is not here"


async def test_a_trainer_that_exits_silently_is_reported_with_its_exit_status(tmp_path, listener, monkeypatch):
    path = write_run(tmp_path, "a")
    short_lived(path, "", monkeypatch)
    listener.run_worker(RunWatcher(listener, path).watch())
    assert "exit status 1; `minidiff resume a`" in (await listener.next_of(TrainerLost)).reason
    assert "exit status 1" in (exit_reason(path) or "")


def test_a_read_only_run_directory_is_reported(tmp_path: Path):
    path = write_run(tmp_path, "a")
    (path / TRAINER_LOG).mkdir()
    with pytest.raises(RunError, match=r"cannot start a trainer.*Is a directory; move .*trainer.log away"):
        start_trainer(path)


async def test_previews_and_epochs_reach_the_screen_unchanged(tmp_path: Path, listener: Listener):
    events = training(1)
    listener.run_worker(RunWatcher(listener, write_run(tmp_path, "a", events)).watch())
    received = (await listener.next_of(EventsAppended)).events
    for kind in (Epoch, Preview):
        assert [event.epoch for event in received if isinstance(event, kind)] == [1]
    assert [e.images for e in received if isinstance(e, Preview)] == [
        e.images for e in events if isinstance(e, Preview)
    ]
