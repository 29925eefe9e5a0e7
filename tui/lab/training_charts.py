"""The gradients of the layers and the losses over the noise level, for the training bench and its exported picture."""

from __future__ import annotations

from typing import NamedTuple

from textual.color import Color

from core.engine.protocol import Array
from core.engine.training_messages import TrainingReply
from tui.lab.bench import ExportPanel
from tui.lab.gradient_bars import Layer, grouped
from tui.lab.number_text import short
from tui.lab.small_plot import Curves, Range
from tui.themes import LIGHT, theme_color

HEADROOM = 1.05  # upper end of the y axis relative to the losses
PAPER = Color(255, 255, 255)


class LossCurves(NamedTuple):
    """Mean losses at noise levels, with their standard deviation."""

    curves: Curves
    band: Range  # mean minus and plus the standard deviation
    high: float  # upper end of the y axis; values above it are clipped


def layers_of(reply: TrainingReply) -> list[Layer]:
    """The layers with their gradients."""
    return [Layer(name, *norms) for name, norms in zip(reply.layers, map(tuple, reply.gradients.rows), strict=True)]


def loss_curves(reply: TrainingReply, first: TrainingReply, newest: TrainingReply) -> LossCurves:
    """The mean losses up to a step and the loss of this step; if the weights change, also those of the given weights.

    Args:
        reply: The step.
        first, newest: The first and the newest step, which also decide the range of the y axis.
    """
    high = HEADROOM * max(_highest(step) for step in (first, newest, reply))
    middles, means, stds = _columns(reply.bins)
    curves: dict[str, tuple[str, list[float], list[float]]] = {}
    if reply.first_bins.shape[0]:
        given, before, _ = _columns(reply.first_bins)
        curves["before"] = ("plot-validation", given, [min(high, mean) for mean in before])
    curves["now" if curves else "mean"] = ("plot-average", middles, [min(high, mean) for mean in means])
    curves["this step"] = ("plot-smoothed", [reply.t], [min(high, reply.loss)])
    lows = [max(0.0, mean - std) for mean, std in zip(means, stds, strict=True)]
    highs = [min(high, mean + std) for mean, std in zip(means, stds, strict=True)]
    return LossCurves(curves, (middles, lows, highs), high)


def chart_panels(reply: TrainingReply, losses: LossCurves) -> list[ExportPanel]:
    """The gradients of the layers and the losses as charts on white, in the colors of the light theme."""
    from core.export import charts  # loads Pillow, which nothing else here needs

    variables = LIGHT.variables
    bars = [
        charts.Bar(layer.title, layer.norm, _norm_text(layer)) for layer in grouped(layers_of(reply), charts.MAX_BARS)
    ]
    curves = [
        charts.ChartCurve(name, theme_color(variables, color).rgb, xs, ys)
        for name, (color, xs, ys) in losses.curves.items()
    ]
    band = charts.ChartBand(*losses.band, theme_color(variables, "plot-window").blend(PAPER, 0.5).rgb)
    return [
        ExportPanel(
            "gradient by layer, % of the weights", *charts.bar_chart(bars, theme_color(variables, "plot-average").rgb)
        ),
        ExportPanel("loss: mean and std", *charts.line_chart(curves, losses.high, "noise level t", band=band)),
    ]


def _norm_text(layer: Layer) -> str:
    return short(layer.norm) + (f", {layer.percent}%" if layer.percent else "")


def _columns(bins: Array) -> tuple[list[float], list[float], list[float]]:
    """Middles of the noise levels, means and standard deviations of losses."""
    middles, means, stds = (list(bins.values[column::3]) for column in range(3))
    return middles, means, stds


def _highest(reply: TrainingReply) -> float:
    """The largest mean loss plus its standard deviation, also of the given weights."""
    columns = (_columns(bins) for bins in (reply.bins, reply.first_bins))
    return max(mean + std for _, means, stds in columns for mean, std in zip(means, stds, strict=True))
