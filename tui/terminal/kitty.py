"""Images as pixels, with the graphics protocol of kitty (https://sw.kovidgoyal.net/kitty/graphics-protocol/).

The terminal holds an image under a number, and draws it in place of characters that name its number, row and column.
To the app these are ordinary text. A new image with the same number replaces the old one without drawing any text.
"""

from __future__ import annotations

import base64
import functools
import os
import random
import struct
import zlib
from collections.abc import Callable, Sequence

from tui.terminal.cells import GAP, LEVELS, MARK, RGB
from tui.terminal.color_maps import colors_of
from tui.terminal.resize import repeat_pixels

PLACEHOLDER = "\U0010eeee"
# The characters that number rows and columns, from 0: combining ones of Unicode 6.0, as the protocol lists them.
_RANGES = """
0305 030D 030E 0310 0312 033D-033F 0346 034A-034C 0350-0352 0357 035B 0363-036F 0483-0487 0592-0595 0597-0599 059C-05A1
05A8 05A9 05AB 05AC 05AF 05C4 0610-0617 0657-065B 065D 065E 06D6-06DC 06DF-06E2 06E4 06E7 06E8 06EB 06EC 0730 0732 0733
0735 0736 073A 073D 073F-0741 0743 0745 0747 0749 074A 07EB-07F1 07F3 0816-0819 081B-0823 0825-0827 0829-082D 0951 0953
0954 0F82 0F83 0F86 0F87 135D-135F 17DD 193A 1A17 1A75-1A7C 1B6B 1B6D-1B73 1CD0-1CD2 1CDA 1CDB 1CE0 1DC0 1DC1 1DC3-1DC9
1DCB 1DCC 1DD1-1DE6 1DFE 20D0 20D1 20D4-20D7 20DB 20DC 20E1 20E7 20E9 20F0 2CEF-2CF1 2DE0-2DFF A66F A67C A67D A6F0 A6F1
A8E0-A8F1 AAB0 AAB2 AAB3 AAB7 AAB8 AABE AABF AAC1 FE20-FE26 10A0F 10A38 1D185-1D189 1D1AA-1D1AD 1D242-1D244
"""
DIACRITICS = "".join(
    chr(code)
    for first, _, last in (entry.partition("-") for entry in _RANGES.split())
    for code in range(int(first, 16), int(last or first, 16) + 1)
)
MAX_CELLS = len(DIACRITICS)  # columns and rows of an image
NUMBERS = range(16, 256)  # of the app's images: a foreground color of 256, which every terminal and tmux keep
CHUNK = 4096  # characters of base64 in one sequence
PLACEMENT = 1
# Gray images have one byte per pixel: `GAP`, `MARK`, or one of the levels from `FIRST_GRAY`.
FIRST_GRAY = MARK + 1
_GRAYS = 110
_SHADES = [round(index * 255 / (_GRAYS - 1)) for index in range(_GRAYS)]  # pixel values of the levels
FINE = bytes(FIRST_GRAY + round(value * (_GRAYS - 1) / 255) for value in range(256))  # levels of the pixel values
FINE_INVERTED = FINE[::-1]
COARSE = bytes([*range(FIRST_GRAY), *(round(shade * (LEVELS - 1) / 255) for shade in _SHADES)]).ljust(
    256, b"\0"
)  # levels of `tui.terminal.cells`
_SYNCHRONIZED = "\x1b[?2026h", "\x1b[?2026l"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE, _TRUECOLOR = 3, 2  # PNG's color types
_COMPRESSION = 1


