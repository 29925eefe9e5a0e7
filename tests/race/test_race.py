"""Whole races of tiny networks: common random numbers, time budgets, interruption, early stops, what they leave."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from core import RaceRules, TrainConfig, load_model, run_race, train
from core.errors import ConfigError, RunError
from core.race.folder import RaceFolder, Withdrawal
from core.race.records import (
    NOT_SIGNIFICANT,
    CandidateStopped,
    RaceComparison,
    RaceProgress,
    RaceResult,
    RaceStarted,
)
from core.race.turns import step_marks
from core.runs import locks
from core.runs.directory import run_directories
from core.runs.requests import request
from core.runs.status import Status, run_status, summarize
from core.training.api import resume

TINY: dict[str, Any] = {
    "preset": "quick",
    "dataset": "glyphs",
    "limit": 64,
    "batch_size": 8,
    "channels": (4, 4),
    "epochs": 2,  # 16 steps
    "device": "cpu",
    "threads": 1,
    "name": "race",
}
RATES = {"learning_rate": [1e-3, 3e-3]}


def rules(**changes: Any) -> RaceRules:
    return RaceRules(**{"steps": 6, "comparisons": 3, "images": 32, "samples": 0, "stop_after": 0, **changes})


def tiny(root: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**{**TINY, "root": root, **changes})


def race(root: Path, settings: dict[str, list[Any]], seeds: tuple[int, ...] = (0,), **changes: Any) -> list[Any]:
    return list(run_race(tiny(root), settings, rules(**changes), seeds=seeds))


def comparisons(records: list[Any]) -> list[RaceComparison]:
    return [record for record in records if isinstance(record, RaceComparison)]


def losses(records: list[Any]) -> list[list[float]]:
    return [[standing.loss for standing in record.standings] for record in comparisons(records)]


def result_of_race(records: list[Any]) -> RaceResult:
    assert isinstance(records[-1], RaceResult)
    return records[-1]


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = (load_model(path, device="cpu").net.state_dict() for path in (a, b))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A complete race of two learning rates and two seeds: its root, which must not be modified, and its records."""
    root = tmp_path_factory.mktemp("races")
    return root, race(root, RATES, seeds=(0, 1))


def test_candidates_with_equal_settings_stay_equal_bit_for_bit(tmp_path: Path) -> None:
    records = race(tmp_path, {"learning_rate": [2e-3, 2e-3]})
    assert [record.mark.value for record in comparisons(records)] == [2, 4, 6]
    for comparison in comparisons(records):
        for standing in comparison.standings:
            assert (standing.difference.mean, standing.difference.low, standing.difference.high) == (0, 0, 0)
    assert_same_weights(tmp_path / "race-1", tmp_path / "race-2")
    assert result_of_race(records).candidates[1].verdict == NOT_SIGNIFICANT


def test_a_run_of_a_race_is_the_run_that_its_config_gives_alone(whole: tuple[Path, Any], tmp_path: Path) -> None:
    stopped = tmp_path / "race-2-seed1"
    shutil.copytree(whole[0] / stopped.name, stopped)
    assert (run_status(stopped), summarize(stopped).step) == (Status.STOPPED, 6)
    list(train(tiny(tmp_path, learning_rate=3e-3, seed=1, name="alone")))
    list(resume(stopped))
    assert run_status(stopped) is Status.FINISHED
    assert_same_weights(stopped, tmp_path / "alone")


def test_an_interrupted_race_continues_with_the_same_numbers(whole: tuple[Path, Any], tmp_path: Path) -> None:
    records = run_race(tiny(tmp_path), RATES, rules(), seeds=(0, 1))
    first = next(record for record in records if isinstance(record, RaceComparison))
    records.close()
    runs = run_directories(tmp_path)
    assert {run.name for run in runs} == {f"race-{n}-seed{seed}" for n in (1, 2) for seed in (0, 1)}
    assert {run_status(run) for run in runs} == {Status.STOPPED}
    rest = race(tmp_path, RATES, seeds=(0, 1))
    assert isinstance(rest[0], RaceStarted)
    assert rest[0].continued
    assert losses(rest) == losses(whole[1])
    assert comparisons(rest)[0] == first
    assert [point.difference for point in result_of_race(rest).curves] == [
        point.difference for point in result_of_race(whole[1]).curves
    ]
    assert_same_weights(tmp_path / "race-2-seed1", whole[0] / "race-2-seed1")


def test_a_run_killed_after_its_last_comparison_is_trained_to_the_end_again(tmp_path: Path) -> None:
    first = run_race(tiny(tmp_path / "a"), RATES, rules(comparisons=1))
    next(record for record in first if isinstance(record, RaceComparison))
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # as if the process were killed now, before the last checkpoint
    first.close()
    race(tmp_path / "b", RATES, comparisons=1)
    assert load_model(tmp_path / "b" / "race-2", device="cpu").step == 6
    assert_same_weights(tmp_path / "a" / "race-2", tmp_path / "b" / "race-2")


def test_a_race_runs_in_one_process_at_a_time(whole: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.0)
    first = run_race(tiny(whole[0]), RATES, rules(), seeds=(0, 1))
    next(first)
    with pytest.raises(RunError, match="running in another process"):
        race(whole[0], RATES, seeds=(0, 1))
    first.close()


