"""The loss of a run as curves over its epochs: every window, each epoch's average, and the held-out loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.align import Align
from rich.text import Text
from textual.app import RenderResult
from textual_plotext import PlotextPlot

from core.history import RunHistory

Color = tuple[int, int, int]
# Exact entries of the 256-colour table, so that they look the same where true colour is missing.
WINDOW: Color = (118, 118, 118)
AVERAGE: Color = (95, 175, 255)
HELD_OUT: Color = (255, 175, 95)
AXES: Color = (138, 138, 138)
MARGIN = 10  # columns that the y labels and the frame take


def decimate(xs: Sequence[float], ys: Sequence[float], columns: int) -> tuple[list[float], list[float]]:
    """At most two points a column, its least and its greatest y, in the order of x; what is not finite is left out.

    `xs` ascend. The extremes of the whole series are always kept.
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if len(points) > 2 * columns:
        low, high = points[0][0], points[-1][0]
        scale = columns / (high - low) if high > low else 0.0
        extremes: dict[int, tuple[int, int]] = {}
        for index, (x, y) in enumerate(points):
            column = min(columns - 1, int((x - low) * scale))
            least, greatest = extremes.get(column, (index, index))
            extremes[column] = (
                index if y < points[least][1] else least,
                index if y > points[greatest][1] else greatest,
            )
        points = [points[index] for pair in extremes.values() for index in sorted(set(pair))]
    return [x for x, _ in points], [y for _, y in points]


def loss_ticks(low: float, high: float, count: int) -> list[float]:
    """Up to about `count` round numbers between the losses `low` and `high`, for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 0.6 * count:
            break
    if len(inside) < 2:  # less than a third of a decade: evenly spaced
        inside = [low + (high - low) * part / max(1, count - 1) for part in range(count)]
    every = math.ceil(len(inside) / max(1, count))
    return inside[::every]


def round_ticks(high: float, count: int) -> list[float]:
    """Whole numbers from 0 to `high`, at most about `count` of them, at steps of 1, 2 or 5 times a power of ten."""
    step = 1.0
    while high / step > count:
        step *= 2.5 if str(step)[0] == "2" else 2
    return [step * index for index in range(int(high / step) + 1)]


class LossPlot(PlotextPlot, can_focus=False):
    """Draws a `RunHistory`; it is drawn anew only when `show` is called or the size changes."""

    DEFAULT_CSS = """
    LossPlot { width: 1fr; height: 1fr; min-height: 4; color: $text-muted; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._history = RunHistory()
        self._waiting = ""

    def show(self, history: RunHistory, waiting: str = "") -> None:
        """Draw `history`; while it holds no loss, show the text `waiting`."""
        self._history, self._waiting = history, waiting
        self.refresh()

    def series(self, columns: int) -> dict[str, tuple[list[float], list[float]]]:
        """The three curves as (x, log10 loss), decimated to `columns`; x in epochs, or in steps where unknown."""
        history = self._history
        unit = history.dataset.steps_per_epoch if history.dataset else 1
        epochs = [event.step / unit for event in history.epochs]
        curves = {
            "window": ([event.step / unit for event in history.progress], [event.loss for event in history.progress]),
            "epoch average": (epochs, [event.loss for event in history.epochs]),
            "held out": (epochs, [event.held_out for event in history.epochs]),
        }
        return {name: decimate(xs, [_log(y) for y in ys], columns) for name, (xs, ys) in curves.items()}

    def render(self) -> RenderResult:
        width, height = self.size
        curves = self.series(max(1, width - MARGIN))
        heights = [y for _, ys in curves.values() for y in ys]
        if not heights or width < MARGIN + 6 or height < 4:
            broken = bool(self._history.progress) and not heights
            said = Text("the loss is not a number" if broken else self._waiting, justify="center")
            return Align.center(said, vertical="middle", height=height)
        self._draw(curves, heights)
        return Text.from_ansi(self.plt.build())

    def _draw(self, curves: dict[str, tuple[list[float], list[float]]], heights: list[float]) -> None:
        width, height = self.size
        background = self.background_colors[1].rgb
        plot = self.plt
        plot.clear_data()
        plot.plotsize(width, height)
        plot._set_size(width, height)  # plotsize alone does not shrink a plot that was larger before
        plot.canvas_color(background)
        plot.axes_color(background)
        plot.ticks_color(AXES)
        plot.xaxes(True, False)
        plot.yaxes(True, False)
        low, high = min(heights), max(heights)
        if high - low < 0.02:  # a flat or single value gets room around it
            low, high = low - 0.05, high + 0.05
        end = max(xs[-1] for xs, _ in curves.values() if xs)
        plot.ylim(low, high)
        plot.xlim(0, end)
        ticks = loss_ticks(10**low, 10**high, max(2, height // 3))
        plot.yticks([math.log10(tick) for tick in ticks], [_label(tick) for tick in ticks])
        in_epochs = self._history.dataset is not None
        across = round_ticks(end, max(2, width // 12)) if end >= 2 or not in_epochs else [0.0, end]
        labels = [f"{tick:,.0f}" if tick == int(tick) else f"{tick:.2g}" for tick in across]
        plot.xticks(across, ["epoch 0" if in_epochs else "step 0", *labels[1:]])
        plot.plot(*curves["window"], color=WINDOW, marker="braille")
        xs, ys = curves["epoch average"]
        if len(xs) > 1:
            plot.plot(xs, ys, color=AVERAGE, marker="braille")
        elif xs:
            plot.scatter(xs, ys, color=AVERAGE, marker="●")
        plot.scatter(
            *curves["held out"], color=HELD_OUT, marker="•"
        )  # dots, as the average's curve is hardly elsewhere


def legend(history: RunHistory) -> Text:
    """The curves' names in their colours, with the newest values, for one line above the plot."""
    line = Text(no_wrap=True, overflow="ellipsis")
    last = history.epochs[-1] if history.epochs else None
    now = history.progress[-1].loss if history.progress else None
    for mark, name, color, value in (
        ("━", "now", WINDOW, now),
        ("━", "epoch", AVERAGE, last and last.loss),
        ("•", "held out", HELD_OUT, last and last.held_out),
    ):
        line.append(f"{mark} {name}", style="rgb({},{},{})".format(*color))
        line.append("  " if value is None else f" {value:.4f}  ".replace(" 0.", " ."))
    line.rstrip()
    return line


def _log(loss: float) -> float:
    return math.log10(loss) if loss > 0 else math.nan  # also for NaN, which is not greater than 0


def _label(loss: float) -> str:
    return f"{loss:.3g}".replace("0.", ".", 1) if loss < 1 else f"{loss:.3g}"
