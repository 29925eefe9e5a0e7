"""What the plots of a race show: relative differences to the winner."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from core.race.records import Interval, RaceResult

LIMIT = 0.5  # of the relative differences shown
LEAST = 0.005  # of the range shown, to each side of 0
SETTLED = 0.25  # part of the curves, at the beginning, that the range need not contain: differences are large there

Curve = Sequence[tuple[float, Interval]]  # steps or seconds, and the difference over the winner's loss, ascending


def relative_curves(result: RaceResult) -> dict[int, Curve]:
    """The curve of each candidate in the comparisons on the clock of the budget; finite points only."""
    clock = result.rules.clock
    points = sorted((point for point in result.curves if point.mark.clock == clock), key=lambda point: point.mark)
    losses = {point.mark: point.loss for point in points if point.candidate == result.winner}
    return {
        candidate.candidate: [
            (point.mark.value, point.difference.scaled(1 / losses[point.mark]))
            for point in points
            if point.candidate == candidate.candidate
            and losses.get(point.mark, 0) > 0
            and all(map(math.isfinite, (point.difference.mean, point.difference.low, point.difference.high)))
        ]
        for candidate in result.candidates
    }


def shown_range(curves: Mapping[int, Curve]) -> tuple[float, float]:
    """The range of relative differences that a plot shows; 0 lies inside, and what is outside is cut off."""
    end = max((x for curve in curves.values() for x, _ in curve), default=0.0)
    values = [
        value
        for curve in curves.values()
        for x, interval in curve
        if x >= SETTLED * end
        for value in (interval.low, interval.high)
    ]
    return max(-LIMIT, min([*values, -LEAST])), min(LIMIT, max([*values, LEAST]))
