"""Concurrent access to one run: exactly one trainer gets it, and all readers see the same."""

from __future__ import annotations

import asyncio
import fcntl
import threading
import time
from pathlib import Path
from typing import cast

from counts import count
from textual.message import Message
from textual.message_pump import MessagePump
from trainer_pool import QUICK, Job, TrainerPool, assert_kept, assert_same_end, log_of

from core.runs.directory import CONFIG, EVENTS
from core.runs.events import Event, Finished, Resumed, Started, Stopped
from core.runs.history import LogTail, RunHistory
from core.runs.requests import request
from core.runs.status import Status, lock_holder, run_status
from tui.io.run_watcher import RunWatcher
from tui.messages import EventsAppended

RIVALS, READERS = 10, 10
PATIENCE = 60.0
ENDLESS = {**QUICK, "epochs": 100_000}
LONGER = {**QUICK, "epochs": 8}


def race(trainer_pool: TrainerPool, path: Path, scratch: Path) -> tuple[Job, list[Job]]:
    """Start ten trainers at once; returns the one that locked the run, and the others."""
    gate = scratch / "gate"
    with open(gate, "w") as barrier:
        fcntl.flock(barrier, fcntl.LOCK_EX)
        jobs = [trainer_pool.start(path, ENDLESS, barrier=str(gate)) for _ in range(RIVALS)]
    deadline = time.monotonic() + PATIENCE
    while run_status(path) is not Status.RUNNING:
        assert time.monotonic() < deadline, "none of them trains"
        time.sleep(0.01)
    holder = lock_holder(path)["pid"]
    (winner,) = [job for job in jobs if job.pid == holder]
    return winner, [job for job in jobs if job.pid != holder]


def assert_one_trained(trainer_pool: TrainerPool, path: Path, winner: Job, losers: list[Job], scratch: Path) -> None:
    """The others were refused with a one-line error; the winner and its run are unaffected."""
    for loser in losers:
        ended = trainer_pool.wait(loser)
        assert ended.code == 1, ended.stderr
        assert not ended.events
        assert ended.stderr.startswith("minidiff: ")
        assert len(ended.stderr.splitlines()) == 1
        assert str(winner.pid) in ended.stderr or "exists already" in ended.stderr, ended.stderr
    request(path, "stop")
    result = trainer_pool.wait(winner)
    assert result.code == 0, result.stderr
    assert_kept(path, result.events)
    last = log_of(path)[-1]
    assert isinstance(last, Stopped)
    started = [event for event in log_of(path) if isinstance(event, Started | Resumed)]
    assert len(started) == 1, "one trainer wrote to the log"
    epochs = last.step // 3 + 1
    shorten(path, epochs)
    assert trainer_pool.train(path).code == 0
    assert trainer_pool.train(scratch / "whole", {**QUICK, "epochs": epochs}).code == 0
    assert_same_end(path, scratch / "whole")


def shorten(path: Path, epochs: int) -> None:
    config = path / CONFIG
    config.write_text(config.read_text().replace("epochs = 100000", f"epochs = {epochs}"))


def test_of_ten_trainers_started_on_one_run_one_trains_and_nine_are_refused(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    for number in range(count(1, 10)):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        path = scratch / "a"
        assert (
            trainer_pool.train(path, ENDLESS, fault={"trace": "", "kind": "kill", "at": 20}).code == -9
        )  # it exists now
        (path / EVENTS).unlink(missing_ok=True)
        winner, losers = race(trainer_pool, path, scratch)
        assert_one_trained(trainer_pool, path, winner, losers, scratch)


def test_of_ten_new_runs_with_one_name_one_trains_and_nine_are_refused(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    for number in range(count(1, 10)):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        winner, losers = race(trainer_pool, scratch / "a", scratch)
        assert_one_trained(trainer_pool, scratch / "a", winner, losers, scratch)


def test_ten_readers_of_one_run_see_the_same_history_while_it_trains(trainer_pool: TrainerPool, tmp_path: Path) -> None:
    for number in range(count(1, 10)):
        path = tmp_path / str(number)
        histories: list[list[Event]] = [[] for _ in range(READERS)]

        def follow(events: list[Event], path: Path = path) -> None:
            tail = LogTail(path / EVENTS)
            deadline = time.monotonic() + PATIENCE
            while not (events and isinstance(events[-1], Finished)) and time.monotonic() < deadline:
                new, restarted = tail.read()
                assert not restarted
                events += new

        readers = [threading.Thread(target=follow, args=(events,)) for events in histories]
        for reader in readers:
            reader.start()
        ended = trainer_pool.train(path, LONGER)
        for reader in readers:
            reader.join()
        assert ended.code == 0, ended.stderr
        assert_kept(path, ended.events)
        assert all(events == log_of(path) for events in histories)


class Listener:
    """Receives the messages of a watcher."""

    def __init__(self) -> None:
        self.history = RunHistory()
        self.events: list[Event] = []

    def post_message(self, message: Message) -> bool:
        if isinstance(message, EventsAppended):
            assert not message.reset
            self.events += message.events
            self.history.extend(message.events)
        return True


async def test_ten_watchers_of_one_run_get_the_same_events_through_two_kills(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    points = await asyncio.to_thread(trainer_pool.points, tmp_path / "listed", LONGER)
    killed = {"trace": "", "kind": "kill", "at": len(points) // 3}
    assert (await asyncio.to_thread(trainer_pool.train, path, LONGER, fault=killed)).code == -9
    listeners = [Listener() for _ in range(READERS)]
    watchers = [asyncio.create_task(RunWatcher(cast(MessagePump, it), path).watch()) for it in listeners]
    await asyncio.to_thread(trainer_pool.train, path, LONGER, fault=killed)
    assert (await asyncio.to_thread(trainer_pool.train, path)).code == 0
    async with asyncio.timeout(PATIENCE):
        while not all(it.events and isinstance(it.events[-1], Finished) for it in listeners):
            await asyncio.sleep(0.01)  # let the watchers run
    for watcher in watchers:
        watcher.cancel()
    whole = RunHistory.of(path / EVENTS)
    for it in listeners:
        assert it.events == log_of(path)
        assert it.history.progress == whole.progress
        assert it.history.epochs == whole.epochs
