"""Shows samples in the terminal: half blocks in its colors, else shades or ASCII characters."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.export.images import MODES
from core.system.terminal import RAMPS, Terminal, describe_terminal

if TYPE_CHECKING:
    from core.runs.trajectory import Denoising

PAGE = (80, 24)  # columns and rows where stdout is no terminal
OTHER_LINES = 4  # of the terminal: the model's name, which may wrap, what is left out, and the prompt
MIN_WIDTH = 10  # columns of an image that is reduced to fit
RGB = tuple[int, int, int]
Line = list[tuple[RGB, RGB] | None]  # upper and lower pixel of each cell; None between images


@dataclass(frozen=True, slots=True)
class Layout:
    """How many images are shown, and how large."""

    count: int
    per_row: int
    width: int  # pixels, one per column
    height: int  # pixels, two per line; even


def arrange(n: int, height: int, width: int, columns: int, rows: int) -> Layout:
    """The layout with the largest images, at most their own size, of which all `n` fit; else the first that fit."""
    best: Layout | None = None
    for per_row in range(1, n + 1):
        w = max(1, min(width, (columns + 1) // per_row - 1))
        if per_row > 1 and w < min(width, MIN_WIDTH):
            break
        h = max(2, height * w // width // 2 * 2)
        image_rows = max(1, (rows + 1) // (h // 2 + 1))  # with an empty line between
        layout = Layout(min(n, per_row * image_rows), per_row, w, h)
        if best is None or layout.count > best.count or w == best.width:
            best = layout
    assert best is not None
    return best


def show(denoising: Denoising) -> None:
    """Print the samples, reduced to fit the terminal; without colors and escape sequences in a pipe or a file."""
    terminal = describe_terminal()
    columns, rows = PAGE
    if terminal.stdout_is_terminal:
        columns, rows = terminal.columns or columns, terminal.rows or rows
    n = denoising.n
    layout = arrange(n, denoising.height, denoising.width, columns, rows - OTHER_LINES)
    lines = list(_lines(denoising, layout))
    if terminal.stdout_is_terminal and terminal.blocks and terminal.colors != "none":
        _print_half_blocks(lines, terminal)
    else:
        ramp = RAMPS["shade" if terminal.stdout_is_terminal and terminal.blocks else "ascii"]
        sys.stdout.writelines("".join(_character(cell, ramp) for cell in line).rstrip() + "\n" for line in lines)
    if layout.count < n:
        print(f"the first {layout.count:,} of {n:,} samples")


def _lines(denoising: Denoising, layout: Layout) -> Iterator[Line]:
    """The lines of the preview, with an empty one between rows of images."""
    from PIL import Image

    mode, size = MODES[denoising.channels], (denoising.width, denoising.height)
    content = denoising.frames[-1].x
    length = math.prod(size) * denoising.channels
    images = []
    for start in range(0, layout.count * length, length):
        image = Image.frombytes(mode, size, content[start : start + length])
        if size != (layout.width, layout.height):
            image = image.resize((layout.width, layout.height), Image.Resampling.LANCZOS)
        images.append(image.convert("RGB").tobytes())
    for first in range(0, layout.count, layout.per_row):
        if first:
            yield []
        for y in range(0, layout.height, 2):
            line: Line = []
            for pixels in images[first : first + layout.per_row]:
                line += [None] if line else []
                upper, lower = (_row(pixels, layout.width, row) for row in (y, y + 1))
                line += zip(upper, lower, strict=True)
            yield line


def _row(pixels: bytes, width: int, row: int) -> list[RGB]:
    values = pixels[3 * width * row : 3 * width * (row + 1)]
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


def _character(cell: tuple[RGB, RGB] | None, ramp: str) -> str:
    """The character for the mean luminance (ITU-R BT.601) of the two pixels."""
    if cell is None:
        return " "
    luminance = sum(299 * red + 587 * green + 114 * blue for red, green, blue in cell) / 2000
    return ramp[min(int(luminance / 256 * len(ramp)), len(ramp) - 1)]


def _print_half_blocks(lines: list[Line], terminal: Terminal) -> None:
    from rich.color import Color
    from rich.console import Console
    from rich.segment import Segment, Segments
    from rich.style import Style

    segments = []
    for line in lines:
        for cell in line:
            style = Style(color=Color.from_rgb(*cell[0]), bgcolor=Color.from_rgb(*cell[1])) if cell else None
            segments.append(Segment("▀" if cell else " ", style))
        segments.append(Segment.line())
    system = {"16": "standard", "256": "256"}.get(terminal.colors, "truecolor")
    Console(color_system=system).print(Segments(segments), end="")  # type: ignore[arg-type]
