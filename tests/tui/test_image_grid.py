"""The grid of images: exact grays and colors, whole images, and drawing only what changed."""

from __future__ import annotations

import random
from itertools import product

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Size

from tui.terminal.cells import GRAYS, MARK_RGB, NEAREST
from tui.terminal.resize import enlarge, resize
from tui.terminal.rgb import COLORS, to_rgb
from tui.widgets.captions import Caption
from tui.widgets.grid_layout import best_layout, fit
from tui.widgets.image_grid import ImageGrid


class GridApp(App[None]):
    """A grid that fills the screen."""

    def __init__(self, columns: int | None = None) -> None:
        super().__init__()
        self.grid = ImageGrid(columns)

    def compose(self) -> ComposeResult:
        yield self.grid


@pytest.fixture
def truecolor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")


def pixels(grid: ImageGrid) -> list[list[tuple[int, int, int]]]:
    """What the grid shows, two pixels a cell, read off its strips."""
    rows: list[list[tuple[int, int, int]]] = []
    for y in range(grid.size.height):
        upper, lower = [], []
        for segment in grid.render_line(y):
            style = segment.style
            assert style is not None
            assert style.color is not None
            assert style.bgcolor is not None
            front, behind = tuple(style.color.get_truecolor()), tuple(style.bgcolor.get_truecolor())
            for character in segment.text:
                assert character in " ▀"
                upper.append(behind if character == " " else front)
                lower.append(behind)
        rows += [upper, lower]
    return rows


async def test_an_image_at_full_size_is_drawn_grey_for_grey() -> None:
    image = bytes((7 * x + 11 * y) % 256 for y in range(28) for x in range(28))
    app = GridApp()
    async with app.run_test(size=(28, 14)):
        app.grid.set_images(image, 1)
        drawn = pixels(app.grid)
    expected = [[(GRAYS[NEAREST[image[y * 28 + x]]],) * 3 for x in range(28)] for y in range(28)]
    assert drawn == expected


async def test_eight_images_at_full_size_are_in_reading_order() -> None:
    images = b"".join(bytes([GRAYS[i + 4]]) * 784 for i in range(8))
    app = GridApp(4)
    async with app.run_test(size=(4 * 28 + 3 * 2, 29)):
        app.grid.set_images(images, 8)
        drawn = pixels(app.grid)
    for i in range(8):
        row, column = divmod(i, 4)
        corners = [(row * 30, column * 30), (row * 30 + 27, column * 30 + 27)]
        for y, x in corners:
            assert drawn[y][x] == (GRAYS[i + 4],) * 3


async def test_captions_are_drawn_below_their_images_if_there_is_room() -> None:
    app = GridApp(2)
    async with app.run_test(size=(28 * 2 + 2, 30)) as pilot:
        app.grid.set_images(bytes([255]) * 784 * 4, 4, captions=["0", "1", "2", "any"])
        lines = ["".join(segment.text for segment in app.grid.render_line(y)) for y in range(30)]
        assert [y for y, line in enumerate(lines) if line.strip(" ▀")] == [14, 29]
        assert lines[14].split() == ["0", "1"]
        assert abs(lines[14].index("0") - 14) <= 1
        assert abs(lines[14].index("1") - 44) <= 1
        assert lines[29].split() == ["2", "any"]
        await pilot.resize_terminal(28 * 2 + 2, 29)  # the images stay as large
        await pilot.pause()
        assert not app.grid.captions_visible
        assert app.grid.render_line(0).cell_length == 58
        assert sum(row.count((255, 255, 255)) for row in pixels(app.grid)) == 4 * 784


@pytest.mark.parametrize("size", [(39, 17), (59, 30), (99, 52), (29, 8), (12, 6), (3, 1), (1, 1)])
async def test_the_grid_never_exceeds_its_size(size: tuple[int, int]) -> None:
    app = GridApp()
    async with app.run_test(size=size):
        app.grid.set_images(bytes(range(196)) * 4 * 8, 8)
        for y in range(size[1]):
            assert app.grid.render_line(y).cell_length == size[0]


async def test_a_resize_refits_the_images() -> None:
    app = GridApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes([255]) * 784 * 4, 4)
        small = fit(4, Size(28, 14), 28, 28)
        await pilot.resize_terminal(60, 30)
        await pilot.pause()
        white = sum(row.count((255, 255, 255)) for row in pixels(app.grid))
    assert small[1] < 28
    assert white == 4 * 784


