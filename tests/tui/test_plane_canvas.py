"""The canvas of the plane and its pictures: dots, trails, arrows and shades."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.app import App, ComposeResult
from textual.color import Color
from textual.geometry import Size
from textual.theme import Theme

from core.config.plane import EXTENT
from core.engine.protocol import Array
from core.system.plain_characters import plain
from tui.lab.plane_canvas import MAX_CLASSES, PlaneCanvas, class_color, class_style, plane_colors
from tui.lab.plane_legend import class_legend
from tui.lab.plane_picture import SIDE, PlanePicture
from tui.lab.plane_raster import ARROWS, LEVELS, Points, Trail, arrows, density_levels, square
from tui.themes import DARK, THEMES, theme_color

FIRST, SECOND = class_color(0), class_color(1)


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
def test_the_square_is_as_large_as_fits_and_centered(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert square(*size) == expected


async def test_a_point_is_the_braille_dot_at_its_place() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)):  # the square has 4 columns and 2 lines: 8 by 8 dots
        app.canvas.show(Points([-0.99, 0.99, 0.99, -0.99, 0.01, -0.01], [FIRST] * 3))
        assert app.lines() == ["  ⠁     ", "    ⠁⢀  "]
        app.canvas.show(Points([5.0, 0.0, 0.0, -1.5, float("nan"), 0.0], [FIRST] * 3))
        assert app.lines() == [" " * 8] * 2


async def test_each_point_has_its_color_and_the_last_one_of_a_cell_wins() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)):
        app.canvas.show(Points([-0.99, 0.99, 0.99, 0.99, -0.9, 0.7], [FIRST, FIRST, SECOND]))
        dotted = {
            segment.text: segment.style.color.triplet
            for segment in app.canvas.render_line(0)
            if segment.text.strip() and segment.style is not None and segment.style.color is not None
        }
        assert len(dotted) == 2
        assert len(set(dotted.values())) == 2


async def test_a_trail_is_a_line_through_its_positions_behind_the_points() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)):
        trail = Trail([-0.99, 0.99, 0.99, 0.99, 0.99, -0.99], class_color(0, 1), class_color(0, 2))
        app.canvas.show(Points([0.99, -0.99], [FIRST]), trails=[trail])
        assert app.lines() == ["  ⠉⠉⠉⢹  ", "     ⢸  "]
        app.canvas.show(Points(), trails=[trail._replace(values=[float("nan"), 0.0, 0.5, 0.5, 1e9, 0.0])])
        assert app.lines() == [" " * 8] * 2


async def test_arrows_point_along_the_vectors_and_leave_cells_with_points() -> None:
    app = Plane()
    async with app.run_test(size=(16, 4)):  # an arrow in every second line and every fourth column
        field = floats((2, 2, 2), [1, 0, 0, 1, -1, -1, float("nan"), 0])
        assert [arrow.text for arrow in arrows(field, 4)] == ["→", "↑", "↙"]
        app.canvas.show(Points(), field=field)
        text = "".join(app.lines())
        assert [character for character in text if character in ARROWS] == ["→", "↑", "↙"]
        dots = [at for arrow in arrows(field, 4) for at in _center(arrow.cell, 8, 4)]
        app.canvas.show(Points(dots, [FIRST] * 3), field=field)
        assert not set("".join(app.lines())) & set(ARROWS)
    assert "?" not in plain(ARROWS)


def _center(cell: int, columns: int, lines: int) -> tuple[float, float]:
    line, column = divmod(cell, columns)
    return (2 * column + 1) / columns - 1, 1 - (2 * line + 1) / lines


async def test_denser_pixels_are_lighter_two_in_each_cell() -> None:
    app = Plane()
    async with app.run_test(size=(4, 2)):
        app.canvas.extent = EXTENT
        app.canvas.show(Points(), density=floats((4, 4), [0] * 8 + [0, 0, 0, 1, 0, 0, 0, 2]))
        assert app.lines() == ["    ", "   ▀"]
        below = [segment.style for segment in app.canvas.render_line(1) for _ in segment.text]
        empty, half, full = below[0].bgcolor, below[3].color, below[3].bgcolor  # type: ignore[union-attr]
        assert empty is not None
        assert half is not None
        assert full is not None
        assert sum(empty.triplet) < sum(half.triplet) < sum(full.triplet)  # type: ignore[arg-type]
        app.no_color = True  # type: ignore[misc]
        app.canvas.show(Points([1.3, -1.3], [FIRST]), density=floats((1, 1), [1]))
        assert app.lines() == ["    ", "   ⢀"]


@pytest.mark.parametrize("side", [2, 3, 8, 31])
def test_the_densest_pixel_has_the_highest_level(side: int) -> None:
    levels = density_levels(floats((2, 3), [0, 1, 2, 3, 4, 8]), side)
    assert len(levels) == side * side
    assert levels[-1] == max(levels) == LEVELS - 1
    assert levels[0] == 0
    assert not any(density_levels(floats((2, 2), [0] * 4), side))
    edge = floats((4, 4), [1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1])
    assert not any(density_levels(edge, side, 0.5))


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_classes_have_colors_of_their_own_in_every_theme(theme: Theme) -> None:
    background = theme_color(theme.variables, "plot-axes").rgb
    colors = plane_colors(theme.variables, background)
    distinct = {colors[class_color(label)] for label in range(5)}
    assert len(distinct) == 5 - (theme.name == "minidiff-safe")  # which has five colors
    assert class_color(MAX_CLASSES) == class_color(0)
    assert class_color(MAX_CLASSES - 1, 2) == len(colors) - 1
    assert class_style(0) == "$plot-average"


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_with_256_colors_denser_is_never_less_contrasting(theme: Theme) -> None:
    background = Color.parse(theme.background or "").rgb
    levels = plane_colors(theme.variables, background, reduced=True)[:LEVELS]
    numbers = [RichColor.from_rgb(*level).downgrade(ColorSystem.EIGHT_BIT).get_truecolor() for level in levels]
    contrast = [abs(sum(color) - sum(background)) for color in numbers]
    assert contrast == sorted(contrast)
    assert len(set(contrast)) >= 5


def test_the_legend_names_the_classes_if_there_is_room() -> None:
    assert str(class_legend(["upper", "lower"], 1)) == "● upper  ● lower"
    assert str(class_legend(["a long name"] * 5, 1)) == "●●●●● 5 classes"
    assert str(class_legend("abcde", 2)) == "● a  ● c  ● e\n● b  ● d"


def test_a_picture_has_the_density_the_trails_and_the_points_in_their_colors() -> None:
    background = (18, 18, 18)
    colors = plane_colors(DARK.variables, background)
    picture = PlanePicture(DARK.variables, background).draw(
        Points([0.0, 0.5, 9.0, 9.0], [SECOND] * 2),
        floats((2, 2), [0, 0, 0, 1]),
        floats((1, 1, 2), [1, 0]),
        [Trail([-0.5, -0.5, -0.5, -0.4], class_color(0, 1), class_color(0, 2))],
    )

    def color(x: float, y: float) -> tuple[int, ...]:
        row, column = (int((1 + at / EXTENT) * SIDE / 2) for at in (-y, x))
        at = 3 * (row * SIDE + column)
        return tuple(picture.pixels[at : at + 3])

    assert len(picture.pixels) == 3 * SIDE * SIDE
    assert color(0.0, 0.5) == colors[SECOND]
    assert color(-0.5, -0.45) == colors[class_color(0, 1)]
    assert color(0.9, -0.9) == colors[LEVELS - 1]
    assert color(0.0, 0.0) == colors[LEVELS + 2]  # the arrow
    assert color(-0.9, 0.9) == background


async def test_it_is_drawn_again_when_its_size_changes() -> None:
    app = Plane()
    async with app.run_test(size=(8, 2)) as pilot:
        app.canvas.show(Points([-0.99, 0.99], [FIRST]))
        before = app.lines()
        await pilot.resize_terminal(20, 10)
        await pilot.pause()
        assert app.canvas.size == Size(20, 10)
        assert len(app.lines()) == 10
        assert app.lines()[0] != before[0]