def test_an_incomplete_line_of_a_killed_process_does_not_damage_the_next_one(tmp_path: Path) -> None:
    with RaceFolder(tmp_path, "race", {}) as folder:
        folder.create()
        (folder.path / "race.jsonl").write_text('{"entry": "dist')
        folder.append(Withdrawal(2, "its training diverged"))
    assert list(RaceFolder(tmp_path, "race", {}).entries()) == [Withdrawal(2, "its training diverged")]


def test_a_complete_race_is_not_trained_again(whole: tuple[Path, Any]) -> None:
    root, first = whole
    again = race(root, RATES, seeds=(0, 1))
    assert result_of_race(again) == result_of_race(first)
    assert not any(isinstance(record, RaceProgress) for record in again)


def test_without_a_name_the_same_race_has_the_same_name(tmp_path: Path) -> None:
    names = []
    for settings in (RATES, RATES, {"learning_rate": [1e-3, 2e-3]}):
        started = next(run_race(tiny(tmp_path, name=None), settings, rules()))
        assert isinstance(started, RaceStarted)
        names.append(started.name)
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("race-")


def test_a_name_belongs_to_one_race(whole: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="other settings"):
        race(whole[0], RATES, seeds=(0, 1), steps=2)
    with pytest.raises(RunError, match="is a run"):
        next(run_race(tiny(whole[0], name="race-1-seed0"), RATES, rules()))
    (tmp_path / "other-2").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    for name in ("other", "notes"):
        with pytest.raises(RunError, match="exists already"):
            next(run_race(tiny(tmp_path, name=name), RATES, rules()))


def test_a_candidate_that_is_worse_is_stopped_early_and_keeps_its_run(tmp_path: Path) -> None:
    settings = {"learning_rate": [1e-9, 3e-3, 2e-3]}
    records = race(tmp_path, settings, steps=8, comparisons=8, stop_after=2, margin=0.0)
    (stopped,) = [record for record in records if isinstance(record, CandidateStopped) and record.candidate == 1]
    assert "its loss is at least" in stopped.reason
    summary = summarize(tmp_path / "race-1")
    assert summary.status is Status.STOPPED
    assert summary.step < 8
    result = result_of_race(records)
    assert result.winner == 2
    assert "--learning-rate 0.003" in result.command
    assert result.candidates[0].verdict == stopped.reason


def test_a_time_budget_counts_the_training_time_of_each_run(tmp_path: Path) -> None:
    records = list(
        run_race(tiny(tmp_path, epochs=1_000), RATES, RaceRules(seconds=0.2, comparisons=2, images=8, samples=0))
    )
    by_time = [record for record in comparisons(records) if record.mark.clock == "seconds"]
    assert [record.mark.value for record in by_time] == [0.1, 0.2]
    assert all(0.2 <= standing.seconds < 10.0 for standing in by_time[-1].standings)
    by_step = [record for record in comparisons(records) if record.mark.clock == "steps"]
    assert all(standing.step == record.mark.value for record in by_step for standing in record.standings)
    assert [mark.value for mark in step_marks()[:5]] == [64, 96, 128, 192, 256]


def test_a_run_that_ends_before_the_time_is_compared_with_its_last_weights(tmp_path: Path) -> None:
    records = list(run_race(tiny(tmp_path, epochs=1), RATES, rules(steps=None, seconds=30.0)))
    assert [candidate.step for candidate in result_of_race(records).candidates] == [8, 8]
    assert run_status(tmp_path / "race-1") is Status.FINISHED


def test_networks_of_different_sizes_and_predictions_can_be_raced(tmp_path: Path) -> None:
    settings = {"channels": [(4, 4), (8, 8)], "prediction": ["clean", "velocity"]}
    result = result_of_race(race(tmp_path, settings, steps=1, comparisons=1, images=1_000))
    assert result.images == 64, "there are no more"
    assert all(candidate.loss is not None and math.isfinite(candidate.loss) for candidate in result.candidates)
    assert len({candidate.loss for candidate in result.candidates}) == 4


def test_a_run_that_someone_stops_is_out_of_the_race(tmp_path: Path) -> None:
    records = []
    for record in run_race(tiny(tmp_path), {"learning_rate": [1e-3, 2e-3, 3e-3]}, rules(steps=4, comparisons=4)):
        records.append(record)
        if isinstance(record, RaceComparison) and record.mark.value == 1:
            request(tmp_path / "race-2", "stop")
    (stopped,) = [record for record in records if isinstance(record, CandidateStopped)]
    assert stopped.candidate == 2
    assert [len(record.standings) for record in comparisons(records)] == [3, 2, 2, 2]


def test_a_budget_beyond_the_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only 16"):
        race(tmp_path, RATES, steps=17)
    assert list(tmp_path.iterdir()) == []


def test_the_result_and_the_plot_are_written(whole: tuple[Path, Any]) -> None:
    folder = whole[0] / "race"
    result = json.loads((folder / "result.json").read_text())
    assert result["record"] == "race_result"
    assert [candidate["runs"][1] for candidate in result["candidates"]] == ["race-1-seed1", "race-2-seed1"]
    plot = ElementTree.parse(folder / "race.svg").getroot()
    assert len(plot.findall("{http://www.w3.org/2000/svg}polyline")) == 2
