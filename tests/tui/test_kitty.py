"""Images in pixels: the sequences of the Kitty graphics protocol, placeholders, and what is drawn instead of them."""

from __future__ import annotations

import base64
import io
import random
import re
from typing import NamedTuple

import pytest
from PIL import Image
from textual._compositor import CompositorUpdate
from textual.app import App, ComposeResult
from textual.screen import ModalScreen
from textual.widgets import Label

from tui.terminal.cells import GRAYS, MARK_RGB
from tui.terminal.color_maps import COLOR_MAPS, GREY, colors_of
from tui.terminal.kitty import CHUNK, DIACRITICS, PLACEHOLDER, ImageStore, through_tmux
from tui.widgets.image_grid import ImageGrid

SEQUENCE = re.compile(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\")
CELL = re.compile(f"{PLACEHOLDER}(.)(.)(.)")


class Dialog(ModalScreen[None]):
    """A translucent dialog over the images."""

    DEFAULT_CSS = "Dialog { background: black 50%; align: center middle; } Label { width: 4; height: 1; }"

    def compose(self) -> ComposeResult:
        yield Label("over")


class KittyApp(App[None]):
    """A grid that fills the screen, in a terminal that draws images."""

    def __init__(self, columns: int | None = None, color_map: str = GREY) -> None:
        super().__init__()
        self.written: list[str] = []
        self.images = ImageStore(self.written.append)
        self.color_map = color_map
        self.grid = ImageGrid(columns)
        self.grid.drawing = "kitty"

    def compose(self) -> ComposeResult:
        yield self.grid


class Transmitted(NamedTuple):
    """An image as the terminal gets it."""

    keys: dict[str, str]
    image: Image.Image


@pytest.fixture(autouse=True)
def outside_tmux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)


def transmitted(written: list[str]) -> list[Transmitted]:
    """The images, put together from their chunks."""
    images, keys, payload = [], {}, ""
    for control, chunk in SEQUENCE.findall("".join(written)):
        pairs = dict(pair.split("=") for pair in control.split(","))
        keys = keys or pairs
        payload += chunk
        if pairs["m"] == "0":
            if keys["a"] == "T":
                images.append(Transmitted(keys, Image.open(io.BytesIO(base64.b64decode(payload, validate=True)))))
            keys, payload = {}, ""
    return images


