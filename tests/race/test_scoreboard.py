"""Comparisons of candidates, and the rule that stops one, on synthetic losses."""

from __future__ import annotations

import json
import math

import pytest
import torch

from core.errors import ConfigError
from core.race.folder import Measurement
from core.race.records import CandidateStopped, Mark, RaceComparison, RaceRecord, RaceRules
from core.race.scoreboard import Scoreboard

RULES = RaceRules(steps=60, comparisons=6, margin=0.02, stop_after=2)


def measured(candidate: int, checkpoint: int, loss: float, seed: int = 0) -> Measurement:
    """Losses of 50 images around `loss`, equal for all candidates but for their mean."""
    images = torch.linspace(-0.1, 0.1, 50, dtype=torch.float64)
    noise = 0.001 * torch.randn(50, generator=torch.Generator().manual_seed(candidate), dtype=torch.float64)
    losses = loss + images + noise - noise.mean()
    mark = RULES.marks[checkpoint - 1]
    return Measurement(f"race-{candidate}", candidate, seed, mark, int(mark.value), 1.0, losses)


def race(curves: dict[int, list[float]], rules: RaceRules = RULES) -> tuple[Scoreboard, list[RaceRecord]]:
    """A race whose candidates have the given losses in the comparisons; one that is stopped is measured no more."""
    board, records = Scoreboard(len(curves), (0,), rules), []
    for checkpoint in range(1, 1 + max(map(len, curves.values()))):
        for candidate, losses in curves.items():
            if candidate in board.active:
                records += board.add(measured(candidate, checkpoint, losses[checkpoint - 1]))
    return board, records


def stops(records: list[RaceRecord]) -> list[CandidateStopped]:
    return [record for record in records if isinstance(record, CandidateStopped)]


def test_comparisons_are_at_equal_fractions_of_the_budget() -> None:
    assert [mark.value for mark in RULES.marks] == [10, 20, 30, 40, 50, 60]
    assert [mark.value for mark in RaceRules(seconds=6, comparisons=3).marks] == [2, 4, 6]
    assert [mark.value for mark in RaceRules(steps=2, comparisons=12).marks] == [1, 2]


def test_candidates_are_compared_once_all_have_reached_a_mark() -> None:
    board = Scoreboard(2, (0, 1), RULES)
    for seed, candidate in ((0, 1), (1, 1), (0, 2)):
        assert board.add(measured(candidate, 1, 0.6 - 0.1 * candidate, seed)) == []
    (comparison,) = board.add(measured(2, 1, 0.4, seed=1))
    assert isinstance(comparison, RaceComparison)
    assert comparison.best == 2
    first, second = comparison.standings
    assert first.loss == pytest.approx(0.5)
    assert first.difference.mean == pytest.approx(0.1)
    assert 0.09 < first.difference.low < 0.1 < first.difference.high < 0.11
    assert (second.difference.low, second.difference.high) == (0, 0)


def test_a_candidate_that_is_worse_in_enough_consecutive_comparisons_is_stopped() -> None:
    board, records = race({1: [0.5] * 6, 2: [0.6] * 6, 3: [0.5] * 6})
    (stopped,) = stops(records)
    assert stopped.candidate == 2
    assert "step 30" in stopped.reason  # the comparison in the first quarter of the budget does not count
    assert board.active == (1, 3)
    assert [len(record.standings) for record in records if isinstance(record, RaceComparison)] == [3, 3, 3, 2, 2, 2]


def test_a_difference_below_the_margin_stops_no_candidate() -> None:
    _, records = race({1: [0.5] * 6, 2: [0.508] * 6})  # 1.6% above
    assert stops(records) == []


def test_a_candidate_that_catches_up_is_not_stopped() -> None:
    _, records = race({1: [0.5] * 6, 2: [0.6, 0.5, 0.6, 0.5, 0.6, 0.5]})
    assert stops(records) == []


def test_no_candidate_is_stopped_with_zero_or_at_the_end() -> None:
    _, records = race({1: [0.5] * 6, 2: [0.6] * 6}, RaceRules(steps=60, comparisons=6, stop_after=0))
    assert stops(records) == []
    _, records = race({1: [0.5] * 6, 2: [0.5] * 4 + [0.6] * 2})
    assert stops(records) == []


