"""Results of `time_to_quality.py` as a Markdown table and a plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SIZE, FINE = (960, 600), 2  # pixels of the plot, and its supersampling factor
MARGIN = (90, 50, 200, 70)  # left, top, right, bottom
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito: colour-blind safe
INK, GREY, FAINT, PAPER = "#222222", "#888888", "#e4e4e4", "#ffffff"
TICKS = (1, 2, 5)  # times powers of ten


@dataclass
class Point:
    """Result of one training at one budget."""

    recipe: str
    seed: int
    budget: float
    seconds: float  # when the weights were taken
    images: int  # trained on until then
    start: dict[str, float]  # seconds of imports, data and first step
    parameters: int
    shape: str  # of the net, in words
    sampler: str  # in words
    sampling: float  # seconds for all samples
    evaluations: int | None  # of the net for each sample, if that is the same for all
    evaluation: dict[str, Any]  # core.evaluation.scores.Evaluation
    few: dict[str, Any]  # the same of its first samples, as many as every recipe has

    @property
    def asked(self) -> str:
        """Network evaluations per sample, as text."""
        return "as it takes" if self.evaluations is None else f"{self.evaluations} evaluations"

    def frechet(self, n: int, classifier: str = "conv", of: str = "samples") -> float:
        """Frechet distance of all or few samples, by one classifier."""
        evaluation = self.few if n == self.few["n"] else self.evaluation
        distance: float = evaluation[of][classifier]["frechet"]
        return distance


@dataclass
class Race:
    """All results."""

    n: int  # samples of ours
    few: int  # samples that every recipe has, at most n
    points: list[Point] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # recipe -> why it has no figures

    def groups(self) -> list[list[Point]]:
        """Points by recipe, budget and number of evaluations, in start order."""
        found: dict[tuple[str, float, int | None], list[Point]] = {}
        for point in self.points:
            found.setdefault((point.recipe, point.budget, point.evaluations), []).append(point)
        return sorted(found.values(), key=lambda points: list(self.recipes()).index(points[0].recipe))

    def recipes(self) -> dict[str, None]:
        """Recipes with results, in order."""
        return dict.fromkeys(point.recipe for point in self.points)


def table(race: Race) -> str:
    """One row per recipe and budget: medians over the seeds, and the range of the main distance.

    Precision and what follows are of all the samples that a recipe drew; KID does not hang on how many those are.
    """
    sizes = sorted({race.n, race.few}, reverse=True)
    head = [
        *("recipe", "parameters", "budget", "taken at", "start: imports + data + first step", "images seen"),
        "evaluations a sample",
        *(name for n in sizes for name in (f"Frechet distance, n = {n:,}", "least to greatest", "times the baseline")),
        *(f"by the second classifier, n = {race.few:,}", "KID x 1000"),
        *("precision", "recall", "class as asked", "sampling 1,000"),
    ]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for points in race.groups():
        trained = points[0].images > 0
        drawn: int = points[0].evaluation["n"]
        start = " + ".join(f"{_median(point.start.get(key, 0) for point in points):.1f}" for key in points[0].start)
        scores = [point.evaluation["samples"]["conv"] for point in points]
        agreement = scores[0]["agreement"]
        rows.append(
            [
                points[0].recipe,
                f"{points[0].parameters:,}",
                f"{points[0].budget:g} s" if trained else "",
                f"{_median(point.seconds for point in points):.1f} s" if trained else "",
                f"{start} s" if trained else "",
                f"{_median(point.images for point in points):,.0f}" if trained else "",
                "" if points[0].evaluations is None else str(points[0].evaluations),
                *(cell for n in sizes for cell in (_distances(points, n) if n <= drawn else [""] * 3)),
                _short(_median(point.frechet(race.few, "mlp") for point in points)),
                _short(_median(1000 * score["kernel"] for score in scores)),
                f"{_median(score['precision'] for score in scores):.3f}",
                f"{_median(score['recall'] for score in scores):.3f}",
                "" if agreement is None else f"{_median(score['agreement'] for score in scores):.1%}",
                f"{_median(point.sampling for point in points) / drawn * 1000:.1f} s",
            ]
        )
    for recipe, reason in race.failures.items():
        rows.append([recipe, f"no figures: {reason.replace('|', '/')}", *[""] * (len(head) - 2)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if race.points:
        most = max(race.points, key=lambda point: int(point.evaluation["n"]))
        floors = [f"{_short(most.frechet(n, of='baseline'))} for n = {n:,}" for n in sizes if n <= most.evaluation["n"]]
        floors.append(f"{_short(most.frechet(race.few, 'mlp', 'baseline'))} by the second classifier, n = {race.few:,}")
        lines += ["", f"The real-vs-real baseline: {', '.join(floors)}."]
        for recipe in race.recipes():
            one = next(point for point in race.points if point.recipe == recipe)
            lines.append(f"- {recipe}: {one.shape}; samples by {one.sampler}")
    return "\n".join(lines)


def plot(race: Race, path: Path) -> None:
    """Plot the median distance over time, log-log, with a bar over the seeds; one curve per recipe.

    What was not trained here, real images included, is a level line. Samples in fewer steps are left to the table.
    """
    most = {(point.recipe, point.budget): point.evaluations for point in reversed(race.points)}
    groups = [points for points in race.groups() if points[0].evaluations == most[points[0].recipe, points[0].budget]]
    curves: dict[str, list[tuple[float, float, float, float]]] = {}
    for points in groups:
        if points[0].images:
            distances = [point.frechet(race.few) for point in points]
            at = (_median(point.seconds for point in points), _median(distances), min(distances), max(distances))
            curves.setdefault(points[0].recipe, []).append(at)
    lines = {points[0].recipe: points[0].frechet(race.few) for points in groups if not points[0].images}
    lines["real images"] = race.points[0].frechet(race.few, of="baseline")
    levels = [*lines.values(), *(value for curve in curves.values() for point in curve for value in point[1:])]
    times = [point[0] for curve in curves.values() for point in curve]
    picture = Image.new("RGB", (SIZE[0] * FINE, SIZE[1] * FINE), PAPER)
    axes = Axes(ImageDraw.Draw(picture), (min(times) / 1.3, max(times) * 1.3), (min(levels) / 1.3, max(levels) * 1.5))
    axes.grid("seconds since the process was started", f"Frechet distance of {race.few:,} samples, lower is better")
    for name, level in lines.items():
        axes.line([(axes.x[0], level), (axes.x[1], level)], GREY, 2)
        axes.text((axes.x[0], level), f" {name}", INK, "lb")
    for curve, color in zip(curves.values(), COLORS, strict=False):
        axes.line([(time, middle) for time, middle, _, _ in curve], color, 3)
        for time, middle, least, most in curve:
            axes.line([(time, least), (time, most)], color, 2)
            axes.dot((time, middle), color)
    axes.names([(curve[-1][1], recipe, color) for (recipe, curve), color in zip(curves.items(), COLORS, strict=False)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize(SIZE, Image.Resampling.LANCZOS).save(path, optimize=True)


class Axes:
    """A log-log plot."""

    def __init__(self, pen: ImageDraw.ImageDraw, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y
        self._pen = pen
        self._font = ImageFont.load_default(15 * FINE)

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Position of a point, in supersampled pixels."""
        left, top, right, bottom = MARGIN
        across = math.log(point[0] / self.x[0]) / math.log(self.x[1] / self.x[0])
        up = math.log(point[1] / self.y[0]) / math.log(self.y[1] / self.y[0])
        return (
            (left + across * (SIZE[0] - left - right)) * FINE,
            (SIZE[1] - bottom - up * (SIZE[1] - top - bottom)) * FINE,
        )

    def line(self, points: list[tuple[float, float]], color: str, width: int) -> None:
        """Draw a line through points."""
        self._pen.line([self.place(point) for point in points], color, width * FINE, joint="curve")

    def dot(self, point: tuple[float, float], color: str) -> None:
        """Draw a dot."""
        x, y = self.place(point)
        self._pen.ellipse((x - 5 * FINE, y - 5 * FINE, x + 5 * FINE, y + 5 * FINE), color)

    def text(self, point: tuple[float, float], words: str, color: str, anchor: str) -> None:
        """Draw text beside a point, slightly above it."""
        x, y = self.place(point)
        self._pen.text((x, y - 8 * FINE), words, color, self._font, anchor=anchor)

    def names(self, ends: list[tuple[float, str, str]]) -> None:
        """Draw curve names right of the axes, at the ends of their curves, without overlaps."""
        lowest = -math.inf
        for height, name, color in sorted(ends, reverse=True):
            x, y = self.place((self.x[1], height))
            lowest = max(y, lowest + 22 * FINE)
            self._pen.text((x + 10 * FINE, lowest), name, color, self._font, anchor="lm")

    def grid(self, below: str, above: str) -> None:
        """Draw grid lines at 1, 2 and 5 times the powers of ten, their values, and axis labels."""
        for value in ticks(*self.x):
            self.line([(value, self.y[0]), (value, self.y[1])], FAINT, 1)
            x, y = self.place((value, self.y[0]))
            self._pen.text((x, y + 8 * FINE), f"{value:g}", INK, self._font, anchor="mt")
        for value in ticks(*self.y):
            self.line([(self.x[0], value), (self.x[1], value)], FAINT, 1)
            x, y = self.place((self.x[0], value))
            self._pen.text((x - 8 * FINE, y), f"{value:g}", INK, self._font, anchor="rm")
        middle = SIZE[0] * FINE / 2
        self._pen.text((middle, (SIZE[1] - 20) * FINE), below, INK, self._font, anchor="mm")
        self._pen.text((MARGIN[0] * FINE, 25 * FINE), above, INK, self._font, anchor="lm")


def ticks(least: float, most: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from `least` to `most`."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    return [value for power in powers for tick in TICKS if least <= (value := tick * 10.0**power) <= most]


def _distances(points: list[Point], n: int) -> list[str]:
    """Three cells: median distance of n samples over the seeds, its range, and its ratio to the baseline."""
    found = [point.frechet(n) for point in points]
    between = f"{_short(min(found))} to {_short(max(found))}" if len(found) > 1 else ""
    return [_short(_median(found)), between, _short(_median(found) / points[0].frechet(n, of="baseline"))]


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _short(value: float) -> str:
    return f"{value:.3g}"