def pixel_values(image: Image.Image, factor: int) -> list[tuple[int, ...]]:
    """The RGBA pixels of an image that was enlarged by `factor`, row by row."""
    rgba = image.convert("RGBA")
    small = rgba.resize((image.width // factor, image.height // factor), Image.Resampling.NEAREST)
    assert small.resize(image.size, Image.Resampling.NEAREST).tobytes() == rgba.tobytes()
    data = small.tobytes()
    return [tuple(data[at : at + 4]) for at in range(0, len(data), 4)]


async def test_the_terminal_gets_every_pixel_of_a_grey_image() -> None:
    values = random.Random(1).randbytes(784)
    app = KittyApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(values, 1)
        await pilot.pause()
    (sent,) = transmitted(app.written)
    assert (sent.keys["f"], sent.keys["U"], sent.keys["c"], sent.keys["r"]) == ("100", "1", "28", "14")
    pixels = pixel_values(sent.image, 4)
    assert all(alpha == 255 and red == green == blue for red, green, blue, alpha in pixels)
    assert max(abs(pixel[0] - value) for pixel, value in zip(pixels, values, strict=True)) <= 1


async def test_the_terminal_gets_every_pixel_of_an_rgb_image_exactly() -> None:
    values = random.Random(1).randbytes(3 * 784)
    app = KittyApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(values, 1, channels=3)
        await pilot.pause()
    (sent,) = transmitted(app.written)
    assert b"".join(bytes(pixel[:3]) for pixel in pixel_values(sent.image, 4)) == values


async def test_images_below_full_size_have_more_pixels_than_cells_and_gaps_are_transparent() -> None:
    app = KittyApp(2)
    async with app.run_test(size=(2 * 14 + 2, 7)) as pilot:
        app.grid.set_images(bytes([255]) * 784 + bytes([128] * 14 + [0] * 14) * 28, 2)
        await pilot.pause()
    (sent,) = transmitted(app.written)
    assert sent.image.size == (4 * 30, 8 * 7)
    pixels = pixel_values(sent.image, 1)
    row = pixels[28 * 120 : 29 * 120]
    assert row[:56] == [(255,) * 4] * 56
    assert [pixel[3] for pixel in row[56:64]] == [0] * 8
    assert abs(row[64][0] - 128) <= 1
    assert row[92:] == [(0, 0, 0, 255)] * 28


def test_long_images_are_sent_in_chunks() -> None:
    written: list[str] = []
    ImageStore(written.append).transmit(20, 3, 2, random.Random(1).randbytes(10_000))
    chunks = SEQUENCE.findall("".join(written))
    assert [len(payload) for _, payload in chunks[:-1]] == [CHUNK] * (len(chunks) - 1)
    assert len(chunks) == 4
    assert [re.search(r"\bm=(\d)", keys)[1] for keys, _ in chunks] == ["1", "1", "1", "0"]  # type: ignore[index]
    assert base64.b64decode("".join(payload for _, payload in chunks)) == random.Random(1).randbytes(10_000)
    assert written[0].startswith("\x1b[?2026h")
    assert written[0].endswith("\x1b[?2026l")


def test_tmux_passes_sequences_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert through_tmux("\x1b_Ga=d;\x1b\\") == "\x1bPtmux;\x1b\x1b_Ga=d;\x1b\x1b\\\x1b\\"
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    written: list[str] = []
    ImageStore(written.append).query()
    assert "\x1bPtmux;\x1b\x1b_Ga=q" in written[0]


def test_there_is_a_combining_character_for_each_row_and_column() -> None:
    assert len(DIACRITICS) == len(set(DIACRITICS)) == 297
    codes = {0: 0x305, 1: 0x30D, 4: 0x312, 29: 0x36F, 30: 0x483, 141: 0x1A17, 255: 0xA8E5, 296: 0x1D244}
    assert {index: ord(DIACRITICS[index]) for index in codes} == codes


async def test_placeholders_name_number_row_and_column() -> None:
    app = KittyApp(1)
    async with app.run_test(size=(20, 7)) as pilot:
        app.grid.set_images(bytes(784), 1)
        await pilot.pause()
        (sent,) = transmitted(app.written)
        number = int(sent.keys["i"])
        for y in range(7):
            text = app.grid.render_line(y).render(app.console)
            assert f"38;5;{number & 255};" in text
            assert text.count(" ") == 6
            cells = CELL.findall(text)
            assert [tuple(map(DIACRITICS.index, cell)) for cell in cells] == [(y, x, number >> 24) for x in range(14)]
        assert number >> 8 & 0xFFFF == 0


async def test_a_new_frame_replaces_the_image_and_draws_one_cell() -> None:
    app = KittyApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes(784), 1)
        await pilot.pause()
        app.written.clear()
        displayed: list[CompositorUpdate] = []
        app._display = lambda screen, update: displayed.append(update)  # type: ignore[method-assign,assignment]
        app.grid.set_images(bytes([9]) * 784, 1)
        app.grid.set_images(bytes([255]) * 784, 1)
        await pilot.pause()
        (sent,) = transmitted(app.written)  # the frame in between is skipped
        assert set(pixel_values(sent.image, 4)) == {(255,) * 4}
        (update,) = filter(None, displayed)
        text = update.render_segments(app.console)
        assert text.count(PLACEHOLDER) == 1
        app.grid.set_images(bytes([255]) * 784, 1)
        await pilot.pause()
        assert len(transmitted(app.written)) == 1


async def test_captions_stay_text_and_only_changed_rows_of_images_are_sent() -> None:
    app = KittyApp(2)
    images = [bytes([255]) * 784] * 4
    async with app.run_test(size=(58, 30)) as pilot:
        app.grid.set_images(b"".join(images), 4, captions=list("abcd"))
        await pilot.pause()
        first, second = transmitted(app.written)
        assert (first.keys["c"], first.keys["r"]) == (second.keys["c"], second.keys["r"]) == ("58", "14")
        assert [app.grid.render_line(y).text.split() for y in (14, 29)] == [["a", "b"], ["c", "d"]]
        app.written.clear()
        app.grid.set_images(b"".join([*images[:3], bytes(784)]), 4, captions=list("abcd"))
        await pilot.pause()
        (sent,) = transmitted(app.written)
        assert sent.keys["i"] == second.keys["i"]


async def test_a_strip_that_is_cut_keeps_its_placeholders() -> None:
    app = KittyApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes(784), 1)
        await pilot.pause()
        line = app.grid.render_line(3)
        left, middle, right = line.divide([5, 9, 28])
        columns = [DIACRITICS.index(cell[1]) for cell in CELL.findall(middle.render(app.console))]
        assert columns == [5, 6, 7, 8]
        assert (left.cell_length, middle.cell_length, right.cell_length) == (5, 4, 19)
        assert CELL.findall(line.crop(5, 9).render(app.console)) == CELL.findall(middle.render(app.console))