def test_a_loss_that_is_not_finite_ends_a_candidate() -> None:
    board, records = race({1: [0.5] * 6, 2: [math.nan] * 6})
    (stopped,) = stops(records)
    assert stopped.candidate == 2
    assert board.last is not None
    assert board.last.best == 1


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_in_the_last_comparison_is_no_draw(loss: float) -> None:
    board, records = race({1: [0.5] * 6, 2: [*[0.5] * 5, loss]})
    assert "not finite at step 60" in stops(records)[0].reason
    assert board.active == (1,)


def test_an_earlier_comparison_that_a_candidate_held_up_does_not_replace_the_last_one() -> None:
    board = Scoreboard(3, (0,), RULES)
    for candidate, comparisons in ((1, (4, 5)), (2, (4, 5)), (3, (5,))):  # 3 was resumed beyond the fourth
        for comparison in comparisons:
            board.add(measured(candidate, comparison, 0.5))
    board.withdraw(3, "it was stopped on request")
    assert board.last is not None
    assert board.last.mark == RULES.marks[4]


def test_a_withdrawn_candidate_no_longer_holds_up_the_others() -> None:
    board = Scoreboard(3, (0,), RULES)
    board.add(measured(1, 1, 0.5))
    board.add(measured(2, 1, 0.6))
    stopped, comparison = board.withdraw(3, "its training diverged")
    assert isinstance(stopped, CandidateStopped)
    assert isinstance(comparison, RaceComparison)
    assert [standing.candidate for standing in comparison.standings] == [1, 2]


def test_one_of_two_equal_candidates_is_stopped_no_more_often_than_the_bound() -> None:
    """Markov's bound of docs/reference.md, for either of the two; the differences of an image stay or change."""
    rules = RaceRules(steps=60, comparisons=6, margin=0, stop_after=2, confidence=0.8)
    generator, races = torch.Generator().manual_seed(0), 100
    for persistent in (True, False):
        stopped = 0
        for _ in range(races):
            board, noise = Scoreboard(2, (0,), rules), torch.randn((6, 2, 50), generator=generator)
            for mark, losses in zip(rules.marks, noise[:1].expand_as(noise) if persistent else noise, strict=True):
                for candidate in board.active:
                    values = 1 + losses[candidate - 1].double()
                    board.add(Measurement("", candidate, 0, mark, int(mark.value), 1.0, values))
            stopped += len(board.stopped)
        counted = 4  # comparisons: neither the one in the first quarter of the budget nor the last
        assert 0 < stopped <= races * 2 * 0.1 * counted / rules.stop_after


def test_a_repeated_measurement_changes_nothing() -> None:
    board, records = race({1: [0.5] * 3, 2: [0.6] * 3})
    assert records
    assert board.add(measured(1, 1, 0.9)) == []
    assert board.curves(1)[0].loss == pytest.approx(0.5)


def test_comparisons_at_equal_steps_of_a_time_budget_stop_no_candidate() -> None:
    board = Scoreboard(2, (0,), RaceRules(seconds=60, stop_after=1))
    losses = torch.full((50,), 0.5, dtype=torch.float64)
    mark = Mark("steps", 64)
    board.add(Measurement("race-1", 1, 0, mark, 64, 1.0, losses))
    (comparison,) = board.add(Measurement("race-2", 2, 0, mark, 64, 1.0, losses + 1))
    assert isinstance(comparison, RaceComparison)
    assert board.active == (1, 2)
    assert board.last is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seconds": 1, "steps": 1},
        {"steps": 0},
        {"steps": 2.5},
        {"steps": 5, "confidence": "high"},
        {"seconds": 5, "confidence": 1.0},
        {"steps": 5, "samples": 1},
    ],
    ids=str,
)
def test_rules_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RaceRules(**options)  # type: ignore[arg-type]


def test_numbers_of_a_record_that_are_not_finite_are_null_in_json() -> None:
    _, records = race({1: [0.5] * 6, 2: [math.nan] * 6})
    comparison = next(record for record in records if isinstance(record, RaceComparison))
    text = json.dumps(comparison.as_json(), allow_nan=False)
    assert json.loads(text)["standings"][1]["loss"] is None
