"""A run's history as curves: the quantities there are, smoothed, cut to a span and thinned to columns."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

from core.runs.events import Evaluated, Progress
from core.runs.history import RunHistory, ThinnedSeries

QUANTITIES = ("loss", "images a second", "learning rate", "distance")
SMOOTHINGS = (0.0, 0.6, 0.9, 0.97, 0.99)  # weights of what came before, in an exponential moving average
ZOOM = 2.0  # how much narrower a span becomes
PAN = 0.25  # share of a span
FEW = 2_000  # windows that are drawn one by one


@dataclass(frozen=True)
class Curve:
    """Points in ascending x; those whose y is not finite are no points."""

    name: str
    color: str  # of the theme's variables
    xs: Sequence[float]
    ys: Sequence[float]
    dots: bool = False  # drawn as points; else as a line
    lows: Sequence[float] | None = None  # with `highs`: the least and greatest that each y stands for
    highs: Sequence[float] | None = None

    def at(self, x: float | None) -> float | None:
        """The finite y nearest to `x`; the newest y, finite or not, where `x` is None; None if there is no point."""
        if x is None:
            return self.ys[-1] if self.ys else None
        points = ((abs(known - x), y) for known, y in zip(self.xs, self.ys, strict=True) if math.isfinite(y))
        return min(points, default=(0.0, None))[1]


@dataclass(frozen=True)
class View:
    """How curves are looked at; span and cursor are in the axis' own unit, None for everything and no cursor."""

    quantity: str = "loss"
    by_step: bool = False  # else by epoch, where the data set's size is known
    log: bool = True
    smoothing: float = 0.6
    span: tuple[float, float] | None = None
    cursor: float | None = None

    def zoomed(self, extent: tuple[float, float], by: int) -> View:
        """Half as wide a span around the cursor or the middle, or twice as wide where `by` is negative."""
        left, right = self.span or extent
        middle = self.cursor if self.cursor is not None and left <= self.cursor <= right else (left + right) / 2
        factor = ZOOM**-by
        return self._within((middle - (middle - left) * factor, middle + (right - middle) * factor), extent)

    def panned(self, extent: tuple[float, float], by: int) -> View:
        """A quarter of the span further to the right, or to the left where `by` is negative."""
        left, right = self.span or extent
        way = PAN * by * (right - left)
        way = max(extent[0] - left, min(extent[1] - right, way))
        return self._within((left + way, right + way), extent)

    def _within(self, span: tuple[float, float], extent: tuple[float, float]) -> View:
        left, right = max(span[0], extent[0]), min(span[1], extent[1])
        if right - left >= (extent[1] - extent[0]) * (1 - 1e-9):
            return replace(self, span=None)
        return self if right - left < (extent[1] - extent[0]) / 1e4 else replace(self, span=(left, right))

    def moved(self, extent: tuple[float, float], share: float) -> View:
        """The cursor moved on by a share of the span; the first time it appears at the right end."""
        left, right = self.span or extent
        if self.cursor is None:
            return replace(self, cursor=right)
        return replace(self, cursor=max(left, min(right, self.cursor + share * (right - left))))

    def next_quantity(self) -> View:
        """The same span of the next quantity."""
        return replace(self, quantity=QUANTITIES[(QUANTITIES.index(self.quantity) + 1) % len(QUANTITIES)])

    def smoother(self, by: int) -> View:
        """The next of `SMOOTHINGS`, or the one before."""
        at = SMOOTHINGS.index(self.smoothing) + by
        return replace(self, smoothing=SMOOTHINGS[max(0, min(len(SMOOTHINGS) - 1, at))])


