"""Captions below the images of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from core.config.sampling import NO_CLASS
from tui.class_names import class_name
from tui.widgets.grid_layout import Layout
from tui.widgets.text_line import centered


class Caption(NamedTuple):
    """The text below an image.

    Attributes:
        text: The text; shortened if necessary.
        end: What follows the text, and stays when that is shortened.
        shorter: Other texts, of which the first that fits is used if the first text does not.
        warns: Whether the text is in the theme's warning color.
    """

    text: str
    end: str = ""
    shorter: tuple[str, ...] = ()
    warns: bool = False

    def fitted(self, width: int) -> str:
        """The text in exactly `width` columns."""
        whole = self.text + self.end
        if self.shorter and cell_len(whole) > width:
            whole = next((text for text in self.shorter if cell_len(text) <= width), self.shorter[-1])
            return centered(whole, width)
        return centered(self.text, width, self.end)


def class_captions(
    read: Sequence[tuple[int, int]] | None, requested: Sequence[int] | None, names: Sequence[str]
) -> list[Caption]:
    """The class recognized in each image, after the requested one if that is another.

    Args:
        read: Class and confidence in percent of each image; None without a classifier.
        requested: Classes of the images, -1 for any; None for an unconditional model.
        names: Names of the classes.
    """
    wanted = requested if requested is not None else [NO_CLASS] * len(read or ())
    return [
        _mistaken(class_name(asked, names), class_name(label, names), f" {confidence}%")
        if asked not in (NO_CLASS, label)
        else Caption(class_name(label, names), f" {confidence}%")
        for asked, (label, confidence) in zip(wanted, read or (), strict=False)
    ]


def _mistaken(requested: str, recognised: str, confidence: str) -> Caption:
    """The caption of an image that another class than the requested one was recognized in."""
    both, new = f"{requested} → {recognised}", f"→ {recognised}"
    return Caption(both, confidence, shorter=(both, new + confidence, new), warns=True)


def caption_line(captions: Sequence[Caption], layout: Layout, left: int) -> list[tuple[str, bool]]:
    """Captions below a row of images, `left` pixels from the edge, and whether each warns."""
    line, end, across = [], 0, layout.density[0]
    width = layout.width // across
    for column, caption in enumerate(captions):
        start = -(-(left + column * (layout.width + layout.gap_x)) // across)  # the first whole cell
        line += [(" " * (start - end), False), (caption.fitted(width), caption.warns)]
        end = start + width
    return line
