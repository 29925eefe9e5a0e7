"""RGB pixels in cells: exact colors, nearest colors of a terminal, and lines that a terminal reads back the same."""

from __future__ import annotations

import io
import random

import pyte
import pytest
from rich.color import ColorSystem
from rich.console import Console

from tui.terminal.cells import GAP, GRAYS, MARK, MARK_RGB, CellStrip, halves
from tui.terminal.rgb import (
    COLORS,
    RGB_GAP,
    RGB_MARK,
    luminance,
    pack,
    packed,
    rgb_palette,
    to_rgb,
    unpack,
    xterm_number,
)

BACK = (18, 18, 18)
RED, GREEN, BLUE = 31 << 10, 31 << 5, 31
WHITE = RED | GREEN | BLUE
SYSTEMS = {"truecolor": ColorSystem.TRUECOLOR, "256": ColorSystem.EIGHT_BIT, "standard": ColorSystem.STANDARD}
XTERM = {
    **{16 + i: tuple((0, 95, 135, 175, 215, 255)[i // n % 6] for n in (36, 6, 1)) for i in range(216)},
    **{232 + i: (8 + 10 * i,) * 3 for i in range(24)},
}


def rendered(upper: list[int], lower: list[int], system: str) -> str:
    colors = rgb_palette(BACK, SYSTEMS[system])
    console = Console(color_system=system, file=io.StringIO(), force_terminal=True)
    return CellStrip(halves(colors.levels(upper), colors.levels(lower)), colors).render(console)


def test_a_packed_pixel_is_the_nearest_15_bit_colour() -> None:
    pixels = random.Random(1).randbytes(3 * 500)
    for index, color in enumerate(unpack(pack(pixels))):
        for value, drawn in zip(pixels[3 * index : 3 * index + 3], to_rgb(color), strict=True):
            assert abs(value - drawn) <= 4
    assert unpack(pack(bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))) == (RED, GREEN, BLUE)
    assert pack(b"".join(bytes(to_rgb(color)) for color in range(COLORS))) == b"".join(map(packed, range(COLORS)))


def test_a_256_colour_terminal_gets_its_nearest_colour() -> None:
    weights = (2, 4, 3)

    def distance(number: int, rgb: tuple[int, int, int]) -> int:
        return sum(w * (a - b) ** 2 for w, a, b in zip(weights, XTERM[number], rgb, strict=True))

    for color in random.Random(2).sample(range(COLORS), 300):
        rgb = to_rgb(color)
        assert distance(xterm_number(color), rgb) == min(distance(number, rgb) for number in XTERM)
    assert [xterm_number(color) for color in (0, RED, GREEN, BLUE, WHITE)] == [16, 196, 46, 21, 231]
    assert xterm_number(2 << 10 | 2 << 5 | 2) == 233  # a dark gray


def test_a_line_of_half_blocks_is_exact() -> None:
    upper, lower = [RED, GREEN, WHITE, WHITE, RGB_GAP], [BLUE, GREEN, BLUE, BLUE, RGB_GAP]
    assert rendered(upper, lower, "truecolor") == (
        "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[48;2;0;255;0m \x1b[38;2;255;255;255;48;2;0;0;255m▀▀"
        "\x1b[48;2;18;18;18m \x1b[0m"
    )
    assert rendered(upper, lower, "256") == (
        "\x1b[38;5;196;48;5;21m▀\x1b[48;5;46m \x1b[38;5;231;48;5;21m▀▀\x1b[48;5;233m \x1b[0m"
    )
    assert rendered([RED], [BLUE], "standard") == "\x1b[31;44m▀\x1b[0m"


@pytest.mark.parametrize("system", ["truecolor", "256"])
def test_a_line_reads_back_as_its_colours(system: str) -> None:
    numbers = random.Random(3)
    upper, lower = ([numbers.choice([*range(0, COLORS, 97), RGB_GAP, RGB_MARK]) for _ in range(400)] for _ in range(2))
    screen = pyte.Screen(400, 1)
    pyte.Stream(screen).feed(rendered(upper, lower, system))

    def shown(color: int) -> str:
        own = {RGB_GAP: BACK, RGB_MARK: MARK_RGB}
        rgb = own.get(color) or (to_rgb(color) if system == "truecolor" else XTERM[xterm_number(color)])
        return "{:02x}{:02x}{:02x}".format(*rgb)

    for x, (above, below) in enumerate(zip(upper, lower, strict=True)):
        seen = screen.buffer[0][x]
        colors = {"▀": (seen.fg, seen.bg), "▄": (seen.bg, seen.fg), " ": (seen.bg, seen.bg), "█": (seen.fg, seen.fg)}
        if {above, below} & {RGB_GAP, RGB_MARK} and system == "256":
            continue  # Rich's choice, as in the rest of the app
        assert colors[seen.data] == (shown(above), shown(below)), x


def test_colours_that_look_the_same_are_set_once() -> None:
    near_red = RED | 1
    assert rendered([RED, near_red, RED], [near_red, RED, RED], "256").count("\x1b[") == 2


def test_a_cropped_line_has_the_same_colours_as_a_whole_one() -> None:
    colors = rgb_palette(BACK, ColorSystem.EIGHT_BIT)
    strip = CellStrip(halves(colors.levels([RED, BLUE]), colors.levels([2 << 5, 2 << 5])), colors)
    styles = [segment.style for segment in strip.crop(0, 1)]
    assert styles[0] is not None
    assert styles[0].color is not None
    assert styles[0].bgcolor is not None
    assert (styles[0].color.number, styles[0].bgcolor.number) == (196, xterm_number(2 << 5))


def test_the_grey_level_of_a_colour_is_its_luminance() -> None:
    row = b"".join(map(packed, (0, RED, GREEN, BLUE, WHITE, RGB_GAP, RGB_MARK)))
    black, red, green, blue, white, gap, mark = luminance(row)
    assert 15 == white > green > red > blue > black == 0
    assert (gap, mark) == (GAP, MARK)
    for color, level in enumerate(luminance(b"".join(map(packed, range(COLORS))))):
        exact = sum(weight * value for weight, value in zip((0.299, 0.587, 0.114), to_rgb(color), strict=True))
        assert abs(GRAYS[level] - exact) <= 13