async def test_only_changed_lines_are_redrawn() -> None:
    app = GridApp()
    async with app.run_test(size=(28, 14)):
        image = bytearray(784)
        app.grid.set_images(bytes(image), 1)
        kept = [app.grid.render_line(y) for y in range(14)]
        image[10 * 28 + 3] = 255
        app.grid.set_images(bytes(image), 1)
        fresh = [y for y in range(14) if app.grid.render_line(y) is not kept[y]]
    assert fresh == [5]


async def test_ink_is_black_on_a_light_theme() -> None:
    app = GridApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes(784), 1)
        assert pixels(app.grid)[5][5] == (0, 0, 0)
        app.theme = "textual-light"
        await pilot.pause()
        assert pixels(app.grid)[5][5] == (255, 255, 255)


@pytest.mark.parametrize(("size", "drawn"), [((28, 14), "half"), ((20, 10), "quadrant")])
async def test_images_below_full_size_are_drawn_finer(size: tuple[int, int], drawn: str) -> None:
    app = GridApp()
    async with app.run_test(size=size):
        app.grid.set_images(bytes(392) + bytes([255]) * 392, 1)
        text = "".join(segment.text for y in range(size[1]) for segment in app.grid.render_line(y))
    assert app.grid._drawn == drawn
    assert len(text) == size[0] * size[1]


async def test_quadrants_show_an_edge_within_a_cell() -> None:
    app = GridApp()
    async with app.run_test(size=(14, 7)):
        app.grid.set_images(bytes([0] * 14 + [255] * 14) * 28, 1)
        assert {segment.text for segment in app.grid.render_line(3)} == {" "}
        app.grid.set_images(bytes([0] * 13 + [255] * 15) * 28, 1)
        assert "▐" in {segment.text for segment in app.grid.render_line(3)}


@pytest.mark.parametrize(("drawing", "ink", "paper"), [("shade", "█", " "), ("ascii", "@", " ")])
async def test_without_colours_ink_is_dense_on_either_theme(drawing: str, ink: str, paper: str) -> None:
    app = GridApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.drawing = drawing
        app.grid.set_images(bytes(392) + bytes([255]) * 392, 1)
        for theme in ("textual-dark", "textual-light"):
            app.theme = theme
            await pilot.pause()
            lines = ["".join(segment.text for segment in app.grid.render_line(y)) for y in (2, 12)]
            assert lines == [paper * 28, ink * 28]


async def test_without_colours_the_terminal_gets_shades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = GridApp()
    async with app.run_test(size=(28, 14)):
        app.grid.set_images(bytes([255]) * 784, 1)
        assert {segment.text for segment in app.grid.render_line(3)} == {"█" * 28}


def test_halving_takes_means() -> None:
    image = bytes([0, 100, 200, 200, 40, 60, 200, 200] * 2)
    assert resize(image, 1, 4, 4, 2, 2) == bytes([50, 200, 50, 200])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("old", "new"), [((28, 28), (17, 34)), ((256, 8), (40, 1)), ((9, 31), (7, 6)), ((28, 28), (42, 56))]
)
def test_a_pixel_of_a_resized_image_is_the_mean_of_the_area_it_covers(
    channels: int, old: tuple[int, int], new: tuple[int, int]
) -> None:
    (height, width), (new_height, new_width) = old, new
    image = random.Random(1).randbytes(height * width * channels)
    resized = resize(image, 1, *old, *new, channels)

    def overlaps(index: int, size: int, new_size: int) -> list[tuple[int, float]]:
        start, end = index * size / new_size, (index + 1) * size / new_size
        return [(i, overlap) for i in range(size) if (overlap := min(end, i + 1) - max(start, i)) > 0]

    for y, x, channel in product(range(new_height), range(new_width), range(channels)):
        parts = product(overlaps(y, height, new_height), overlaps(x, width, new_width))
        total = sum(image[(i * width + j) * channels + channel] * down * across for (i, down), (j, across) in parts)
        mean = total * new_height * new_width / (height * width)
        assert abs(resized[(y * new_width + x) * channels + channel] - mean) < 0.51


def test_a_larger_image_repeats_every_pixel() -> None:
    assert enlarge([b"abcd"], 4, 2, 3) == [b"aaabbbcccddd"] * 2
    assert enlarge([b"abcd"], 2, 1, 3) == [b"abababcdcdcd"]  # two bytes per pixel


