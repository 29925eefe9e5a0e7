"""A wall clock that jumps by hours and years: status, log, history and time left stay valid."""

from __future__ import annotations

from pathlib import Path

from counts import count
from trainer_pool import TrainerPool, assert_kept, assert_same_end, log_of

from core.runs.history import RunHistory
from core.runs.status import Status, list_runs, run_status


def test_clock_jumps_do_not_affect_a_run(trainer_pool: TrainerPool, whole: Path, tmp_path: Path) -> None:
    for seed in range(count(3, 30)):
        path = tmp_path / f"leaping-{seed}"
        ended = trainer_pool.train(path, leaps=seed)
        assert ended.code == 0, ended.stderr
        events = log_of(path)
        assert_kept(path, ended.events)
        times = [event.time for event in events]
        assert max(times) - min(times) > 3600, "the clock leapt"
        assert times != sorted(times), "and it leapt back"
        assert run_status(path) is Status.FINISHED
        assert_same_end(path, whole)
        assert [run.name for run in list_runs(tmp_path) if run.name == path.name]
        history = RunHistory()
        for event in events:
            history.add(event)
            left = history.seconds_left
            assert left is None or 0 <= left < 60, f"{left:.0f} s left of a run of less than a second"


def test_a_run_killed_and_resumed_under_different_clocks_ends_like_an_uninterrupted_one(
    trainer_pool: TrainerPool, whole: Path, tmp_path: Path
) -> None:
    points = trainer_pool.points(tmp_path / "listed")
    for number in range(count(2, 20)):
        path = tmp_path / f"a-{number}"
        place = (number + 1) * len(points) // (count(2, 20) + 1)
        trainer_pool.train(path, leaps=number, fault={"trace": "", "kind": "kill", "at": place})
        resumed = trainer_pool.train(path, leaps=number + 1000)
        assert resumed.code == 0, resumed.stderr
        assert run_status(path) is Status.FINISHED
        assert_same_end(path, whole)