async def test_behind_a_dialog_and_in_screenshots_images_are_half_blocks() -> None:
    app = KittyApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes([255]) * 392 + bytes([0]) * 392, 1)
        await pilot.pause()
        assert PLACEHOLDER not in app.export_screenshot()
        await app.push_screen(Dialog())
        app.grid.set_images(bytes([0]) * 392 + bytes([255]) * 392, 1)
        await pilot.pause()
        lines = app.screen._compositor.render_strips()
        assert PLACEHOLDER not in "".join(line.text for line in lines)
        assert [next(iter(lines[y])).style.bgcolor.triplet[0] for y in (1, 12)] == [0, 127]  # type: ignore[union-attr]
        await app.pop_screen()
        await pilot.pause()
        assert PLACEHOLDER in app.grid.render_line(3).render(app.console)


async def test_an_image_is_deleted_with_its_widget_and_when_it_is_drawn_otherwise() -> None:
    for leave in ("half", "remove"):
        app = KittyApp()
        async with app.run_test(size=(28, 14)) as pilot:
            app.grid.set_images(bytes(784), 1)
            await pilot.pause()
            (sent,) = transmitted(app.written)
            app.written.clear()
            if leave == "half":
                app.grid.drawing = "half"
                assert PLACEHOLDER not in app.grid.render_line(3).render(app.console)
            else:
                await app.grid.remove()
            (keys,) = (keys for keys, _ in SEQUENCE.findall("".join(app.written)))
            assert f"a=d,d=I,q=2,i={sent.keys['i']}," in keys


async def test_a_terminal_that_lost_its_images_gets_them_again() -> None:
    app = KittyApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes(784), 1)
        await pilot.pause()
        app.images.forget()
        app.refresh(layout=True)
        await pilot.pause()
        first, again = transmitted(app.written)
        assert first.image.tobytes() == again.image.tobytes()


async def test_without_such_a_terminal_images_are_blocks() -> None:
    app = KittyApp()
    del app.images
    async with app.run_test(size=(28, 14)):
        app.grid.set_images(bytes(784), 1)
        assert set(app.grid.render_line(3).text) <= {" ", "▀"}


async def test_marked_pixels_are_amber() -> None:
    app = KittyApp()
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes(784), 1)
        app.grid.set_marker(3, 5)
        await pilot.pause()
        pixels = pixel_values(transmitted(app.written)[-1].image, 4)
    assert [at for at, pixel in enumerate(pixels) if pixel[:3] == MARK_RGB] == [5 * 28 + 3]


def test_colour_maps_begin_and_end_as_those_of_matplotlib() -> None:
    ends = {"grey": ("000000", "ffffff"), "viridis": ("440154", "fde725"), "magma": ("000004", "fcfdbf"),
            "inferno": ("000004", "fcffa4")}  # fmt: skip
    assert {name: tuple(bytes(colors_of(name)[at]).hex() for at in (0, 255)) for name in COLOR_MAPS} == ends
    assert all(colors_of(GREY)[value] == (value,) * 3 for value in range(256))
    assert max(abs(a - b) for a, b in zip(colors_of("viridis")[150], (31, 161, 136), strict=True)) <= 8
    for name in COLOR_MAPS:
        brightness = [0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in colors_of(name)]
        assert brightness == sorted(brightness)


@pytest.mark.parametrize("drawing", ["half", "kitty", "octant", "sextant"])
async def test_grey_images_have_the_colours_of_the_map(drawing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    app = KittyApp(color_map="viridis")
    app.grid.drawing = drawing
    async with app.run_test(size=(14, 7)) as pilot:
        app.theme = "textual-light"  # on which only grays are inverted
        app.grid.set_images(bytes(392) + bytes([255]) * 392, 1)
        await pilot.pause()
        segments = [next(iter(app.grid.render_line(y))) for y in (1, 5)]
    colors = [tuple(segment.style.bgcolor.triplet) for segment in segments]  # type: ignore[union-attr,arg-type]
    assert colors == [colors_of("viridis")[GRAYS[level]] for level in (0, 15)] == [(68, 1, 84), (253, 231, 37)]
    if drawing == "kitty":
        assert {pixel[:3] for pixel in pixel_values(transmitted(app.written)[-1].image, 1)} == set(colors)


async def test_numbers_that_are_no_image_stay_grey() -> None:
    app = KittyApp(color_map="viridis")
    app.grid.always_grey = True
    async with app.run_test(size=(28, 14)) as pilot:
        app.grid.set_images(bytes([255]) * 784, 1)
        await pilot.pause()
        assert set(pixel_values(transmitted(app.written)[-1].image, 4)) == {(255,) * 4}
