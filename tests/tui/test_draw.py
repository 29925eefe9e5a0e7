"""Drawing a digit by keys and by mouse, and what the Lab does with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual.app import App
from textual.geometry import Size
from textual.widgets import Input
from waiting import until

from core.config.datasets import DIGITS
from core.engine.protocol import DrawnImage
from tui.app import MinidiffApp
from tui.screens.draw import SIDE, DrawingCanvas, DrawScreen, MaskScreen, SketchScreen
from tui.screens.lab import LabScreen
from tui.settings import Settings
from tui.widgets.header import Header

if TYPE_CHECKING:
    from textual.pilot import Pilot

BLANK = "00" * SIDE * SIDE
TERMINAL = (80, 24)


class Desk(App[None]):
    """An app that keeps what was drawn."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, drawing: DrawnImage | None = None, class_names: tuple[str, ...] = DIGITS.class_names) -> None:
        super().__init__()
        self._drawing, self._class_names = drawing, class_names
        self.taken: list[DrawnImage | None] = []

    def on_mount(self) -> None:
        """Draw."""
        self.push_screen(DrawScreen(self._drawing, self._class_names), self.taken.append)

    @property
    def paper(self) -> DrawingCanvas:
        """The board."""
        return self.screen.query_one(DrawingCanvas)

    @property
    def title_said(self) -> str:
        """What the frame says."""
        return str(self.screen.query_one("Vertical").border_title)

    def ink(self) -> dict[tuple[int, int], int]:
        """The pixels that hold ink, by column and row."""
        return {(at % SIDE, at // SIDE): value for at, value in enumerate(self.paper.ink) if value}


@asynccontextmanager
async def drawing(
    size: tuple[int, int] = (60, 20), drawing: DrawnImage | None = None
) -> AsyncIterator[tuple[Desk, Pilot[None]]]:
    app = Desk(drawing)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot


async def test_the_pen_draws_only_when_lowered() -> None:
    async with drawing() as (app, pilot):
        await pilot.press("left", "up")
        assert app.paper.pen == (13, 13)
        assert not app.ink()
        assert app.title_said.endswith("pen up")
        await pilot.press("space")
        assert app.title_said.endswith("pen down")
        assert app.ink()[13, 13] == 255
        await pilot.press("right", "right", "down", "space", "right", "right", "right")
        ink = app.ink()
        assert {at for at, value in ink.items() if value == 255} == {(13, 13), (14, 13), (15, 13), (15, 14)}
        assert app.paper.pen == (18, 14)
        assert (18, 14) not in ink
        await pilot.press("enter")
        (taken,) = app.taken
        assert taken is not None
        assert len(taken.pixels) == 1568
        assert bytes.fromhex(taken.pixels)[13 * SIDE + 13] == 255


async def test_ink_is_soft_about_two_pixels_wide_and_never_darkens() -> None:
    async with drawing() as (app, pilot):
        await pilot.press("space", *["right"] * 6)
        across = [app.ink().get((17, row), 0) for row in range(SIDE)]
        assert max(across) == 255
        assert 1.5 <= sum(across) / 255 <= 2.5
        before = bytes(app.paper.ink)
        await pilot.press(*["left"] * 6, "down", "up")
        assert all(new >= old for new, old in zip(app.paper.ink, before, strict=True))


async def test_the_pen_stays_on_the_canvas() -> None:
    async with drawing() as (app, pilot):
        await pilot.press("space", *["up"] * 20, *["left"] * 20)
        assert app.paper.pen == (0, 0)
        assert app.ink()[0, 0] == 255


@pytest.mark.parametrize(("size", "times"), [((60, 20), 1), ((80, 24), 1), ((120, 40), 2), ((200, 60), 4)])
async def test_the_mouse_draws_without_gaps_at_every_size(size: tuple[int, int], times: int) -> None:
    async with drawing(size) as (app, pilot):
        paper = app.paper
        assert paper.size == (SIDE * times, SIDE * times // 2)
        box = app.screen.query_one("Vertical")
        assert box.region.height <= size[1]
        await pilot.mouse_down(paper, offset=(4 * times, 2 * times))
        await pilot.hover(paper, offset=(20 * times, 10 * times))
        await pilot.mouse_up(paper, offset=(20 * times, 10 * times))
        assert paper.pen == (20, 20)
        drawn = {at for at, value in app.ink().items() if value == 255}
        assert drawn == {(at, at) for at in range(4, 21)}
        await pilot.hover(paper, offset=(2 * times, 10 * times))  # no button is held
        assert {at for at, value in app.ink().items() if value == 255} == drawn


async def test_backspace_clears_and_escape_cancels() -> None:
    async with drawing() as (app, pilot):
        await pilot.press("space", "right", "backspace")
        assert not app.ink()
        assert app.title_said.endswith("pen up")
        await pilot.press("space", "escape")
        assert app.taken == [None]


async def test_the_last_drawing_can_be_edited() -> None:
    last = DrawnImage("ff" + BLANK[2:], 3)
    async with drawing(drawing=last) as (app, pilot):
        assert app.ink() == {(0, 0): 255}
        await pilot.press("enter")
        assert app.taken == [last]


async def test_digit_keys_set_the_class_minus_removes_it_and_h_lets_the_classifier_read_it() -> None:
    for keys, label, words in (
        ("", None, "class as the classifier reads it"),
        ("7", 7, "class 7"),
        ("7-", -1, "class none"),
        ("70", 0, "class 0"),
        ("-4h", None, "class as the classifier reads it"),
    ):
        async with drawing() as (app, pilot):
            await pilot.press(*keys)
            line = app.screen.query_one("#class")
            assert app.screen.region.contains_region(line.region)
            assert str(line.render()).startswith(words)  # type: ignore[attr-defined]
            await pilot.press("enter")
            assert app.taken == [DrawnImage(BLANK, label)]


async def test_a_model_without_classes_offers_none() -> None:
    app = Desk(class_names=())
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("7", "minus")
        assert not app.screen.query("#class")
        await pilot.press("enter")
        assert app.taken == [DrawnImage(BLANK)]


async def test_the_border_lists_all_keys_in_the_smallest_terminal() -> None:
    async with drawing() as (app, _):
        text = app.export_screenshot(simplify=True).replace("&#160;", " ")
        assert "arrow keys or mouse" in text
        assert "space pen · backspace clear · enter accept · esc close" in text


class MaskDesk(App[None]):
    """An app that keeps the mask that was drawn over an image of one color."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, height: int, width: int, channels: int, mask: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._image = bytes([250, 250, 250][:channels]) * height * width, (height, width, channels), mask
        self.taken: list[tuple[str, ...] | None] = []

    def on_mount(self) -> None:
        """Draw."""
        self.push_screen(MaskScreen(*self._image, Size(*TERMINAL)), self.taken.append)

    @property
    def paper(self) -> DrawingCanvas:
        """The board."""
        return self.screen.query_one(DrawingCanvas)


@pytest.mark.parametrize("channels", [1, 3])
async def test_the_pen_masks_three_by_three_pixels_of_the_image(channels: int) -> None:
    app = MaskDesk(10, 14, channels)
    async with app.run_test(size=TERMINAL) as pilot:
        await pilot.pause()
        await pilot.press("space", "right", "enter")
    (mask,) = app.taken
    assert mask == tuple("0" * 6 + "1" * 4 + "0" * 4 if 4 <= row <= 6 else "0" * 14 for row in range(10))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("drawing", ["half", "ascii"])
async def test_the_mask_and_the_pen_can_be_told_from_the_image(channels: int, drawing: str) -> None:
    app = MaskDesk(12, 16, channels, mask=("0" * 8 + "1" * 8,) * 12)
    async with app.run_test(size=TERMINAL) as pilot:
        await pilot.pause()
        paper = app.paper
        paper.drawing = drawing
        await pilot.press(*["left"] * 5)
        await pilot.pause()
        scale = paper.size.width // 16
        line = [(s.text, s.style) for s in paper.render_line(paper.pen[1] * scale // 2).crop(0, 16 * scale)]
        if drawing == "ascii":
            text = "".join(part for part, _ in line)
            assert text[paper.pen[0] * scale] == "X"
            assert text.index("[") == 8 * scale
            assert text.endswith("]")
        else:
            styles = [style for part, style in line for _ in part]
            assert len({styles[0], styles[paper.pen[0] * scale], styles[-1]}) == 3


async def test_several_pixels_of_a_large_image_share_a_cell_of_the_mask() -> None:
    """At 80x24, 100x120 pixels are masked in cells of 3x3; a mask survives being edited."""
    drawn: list[tuple[str, ...]] = []
    for mask in ((), None):
        app = MaskDesk(100, 120, 3, drawn[0] if mask is None else mask)
        async with app.run_test(size=TERMINAL) as pilot:
            await pilot.pause()
            assert app.paper.resolution == (40, 34)
            assert app.paper.region.bottom <= TERMINAL[1]
            await pilot.press(*(["space"] if not drawn else []), "enter")
        assert app.taken[0] is not None
        drawn.append(app.taken[0])
    assert drawn[0] == drawn[1]
    assert [len(drawn[0]), *map(len, drawn[0])] == [100, *[120] * 100]
    assert sum(row.count("1") for row in drawn[0]) == pytest.approx(9 * 9, abs=9)


async def test_a_cleared_mask_is_empty_and_a_cancelled_one_is_none() -> None:
    for keys, expected in ((("backspace", "enter"), ()), (("escape",), None)):
        app = MaskDesk(8, 8, 1, mask=("1" * 8,) * 8)
        async with app.run_test(size=TERMINAL) as pilot:
            await pilot.pause()
            await pilot.press(*keys)
        assert app.taken == [expected]


async def test_the_lab_uses_the_drawing_until_a_number_is_typed(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="lab", settings=Settings(reduced_motion=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, LabScreen)
        screen.open("convolution")
        await until(pilot, lambda: screen.bench.shown is not None, "the bench is shown")
        note = screen.query_one(Header)
        await pilot.press("w", "escape")
        assert screen.subject.drawing is None
        await pilot.press("w", "space", *["down"] * 6, "enter")
        await until(pilot, lambda: note.note == "a drawn image", "the drawn digit is shown")
        shown = screen.bench.shown
        assert shown is not None
        assert shown.image.at(16, 14) == 1
        assert screen.subject.drawing is not None
        field = screen.query_one("#image-index", Input)
        assert field.value == ""
        field.value = "0"
        await until(pilot, lambda: " of " in note.note, "the test image is shown")
        assert screen.subject.drawing is None


async def test_an_image_larger_than_the_terminal_is_drawn_in_cells_of_several_pixels() -> None:
    drawn: list[DrawnImage | None] = []
    app: App[None] = App()
    async with app.run_test(size=TERMINAL) as pilot:
        await app.push_screen(SketchScreen(None, (100, 120), Size(*TERMINAL)), drawn.append)
        await pilot.press("space", "enter")
    assert drawn[0] is not None
    pixels = bytes.fromhex(drawn[0].pixels)
    assert len(pixels) == 100 * 120
    assert pixels.count(255) == pytest.approx(9, abs=3)
