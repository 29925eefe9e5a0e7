"""The result of a race, at its end and while it trains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.race.candidates import Candidate
from core.race.folder import RaceFolder
from core.race.intervals import paired_interval
from core.race.plot import race_plot
from core.race.records import BEST, NOT_SIGNIFICANT, WORSE, CandidateResult, Interval, RaceResult, Standing
from core.race.scoreboard import Scoreboard


@dataclass(frozen=True, slots=True)
class RaceReport:
    """What the result is made from."""

    folder: RaceFolder
    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...]
    names: dict[tuple[int, int], str]  # of the runs, by candidate and seed
    board: Scoreboard
    distances: dict[str, float]  # Frechet distances, by run

    def write(self, *, complete: bool) -> RaceResult:
        """Write the result and the plot into the folder; returns the result.

        Raises:
            RunError: They cannot be written.
        """
        last = self.board.last
        standings = {standing.candidate: standing for standing in last.standings} if last is not None else {}
        winner = self._winner(standings)
        curves = self.board.curves(winner)
        differences = {point.candidate: point.difference for point in curves if last and point.mark == last.mark}
        result = RaceResult(
            name=self.folder.name,
            complete=complete,
            winner=winner,
            decided_at=last.mark if last is not None else None,
            candidates=tuple(
                self._candidate(candidate, winner, standings.get(candidate.number), differences.get(candidate.number))
                for candidate in self.candidates
            ),
            command=self.candidates[winner - 1].command(self.seeds[0]),
            seeds=self.seeds,
            images=self.board.images,
            rules=self.board.rules,
            curves=curves,
        )
        self.folder.write_result(result, race_plot(result))
        return result

    def _winner(self, standings: dict[int, Standing]) -> int:
        """The candidate with the lowest loss among those that are still in the race."""
        active = self.board.active
        finite = [number for number in active if number in standings and math.isfinite(standings[number].loss)]
        return min(finite, key=lambda number: standings[number].loss) if finite else active[0]

    def _candidate(
        self, candidate: Candidate, winner: int, standing: Standing | None, difference: Interval | None
    ) -> CandidateResult:
        number = candidate.number
        stopped = self.board.stopped.get(number)
        if stopped is not None:
            standing = difference = None
        own, others = self._distances(number), self._distances(winner)
        paired = [a - b for a, b in zip(own, others, strict=True)] if own and others else []
        return CandidateResult(
            candidate=number,
            label=candidate.label,
            runs=tuple(self.names[number, seed] for seed in self.seeds),
            verdict=stopped or _verdict(number, winner, difference),
            loss=standing.loss if standing else None,
            difference=difference,
            step=standing.step if standing else None,
            seconds=standing.seconds if standing else None,
            frechet=statistics.fmean(own) if own else None,
            frechet_difference=_over_seeds(paired, self.board.rules.confidence) if len(paired) > 1 else None,
        )

    def _distances(self, number: int) -> Sequence[float]:
        """The Frechet distances of a candidate by seed; empty unless all are known."""
        known = [self.distances.get(self.names[number, seed]) for seed in self.seeds]
        return [distance for distance in known if distance is not None] if None not in known else []


def _over_seeds(differences: list[float], confidence: float) -> Interval:
    return paired_interval(torch.tensor([differences], dtype=torch.float64, device="cpu"), confidence)


def _verdict(candidate: int, winner: int, difference: Interval | None) -> str:
    if candidate == winner:
        return BEST
    if difference is None:
        return "not compared"
    return WORSE if difference.low > 0 else NOT_SIGNIFICANT
