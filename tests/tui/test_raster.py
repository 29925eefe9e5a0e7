"""Curves as cells: where lines run, which dots a cell shows, and what covers what."""

from __future__ import annotations

import random

from tui.terminal.raster import QUARTERS, RULE, Raster

RED, BLUE = (255, 0, 0), (0, 0, 255)


def raster(columns: int = 10, lines: int = 4) -> Raster:
    """Cells for 0 to 1 in both directions."""
    return Raster(columns, lines, (0.0, 1.0), (0.0, 1.0))


def lit(drawn: Raster) -> set[tuple[int, int]]:
    """The dots of all cells, (column, row from the bottom)."""
    codes = {text: (left, right) for left, row in enumerate(QUARTERS) for right, text in enumerate(row)}
    return {
        (spot.column * 2 + side, spot.line * 2 + bit)
        for spot in drawn.cells()
        for side, bits in enumerate(codes[spot.text])
        for bit in range(2)
        if bits >> bit & 1
    }


def test_every_dot_pattern_has_its_character():
    assert len({text for row in QUARTERS for text in row}) == 16
    assert (QUARTERS[0b01][0], QUARTERS[0][0b10], QUARTERS[0b10][0b01]) == ("▖", "▝", "▚")


def test_a_horizontal_line_has_one_dot_per_column():
    drawn = raster()
    drawn.draw([0.0, 1.0], [0.5, 0.5], RED)
    assert lit(drawn) == {(column, 4) for column in range(20)}


def test_lines_of_any_slope_have_no_gaps():
    rng = random.Random(0)
    for _ in range(50):
        xs = sorted(rng.random() for _ in range(6))
        drawn = raster(12, 6)
        drawn.draw(xs, [rng.random() for _ in xs], RED)
        dots = lit(drawn)
        reached, fresh = set(), {min(dots)}
        while fresh:
            reached |= fresh
            fresh = {(x + i, y + j) for x, y in fresh for i in (-1, 0, 1) for j in (-1, 0, 1)} & dots - reached
        assert reached == dots


def test_lines_pass_through_their_points_and_stay_within_a_dot_of_the_curve():
    rng = random.Random(1)
    for _ in range(20):
        xs = [0.0, *sorted(rng.random() for _ in range(4)), 1.0]
        ys = [0.0, *(rng.random() for _ in range(4)), 1.0]
        drawn = raster(20, 8)
        drawn.draw(xs, ys, RED)
        dots = lit(drawn)
        assert {(round(x * 39), round(y * 15)) for x, y in zip(xs, ys, strict=True)} <= dots
        fine = [at / 4_000 for at in range(4_001)]
        curve = {(round(x * 39), round(_interpolate(x, xs, ys) * 15)) for x in fine}
        near = {(x + i, y + j) for x, y in curve for i in (-1, 0, 1) for j in (-1, 0, 1)}
        assert dots <= near


def _interpolate(x: float, xs: list[float], ys: list[float]) -> float:
    at = next(at for at in range(1, len(xs)) if x <= xs[at])
    return ys[at - 1] + (ys[at] - ys[at - 1]) * (x - xs[at - 1]) / (xs[at] - xs[at - 1])


def test_lines_are_clipped_at_the_edges():
    drawn = raster()
    drawn.draw([-1.0, 2.0], [-1.0, 2.0], RED)
    dots = lit(drawn)
    assert {(0, 0), (19, 7)} <= dots
    assert all(abs(row / 7 - column / 19) < 0.15 for column, row in dots)


def test_the_later_line_covers_the_earlier_one():
    drawn = raster()
    drawn.draw([0.0, 1.0], [0.5, 0.5], RED)
    drawn.draw([0.0, 0.4], [0.5, 0.5], BLUE)
    assert {spot.color for spot in drawn.cells() if spot.column < 4} == {BLUE}
    assert {spot.color for spot in drawn.cells() if spot.column > 4} == {RED}


def test_a_band_fills_the_range_between_two_curves():
    drawn = raster(10, 4)
    drawn.fill([0.0, 1.0], [0.0, 0.0], [1.0, 0.5], RED)
    dots = lit(drawn)
    assert all({(column, row) for row in range(4)} <= dots for column in range(20))
    assert {(0, row) for row in range(8)} <= dots
    assert (19, 7) not in dots


def test_a_line_over_a_band_has_its_colour_as_background():
    drawn = raster(10, 4)
    drawn.fill([0.0, 1.0], [0.0, 0.0], [0.4, 0.4], RED)
    drawn.draw([0.0, 1.0], [0.1, 0.1], BLUE)
    drawn.draw([0.0, 1.0], [0.9, 0.9], BLUE)
    found = {(spot.line, spot.color, spot.background) for spot in drawn.cells()}
    assert found == {(0, BLUE, RED), (1, RED, None), (3, BLUE, None)}


def test_the_cursor_leaves_lines_and_signs_and_keeps_the_band():
    drawn = raster(11, 4)
    drawn.fill([0.0, 1.0], [0.0, 0.0], [0.4, 0.4], RED)
    drawn.draw([0.0, 1.0], [0.1, 0.1], BLUE)
    drawn.mark([0.5], [1.0], "●", BLUE)
    drawn.rule(0.5, RED)
    column = {spot.line: spot for spot in drawn.cells() if spot.column == 5}
    assert [column[line].text for line in (1, 2, 3)] == [RULE, RULE, "●"]
    assert column[0].text != RULE
    assert [column[line].background for line in range(4)] == [RED, RED, None, None]
