"""Bar charts and line charts as RGB images on white, for the panels of an export."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]
HEIGHT = 224  # pixels; that of other panels
LINE = 14  # pixels of a line of text
BAR_WIDTH, PLOT_WIDTH = 150, 300  # pixels of the longest bar, and of the area between the axes
SPACE = 6  # pixels between a bar and its texts, and between an axis and its labels
MAX_BARS = HEIGHT // LINE
MARK = 3  # pixels of the radius of a single point
_TEXT_SIZE = 11
_BLACK, _GRAY, _WHITE = (0, 0, 0), (110, 110, 110), (255, 255, 255)


class Bar(NamedTuple):
    """A horizontal bar."""

    name: str  # left of the bar
    value: float  # its length, from 0
    text: str  # right of the bar


class ChartCurve(NamedTuple):
    """A curve, or a single point."""

    name: str  # in the legend
    color: RGB
    xs: Sequence[float]  # ascending
    ys: Sequence[float]


class ChartBand(NamedTuple):
    """The range between two curves."""

    xs: Sequence[float]  # ascending
    lows: Sequence[float]
    highs: Sequence[float]
    color: RGB


class Chart(NamedTuple):
    """A chart as an image."""

    shape: tuple[int, int]  # height and width in pixels
    pixels: bytes  # uint8 of shape (height, width, 3)


def bar_chart(bars: Sequence[Bar], color: RGB) -> Chart:
    """Draw at least 1 and at most `MAX_BARS` bars, one below the other.

    Args:
        bars: The bars; the largest value has the longest bar.
        color: Color of the bars.
    """
    font = ImageFont.load_default(_TEXT_SIZE)
    left = math.ceil(max(font.getlength(bar.name) for bar in bars)) + SPACE
    right = math.ceil(max(font.getlength(bar.text) for bar in bars)) + SPACE
    image = Image.new("RGB", (left + BAR_WIDTH + right, LINE * len(bars)), _WHITE)
    draw, largest = ImageDraw.Draw(image), max(bar.value for bar in bars) or 1.0
    for number, bar in enumerate(bars):
        top = LINE * number
        length = round(BAR_WIDTH * bar.value / largest)
        draw.text((left - SPACE, top + LINE // 2), bar.name, fill=_BLACK, font=font, anchor="rm")
        if length:
            draw.rectangle((left, top + 2, left + length - 1, top + LINE - 3), fill=color)
        draw.text((left + length + SPACE, top + LINE // 2), bar.text, fill=_GRAY, font=font, anchor="lm")
    return _chart(image)


def line_chart(curves: Sequence[ChartCurve], high: float, x_title: str, *, band: ChartBand | None = None) -> Chart:
    """Draw curves over x in [0, 1] and y in [0, high], with a legend above them.

    Args:
        curves: At least one; the last one is drawn on top.
        high: Upper end of the y axis, above 0.
        x_title: Title of the x axis.
        band: A range that is drawn behind the curves.
    """
    font = ImageFont.load_default(_TEXT_SIZE)
    labels = {0.0: "0", high: f"{high:.2g}"}
    left = math.ceil(max(map(font.getlength, labels.values()))) + SPACE
    top, bottom, right = LINE + SPACE, HEIGHT - LINE - SPACE, left + PLOT_WIDTH
    image = Image.new("RGB", (right + SPACE, HEIGHT), _WHITE)
    draw = ImageDraw.Draw(image)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x * PLOT_WIDTH, bottom - min(y, high) / high * (bottom - top)

    if band is not None:
        edges = [place(x, y) for x, y in zip(band.xs, band.lows, strict=True)]
        edges += reversed([place(x, y) for x, y in zip(band.xs, band.highs, strict=True)])
        if len(band.xs) > 1:
            draw.polygon(edges, fill=band.color)
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=_GRAY)
    for y, label in labels.items():
        draw.text((left - SPACE, place(0, y)[1]), label, fill=_GRAY, font=font, anchor="rm")
    for x, label, anchor in ((0.0, "0", "mt"), (0.5, x_title, "mt"), (1.0, "1", "mt")):
        draw.text((place(x, 0)[0], bottom + SPACE), label, fill=_GRAY, font=font, anchor=anchor)
    at = float(left)
    for curve in curves:
        points = [place(x, y) for x, y in zip(curve.xs, curve.ys, strict=True)]
        for start, end in pairwise(points):
            draw.line([start, end], fill=curve.color, width=2)
        if len(points) == 1:
            (x, y), *_ = points
            draw.ellipse((x - MARK, y - MARK, x + MARK, y + MARK), fill=curve.color)
        draw.text((at, LINE // 2), curve.name, fill=curve.color, font=font, anchor="lm")
        at += font.getlength(curve.name) + 2 * SPACE
    return _chart(image)


def _chart(image: Image.Image) -> Chart:
    return Chart((image.height, image.width), image.tobytes())
