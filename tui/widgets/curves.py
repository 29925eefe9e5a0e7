"""Builds curves from a run's history: quantities, smoothing, spans and downsampling to columns."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

from core.runs.events import Evaluated, Progress
from core.runs.history import RunHistory, ThinnedSeries

BY_LEVEL = "loss by noise level"
FLOOR_COLOR = "plot-run-3"
TINY = 1e-30  # in place of a floor of 0, on a logarithmic axis
QUANTITIES = ("loss", "images/s", "learning rate", "distance", BY_LEVEL)
SMOOTHINGS = (0.0, 0.6, 0.9, 0.97, 0.99)  # weights of past values in an exponential moving average
ZOOM = 2.0  # factor per zoom step
PAN = 0.25  # fraction of the span per pan step
TOLERANCE = 1e-6  # of x, for a cursor at a point
REACH = 2  # neighbors on either side whose minimum and maximum a band spans
MAX_UNMERGED = 2_000  # windows in a span that are drawn without merging


@dataclass(frozen=True)
class Curve:
    """A curve of points in ascending x; points with non-finite y are not drawn."""

    name: str
    color: str  # a theme variable
    xs: Sequence[float]
    ys: Sequence[float]
    marked: bool = False  # each point has a mark, and its value holds until the next
    lows: Sequence[float] | None = None  # with `highs`: minimum and maximum of the values that each y summarizes
    highs: Sequence[float] | None = None
    reach: int = REACH  # neighbors on either side over which the band takes minimum and maximum
    summary: float | None = None  # the value without a cursor; None: the newest y
    reference: bool = False  # whether the y axis need not show it

    def at(self, x: float | None) -> float | None:
        """Return the finite y nearest to `x`, or of a marked curve the last one up to `x`; None if there is none.

        Without `x`, returns the summary, or the newest y.
        """
        if x is None:
            return self.summary if self.summary is not None else self.ys[-1] if self.ys else None
        points = [(point, y) for point, y in zip(self.xs, self.ys, strict=True) if math.isfinite(y)]
        if self.marked:
            points = [point for point in points if point[0] <= x + TOLERANCE]
        return min(points, key=lambda point: round(abs(point[0] - x) / TOLERANCE), default=(0.0, None))[1]


@dataclass(frozen=True)
class View:
    """View settings of a plot.

    Attributes:
        quantity: One of `QUANTITIES`.
        by_step: Whether the x axis counts steps; otherwise epochs, if the size of the dataset is known.
        log: Whether the y axis is logarithmic.
        smoothing: One of `SMOOTHINGS`.
        span: Visible part of the x axis, in its unit; None for all.
        cursor: Position of the cursor on the x axis, in its unit; None for no cursor.
    """

    quantity: str = "loss"
    by_step: bool = False
    log: bool = True
    smoothing: float = 0.6
    span: tuple[float, float] | None = None
    cursor: float | None = None

    def zoomed(self, extent: tuple[float, float], by: int) -> View:
        """Zoom in by `by` steps around the cursor or the center, or out if `by` is negative."""
        left, right = self.span or extent
        center = self.cursor if self.cursor is not None and left <= self.cursor <= right else (left + right) / 2
        factor = ZOOM**-by
        return self._within((center - (center - left) * factor, center + (right - center) * factor), extent)

    def panned(self, extent: tuple[float, float], by: int) -> View:
        """Pan right by `by` quarters of the span, or left if `by` is negative."""
        left, right = self.span or extent
        offset = PAN * by * (right - left)
        offset = max(extent[0] - left, min(extent[1] - right, offset))
        return self._within((left + offset, right + offset), extent)

    def _within(self, span: tuple[float, float], extent: tuple[float, float]) -> View:
        left, right = max(span[0], extent[0]), min(span[1], extent[1])
        if right - left >= (extent[1] - extent[0]) * (1 - 1e-9):
            return replace(self, span=None)
        return self if right - left < (extent[1] - extent[0]) / 1e4 else replace(self, span=(left, right))

    def moved(self, extent: tuple[float, float], fraction: float) -> View:
        """Move the cursor by a fraction of the span; a new cursor starts at the right end."""
        left, right = self.span or extent
        if self.cursor is None:
            return replace(self, cursor=right)
        return replace(self, cursor=max(left, min(right, self.cursor + fraction * (right - left))))

    def next_quantity(self) -> View:
        """Show the next quantity, over the same span if it has the same x axis."""
        following = QUANTITIES[(QUANTITIES.index(self.quantity) + 1) % len(QUANTITIES)]
        if BY_LEVEL in (self.quantity, following):
            return replace(self, quantity=following, span=None, cursor=None)
        return replace(self, quantity=following)

    def smoother(self, by: int) -> View:
        """Move `by` places through `SMOOTHINGS`."""
        index = SMOOTHINGS.index(self.smoothing) + by
        return replace(self, smoothing=SMOOTHINGS[max(0, min(len(SMOOTHINGS) - 1, index))])


class MovingAverage:
    """Exponential moving average of one quantity over all windows, with bias correction.

    The bias is corrected as in Kingma and Ba 2015, section 3. Non-finite values are kept but not averaged.
    """

    def __init__(self, quantity: str, weight: float) -> None:
        self._quantity = quantity  # a field of `Progress`
        self.weight = weight
        self._reset()

    def _reset(self) -> None:
        self._values: list[float] = []
        self._average = self._weight_sum = 0.0
        self._last: Progress | None = None

    def of(self, windows: Sequence[Progress]) -> Sequence[float]:
        """Return the average at each window; only windows added since the last call are computed."""
        count = len(self._values)
        if count > len(windows) or (count and windows[count - 1] is not self._last):
            self._reset()  # a resumed run dropped some windows
        for window in windows[len(self._values) :]:
            value: float = getattr(window, self._quantity)
            if math.isfinite(value):
                self._average = self.weight * self._average + (1 - self.weight) * value
                self._weight_sum = self.weight * self._weight_sum + (1 - self.weight)
                value = self._average / self._weight_sum
            self._values.append(value)
            self._last = window
        return self._values


class SeriesCache:
    """Downsampled windows and moving averages of one run, updated incrementally between frames."""

    def __init__(self) -> None:
        self._thinned = ThinnedSeries()
        self._averages: dict[str, MovingAverage] = {}  # by quantity, with the last requested weight

    def windows(self, history: RunHistory, span: tuple[float, float] | None) -> tuple[Sequence[Progress], list[range]]:
        """Return the windows to draw and the log indices each covers; merged unless `span`, in steps, holds few."""
        progress = history.progress
        if span is not None:
            first = bisect_left(progress, span[0], key=lambda window: window.step)
            last = bisect_right(progress, span[1], key=lambda window: window.step)
            if last - first <= MAX_UNMERGED:
                first, last = max(0, first - 1), min(len(progress), last + 1)
                return progress[first:last], [range(index, index + 1) for index in range(first, last)]
        points = self._thinned.of(progress)
        share = self._thinned.windows_per_point
        return points, [range(share * at, min(share * (at + 1), len(progress))) for at in range(len(points))]

    def smoothed(self, history: RunHistory, quantity: str, weight: float, members: Sequence[range]) -> list[float]:
        """Return the moving average over all windows at the last finite window of each group, at any zoom."""
        cached = self._averages.get(quantity)
        if cached is None or cached.weight != weight:
            cached = self._averages[quantity] = MovingAverage(quantity, weight)
        average = cached.of(history.progress)
        return [
            next((average[index] for index in reversed(group) if math.isfinite(average[index])), math.nan)
            for group in members
        ]


def build_curves(history: RunHistory, view: View, series: SeriesCache | None = None) -> list[Curve]:
    """Return the curves of one run; windows of a long run are merged, unless the span holds few.

    Pass the same `series` on each call to process only new windows.
    """
    unit = steps_per_unit(history, view)
    series = series or SeriesCache()
    span = None if view.span is None else (view.span[0] * unit, view.span[1] * unit)
    windows, members = series.windows(history, span)
    xs = [window.step / unit for window in windows]
    match view.quantity:
        case "loss":
            losses = [window.loss for window in windows]
            lows, highs = [window.loss_min for window in windows], [window.loss_max for window in windows]
            ends = [event.step / unit for event in history.epochs]
            # The mean of an epoch is drawn at its middle.
            middles = [event.step * (1 - 0.5 / max(1, event.epoch)) / unit for event in history.epochs]
            curves = [Curve("loss", "plot-window", xs, losses, lows=lows, highs=highs)]
            if view.smoothing:
                smooth = series.smoothed(history, "loss", view.smoothing, members)
                curves.append(Curve("smoothed", "plot-smoothed", xs, smooth))
            else:
                curves[0] = replace(curves[0], color="plot-smoothed")
            validation = [event.validation_loss for event in history.epochs]
            curves.append(Curve("epoch", "plot-average", middles, [event.loss for event in history.epochs]))
            curves.append(Curve("validation", "plot-validation", ends, validation, marked=True))
            if (newest := history.loss_by_level) is not None:
                right = max(history.step / unit, *ends, *xs[-1:])
                curves.append(Curve("floor", FLOOR_COLOR, [0.0, right], [newest.floor] * 2, reference=True))
            return curves
        case quantity if quantity == BY_LEVEL:
            return _loss_by_level(history)
        case "images/s":
            rates = series.smoothed(history, "images_per_second", view.smoothing, members)
            return [Curve("images/s", "plot-average", xs, rates)]
        case "learning rate":
            return [Curve("learning rate", "plot-average", xs, [window.learning_rate for window in windows])]
        case _:
            measured = [note for note in history.notes if isinstance(note, Evaluated)]
            distances = [event.frechet for event in measured]
            ends = [event.step / unit for event in measured]
            return [Curve("distance", "plot-validation", ends, distances, marked=True)]


def _loss_by_level(history: RunHistory) -> list[Curve]:
    """The loss over the noise level, the least possible one, and the excess as the band between the two."""
    measured = history.loss_by_level
    if measured is None:
        return [Curve("loss", "plot-smoothed", [], [])]
    levels, losses, floors = measured.levels, measured.losses, measured.floors
    excess = [loss - floor for loss, floor in zip(losses, floors, strict=True)]
    return [
        Curve("loss", "plot-smoothed", levels, losses, summary=measured.loss),
        Curve("floor", FLOOR_COLOR, levels, floors, summary=measured.floor, reference=True),
        Curve(
            "excess",
            "plot-window",
            levels,
            excess,
            lows=[max(floor, TINY) for floor in floors],
            highs=losses,
            reach=0,
            summary=measured.loss - measured.floor,
            reference=True,
        ),
    ]


def overlay_curves(
    histories: Mapping[str, RunHistory], view: View, colors: Sequence[str], series: Mapping[str, SeriesCache]
) -> list[Curve]:
    """Return one curve per run; for the loss, the smoothed one if there is smoothing."""
    curves = []
    for number, (name, history) in enumerate(histories.items()):
        curve = build_curves(history, view, series.get(name))[1 if view.quantity == "loss" and view.smoothing else 0]
        curves.append(replace(curve, name=name, color=colors[number % len(colors)], lows=None, highs=None))
    return curves


def steps_per_unit(history: RunHistory, view: View) -> int:
    """Return the number of steps in one unit of the x axis: 1, or steps per epoch."""
    return history.dataset.steps_per_epoch if history.dataset and not view.by_step else 1


def downsample(
    curve: Curve, span: tuple[float, float], columns: int, *, log: bool = False
) -> tuple[list[float], list[float]]:
    """Return xs and ys of the curve within `span`, with at most two points per column: minimum and maximum y.

    The nearest point beyond either edge is kept, so lines reach the edges. With `log`, returns base-10 logarithms of
    the positive values.
    """
    points = _points(curve.xs, curve.ys, curve.ys, span, log)
    if len(points) <= 2 * columns:
        return [x for x, _, _ in points], [y for _, y, _ in points]
    kept = []
    for members in _columns(points, span, columns):
        low, high = min(members, key=itemgetter(1)), max(members, key=itemgetter(2))
        kept += sorted({low[:2], high[:2]})
    return [x for x, _ in kept], [y for _, y in kept]


def envelope(
    curve: Curve, span: tuple[float, float], columns: int, *, log: bool = False
) -> tuple[list[float], list[float], list[float]]:
    """Return xs, lows and highs of a curve that has them, within `span`, with at most one point per column.

    Each is the minimum or maximum over `reach` neighbors on either side, so that windows of few steps form a band.
    """
    if curve.lows is None or curve.highs is None:
        return [], [], []
    points = _points(curve.xs, curve.lows, curve.highs, span, log)
    if len(points) > columns:
        points = [
            (members[0][0], min(map(itemgetter(1), members)), max(map(itemgetter(2), members)))
            for members in _columns(points, span, columns)
        ]
    near = [points[max(0, at - curve.reach) : at + curve.reach + 1] for at in range(len(points))]
    lows = [min(map(itemgetter(1), members)) for members in near]
    highs = [max(map(itemgetter(2), members)) for members in near]
    return [x for x, _, _ in points], lows, highs


def _points(
    xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], span: tuple[float, float], log: bool
) -> list[tuple[float, float, float]]:
    """Return x, low and high of the points in `span` that can be drawn, and of the nearest beyond either edge."""
    minimum = 0.0 if log else -math.inf
    points = [
        point for point in zip(xs, lows, highs, strict=True) if minimum < point[1] and point[2] < math.inf
    ]  # both comparisons are false for NaN
    first = bisect_left(points, span[0], key=itemgetter(0))
    last = bisect_right(points, span[1], key=itemgetter(0))
    points = points[max(0, first - 1) : last + 1] if first < last else []
    return [(x, math.log10(low), math.log10(high)) for x, low, high in points] if log else points


def _columns(
    points: Sequence[tuple[float, float, float]], span: tuple[float, float], columns: int
) -> Iterator[list[tuple[float, float, float]]]:
    """Group points by the column that they fall into; those beyond an edge form their own groups."""
    scale = columns / (span[1] - span[0]) if span[1] > span[0] else 0.0
    for _, members in groupby(points, lambda point: max(-1, min(columns, int((point[0] - span[0]) * scale)))):
        yield list(members)


def loss_ticks(low: float, high: float, count: int) -> list[float]:
    """Return up to about `count` round numbers between `low` and `high`, both positive, for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 0.6 * count:
            break
    if len(inside) < 2:  # less than a third of a decade: evenly spaced
        inside = round_ticks(low, high, count)
    stride = math.ceil(len(inside) / max(1, count))
    return inside[::stride]


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """Return at most about `count` numbers from `low` to `high`, in steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    ticks = [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return ticks if len(ticks) > 1 else [low, high]


def tick_label(value: float) -> str:
    """Format a number for an axis: .018, 1.5, 1,200, 2e-5, 3.5e38."""
    if 0 < abs(value) < 1e-3:
        return _short(f"{value:.2g}")
    text = f"{value:,.0f}" if 999.5 <= abs(value) < 999_999.5 else f"{value:.3g}"
    return _short(text) if abs(value) < 1 or abs(value) >= 999_999.5 else text


def _short(text: str) -> str:
    """Remove the leading 0 of a number, and zeros and plus signs of its exponent."""
    mantissa, _, exponent = text.partition("e")
    if exponent:
        return f"{mantissa}e{int(exponent)}"
    return mantissa.replace("0.", ".", 1)