def png(rows: Sequence[bytes], factor: int, colors: bytes, gap: bytes) -> bytes:
    """A PNG image whose pixels in the color of the gaps are transparent.

    Args:
        rows: Bytes that are indices of `colors`, or RGB pixels if there are no `colors`.
        factor: How often each pixel is repeated across and down.
        colors: RGB colors of the palette.
        gap: The pixel that is transparent.
    """
    size = len(gap)
    width = len(rows[0]) // size
    unchanged = b"\2" + bytes(len(rows[0]) * factor)  # a row that is equal to the one above
    lines, last = [], b""
    for row in rows:
        if row == last:
            lines.append(unchanged * factor)
        else:
            lines.append(b"\0" + (repeat_pixels(row, size, factor) if factor > 1 else row))
            lines.append(unchanged * (factor - 1))
            last = row
    kind = _PALETTE if colors else _TRUECOLOR
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width * factor, len(rows) * factor, 8, kind, 0, 0, 0))]
    if colors:
        chunks += [(b"PLTE", colors), (b"tRNS", b"\xff" * gap[0] + b"\0")]
    else:
        chunks += [(b"tRNS", struct.pack(">HHH", *gap))]
    chunks += [(b"IDAT", zlib.compress(b"".join(lines), _COMPRESSION)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@functools.cache
def gray_colors(color_map: str, mark: RGB) -> bytes:
    """The palette of gray images."""
    map_colors = colors_of(color_map)
    colors = [*[(0, 0, 0)] * GAP, (0, 0, 0), mark, *(map_colors[shade] for shade in _SHADES)]
    return bytes(channel for color in colors for channel in color)


class ImageStore:
    """The images that the terminal holds for this app.

    Args:
        write: Writes to the terminal.

    Attributes:
        available: Whether the terminal draws images, as far as is known.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self.available = False
        self._write = write
        self._high = random.SystemRandom().randrange(1, 256)  # other programs in the terminal have numbers, too
        self._used: set[int] = set()
        self._wrapped = bool(os.environ.get("TMUX"))
        self.generation = 0
        """Changes when the terminal may have lost all images."""

    def query(self) -> None:
        """Ask whether the terminal draws images. A reply that ends in "OK" says so."""
        self._send(f"a=q,i={self._id(NUMBERS[0])},s=1,v=1,f=24", base64.b64encode(bytes(3)).decode())

    def new_number(self) -> int:
        """A number for an image; the last one may be in use already."""
        number = next((number for number in NUMBERS if number not in self._used), NUMBERS[-1])
        self._used.add(number)
        return number

    def forget(self) -> None:
        """Transmit all images again, as the terminal may have lost them."""
        self.generation += 1

    def transmit(self, number: int, columns: int, lines: int, image: bytes) -> None:
        """Replace the image of this number by a PNG image, scaled to so many cells."""
        keys = f"a=T,U=1,q=2,f=100,i={self._id(number)},p={PLACEMENT},c={columns},r={lines}"
        self._send(keys, base64.b64encode(image).decode())

    def delete(self, number: int) -> None:
        """Delete the image of this number."""
        self._used.discard(number)
        self._send(f"a=d,d=I,q=2,i={self._id(number)}")

    def delete_all(self) -> None:
        """Delete all images in the terminal, before something else uses it."""
        for number in self._used:
            self._send(f"a=d,d=I,q=2,i={self._id(number)}")
        self.forget()

    def placeholders(self, row: int, columns: int) -> Sequence[str]:
        """The characters of one row of an image, each to be drawn in the foreground color of its number."""
        return _placeholders(row, columns, self._high)

    def _id(self, number: int) -> int:
        return self._high << 24 | number

    def _send(self, keys: str, payload: str = "") -> None:
        sequences = []
        for start in range(0, max(1, len(payload)), CHUNK):
            chunk, more = payload[start : start + CHUNK], start + CHUNK < len(payload)
            sequences.append(f"\x1b_G{'q=2' if start else keys},m={int(more)};{chunk}\x1b\\")
        if self._wrapped:
            sequences = [through_tmux(sequence) for sequence in sequences]
        self._write("".join((_SYNCHRONIZED[0], *sequences, _SYNCHRONIZED[1])))


def through_tmux(sequence: str) -> str:
    """A sequence that tmux passes on to its terminal, if its option `allow-passthrough` is on."""
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"


@functools.lru_cache(1024)
def _placeholders(row: int, columns: int, high: int) -> tuple[str, ...]:
    return tuple(PLACEHOLDER + DIACRITICS[row] + DIACRITICS[column] + DIACRITICS[high] for column in range(columns))
