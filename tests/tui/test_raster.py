"""Curves as cells: where lines run, which dots a cell shows, and that plotext puts the cells where its axes are."""

from __future__ import annotations

import random

import pytest
from rich.console import Console
from rich.text import Text
from textual_plotext.plot import Plot

from tui.terminal.raster import BRAILLE, QUARTERS, Raster, ansi_to_text

RED, BLUE = (255, 0, 0), (0, 0, 255)


def raster(columns: int = 10, lines: int = 4) -> Raster:
    """Cells for 0 to 1 in both directions."""
    return Raster(columns, lines, (0.0, 1.0), (0.0, 1.0))


def lit(drawn: Raster, across: int = 2, up: int = 4) -> set[tuple[int, int]]:
    """The dots of all cells, (column, row from the bottom)."""
    patterns = BRAILLE if up == 4 else QUARTERS
    codes = {text: (left, right) for left, row in enumerate(patterns) for right, text in enumerate(row)}
    return {
        (spot.column * across + side, spot.line * up + bit)
        for spot in drawn.cells()
        for side, bits in enumerate(codes[spot.text])
        for bit in range(up)
        if bits >> bit & 1
    }


def test_every_dot_pattern_has_its_character():
    assert len({text for row in BRAILLE for text in row}) == 256
    assert len({text for row in QUARTERS for text in row}) == 16
    assert (BRAILLE[0b0001][0], BRAILLE[0][0b1000], QUARTERS[0b10][0b01]) == ("⡀", "⠈", "▚")


def test_a_horizontal_line_has_one_dot_per_column():
    drawn = raster()
    drawn.draw([0.0, 1.0], [0.5, 0.5], RED)
    assert lit(drawn) == {(column, 8) for column in range(20)}


@pytest.mark.parametrize("coarse", [False, True])
def test_lines_of_any_slope_have_no_gaps(coarse: bool):
    rng = random.Random(0)
    for _ in range(50):
        xs = sorted(rng.random() for _ in range(6))
        drawn = raster(12, 6)
        drawn.draw(xs, [rng.random() for _ in xs], RED, coarse=coarse)
        dots = lit(drawn, up=2 if coarse else 4)
        reached, fresh = set(), {min(dots)}
        while fresh:
            reached |= fresh
            fresh = {(x + i, y + j) for x, y in fresh for i in (-1, 0, 1) for j in (-1, 0, 1)} & dots - reached
        assert reached == dots


def test_lines_match_plotext():
    """Its dots lie on the same line, cut into as many points as it is long; ours are at most a dot away, and so its."""
    rng = random.Random(1)
    for _ in range(20):
        xs = [0.0, *sorted(rng.random() for _ in range(4)), 1.0]
        ys = [0.0, *(rng.random() for _ in range(4)), 1.0]
        drawn = raster(20, 8)
        drawn.draw(xs, ys, RED)
        plot = Plot()
        plot.plotsize(20, 8)
        plot.xlim(0, 1)
        plot.ylim(0, 1)
        plot.xaxes(False, False)
        plot.yaxes(False, False)
        plot.xfrequency(0)
        plot.yfrequency(0)
        plot.plot(xs, ys, marker="braille")
        rows = Text.from_ansi(plot.build()).plain.splitlines()
        codes = {text: (left, right) for left, row in enumerate(BRAILLE) for right, text in enumerate(row)}
        theirs = {
            (2 * column + side, 4 * (7 - line) + bit)
            for line, row in enumerate(rows)
            for column, text in enumerate(row)
            if text in codes
            for side, bits in enumerate(codes[text])
            for bit in range(4)
            if bits >> bit & 1
        }
        ours = lit(drawn)
        for some, others in ((ours, theirs), (theirs, ours)):
            assert all({(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & others for x, y in some)


def test_lines_are_clipped_at_the_edges():
    drawn = raster()
    drawn.draw([-1.0, 2.0], [-1.0, 2.0], RED)
    dots = lit(drawn)
    assert {(0, 0), (19, 15)} <= dots
    assert all(abs(row / 15 - column / 19) < 0.1 for column, row in dots)


def test_the_later_line_covers_the_earlier_one():
    drawn = raster()
    drawn.draw([0.0, 1.0], [0.5, 0.5], RED, coarse=True)
    drawn.draw([0.0, 0.4], [0.5, 0.5], BLUE)
    assert {spot.color for spot in drawn.cells() if spot.column < 4} == {BLUE}
    assert {spot.color for spot in drawn.cells() if spot.column > 4} == {RED}


def test_escape_sequences_become_rich_styles():
    plot = Plot()
    plot.plotsize(40, 10)
    plot.plot([0, 1, 2], [1, 3, 2], color=(10, 200, 30))
    built = plot.build()
    ours, richs = ansi_to_text(built), Text.from_ansi(built)
    assert ours.plain == richs.plain.rstrip("\n")
    console = Console()
    for at in range(len(ours)):
        assert ours.get_style_at_offset(console, at) == richs.get_style_at_offset(console, at)
