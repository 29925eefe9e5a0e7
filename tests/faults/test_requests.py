"""Requests to a trainer that is suspended, starting or busy; and files deleted while it runs."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from command_line import FOREVER, error_line, wait_until
from counts import FULL, count
from test_moves import until_seen
from trainer_pool import QUICK, TrainerPool, assert_kept, assert_same_end, log_of

from core.cli import run
from core.errors import RunError
from core.runs import directory
from core.runs.directory import CONTROL, EVENTS, LOCK
from core.runs.events import Continued, Paused, Stopped, Warned
from core.runs.launcher import launch
from core.runs.requests import RequestName, request
from core.runs.status import Status, is_locked, lock_holder, run_status

ENDLESS = {**QUICK, "epochs": 100_000}
LONGER = {**QUICK, "epochs": 8}
ALL: tuple[RequestName, ...] = ("pause", "continue", "stop", "checkpoint")


def request_at_once(pid: int, path: Path, request_names: tuple[RequestName, ...]) -> None:
    """Make requests while the trainer is suspended, so it reads all of them at once."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it is stopped")
    for what in request_names:
        request(path, what)
    os.kill(pid, signal.SIGCONT)


def expected(request_names: tuple[RequestName, ...]) -> tuple[list[str], Status]:
    """The state changes expected from these requests in order, and the final status."""
    changes, status = [], Status.RUNNING
    for what in request_names:
        if what == "stop":
            return [*changes, "stopped"], Status.STOPPED
        if (what, status) == ("pause", Status.RUNNING):
            changes, status = [*changes, "paused"], Status.PAUSED
        if (what, status) == ("continue", Status.PAUSED):
            changes, status = [*changes, "continued"], Status.RUNNING
    return changes, status


def changes_of(path: Path) -> list[str]:
    return [event.kind for event in log_of(path) if isinstance(event, Paused | Continued | Stopped)]


SEQUENCES = [request_names for length in (2, 3) for request_names in itertools.product(ALL, repeat=length)]
ALWAYS = [("pause", "continue"), ("pause", "stop"), ("continue", "pause"), ("pause", "continue", "stop")]
CHOSEN = SEQUENCES if FULL else [*ALWAYS, *random.Random(20261128).sample(SEQUENCES, 4)]


@pytest.mark.parametrize("request_names", CHOSEN, ids="-".join)
def test_requests_within_one_step_are_handled_in_order(
    trainer_pool: TrainerPool, tmp_path: Path, request_names: tuple[RequestName, ...]
) -> None:
    path = tmp_path / "a"
    job = trainer_pool.start(path, ENDLESS)
    until_seen(job, "progress")
    request_at_once(job.pid, path, request_names)
    changes, status = expected(request_names)
    wait_until(lambda: changes_of(path) == changes, f"it is {changes}")
    if status is Status.PAUSED:
        assert run_status(path) is Status.PAUSED
        request(path, "continue")
        wait_until(lambda: run_status(path) is Status.RUNNING, "it is running again")
    if status is not Status.STOPPED:
        progress_count = job.files[1].read_text().count('"event":"progress"')
        until_seen(job, "progress", progress_count + 1)
        request(path, "stop")
    ended = trainer_pool.wait(job)
    assert ended.code == 0, ended.stderr
    assert_kept(path, ended.events)
    assert run_status(path) is Status.STOPPED


def test_requests_to_a_suspended_trainer_do_not_change_the_result(trainer_pool: TrainerPool, tmp_path: Path) -> None:
    assert trainer_pool.train(tmp_path / "whole", LONGER).code == 0
    generator = random.Random(28)
    for turn in range(count(2, 20)):
        path = tmp_path / f"a-{turn}"
        while run_status(path) is not Status.FINISHED:
            job = trainer_pool.start(path, LONGER)
            until_seen(job, "progress")
            try:
                request_at_once(job.pid, path, tuple(generator.choices(ALL, k=3)))
                request(path, "continue")
            except (ProcessLookupError, psutil.NoSuchProcess, RunError):
                pass  # it has already exited
            assert trainer_pool.wait(job).code == 0
        assert_same_end(path, tmp_path / "whole")