class MovingAverage:
    """An exponential moving average of one quantity of all windows, without the bias of its start.

    The bias is corrected as in Kingma and Ba 2015, section 3. What is not finite stays as it is and does not count.
    """

    def __init__(self, quantity: str, weight: float) -> None:
        self._quantity = quantity  # a field of `Progress`
        self.weight = weight
        self._begin()

    def _begin(self) -> None:
        self._values: list[float] = []
        self._average = self._known = 0.0
        self._last: Progress | None = None

    def of(self, windows: Sequence[Progress]) -> Sequence[float]:
        """The average at each window; those that were given before, at the start of the sequence, cost nothing."""
        known = len(self._values)
        if known > len(windows) or (known and windows[known - 1] is not self._last):
            self._begin()  # a resumed run dropped some
        for window in windows[len(self._values) :]:
            value: float = getattr(window, self._quantity)
            if math.isfinite(value):
                self._average = self.weight * self._average + (1 - self.weight) * value
                self._known = self.weight * self._known + (1 - self.weight)
                value = self._average / self._known
            self._values.append(value)
            self._last = window
        return self._values


class Series:
    """What is kept of one run from drawing to drawing, so that only new windows cost something."""

    def __init__(self) -> None:
        self._thinned = ThinnedSeries()
        self._averages: dict[str, MovingAverage] = {}  # by quantity, each with the weight asked for last

    def windows(self, history: RunHistory, span: tuple[float, float] | None) -> tuple[Sequence[Progress], list[range]]:
        """The windows to draw, merged unless `span`, in steps, holds few, and which of the log's each stands for."""
        progress = history.progress
        if span is not None:
            first = bisect_left(progress, span[0], key=lambda window: window.step)
            last = bisect_right(progress, span[1], key=lambda window: window.step)
            if last - first <= FEW:
                first, last = max(0, first - 1), min(len(progress), last + 1)
                return progress[first:last], [range(at, at + 1) for at in range(first, last)]
        points = self._thinned.of(progress)
        share = self._thinned.windows_per_point
        return points, [range(share * at, min(share * (at + 1), len(progress))) for at in range(len(points))]

    def smoothed(self, history: RunHistory, quantity: str, weight: float, members: Sequence[range]) -> list[float]:
        """The moving average over all windows at the last finite one of each group, the same however one zooms."""
        kept = self._averages.get(quantity)
        if kept is None or kept.weight != weight:
            kept = self._averages[quantity] = MovingAverage(quantity, weight)
        average = kept.of(history.progress)
        return [
            next((average[at] for at in reversed(group) if math.isfinite(average[at])), math.nan) for group in members
        ]


def curves_of(history: RunHistory, view: View, series: Series | None = None) -> list[Curve]:
    """The curves of one run; of a long one with its windows merged, unless the span holds few.

    `series` is kept from call to call, so that only what is new costs something.
    """
    unit = steps_a_unit(history, view)
    series = series or Series()
    span = None if view.span is None else (view.span[0] * unit, view.span[1] * unit)
    windows, members = series.windows(history, span)
    xs = [window.step / unit for window in windows]
    match view.quantity:
        case "loss":
            losses = [window.loss for window in windows]
            lows, highs = [window.loss_min for window in windows], [window.loss_max for window in windows]
            epochs = [event.step / unit for event in history.epochs]
            found = [Curve("now", "plot-window", xs, losses, lows=lows, highs=highs)]
            if view.smoothing:
                smooth = series.smoothed(history, "loss", view.smoothing, members)
                found.append(Curve("smoothed", "plot-smoothed", xs, smooth))
            found.append(Curve("epoch", "plot-average", epochs, [event.loss for event in history.epochs]))
            found.append(
                Curve(
                    "validation",
                    "plot-validation",
                    epochs,
                    [event.validation_loss for event in history.epochs],
                    dots=True,
                )
            )
            return found
        case "images a second":
            paces = series.smoothed(history, "images_per_second", view.smoothing, members)
            return [Curve("images/s", "plot-average", xs, paces)]
        case "learning rate":
            return [Curve("learning rate", "plot-average", xs, [window.learning_rate for window in windows])]
        case _:
            measured = [note for note in history.notes if isinstance(note, Evaluated)]
            distances = [event.frechet for event in measured]
            return [
                Curve("distance", "plot-validation", [event.step / unit for event in measured], distances, dots=True)
            ]


