"""Compares the candidates after equal parts of the budget, and decides which one is stopped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from core.race.folder import Measurement
from core.race.intervals import paired_interval
from core.race.records import (
    CandidateStopped,
    CurvePoint,
    Mark,
    RaceComparison,
    RaceRecord,
    RaceRules,
    Standing,
)

GRACE = 0.25  # of the budget, in which no comparison counts: differences at the start, as in the warmup, pass


class Scoreboard:
    """A pure function of the measurements added so far, so that an interrupted race continues from its log.

    The rule: a candidate is stopped if in `stop_after` consecutive comparisons, not counting the first quarter of the
    budget, its whole interval for the difference to the best candidate lies above `margin` times the best loss. This is
    a race of models with blocking (Maron and Moore 1994; Moore and Lee 1994): comparisons are paired, and a candidate
    is dropped when its interval excludes that it is as good. The alternative, successive halving (Jamieson and
    Talwalkar 2016), drops a fixed share at fixed times, however small the differences are. The intervals are not
    adjusted for the number of comparisons; docs/reference.md bounds the probability of a wrong stop.

    Args:
        candidates: Their number.
        seeds: Seeds of each candidate.
        rules: The rules of the race.
    """

    def __init__(self, candidates: int, seeds: Sequence[int], rules: RaceRules) -> None:
        self._all, self._seeds, self.rules = tuple(range(1, candidates + 1)), tuple(seeds), rules
        self._measured: dict[Mark, dict[tuple[int, int], Measurement]] = {}
        self._compared: set[Mark] = set()
        self._worse: Counter[int] = Counter()  # consecutive comparisons in which a candidate was worse
        self.stopped: dict[int, str] = {}  # reasons, by candidate
        self.last: RaceComparison | None = None  # on the clock of the budget
        self._points: dict[tuple[int, int, Mark], CurvePoint] = {}  # computed before, by candidates and mark

    @property
    def active(self) -> tuple[int, ...]:
        """The candidates that are still in the race."""
        return tuple(candidate for candidate in self._all if candidate not in self.stopped)

    @property
    def images(self) -> int:
        """Validation images of each comparison; 0 before the first measurement."""
        return next((len(run.losses) for at in self._measured.values() for run in at.values()), 0)

    def marks(self, candidate: int, seed: int) -> set[Mark]:
        """When a run has been measured."""
        return {mark for mark, at in self._measured.items() if (candidate, seed) in at}

    def add(self, measurement: Measurement) -> list[RaceRecord]:
        """Add a measurement; returns what follows from it. A repeated one, of a run that went back, is ignored."""
        at = self._measured.setdefault(measurement.mark, {})
        at.setdefault((measurement.candidate, measurement.seed), measurement)
        return self._compare()

    def withdraw(self, candidate: int, reason: str) -> list[RaceRecord]:
        """Take a candidate out of the race; returns what follows."""
        self.stopped[candidate] = reason
        return [CandidateStopped(candidate=candidate, reason=reason), *self._compare()]

    def curves(self, winner: int) -> tuple[CurvePoint, ...]:
        """The differences to the winner at every mark, of all candidates that were measured there."""
        points = []
        for mark in sorted(self._measured):
            for candidate in self._all:
                key = candidate, winner, mark
                if key not in self._points and (point := self._point(*key)) is not None:
                    self._points[key] = point
                if key in self._points:
                    points.append(self._points[key])
        return tuple(points)

    def _point(self, candidate: int, winner: int, mark: Mark) -> CurvePoint | None:
        losses, of_winner = self._losses(candidate, mark), self._losses(winner, mark)
        if losses is None or of_winner is None:
            return None
        difference = paired_interval(losses - of_winner, self.rules.confidence)
        return CurvePoint(candidate=candidate, mark=mark, loss=float(losses.mean()), difference=difference)

    def _losses(self, candidate: int, mark: Mark) -> Tensor | None:
        """The losses of a candidate at a mark, (S, n) float64; None unless all its seeds were measured."""
        at = self._measured.get(mark, {})
        if not all((candidate, seed) in at for seed in self._seeds):
            return None
        return torch.stack([at[candidate, seed].losses for seed in self._seeds])

    def _compare(self) -> list[RaceRecord]:
        """Compare at all marks that the active candidates have passed, and stop those that are worse."""
        records: list[RaceRecord] = []
        for mark in sorted(self._measured.keys() - self._compared):
            losses = {candidate: self._losses(candidate, mark) for candidate in self.active}
            measured = {candidate: values for candidate, values in losses.items() if values is not None}
            if len(measured) < len(losses) or len(measured) < 2:
                continue
            self._compared.add(mark)
            comparison = self._comparison(mark, measured)
            records.append(comparison)
            if mark.clock == self.rules.clock and (self.last is None or self.last.mark < mark):
                self.last = comparison
                records += self._stop_worse(comparison)
        return records

    def _comparison(self, mark: Mark, losses: dict[int, Tensor]) -> RaceComparison:
        means = {candidate: float(values.mean()) for candidate, values in losses.items()}
        best = min(means, key=lambda candidate: (math.isnan(means[candidate]), means[candidate]))  # NaN last
        standings = []
        for candidate, values in losses.items():
            runs = [self._measured[mark][candidate, seed] for seed in self._seeds]
            standings.append(
                Standing(
                    candidate=candidate,
                    loss=means[candidate],
                    difference=paired_interval(values - losses[best], self.rules.confidence),
                    step=sum(run.step for run in runs) / len(runs),
                    seconds=sum(run.seconds for run in runs) / len(runs),
                )
            )
        return RaceComparison(mark=mark, best=best, standings=tuple(standings))

    def _stop_worse(self, comparison: RaceComparison) -> list[RaceRecord]:
        records: list[RaceRecord] = []
        best = next(standing for standing in comparison.standings if standing.candidate == comparison.best)
        end = self.rules.marks[-1].value
        is_early, is_last = comparison.mark.value <= GRACE * end, comparison.mark.value >= end
        for standing in comparison.standings:
            candidate = standing.candidate
            is_worse = not is_early and standing.difference.low > self.rules.margin * best.loss
            self._worse[candidate] = self._worse[candidate] + 1 if is_worse else 0
            if not math.isfinite(standing.loss):
                reason = f"its validation loss is not finite at {comparison.mark}"
            elif not is_last and 0 < self.rules.stop_after <= self._worse[candidate]:
                more = standing.difference.low / best.loss
                reason = f"stopped at {comparison.mark}: its loss is at least {more:.1%} above the best"
            else:
                continue
            self.stopped[candidate] = reason
            records.append(CandidateStopped(candidate=candidate, reason=reason))
        return records