@pytest.mark.parametrize("change", ["deleted", "replaced", "emptied"])
def test_requests_work_again_after_the_file_was_deleted(trainer_pool: TrainerPool, tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    job = trainer_pool.start(path, ENDLESS)
    until_seen(job, "progress")
    for number in range(1, 4):
        request(path, "pause")
        wait_until(lambda: run_status(path) is Status.PAUSED, "it is paused")
        if change == "deleted":
            (path / CONTROL).unlink()
        elif change == "replaced":
            (tmp_path / "new").touch()
            (tmp_path / "new").rename(path / CONTROL)
        else:
            os.truncate(path / CONTROL, 0)
        request(path, "continue")
        wait_until(lambda: run_status(path) is Status.RUNNING, "it goes on")
        until_seen(job, "continued", number)
    request(path, "stop")
    assert trainer_pool.wait(job).code == 0
    assert run_status(path) is Status.STOPPED


def test_after_deleting_a_rejected_request_file_as_advised_requests_work_again(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    job = trainer_pool.start(path, ENDLESS)
    until_seen(job, "progress")
    request(path, "checkpoint")
    (path / CONTROL).chmod(0o666)
    with pytest.raises(RunError, match="delete it and retry"):
        request(path, "stop")
    (path / CONTROL).unlink()
    request(path, "stop")
    assert trainer_pool.wait(job).code == 0
    assert run_status(path) is Status.STOPPED


@pytest.mark.parametrize("ended", ["new", "stopped", "killed"])
def test_a_request_made_right_after_launch_is_obeyed(trainer_pool: TrainerPool, tmp_path: Path, ended: str) -> None:
    """Before the trainer has imported torch."""
    path = tmp_path / "a"
    job = trainer_pool.start(path, ENDLESS)
    until_seen(job, "progress")
    if ended == "killed":
        request(path, "pause")
        wait_until(lambda: run_status(path) is Status.PAUSED, "it is paused")
        os.kill(job.pid, signal.SIGKILL)
    else:
        request(path, "stop")
    trainer_pool.wait(job)
    if ended == "new":
        shutil.rmtree(path / directory.SNAPSHOTS)
        for file in path.iterdir():
            if file.name != directory.CONFIG:
                file.unlink()
    before = len(log_of(path))
    trainer = launch(path)
    assert run_status(path) is Status.STARTING
    request(path, "stop")
    assert trainer.wait(60) == 0
    last = log_of(path)[-1]
    assert isinstance(last, Stopped)
    assert last.reason == "on request"
    taken = [event.kind for event in log_of(path)[before:] if event.kind == "progress"]
    assert taken == [], "it stopped before its first step"


def test_requests_left_by_a_killed_trainer_are_not_passed_to_the_next(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    job = trainer_pool.start(path, ENDLESS)
    until_seen(job, "progress")
    os.kill(job.pid, signal.SIGSTOP)
    request(path, "stop")
    os.kill(job.pid, signal.SIGKILL)
    assert trainer_pool.wait(job).code == -signal.SIGKILL
    again = trainer_pool.start(path)
    until_seen(again, "progress", 3)
    assert run_status(path) is Status.RUNNING
    request(path, "stop")
    assert trainer_pool.wait(again).code == 0


@pytest.mark.parametrize("names", [(LOCK,), (EVENTS,), (LOCK, EVENTS)], ids="-".join)
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_deleted_lock_or_log_is_rewritten_and_no_other_trainer_gets_the_run(
    trainer_pool: TrainerPool, tmp_path: Path, names: tuple[str, ...], how: str
) -> None:
    path, whole = tmp_path / "a", tmp_path / "whole"
    assert trainer_pool.train(whole, LONGER).code == 0
    job = trainer_pool.start(path, LONGER)
    until_seen(job, "progress")
    os.kill(job.pid, signal.SIGSTOP)
    for name in names:
        (path / name).unlink()
        if how == "replaced":
            (path / name).touch()
    if names == (LOCK,):  # the run counts as locked even before the trainer checks again
        assert is_locked(path)
        rival = trainer_pool.train(path, LONGER)
        assert rival.code == 1
        assert "being trained" in rival.stderr or "just starting" in rival.stderr
    os.kill(job.pid, signal.SIGCONT)
    ended = trainer_pool.wait(job)
    assert ended.code == 0, ended.stderr
    assert_kept(path, ended.events)
    warned = [event.message for event in log_of(path) if isinstance(event, Warned)]
    assert {message.partition(" ")[0] for message in warned} == set(names)
    assert_same_end(path, whole)


def test_a_trainer_that_lost_its_run_to_another_exits_and_writes_nothing_more(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    first = trainer_pool.start(path, ENDLESS)
    until_seen(first, "progress")
    request(path, "pause")  # so it is not stopped during a checkpoint, which both would write
    wait_until(lambda: run_status(path) is Status.PAUSED, "it is paused")
    os.kill(first.pid, signal.SIGSTOP)
    for name in (LOCK, EVENTS):
        (path / name).unlink()
    second = trainer_pool.start(path, ENDLESS)
    until_seen(second, "progress")
    os.kill(first.pid, signal.SIGCONT)
    ended = trainer_pool.wait(first)
    assert ended.code == 1
    assert "another trainer has taken a after its lock was deleted" in ended.stderr
    request(path, "stop")
    result = trainer_pool.wait(second)
    assert result.code == 0, result.stderr
    assert (path / EVENTS).read_text().splitlines(keepends=True) == result.events


def test_the_command_does_not_start_a_second_trainer_after_the_lock_was_deleted(
    trainers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *FOREVER, "--name", "a", "--detach"]) == 0
    capsys.readouterr()
    pid = lock_holder(trainers / "a")["pid"]
    (trainers / "a" / LOCK).unlink()
    error_text = error_line(capsys, "resume", "a", "--detach")
    assert f"being trained by process {pid}" in error_text or "just starting" in error_text
    wait_until(lambda: lock_holder(trainers / "a").get("pid") == pid, "the lock is there again")
    assert run_status(trainers / "a") is Status.RUNNING
    assert run(["stop", "a"]) == 0
