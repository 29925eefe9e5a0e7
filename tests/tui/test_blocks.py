"""Quadrants, sextants and octants: two colors in place of four, six or eight, of gray and of RGB pixels."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from itertools import product

import pytest

from tui.terminal.blocks import OCTANTS, QUADRANTS, SEXTANTS, gray_blocks, rgb_blocks
from tui.terminal.cells import GAP, LEVELS, MARK, Cell, half
from tui.terminal.rgb import RGB_GAP, RGB_MARK, luminance, packed

RED, GREEN, BLUE = 31 << 10, 31 << 5, 31
WHITE = RED | GREEN | BLUE
BLOCKS = {2: QUADRANTS, 3: SEXTANTS, 4: OCTANTS}


def grey_cells(cells: Sequence[Sequence[int]]) -> list[Cell]:
    """Cells of gray levels, each in reading order."""
    down = len(cells[0]) // 2
    rows = [bytes(level for cell in cells for level in cell[2 * y : 2 * y + 2]) for y in range(down)]
    return [Cell(*cell) for cell in gray_blocks(rows).cells(down)]


def rgb_cell(pixels: Sequence[int]) -> Cell:
    """A cell of colors in reading order, in a line of two cells."""
    down = len(pixels) // 2
    rows = [packed(a) + packed(b) + packed(WHITE, 2) for a, b in zip(pixels[::2], pixels[1::2], strict=True)]
    first, second = (Cell(*cell) for cell in rgb_blocks(rows).cells(down, tuple))
    assert second == half(WHITE, WHITE)
    return first


def painted(cell: Cell, count: int) -> list[int]:
    """The colors of a cell's pixels, of a text and of its inverse."""
    shape, inverse = (BLOCKS[count // 2].index(text) for text in (cell.text, cell.inverse))
    assert shape ^ inverse == (1 << count) - 1
    return [cell.foreground if shape >> place & 1 else cell.background for place in range(count)]


def test_sextants_have_the_characters_that_unicode_names() -> None:
    for shape, character in enumerate(SEXTANTS):
        if shape not in (0, 0b010101, 0b101010, 0b111111):
            places = "".join(str(place + 1) for place in range(6) if shape >> place & 1)
            assert unicodedata.name(character) == f"BLOCK SEXTANT-{places}"
    assert [SEXTANTS[shape] for shape in (0, 0b010101, 0b101010, 0b111111)] == [" ", "▌", "▐", "█"]


def test_octants_have_the_characters_that_unicode_16_names() -> None:
    named = {  # pixels in reading order, as in the names
        "3": 0x1CD00, "23": 0x1CD01, "123": 0x1CD02, "4": 0x1CD03, "14": 0x1CD04, "124": 0x1CD05, "1245": 0x1CD13,
        "1278": 0x1CDAE, "2345678": 0x1CDE5,  # BLOCK OCTANT-3 and so on
        "1": 0x1CEA8, "2": 0x1CEAB, "7": 0x1CEA3, "8": 0x1CEA0,  # LEFT HALF UPPER ONE QUARTER BLOCK and so on
        "12": 0x1FB82, "123456": 0x1FB85, "35": 0x1FBE6, "46": 0x1FBE7, "78": ord("▂"), "345678": ord("▆"),
        "1234": ord("▀"), "5678": ord("▄"), "1357": ord("▌"), "2468": ord("▐"), "13": ord("▘"), "68": ord("▗"),
        "5724": ord("▞"), "": ord(" "), "12345678": ord("█"),
    }  # fmt: skip
    for places, code in named.items():
        assert OCTANTS[sum(1 << int(place) - 1 for place in places)] == chr(code), places
    assert len(set(OCTANTS)) == 256
    if unicodedata.unidata_version >= "16":
        for shape, character in enumerate(OCTANTS):
            if 0x1CD00 <= ord(character) <= 0x1CDE5:
                places = "".join(str(place + 1) for place in range(8) if shape >> place & 1)
                assert unicodedata.name(character) == f"BLOCK OCTANT-{places}"


@pytest.mark.parametrize("count", [4, 6, 8])
def test_two_levels_are_exact(count: int) -> None:
    cells = list(product((0, 15), repeat=count))
    assert [painted(cell, count) for cell in grey_cells(cells)] == [list(pixels) for pixels in cells]


@pytest.mark.parametrize("count", [4, 6, 8])
def test_two_colours_are_exact(count: int) -> None:
    for pixels in product((BLUE, RED | GREEN), repeat=count):
        assert painted(rgb_cell(pixels), count) == list(pixels)


@pytest.mark.parametrize("count", [4, 6])
def test_more_levels_are_reduced_to_two_with_little_more_error_than_the_best_two(count: int) -> None:
    def error(pixels: Sequence[int], shown: Sequence[int]) -> int:
        return sum((a - b) ** 2 for a, b in zip(pixels, shown, strict=True))

    def groups(pixels: Sequence[int], threshold: int) -> list[int]:
        bright, dark = ([p for p in pixels if (p >= threshold) == side] for side in (True, False))
        means = [round(sum(group) / len(group)) if group else 0 for group in (dark, bright)]
        return [means[pixel >= threshold] for pixel in pixels]

    levels = random.Random(4)
    cells = [[levels.randrange(LEVELS) for _ in range(count)] for _ in range(500)]
    total = sum(error(pixels, painted(cell, count)) for pixels, cell in zip(cells, grey_cells(cells), strict=True))
    best = sum(min(error(pixels, groups(pixels, threshold)) for threshold in pixels) for pixels in cells)
    assert best <= total < 1.07 * best


def test_background_and_marked_pixels_keep_their_colour() -> None:
    cells = [(GAP, GAP, 3, 5, 6, 6), (3, GAP, 3, GAP, 3, GAP), (MARK, 4, 4, 4, 6, 6), (MARK, GAP, 7, 7, 7, 7)]
    expected = [(GAP, GAP, 5, 5, 5, 5), (3, GAP, 3, GAP, 3, GAP), (MARK, 5, 5, 5, 5, 5), (MARK, 7, 7, 7, 7, 7)]
    assert [tuple(painted(cell, 6)) for cell in grey_cells(cells)] == expected
    assert grey_cells([(GAP,) * 6, (9,) * 6]) == [half(level, level) for level in (GAP, 9)]
    assert grey_cells([(MARK,) * 6])[0][1:3] == (MARK, MARK)
    assert painted(*grey_cells([(MARK, GAP, MARK, GAP)]), 4) == [MARK, GAP, MARK, GAP]


def test_a_group_of_pixels_gets_its_mean_colour() -> None:
    dark, bright = (0, 8), (RED | GREEN, RED | 29 << 5)
    assert rgb_cell((*bright, *dark)) == Cell("▀", RED | 30 << 5, 4, "▄")
    assert rgb_cell((RGB_GAP, RGB_GAP, 10, 20)) == Cell("▄", 15, RGB_GAP, "▀")
    assert rgb_cell((RGB_MARK, 10, 20, RGB_GAP))[1:3] == (RGB_MARK, 15)
    assert rgb_cell((RGB_GAP,) * 4) == half(RGB_GAP, RGB_GAP)
    assert rgb_cell((GREEN, GREEN, GREEN, BLUE))[1:3] == (GREEN, BLUE)  # means of three and of one
    assert rgb_cell((WHITE, WHITE, WHITE, 3, 6, 6))[1:3] == (WHITE, 5)


def test_pixels_of_one_grey_level_are_one_colour() -> None:
    green, mean = 16 << 5, 16 << 10 | 8 << 5
    assert len(set(luminance(packed(RED) + packed(green)))) == 1
    assert rgb_cell((RED, RED, green, green)) == half(mean, mean)
