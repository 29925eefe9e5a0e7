"""The norm of each layer's gradient as horizontal bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from tui.lab.number_text import short

EIGHTHS = " ▏▎▍▌▋▊▉"
NUMBER = 7  # columns of a number, with a space before it
MIN_BAR = 8  # columns of the largest bar; with fewer, names are shortened
MIN_NAME = 8
ROOT = "network"  # the name of weights of the network itself


class Layer(NamedTuple):
    """A layer, or several with a common name."""

    name: str  # as in `named_modules`; "" for the network itself
    norm: float  # Euclidean norm of the gradient
    weight_norm: float  # Euclidean norm of the weights

    @property
    def title(self) -> str:
        """The name on display."""
        return self.name or ROOT

    @property
    def percent(self) -> str:
        """The norm of the gradient in percent of that of the weights; empty if all weights are 0."""
        return short(100 * self.norm / self.weight_norm) if self.weight_norm else ""


class GradientBars(Widget):
    """One line for each layer: its name, the norm of its gradient as a bar, and the norm in percent of its weights'.

    If there is room, the norm is shown as a number, too. If there are more layers than lines, layers with a common
    parent share a line.
    """

    DEFAULT_CSS = """
    GradientBars { width: 1fr; height: 1fr; text-wrap: nowrap; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._layers: Sequence[Layer] = ()

    def show(self, layers: Sequence[Layer]) -> None:
        """Show layers, in their order."""
        self._layers = layers
        self.refresh()

    @property
    def lines(self) -> list[Layer]:
        """The layers as they are grouped at this size."""
        return grouped(self._layers, max(1, self.size.height - 1))

    def render(self) -> Content:
        lines, width = self.lines, self.size.width
        if not lines or width < MIN_NAME + NUMBER:
            return Content()
        longest = max(cell_len(layer.title) for layer in lines)
        norm = NUMBER if width > longest + MIN_BAR + 2 * NUMBER else 0
        name = max(MIN_NAME, min(longest, width - MIN_BAR - norm - NUMBER)) + 1
        bar = max(0, width - name - norm - NUMBER)
        largest = max(layer.norm for layer in lines) or 1.0
        heads = (
            "layer".ljust(name) + ("" if norm else "norm").ljust(bar) + "norm".rjust(norm)[:norm] + "%".rjust(NUMBER)
        )
        rows = [Content.styled(heads, "$foreground 50%")]
        for layer in lines:
            rows.append(
                Content.assemble(
                    (_ending(layer.title, name - 1).ljust(name), "$foreground 80%"),
                    (bar_of(layer.norm / largest, bar).ljust(bar), "$primary"),
                    (f"{short(layer.norm):>{norm}}" if norm else "", "bold"),
                    (f"{layer.percent:>{NUMBER}}", "$foreground 60%" if norm else ""),
                )
            )
        return Content("\n").join(rows)


def grouped(layers: Sequence[Layer], lines: int) -> list[Layer]:
    """The layers in at most so many lines: those with the same first parts of their name become one.

    As few layers as possible share a line. If the first parts alone are too many, those with the largest gradients are
    returned.
    """
    depth = max((layer.name.count(".") + 1 for layer in layers), default=1)
    for parts in range(depth, 0, -1):
        groups: dict[str, list[Layer]] = {}
        for layer in layers:
            groups.setdefault(".".join(layer.name.split(".")[:parts]), []).append(layer)
        if len(groups) <= lines:
            break
    joined = [
        Layer(name, math.hypot(*(part.norm for part in group)), math.hypot(*(part.weight_norm for part in group)))
        for name, group in groups.items()
    ]
    if len(joined) > lines:
        least = sorted((layer.norm for layer in joined), reverse=True)[lines - 1]
        joined = [layer for layer in joined if layer.norm >= least][:lines]
    return joined


def bar_of(fraction: float, width: int) -> str:
    """A bar of this fraction of `width` columns, in eighths of a column; at least one eighth above 0."""
    eighths = max(round(8 * width * fraction), 1 if fraction > 0 and width else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _ending(text: str, width: int) -> str:
    """The end of a text, after an ellipsis if it is longer than `width`."""
    return text if cell_len(text) <= width else "…" + text[len(text) - width + 1 :]
