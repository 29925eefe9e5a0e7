"""Cells: grays that every terminal has, and lines that a terminal reads back the same."""

from __future__ import annotations

import io
import random

import pyte
import pytest
from rich.color import Color, ColorSystem
from rich.console import Console
from rich.style import Style
from textual.strip import Strip

from tui.terminal.blocks import gray_blocks
from tui.terminal.cells import GAP, GRAYS, LEVELS, NEAREST, Cell, CellStrip, half, palette, ramp

BACK = (18, 18, 18)
PLACES = {"▀": "1100", "▄": "0011", " ": "0000", "█": "1111", "▗": "0001", "▖": "0010", "▝": "0100", "▐": "0101"}
PLACES |= {"▞": "0110", "▟": "0111", "▘": "1000", "▚": "1001", "▌": "1010", "▙": "1011", "▜": "1101", "▛": "1110"}


def halves(levels: random.Random, count: int) -> list[Cell]:
    return [half(levels.randrange(LEVELS + 1), levels.randrange(LEVELS + 1)) for _ in range(count)]


def quadrants(levels: random.Random, count: int) -> list[Cell]:
    rows = [bytes(levels.randrange(LEVELS + 1) for _ in range(2 * count)) for _ in range(2)]
    return [Cell(*cell) for cell in gray_blocks(rows).cells(2)]


def told(cells: list[Cell], system: str) -> str:
    console = Console(color_system=system, file=io.StringIO(), force_terminal=True)
    return CellStrip(cells, palette(BACK)).render(console)


def painted(text: str, front: str, behind: str) -> list[str]:
    """The colors of a cell's four quarters."""
    return [front if bit == "1" else behind for bit in PLACES[text]]


def test_the_greys_are_those_of_a_256_colour_terminal() -> None:
    assert GRAYS[0] == 0
    assert GRAYS[-1] == 255
    assert len(set(GRAYS)) == 16
    for grey in GRAYS:
        number = Color.from_rgb(grey, grey, grey).downgrade(2).number  # 2: the 256-color system
        shown = {16: 0, 231: 255, **{232 + i: 8 + 10 * i for i in range(24)}}  # xterm's own values
        assert number is not None
        assert abs(shown[number] - grey) <= 2


def test_every_byte_goes_to_the_nearest_grey() -> None:
    for value in range(256):
        assert abs(GRAYS[NEAREST[value]] - value) == min(abs(grey - value) for grey in GRAYS)


@pytest.mark.parametrize("system", ["256", "truecolor"])
@pytest.mark.parametrize("draw", [halves, quadrants])
def test_a_line_reads_back_as_its_cells(draw, system: str) -> None:
    cells = draw(random.Random(7), 400)
    screen = pyte.Screen(len(cells), 1)
    pyte.Stream(screen).feed(told(cells, system))
    codes = {level: painted_grey(level, system) for level in range(LEVELS + 1)}
    for x, cell in enumerate(cells):
        seen = screen.buffer[0][x]
        wanted = painted(cell.text, codes[cell.foreground], codes[cell.background])
        assert painted(seen.data, seen.fg, seen.bg) == wanted, (x, cell)


def painted_grey(level: int, system: str) -> str:
    color = Color.from_rgb(*(BACK if level == GAP else (GRAYS[level],) * 3))
    if system == "256":
        number = color.downgrade(ColorSystem.EIGHT_BIT).number
        assert number is not None
        return pyte.graphics.FG_BG_256[number]
    return "{:02x}{:02x}{:02x}".format(*color.get_truecolor())


def test_a_line_ends_with_the_terminal_as_it_was() -> None:
    assert told([half(3, 9)], "256").endswith("\x1b[0m")


def test_a_flat_line_names_its_colour_once() -> None:
    line = told([half(0, 0)] * 100, "256")
    assert line.count("\x1b[") == 2
    assert len(line) < 120


def test_a_colour_that_is_still_set_is_not_repeated() -> None:
    line = told([half(3, 9), half(9, 3), half(3, 3), half(9, 9)], "256")
    assert line.count("\x1b[") == 2  # the two colors together, and the reset
    assert line.removesuffix("\x1b[0m").endswith("m▀▄█ ")


def test_a_line_is_cut_and_styled_as_any_strip_is() -> None:
    cells = halves(random.Random(3), 12)
    colors = palette(BACK)
    plain = Strip([colors.segments[cell] for cell in cells], len(cells))
    style = Style(bold=True)
    assert CellStrip(cells, colors).crop(2, 9) == plain.crop(2, 9)
    assert list(CellStrip(cells, colors).divide([4, 12])) == list(plain.divide([4, 12]))
    assert CellStrip(cells, colors).adjust_cell_length(15) == plain.adjust_cell_length(15)
    assert CellStrip(cells, colors).apply_style(style) == plain.apply_style(style)
    whole = CellStrip(cells, colors)
    assert list(whole.divide([12])) == [whole]
    assert whole.text == plain.text
    assert not hasattr(whole, "nonsense")


def test_noise_needs_two_thirds_of_the_bytes_of_one_style_per_cell() -> None:
    cells = halves(random.Random(1), 224)
    system = ColorSystem.EIGHT_BIT
    styled = sum(
        len(segment.style.render(segment.text, color_system=system)) for segment in CellStrip(cells, palette(BACK))
    )
    assert len(told(cells, "256")) < 0.75 * styled


def test_a_cell_and_its_counterpart_show_the_same() -> None:
    for cell in (*halves(random.Random(2), 50), *quadrants(random.Random(3), 200)):
        front, behind = str(cell.foreground), str(cell.background)
        assert painted(cell.text, front, behind) == painted(cell.inverse, behind, front)


def test_ramps_go_from_empty_to_full() -> None:
    levels = bytes(range(LEVELS))
    for drawing, first, last in (("shade", " ", "█"), ("ascii", " ", "@")):
        line = ramp(drawing, levels, levels, dark=True)
        assert (line[0], line[-1]) == (first, last)
        assert ramp(drawing, levels, levels, dark=False) == line[::-1]
    assert ramp("ascii", bytes([GAP, 15]), bytes([15, GAP]), dark=True) == "  "
