"""The plot of a race: each candidate's difference to the winner over steps or time, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from core.race.differences import Curve, relative_curves, shown_range
from core.race.records import RaceResult

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 44  # margins; the legend is below
LINE = 18  # of the legend
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00", "#666666")  # Okabe and Ito
TICKS = 5  # about as many on each axis


def race_plot(result: RaceResult) -> str:
    """An SVG image with one line and one band, its confidence interval, per candidate."""
    clock, curves = result.rules.clock, relative_curves(result)
    low, high = shown_range(curves)
    last = max((mark for curve in curves.values() for mark, _ in curve), default=1.0)
    height = HEIGHT + LINE * len(curves)

    def at(mark: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * mark / last
        clipped = min(max(value, low), high)
        return f"{x:.1f},{TOP + (HEIGHT - TOP - BOTTOM) * (high - clipped) / (high - low):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">Difference of the validation loss to candidate {result.winner}, with '
        f"{result.rules.confidence:.0%} intervals</text>",
        *_axes(low, high, last, "step" if clock == "steps" else "seconds of training", at),
    ]
    for number, curve in curves.items():
        parts += _curve(curve, COLORS[(number - 1) % len(COLORS)], at)
    for row, candidate in enumerate(result.candidates):
        y = HEIGHT + LINE * row
        color = COLORS[row % len(COLORS)]
        text = f"{candidate.candidate}: {candidate.label} ({candidate.verdict})"
        parts.append(f'<rect x="{LEFT}" y="{y - 9}" width="14" height="4" fill="{color}"/>')
        parts.append(f'<text x="{LEFT + 22}" y="{y - 2}">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>\n"])


At = Callable[[float, float], str]  # the point "x,y" of steps or seconds and a relative difference


def _axes(low: float, high: float, last: float, unit: str, at: At) -> list[str]:
    """Grid lines with their values."""
    parts = []
    for value in _ticks(low, high):
        x, y = at(0, value).split(",")
        end, _ = at(last, value).split(",")
        color = "#888888" if value == 0 else "#dddddd"
        parts.append(f'<line x1="{x}" y1="{y}" x2="{end}" y2="{y}" stroke="{color}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{f"{value:+.1%}" if value else "0"}</text>'
        )
    for mark in _ticks(0, last):
        x, _ = at(mark, low).split(",")
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{mark:,g}</text>')
    label = f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM + 32}" text-anchor="end">{unit}</text>'
    return [*parts, label]


def _ticks(low: float, high: float) -> list[float]:
    """Round values in [low, high]."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _curve(curve: Curve, color: str, at: At) -> list[str]:
    """The band and the line of a candidate."""
    if not curve:
        return []
    upper = [at(mark, interval.high) for mark, interval in curve]
    lower = [at(mark, interval.low) for mark, interval in reversed(curve)]
    line = " ".join(at(mark, interval.mean) for mark, interval in curve)
    return [
        f'<polygon points="{" ".join([*upper, *lower])}" fill="{color}" fill-opacity="0.15"/>',
        f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>',
    ]