def test_images_of_the_wrong_size_are_rejected() -> None:
    with pytest.raises(ValueError, match="1568 bytes, not 5"):
        ImageGrid().set_images(b"12345", 2)


@pytest.mark.parametrize("shape", [(8, 256), (256, 8), (16, 24), (48, 64)])
@pytest.mark.parametrize("size", [(38, 20), (120, 60), (7, 4)])
@pytest.mark.parametrize("n", [1, 8])
def test_images_of_any_shape_keep_their_aspect_ratio_and_the_grid_its_size(
    shape: tuple[int, int], size: tuple[int, int], n: int
) -> None:
    (height, width), (columns, rows) = shape, size
    _, tile_x, tile_y, *_ = fit(n, Size(*size), height, width)
    assert 1 <= tile_x <= columns
    assert 1 <= tile_y <= 2 * rows
    scale = tile_x / width if width > height else tile_y / height  # of the longer side
    assert abs(tile_x - max(1, scale * width)) < 1
    assert abs(tile_y - max(1, scale * height)) < 1


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 64])
def test_fit_shows_all_images_when_they_fit_at_all(n: int) -> None:
    columns, tile_x, tile_y, gap_x, gap_y, *_ = fit(n, Size(100, 52), 28, 28)
    rows = -(-n // columns)
    assert columns * tile_x + (columns - 1) * gap_x <= 100
    assert rows * tile_y + (rows - 1) * gap_y <= 104


def stripes(height: int, width: int) -> bytes:
    """An RGB image of levels that 15-bit colors have exactly, another in each pixel."""
    return bytes(
        to_rgb((37 * (y * width + x)) % COLORS)[c] for y in range(height) for x in range(width) for c in range(3)
    )


@pytest.mark.usefixtures("truecolor")
async def test_an_rgb_image_at_full_size_is_drawn_pixel_for_pixel() -> None:
    image, app = stripes(20, 30), GridApp()
    async with app.run_test(size=(30, 10)) as pilot:
        app.grid.set_images(image, 1, 20, 30, channels=3)
        drawn = pixels(app.grid)
        app.theme = "textual-light"
        await pilot.pause()
        assert pixels(app.grid) == drawn  # colors are not inverted
    assert drawn == [[tuple(image[3 * (30 * y + x) :][:3]) for x in range(30)] for y in range(20)]


@pytest.mark.usefixtures("truecolor")
async def test_rgb_and_grey_images_replace_each_other() -> None:
    app = GridApp()
    async with app.run_test(size=(28, 14)):
        app.grid.set_images(bytes([255, 0, 0]) * 784, 1, channels=3)
        assert pixels(app.grid)[5][5] == (255, 0, 0)
        app.grid.set_images(bytes([255]) * 784, 1)
        assert pixels(app.grid)[5][5] == (255, 255, 255)
        app.grid.set_images(bytes([0, 0, 255]) * 784, 1, channels=3)
        assert pixels(app.grid)[5][5] == (0, 0, 255)


@pytest.mark.usefixtures("truecolor")
async def test_the_marked_pixel_of_an_enlarged_rgb_image_is_amber() -> None:
    app = GridApp()
    async with app.run_test(size=(16, 8)):
        app.grid.set_images(bytes([0, 0, 255]) * 64, 1, 8, 8, channels=3)
        app.grid.set_marker(3, 2)
        drawn = pixels(app.grid)
    amber = {(y, x) for y in range(16) for x in range(16) if drawn[y][x] == MARK_RGB}
    assert amber == {(y, x) for y in (4, 5) for x in (6, 7)}
    assert drawn[0][0] == (0, 0, 255)


@pytest.mark.usefixtures("truecolor")
async def test_rgb_quadrants_have_the_colours_of_both_sides_of_an_edge() -> None:
    app = GridApp()
    async with app.run_test(size=(14, 7)):
        row = bytes([0, 0, 132]) * 13 + bytes([255, 255, 0]) * 15
        app.grid.set_images(row * 28, 1, channels=3)
        styled = [(segment.text, segment.style) for segment in app.grid.render_line(3)]
    cells = {(text, style.color.triplet, style.bgcolor.triplet) for text, style in styled}
    assert ("▐", (255, 255, 0), (0, 0, 132)) in cells
    assert {text for text, *_ in cells} == {" ", "▐"}


@pytest.mark.parametrize(("drawing", "bright", "dark"), [("shade", "█", " "), ("ascii", "@", " ")])
async def test_without_colours_bright_colours_are_dense_on_dark_and_empty_on_light(
    drawing: str, bright: str, dark: str
) -> None:
    app = GridApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.drawing = drawing
        app.grid.set_images(bytes([0, 0, 40]) * 392 + bytes([255, 255, 200]) * 392, 1, channels=3)
        for theme, expected in (("textual-dark", [dark, bright]), ("textual-light", [bright, dark])):
            app.theme = theme
            await pilot.pause()
            lines = ["".join(segment.text for segment in app.grid.render_line(y)) for y in (2, 12)]
            assert lines == [character * 28 for character in expected]


async def test_a_caption_that_does_not_fit_ends_in_an_ellipsis() -> None:
    app = GridApp(2)
    async with app.run_test(size=(18, 10)):
        app.grid.set_images(bytes(64 * 2), 2, 8, 8, captions=["ankle boot", "猫猫猫猫猫"])
        assert app.grid.captions_visible
        (line,) = (app.grid.render_line(y) for y in app.grid._lines)
    assert line.cell_length == 18
    assert line.text.split("  ")[0] == "ankle b…"
    assert line.text.rstrip().endswith(" 猫猫猫…")


async def test_images_are_made_smaller_for_captions_that_come_first() -> None:
    app = GridApp()
    app.grid.captions_first = True
    async with app.run_test(size=(78, 19)):
        app.grid.set_images(bytes([255]) * 8 * 16 * 32, 8, 16, 32, [f"{index}.5" for index in range(8)])
        words = " ".join("".join(segment.text for segment in app.grid.render_line(y)) for y in range(19)).split()
        assert [word for word in words if word.endswith(".5")] == [f"{index}.5" for index in range(8)]


@pytest.mark.parametrize(
    ("width", "expected"), [(16, "ankle boot 100%"), (12, "ankle… 100%"), (8, "an… 100%"), (6, "100%")]
)
async def test_the_number_of_a_caption_stays_when_its_name_is_shortened(width: int, expected: str) -> None:
    app = GridApp(1)
    async with app.run_test(size=(width, 20)):
        app.grid.set_images(bytes(8 * width), 1, 8, width, captions=[Caption("ankle boot", " 100%")])
        (line,) = (app.grid.render_line(y) for y in app.grid._lines)
    assert line.text.strip() == expected


async def test_a_photograph_is_not_inverted_on_a_light_theme() -> None:
    app = GridApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.theme = "textual-light"
        app.grid.characters = False
        app.grid.set_images(bytes([255]) * 784, 1)
        await pilot.pause()
        assert pixels(app.grid)[5][5] == (255, 255, 255)


@pytest.mark.parametrize("size", [(37, 17), (78, 8), (57, 31), (118, 15), (97, 50), (198, 24), (30, 40)])
@pytest.mark.parametrize("n", [4, 6, 8, 9, 16])
def test_the_last_row_is_full(size: tuple[int, int], n: int) -> None:
    assert n % fit(n, Size(*size), 28, 28, density=(2, 3)).columns == 0


def test_the_last_row_is_not_full_if_that_is_impossible_or_makes_images_less_than_half_as_large() -> None:
    assert fit(7, Size(57, 31), 28, 28).columns == 3
    assert fit(7, Size(118, 15), 28, 28).columns == 7  # the largest is full
    assert fit(8, Size(57, 31), 28, 28).columns == 2  # though 3 would make them larger
    assert fit(22, Size(57, 31), 28, 28).columns == 5  # in place of 2 or 11
    assert fit(3, Size(57, 31), 28, 28).columns == 1


@pytest.mark.parametrize(
    ("n", "size", "lengths"),
    [
        (8, (57, 30), [3, 2, 3]),
        (8, (97, 50), [3, 2, 3]),
        (8, (58, 14), [4, 4]),  # full rows are as large
        (9, (57, 30), [3, 3, 3]),
        (5, (97, 50), [2, 1, 2]),
        (7, (57, 30), [2, 3, 2]),
        (10, (57, 30), [3, 4, 3]),
    ],
)
def test_balanced_rows_are_symmetric_and_used_where_they_make_images_larger(
    n: int, size: tuple[int, int], lengths: list[int]
) -> None:
    balanced, plain = (
        best_layout(n, Size(*size), 28, 28, density=(2, 2), captions=True, balanced=way) for way in (True, False)
    )
    rows = balanced.rows(n)
    assert [len(row) for row in rows] == lengths
    assert [index for row in rows for index in row] == list(range(n))
    assert balanced.side >= plain.side
    if n == 8 and len(lengths) == 3:
        assert balanced.side > 1.1 * plain.side


async def test_a_shorter_row_and_its_captions_are_centered() -> None:
    app = GridApp()
    app.grid.balanced = True
    async with app.run_test(size=(88, 45)):
        app.grid.set_images(bytes([255]) * 784 * 8, 8, captions=list("abcdefgh"))
        captions = [app.grid.render_line(line).text for line in (14, 29, 44)]
        white = [[x for x, level in enumerate(app.grid._rows[y]) if level == NEAREST[255]] for y in (0, 30, 60)]
    assert white[0] == white[2] == [*range(28), *range(30, 58), *range(60, 88)]
    assert white[1] == [*range(15, 43), *range(45, 73)]
    assert [text.split() for text in captions] == [["a", "b", "c"], ["d", "e"], ["f", "g", "h"]]
    assert abs(captions[1].index("d") - 29) <= 1


def test_balanced_rows_do_not_take_the_place_of_captions() -> None:
    assert best_layout(8, Size(37, 17), 28, 28, density=(2, 2), captions=True, balanced=True).captioned


def test_there_is_a_line_for_captions_unless_that_costs_much() -> None:
    def layout(lines: int) -> tuple[int, bool]:
        found = best_layout(8, Size(118, lines), 28, 28, density=(2, 2), captions=True)
        return found.width // 2, found.captioned

    assert layout(8) == (14, True)
    assert layout(7) == (12, True)
    assert layout(3) == (6, False)
    assert best_layout(1, Size(28, 14), 28, 28, captions=True).captioned is False  # all pixels come first


def sextants_of(grid: ImageGrid) -> set[str]:
    return {text for y in range(grid.size.height) for text in grid.render_line(y).text if text not in " ▌▐█▀"}


@pytest.mark.parametrize("channels", [1, 3])
async def test_sextants_show_three_rows_in_a_line(channels: int) -> None:
    app = GridApp()
    async with app.run_test(size=(6, 3)):
        app.grid.drawing = "sextant"
        row = bytes([255]) * 12 * channels + bytes(24 * channels)
        app.grid.set_images(row * 4, 1, 12, 12, channels=channels)  # 12 by 9 pixels
        assert app.grid._drawn == "sextant"
        rows = app.grid._rows
    assert len(rows) == 9
    assert len({len(row) for row in rows}) == 1


async def test_sextants_are_used_below_full_size_only() -> None:
    image = bytes((7 * x + 11 * y) % 256 for y in range(28) for x in range(28))
    app = GridApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.drawing = "sextant"
        app.grid.set_images(image, 1)
        assert not sextants_of(app.grid)
        await pilot.resize_terminal(20, 10)
        await pilot.pause()
        assert {ord(text) >> 8 for text in sextants_of(app.grid)} == {0x1FB}
        assert all(app.grid.render_line(y).cell_length == 20 for y in range(10))


async def test_a_caption_that_warns_has_another_colour_and_shorter_forms() -> None:
    app = GridApp(2)
    caption = Caption("4 → 9", " 87%", shorter=("4 → 9", "→ 9"), warns=True)
    for width, expected in ((10, "4 → 9 87%"), (8, "4 → 9"), (4, "→ 9")):
        async with app.run_test(size=(2 * width + 1, 20)):
            app.grid.set_images(bytes(2 * 8 * width), 2, 8, width, captions=[caption, "4"])
            (line,) = (app.grid.render_line(y) for y in app.grid._lines)
            colors = {segment.text.strip(): segment.style.color for segment in line if segment.text.strip()}
        assert set(colors) == {expected, "4"}
        assert colors[expected] != colors["4"]
        app = GridApp(2)


async def test_a_message_takes_the_place_of_the_images() -> None:
    app = GridApp()
    async with app.run_test(size=(40, 9)):
        app.grid.set_images(bytes([255]) * 784, 1)
        app.grid.show_message("nothing yet")
        lines = [app.grid.render_line(y).text for y in range(9)]
        assert [line.strip() for line in lines] == [""] * 4 + ["nothing yet"] + [""] * 4
        assert abs(lines[4].index("nothing") - 14) <= 1
        app.grid.set_images(bytes([255]) * 784, 1)
        assert "nothing yet" not in "".join(app.grid.render_line(y).text for y in range(9))
