"""Results of `time_to_quality.py`, as Markdown tables and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any


@dataclass
class Point:
    """Result of one training run at one budget."""

    recipe: str
    seed: int
    budget: float
    seconds: float  # measured training time
    images: int  # trained on until then
    startup: dict[str, float]  # seconds of imports, data and first step
    parameters: int
    network: str
    sampler: str
    sampling: float  # seconds for all samples
    nfe: int | None  # network function evaluations per sample, if the same for all
    evaluation: dict[str, Any]  # core.evaluation.scores.Evaluation of all samples
    common_evaluation: dict[str, Any]  # that of the first `Results.common_n` samples

    def frechet(self, n: int, classifier: str = "conv", of: str = "samples") -> float:
        """Frechet distance of the first n samples, which are all or the common number."""
        evaluation = self.common_evaluation if n == self.common_evaluation["n"] else self.evaluation
        distance: float = evaluation[of][classifier]["frechet"]
        return distance


@dataclass
class Results:
    """All results, with what a reader needs to reproduce them."""

    n: int  # samples of our recipes
    common_n: int  # samples that all recipes have, at most n
    factor: float  # target distance relative to the real-vs-real baseline
    settings: dict[str, Any]  # of the command line
    machine: dict[str, Any]
    dataset: dict[str, Any]
    classifiers: dict[str, str]  # SHA-256 of the weights file of each feature classifier
    points: list[Point] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # recipe -> error message

    def groups(self) -> list[list[Point]]:
        """Points by recipe, budget and NFE: one per seed."""
        groups: dict[tuple[str, float, int | None], list[Point]] = {}
        for point in self.points:
            groups.setdefault((point.recipe, point.budget, point.nfe), []).append(point)
        return sorted(groups.values(), key=lambda points: self.recipes().index(points[0].recipe))

    def default_groups(self) -> list[list[Point]]:
        """Those of `groups` with the recipe's default sampling, which is the first of each run."""
        defaults = {(point.recipe, point.budget): point.nfe for point in reversed(self.points)}
        return [points for points in self.groups() if points[0].nfe == defaults[points[0].recipe, points[0].budget]]

    def recipes(self) -> list[str]:
        """Recipes with results, in order."""
        return list(dict.fromkeys(point.recipe for point in self.points))

    def target(self) -> float:
        """Target distance of `common_n` samples."""
        return self.factor * self.points[0].frechet(self.common_n, of="baseline")

    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """Median seconds and Frechet distance at each budget, by trained recipe, with default sampling."""
        curves: dict[str, list[tuple[float, float]]] = {}
        for points in self.default_groups():
            if points[0].images:
                distance = median(point.frechet(self.common_n) for point in points)
                curves.setdefault(points[0].recipe, []).append((median(point.seconds for point in points), distance))
        return {recipe: sorted(curve) for recipe, curve in curves.items()}

    def to_json(self) -> str:
        """All results as JSON."""
        targets = {recipe: time_to_target(self.target(), curve) for recipe, curve in self.curves().items()}
        return json.dumps(asdict(self) | {"time_to_target": targets}, indent=1)


