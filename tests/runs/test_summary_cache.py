"""Summaries of ended runs are cached until one of their files changes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core import TrainConfig
from core.runs.directory import CONFIG, EVENTS, LOCK, MODEL
from core.runs.events import Event, Finished, Started, Stopped, to_line
from core.runs.status import Status, list_runs, summarize
from core.runs.store import create_run, delete_run
from core.runs.summary_cache import SummaryCache
from core.runs.writer import RunWriter

STARTED = Started(name="a", device="cpu", threads=1, parameters=10, epochs=2)


def log(path: Path, *events: Event) -> None:
    with open(path / EVENTS, "a") as file:
        file.writelines(map(to_line, events))


@pytest.fixture
def run(tmp_path: Path, tiny: Callable[..., TrainConfig]) -> Path:
    """A stopped run."""
    path = create_run(tiny(root=tmp_path, name="a"))
    log(path, STARTED, Stopped(step=3, reason="on request"))
    return path


def test_the_log_of_an_ended_run_is_read_once(run: Path) -> None:
    cache = SummaryCache()
    first = cache.summarize(run)
    assert first == summarize(run)
    assert cache.summarize(run) is first


@pytest.mark.parametrize("name", [EVENTS, CONFIG, LOCK, MODEL])
def test_a_run_is_read_again_when_one_of_its_files_changes(run: Path, name: str) -> None:
    cache = SummaryCache()
    first = cache.summarize(run)
    match_after = {EVENTS: to_line(Finished(step=4, seconds=1.0)), CONFIG: "classes = false\n", LOCK: "{}", MODEL: "x"}
    with open(run / name, "a") as file:
        file.write(match_after[name])
    second = cache.summarize(run)
    assert second is not first
    assert second == summarize(run)


def test_a_run_whose_permissions_change_is_read_again(run: Path) -> None:
    cache = SummaryCache()
    first = cache.summarize(run)
    (run / EVENTS).chmod(0o640)
    assert cache.summarize(run) is not first


def test_a_trainer_that_locks_a_run_is_detected_before_it_logs_anything(run: Path) -> None:
    cache = SummaryCache()
    assert cache.summarize(run).status is Status.STOPPED
    with RunWriter(run):
        assert cache.summarize(run).status is Status.STARTING
    assert cache.summarize(run).status is Status.STOPPED


def test_a_killed_trainer_is_detected_even_if_no_file_changes(run: Path) -> None:
    log(run, STARTED)
    cache = SummaryCache()
    with open(run / LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cache.summarize(run).status is Status.RUNNING
    assert cache.summarize(run).status is Status.INTERRUPTED


def test_a_run_waiting_for_its_trainer_is_starting_only_for_a_while(run: Path) -> None:
    (run / EVENTS).unlink()
    cache = SummaryCache()
    assert cache.summarize(run).status is Status.STARTING
    before = time.time() - 3600
    os.utime(run / CONFIG, (before, before))
    assert cache.summarize(run).status is Status.INTERRUPTED


def test_the_list_shows_all_runs_in_their_current_state(run: Path, tiny: Callable[..., TrainConfig]) -> None:
    cache, root = SummaryCache(), run.parent
    assert cache.list_runs(root) == list_runs(root)
    other = create_run(tiny(root=root, name="b"))
    log(other, STARTED, Finished(step=4, seconds=1.0))
    assert cache.list_runs(root) == list_runs(root)
    assert [summary.name for summary in cache.list_runs(root)] == ["b", "a"]
    delete_run(other)
    assert cache.list_runs(root) == list_runs(root)
    assert set(cache._cache) == {run}
