"""Colors of text and widgets in a terminal of 256 colors: the nearest ones with which text stays readable."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from itertools import product

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

from tui.terminal.cells import RGB, TERMINAL_GRAYS, Computed
from tui.terminal.rgb import CUBE

TEXT, DIM = 4.5, 3.0  # minimum contrast: of text as in WCAG 2.2, 1.4.3; of dim text as of large text there
DIMMEST_TEXT = 0.85  # opacity from which text is not dim
SHOWN_GRAYS = (0, *range(8, 239, 10), 255)  # the grays that terminals show for `TERMINAL_GRAYS`
SAME = 4  # largest difference of a channel between a blended color and a dim one
HUE = 3.0  # weight of hue and chroma, relative to lightness
IS_TEXT = re.compile(r"[!-~\w←-⇿⏎]")  # in contrast to lines, blocks and other signs
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


class PaletteFilter(LineFilter):
    """Replaces colors by those of a terminal of 256; Rich, which would reduce each channel by itself, keeps these.

    Text gets a contrast of at least `TEXT` with its background, and dim text one of at least `DIM`. Lines, bars and
    images do not change their contrast more than the palette makes necessary.

    Args:
        foreground: The theme's color of text; blended with the background it is dim text, as are black and white.
    """

    def __init__(self, foreground: RGB) -> None:
        super().__init__()
        self._dimmed = (foreground, BLACK, WHITE)
        self._styles: Computed[tuple[Style, RGB, bool], Style] = Computed(lambda key: self._reduced(*key))

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments in these colors."""
        behind, styles = background.rgb, self._styles
        return [
            Segment(text, styles[style, behind, bool(IS_TEXT.search(text))] if style else style, control)
            for text, style, control in segments
        ]

    def _reduced(self, style: Style, background: RGB, is_text: bool) -> Style:
        color = None if style.color is None else style.color.triplet
        own = None if style.bgcolor is None else style.bgcolor.triplet
        before = background if own is None else own
        after = nearest(before)
        front = None
        if color is not None:
            is_visible = is_text and color != before
            minimum = 1.0 if not is_visible else DIM if self._is_dim(color, before) else TEXT
            front = Color(*nearest(color, after, minimum)).rich_color
        return style + Style.from_color(front, None if own is None else Color(*after).rich_color)

    def _is_dim(self, color: RGB, background: RGB) -> bool:
        """Whether a color is one of text, blended with the background."""
        return any(_opacity(color, background, text) <= DIMMEST_TEXT for text in self._dimmed)


@functools.lru_cache(4096)
def nearest(color: RGB, background: RGB = BLACK, minimum: float = 1.0) -> RGB:
    """The nearest color of a terminal of 256 that has at least this contrast with the background, up to 4.58.

    It is returned as the color that Rich reduces to it, whose grays are up to 2 brighter.
    """
    behind = _palette().get(background, luminance(background))
    enough = [given for given, shown in _palette().items() if _ratio(shown, behind) >= minimum]
    return min(enough, key=lambda given: _difference(_oklab(given), _oklab(color)))


def contrast(first: RGB, second: RGB) -> float:
    """The contrast ratio of two colors, 1 to 21, as WCAG 2.2 defines it."""
    return _ratio(luminance(first), luminance(second))


def luminance(color: RGB) -> float:
    """The relative luminance of a color, 0 to 1, as WCAG 2.2 defines it."""
    red, green, blue = map(_linear, color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: int) -> float:
    fraction = value / 255
    return fraction / 12.92 if fraction <= 0.04045 else float(((fraction + 0.055) / 1.055) ** 2.4)


@functools.lru_cache(4096)
def _oklab(color: RGB) -> tuple[float, float, float]:
    """Lightness, 0 to 1, and the two coordinates of hue and chroma in Oklab (B. Ottosson, 2020)."""
    red, green, blue = map(_linear, color)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _difference(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """How different two colors look; hue and chroma count more than lightness, which contrast can decide."""
    lightness, a, b = (x - y for x, y in zip(first, second, strict=True))
    return lightness * lightness + HUE * (a * a + b * b)


def _ratio(first: float, second: float) -> float:
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


def _opacity(color: RGB, background: RGB, text: RGB) -> float:
    """The opacity with which `text` on the background looks like `color`; infinity if none does."""
    spans = [there - here for there, here in zip(text, background, strict=True)]
    offsets = [there - here for there, here in zip(color, background, strict=True)]
    length = sum(span * span for span in spans)
    opacity = sum(a * b for a, b in zip(spans, offsets, strict=True)) / length if length else 0.0
    near = all(abs(offset - opacity * span) <= SAME for offset, span in zip(offsets, spans, strict=True))
    return opacity if near else float("inf")


@functools.cache
def _palette() -> dict[RGB, float]:
    """Each color of the 6x6x6 cube and each gray, as Rich takes it, and the luminance of what a terminal shows."""
    cube: Iterator[RGB] = ((r, g, b) for r, g, b in product(CUBE, repeat=3) if not r == g == b)
    grays = zip(TERMINAL_GRAYS, SHOWN_GRAYS, strict=True)
    return {color: luminance(color) for color in cube} | {(a, a, a): luminance((b, b, b)) for a, b in grays}