def seconds_to_reach(target: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """Seconds at which a curve first reaches a distance, interpolated linearly in the logarithms of both.

    Args:
        target: Distance, above 0.
        curve: Seconds, above 0, and distance, by increasing seconds.

    Returns:
        None if no distance is at most `target`; the first time if the first distance is, which is then an upper bound.
    """
    if curve[0][1] <= target:
        return curve[0][0]
    for (before, high), (after, low) in pairwise(curve):
        if low <= target:
            fraction = math.log(high / target) / math.log(high / max(low, 1e-9))  # a distance can be 0
            return before * math.exp(fraction * math.log(after / before))
    return None


def time_to_target(target: float, curve: Sequence[tuple[float, float]]) -> str:
    """`seconds_to_reach` in words."""
    seconds = seconds_to_reach(target, curve)
    if seconds is None:
        return f"not within {curve[-1][0]:.0f} s"
    return f"< {seconds:.0f} s" if seconds == curve[0][0] else f"{seconds:.0f} s"


def report(results: Results) -> str:
    """All tables, the baselines, the networks and the digests of the classifiers, as Markdown."""
    parts = [quality_table(results)]
    if results.points:
        parts += [_baselines(results), target_table(results), _networks(results)]
    digests = [f"- {shape}: SHA-256 {digest}" for shape, digest in results.classifiers.items()]
    parts.append("\n".join(["Feature classifiers:", "", *digests]))
    return "\n\n".join(parts)


def quality_table(results: Results) -> str:
    """One row per recipe, budget and NFE: medians over the seeds, and the range of the main distance.

    Precision and all that follows are computed from all samples of a recipe; KID does not depend on their number.
    """
    sizes = sorted({results.n, results.common_n}, reverse=True)
    head = [
        *("recipe", "parameters", "budget", "measured", "startup: imports + data + first step", "images", "NFE"),
        *(name for n in sizes for name in (f"Frechet, n = {n:,}", "range", "times the baseline")),
        *(f"Frechet (mlp), n = {results.common_n:,}", "KID x 1000"),
        *("precision", "recall", "class agreement", "sampling 1,000"),
    ]
    rows = []
    for points in results.groups():
        first, trained = points[0], points[0].images > 0
        count: int = first.evaluation["n"]
        startup = " + ".join(f"{median(point.startup.get(key, 0) for point in points):.1f}" for key in first.startup)
        scores = [point.evaluation["samples"]["conv"] for point in points]
        agreement = scores[0]["agreement"]
        rows.append(
            [
                first.recipe,
                f"{first.parameters:,}",
                f"{first.budget:g} s" if trained else "",
                f"{median(point.seconds for point in points):.1f} s" if trained else "",
                f"{startup} s" if trained else "",
                f"{median(point.images for point in points):,.0f}" if trained else "",
                "" if first.nfe is None else str(first.nfe),
                *(cell for n in sizes for cell in (_distances(points, n) if n <= count else [""] * 3)),
                _short(median(point.frechet(results.common_n, "mlp") for point in points)),
                _short(median(1000 * score["kernel"] for score in scores)),
                f"{median(score['precision'] for score in scores):.3f}",
                f"{median(score['recall'] for score in scores):.3f}",
                "" if agreement is None else f"{median(score['agreement'] for score in scores):.1%}",
                f"{median(point.sampling for point in points) / count * 1000:.1f} s",
            ]
        )
    for recipe, error in results.failures.items():
        rows.append([recipe, f"failed: {error.replace('|', '/')}", *[""] * (len(head) - 2)])
    return _markdown(head, rows)


def target_table(results: Results) -> str:
    """One row per trained recipe: the seconds until its median distance is at the target."""
    target = results.target()
    rows = [[recipe, time_to_target(target, curve)] for recipe, curve in results.curves().items()]
    rows += [[recipe, "failed"] for recipe in results.failures if recipe not in results.curves()]
    head = ["recipe", f"time to {results.factor:g} times the baseline ({_short(target)}, n = {results.common_n:,})"]
    return _markdown(head, rows)


def _baselines(results: Results) -> str:
    """The real-vs-real baseline for each number of samples and classifier."""
    largest = max(results.points, key=lambda point: int(point.evaluation["n"]))
    common_n = results.common_n
    sizes = sorted({int(largest.evaluation["n"]), common_n}, reverse=True)
    parts = [f"{_short(largest.frechet(n, of='baseline'))} for n = {n:,}" for n in sizes]
    parts.append(f"{_short(largest.frechet(common_n, 'mlp', 'baseline'))} by mlp, n = {common_n:,}")
    return f"The real-vs-real baseline: {', '.join(parts)}."


def _networks(results: Results) -> str:
    first = {point.recipe: point for point in reversed(results.points)}
    return "\n".join(f"- {name}: {first[name].network}; sampler: {first[name].sampler}" for name in results.recipes())


def _markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _distances(points: list[Point], n: int) -> list[str]:
    """Three cells: median distance of n samples over the seeds, its range, and its ratio to the baseline."""
    distances = [point.frechet(n) for point in points]
    spread = f"{_short(min(distances))} to {_short(max(distances))}" if len(distances) > 1 else ""
    return [_short(median(distances)), spread, _short(median(distances) / points[0].frechet(n, of="baseline"))]


def _short(value: float) -> str:
    return f"{value:.3g}"
