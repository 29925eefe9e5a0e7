"""Plots the results of `time_to_quality.py`: distance over training time."""

from __future__ import annotations

import math
from itertools import cycle
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw, ImageFont
from quality_report import Results

SIZE, FINE = (960, 600), 2  # pixels of the plot, and its supersampling factor
MARGIN = (90, 50, 200, 70)  # left, top, right, bottom
COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
)  # Okabe and Ito: color-blind safe
INK, GREY, FAINT, PAPER = "#222222", "#888888", "#e4e4e4", "#ffffff"
TICKS = (1, 2, 5)  # times powers of ten


def plot(results: Results, path: Path) -> None:
    """Plot the median distance over time, log-log, with a bar for the range over the seeds; one curve per recipe.

    Models that were not trained here and real images are horizontal lines. Other than default sampling is left out.
    """
    n = results.common_n
    curves: dict[str, list[tuple[float, float, float, float]]] = {}
    lines: dict[str, float] = {}
    for points in results.default_groups():
        recipe, distances = points[0].recipe, [point.frechet(n) for point in points]
        if points[0].images:
            seconds = median(point.seconds for point in points)
            curves.setdefault(recipe, []).append((seconds, median(distances), min(distances), max(distances)))
        else:
            lines[recipe] = distances[0]
    lines["real images"] = results.points[0].frechet(n, of="baseline")
    lines[f"{results.factor:g} x real images"] = results.target()
    heights = [*lines.values(), *(value for curve in curves.values() for point in curve for value in point[1:])]
    times = [point[0] for curve in curves.values() for point in curve]
    picture = Image.new("RGB", (SIZE[0] * FINE, SIZE[1] * FINE), PAPER)
    x_range, y_range = (min(times) / 1.3, max(times) * 1.3), (min(heights) / 1.3, max(heights) * 1.5)
    axes = Axes(ImageDraw.Draw(picture), x_range, y_range)
    axes.grid("seconds since the process was started", f"Frechet distance of {n:,} samples, lower is better")
    for name, height in lines.items():
        axes.line([(axes.x[0], height), (axes.x[1], height)], GREY, 2)
        axes.text((axes.x[0], height), f" {name}", INK, "lb")
    for curve, color in zip(curves.values(), cycle(COLORS), strict=False):
        axes.line([(seconds, middle) for seconds, middle, _, _ in curve], color, 3)
        for seconds, middle, lowest, highest in curve:
            axes.line([(seconds, lowest), (seconds, highest)], color, 2)
            axes.dot((seconds, middle), color)
    ends = [(curve[-1][1], recipe) for recipe, curve in curves.items()]
    axes.names([(*end, color) for end, color in zip(ends, cycle(COLORS), strict=False)])
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