def overlaid(
    histories: Mapping[str, RunHistory], view: View, colors: Sequence[str], series: Mapping[str, Series]
) -> list[Curve]:
    """One curve a run: its windows for the loss, and its only curve for all else."""
    found = []
    for number, (name, history) in enumerate(histories.items()):
        curve = curves_of(history, view, series.get(name))[1 if view.quantity == "loss" and view.smoothing else 0]
        found.append(replace(curve, name=name, color=colors[number % len(colors)], lows=None, highs=None))
    return found


def steps_a_unit(history: RunHistory, view: View) -> int:
    """Steps in one unit of the x axis: 1, or those of an epoch."""
    return history.dataset.steps_per_epoch if history.dataset and not view.by_step else 1


def thinned(
    curve: Curve, span: tuple[float, float], columns: int, *, log: bool = False
) -> tuple[list[float], list[float]]:
    """The curve within `span` at no more than two points a column: the least and the greatest y, in the order of x.

    Of a curve with lows and highs, the least low and the greatest high. The nearest points beyond the span are kept,
    so that a line reaches the edges. With `log` the logarithms of what is above 0.
    """
    points = list(_points(curve, log))
    first = bisect_left(points, span[0], key=itemgetter(0))
    last = bisect_right(points, span[1], key=itemgetter(0))
    if first == last:
        return [], []
    points = points[max(0, first - 1) : last + 1]
    if len(points) <= (columns if curve.lows else 2 * columns):
        kept = [(x, y) for x, low, high in points for y in ((low,) if low == high else (low, high))]
    else:
        scale = columns / (span[1] - span[0]) if span[1] > span[0] else 0.0
        kept = []
        for _, column in groupby(points, lambda point: max(-1, min(columns, int((point[0] - span[0]) * scale)))):
            members = list(column)
            least, greatest = min(members, key=itemgetter(1)), max(members, key=itemgetter(2))
            kept += sorted({(least[0], least[1]), (greatest[0], greatest[2])})
    return [x for x, _ in kept], [math.log10(y) if log else y for _, y in kept]


def _points(curve: Curve, log: bool) -> Iterator[tuple[float, float, float]]:
    """x, least and greatest of each point that can be drawn."""
    lowest = 0.0 if log else -math.inf
    for point in zip(curve.xs, curve.lows or curve.ys, curve.highs or curve.ys, strict=True):
        if lowest < point[1] and point[2] < math.inf:  # neither is true of NaN
            yield point


def loss_ticks(low: float, high: float, count: int) -> list[float]:
    """Up to about `count` round numbers between `low` and `high`, both above 0, for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 0.6 * count:
            break
    if len(inside) < 2:  # less than a third of a decade: evenly spaced
        inside = round_ticks(low, high, count)
    every = math.ceil(len(inside) / max(1, count))
    return inside[::every]


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """At most about `count` numbers from `low` to `high` at steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    ticks = [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return ticks if len(ticks) > 1 else [low, high]


def label(value: float) -> str:
    """A short number for an axis: .018, 1.5, 1,200, 2e-5, 3.5e38."""
    if 0 < abs(value) < 1e-3:
        return _short(f"{value:.2g}")
    text = f"{value:,.0f}" if 999.5 <= abs(value) < 999_999.5 else f"{value:.3g}"
    return _short(text) if abs(value) < 1 or abs(value) >= 999_999.5 else text


def _short(text: str) -> str:
    """The text of a number without a leading 0, and without zeros and plus signs in its exponent."""
    mantissa, _, exponent = text.partition("e")
    if exponent:
        return f"{mantissa}e{int(exponent)}"
    return mantissa.replace("0.", ".", 1)
