"""The canvas of the plane: its dots, arrows and shades."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Size

from core.engine.protocol import Array
from core.system.plain_characters import plain
from tui.lab.plane_canvas import ARROWS, PlaneCanvas, Points, square
from tui.themes import DARK

RED, BLUE = "plot-run-4", "plot-average"


class Plane(App[None]):
    """One canvas that shows the square [-1, 1]."""

    def compose(self) -> ComposeResult:
        yield PlaneCanvas(extent=1.0)

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name

    @property
    def canvas(self) -> PlaneCanvas:
        return self.query_one(PlaneCanvas)

    def lines(self) -> list[str]:
        return [self.canvas.render_line(y).text for y in range(self.canvas.size.height)]


def floats(shape: tuple[int, ...], values: Sequence[float]) -> Array:
    return Array(shape, array("f", values))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((40, 10), (10, 0, 20, 10)), ((20, 30), (0, 10, 20, 10)), ((7, 9), (0, 3, 6, 3)), ((1, 1), (0, 0, 0, 0))],
)
def test_the_square_is_as_large_as_fits_and_centred(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert square(*size) == expected


async def test_a_point_is_the_braille_dot_at_its_place() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)):  # the square has 4 columns and 2 lines: 8 by 8 dots
        app.canvas.show([Points([-0.99, 0.99, 0.99, -0.99], RED), Points([0.01, -0.01], BLUE)])
        assert app.lines() == ["  ⠁     ", "    ⠁⢀  "]
        app.canvas.show([Points([5.0, 0.0, 0.0, -1.5, float("nan"), 0.0], RED)])
        assert app.lines() == [" " * 8] * 2


async def test_each_point_has_its_color_and_the_last_one_of_a_cell_wins() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)):
        app.canvas.show([Points([-0.99, 0.99, 0.99, 0.99], RED), Points([-0.9, 0.7], BLUE)])
        dotted = {
            segment.text: segment.style.color.triplet
            for segment in app.canvas.render_line(0)
            if segment.text.strip() and segment.style is not None and segment.style.color is not None
        }
        assert len(dotted) == 2
        assert len(set(dotted.values())) == 2


async def test_arrows_point_along_the_vectors_and_leave_cells_with_points() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)):
        field = floats((2, 2, 2), [1, 0, 0, 1, -1, -1, 0, -1])
        app.canvas.show([Points([0.5, -0.5], RED)], field=field)
        (top, bottom) = app.lines()
        assert [character for character in top if character in ARROWS] == ["→", "↑"]
        assert [character for character in bottom if character in ARROWS] == ["↙"]
    assert "?" not in plain(ARROWS)


async def test_denser_cells_are_lighter() -> None:
    app = Plane()
    async with app.run_test(size=(4, 2)):
        assert app.canvas.cells == (4, 2)
        app.canvas.show([], density=floats((2, 4), [0, 0, 0, 1, 0, 0, 0, 2]))
        backs = [
            [segment.style.bgcolor.triplet for segment in app.canvas.render_line(y) for _ in segment.text]  # type: ignore[union-attr]
            for y in (0, 1)
        ]
    empty, half, full = backs[0][0], backs[0][3], backs[1][3]
    assert empty is not None
    assert half is not None
    assert full is not None
    assert backs[0][:3] == [empty] * 3
    assert sum(empty) < sum(half) < sum(full)


async def test_it_is_drawn_again_when_its_size_changes() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)) as pilot:
        app.canvas.show([Points([-0.99, 0.99], RED)])
        before = app.lines()
        await pilot.resize_terminal(20, 10)
        await pilot.pause()
        assert app.canvas.size == Size(20, 10)
        assert len(app.lines()) == 10
        assert app.lines()[0] != before[0]
