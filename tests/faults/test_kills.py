"""Trainers killed at every point of their writes and at random times: nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from counts import count
from trainer_pool import QUICK, TINY, TrainerPool, assert_kept, assert_same_end, log_of, tensors

from core.runs.directory import RESERVE, STATE
from core.runs.events import Checkpoint
from core.runs.status import Status, run_status

# One for each preset; together they cover the optimizers, EMA and the learning-rate schedules.
RECIPES: dict[str, dict[str, Any]] = {
    "quick-adam": QUICK,
    "quick-adamw": {**QUICK, "optimizer": "adamw", "warmup_steps": 3, "lr_schedule": "linear"},
    "quick-muon": {
        **QUICK,
        "channels": (16, 16),
        "optimizer": "muon",
        "ema": 0.1,
        "warmup_steps": 4,
        "lr_schedule": "linear",
    },
    "default-muon": {**TINY, "preset": "default", "channels": (16, 16), "warmup_steps": 4},
    "default-adam": {**TINY, "preset": "default", "channels": (16, 16), "optimizer": "adam", "warmup_steps": 0},
    "default-adamw": {
        **TINY,
        "preset": "default",
        "channels": (16, 16),
        "optimizer": "adamw",
        "lr_schedule": "constant",
    },
    "tutorial-adam": {**TINY, "preset": "tutorial", "channels": (32,), "layers_per_block": 1, "epochs": 1},
}
RECIPES["tutorial-adam"] |= {"limit": 12, "batch_size": 4}
SLOW = "tutorial-adam"


@pytest.fixture(scope="module")
def wholes(trainer_pool: TrainerPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a function that gives the uninterrupted run of a recipe, trained on first use."""
    return tmp_path_factory.mktemp("wholes")


def whole_of(trainer_pool: TrainerPool, wholes: Path, recipe: str) -> Path:
    if not (wholes / recipe).exists():
        assert trainer_pool.train(wholes / recipe, RECIPES[recipe]).code == 0
    return wholes / recipe


def assert_survived(trainer_pool: TrainerPool, path: Path, recipe: str, events: list[str], whole: Path) -> None:
    """After a kill, the log has every yielded event, the state is readable, and the run resumes to the same result."""
    if events:
        assert_kept(path, events)
        assert run_status(path) in (Status.INTERRUPTED, Status.FINISHED)
    saved = [event.step for event in log_of(path) if isinstance(event, Checkpoint)]
    if saved:
        assert int(tensors(path)["step"]) >= max(saved)
    if run_status(path) is not Status.FINISHED:
        resumed = trainer_pool.train(path, RECIPES[recipe])
        assert resumed.code == 0, resumed.stderr
        assert_kept(path, [*events, *resumed.events])
    assert run_status(path) is Status.FINISHED
    assert_same_end(path, whole)
    left = {entry.name for entry in path.iterdir() if entry.name.startswith(".")}
    assert left <= {RESERVE}, "but for what a trainer killed after its last word had no time to give up"


def choose_points(points: list[str], number: int, generator: random.Random) -> list[int]:
    """Indices of `number` points: one of each kind if possible, then random ones."""
    places = list(range(1, len(points) + 1))
    generator.shuffle(places)
    firsts = list({points[place - 1].replace("state", "model"): place for place in places}.values())
    rest = [place for place in places if place not in firsts]
    return [*firsts, *rest][:number]


def test_a_trainer_killed_at_any_named_point_of_its_writes_loses_nothing(
    trainer_pool: TrainerPool, wholes: Path, tmp_path: Path
) -> None:
    generator = random.Random(20261126)
    points = trainer_pool.points(tmp_path / "listed", RECIPES["quick-adam"])
    kinds = {point.split()[0] for point in points}
    assert kinds >= {"write", "amid", "after-write", "fsync", "rename", "lock", "truncate", "unlink", "mkdir", "open"}
    whole = whole_of(trainer_pool, wholes, "quick-adam")
    for place in choose_points(points, count(8, len(points)), generator):
        path = tmp_path / f"killed-{place}"
        killed = trainer_pool.train(path, RECIPES["quick-adam"], fault={"trace": "", "kind": "kill", "at": place})
        assert killed.code == -signal.SIGKILL, f"{points[place - 1]}: {killed.stderr}"
        assert_survived(trainer_pool, path, "quick-adam", killed.events, whole)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_trainer_killed_between_renaming_state_and_model_resumes_from_the_state(
    trainer_pool: TrainerPool, wholes: Path, tmp_path: Path, recipe: str
) -> None:
    points = trainer_pool.points(tmp_path / "listed", RECIPES[recipe])
    renames = [place for place, point in enumerate(points, 1) if point.startswith("after-rename") and STATE in point]
    assert len(renames) > 1
    whole = whole_of(trainer_pool, wholes, recipe)
    for place in renames[1 : count(2, len(renames) if recipe != SLOW else 2)]:
        path = tmp_path / f"killed-{place}"
        killed = trainer_pool.train(path, RECIPES[recipe], fault={"trace": "", "kind": "kill", "at": place})
        assert killed.code == -signal.SIGKILL
        assert_survived(trainer_pool, path, recipe, killed.events, whole)


def test_a_trainer_killed_before_writing_its_last_model_leaves_that_to_the_next(
    trainer_pool: TrainerPool, wholes: Path, tmp_path: Path
) -> None:
    """With a checkpoint per epoch only, the existing model is from the epoch before."""
    points = trainer_pool.points(tmp_path / "listed", QUICK, each_step=False)
    last = max(at for at, point in enumerate(points, 1) if point.startswith("after-rename") and STATE in point)
    path, whole = tmp_path / "a", whole_of(trainer_pool, wholes, "quick-adam")
    killed = trainer_pool.train(path, QUICK, each_step=False, fault={"trace": "", "kind": "kill", "at": last})
    assert killed.code == -signal.SIGKILL
    assert trainer_pool.train(path, each_step=False).code == 0
    actual, expected = tensors(path), tensors(whole)
    assert all(bool((actual[name] == expected[name]).all()) for name in expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_trainer_killed_at_random_times_loses_nothing(
    trainer_pool: TrainerPool, wholes: Path, tmp_path: Path, recipe: str
) -> None:
    generator = random.Random(recipe)
    whole = whole_of(trainer_pool, wholes, recipe)
    began = time.monotonic()
    assert trainer_pool.train(tmp_path / "timed", RECIPES[recipe]).code == 0
    takes = time.monotonic() - began
    kills = count(1, 2 if recipe == SLOW else 8)
    for number in range(kills):
        path, events = tmp_path / f"killed-{number}", []
        for _ in range(generator.choice((1, 1, 2, 3))):  # a resumed trainer can be killed too
            job = trainer_pool.start(path, RECIPES[recipe])
            time.sleep(generator.uniform(0.0, takes))  # the random time itself, not a wait for an event
            end(job.pid)
            ended = trainer_pool.wait(job)
            events += ended.events
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended.stderr
        assert_survived(trainer_pool, path, recipe, events, whole)


def end(pid: int) -> None:
    """Kill a trainer unless it has already exited."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
