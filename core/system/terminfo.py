"""Reads what terminfo says about a terminal's colors, from the compiled entry (see term(5)).

`curses.setupterm` reads only one entry in the life of a process, and knows no extended capabilities.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from core.system.safe_io import read_whole

MAX_BYTES = 32_768  # of an entry, as in ncurses
MAX_FOLDERS = 64
SYSTEM_FOLDERS = (
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/share/terminfo",
    "/usr/lib/terminfo",
    "/usr/local/share/terminfo",
    "/usr/share/misc/terminfo",
)
TRUECOLOR = (b"RGB", b"Tc", b"setrgbf")  # extended capabilities, each of which means true color
DIRECT = 1 << 24  # number of colors of the entries such as xterm-direct
_SHORT_NUMBERS, _LONG_NUMBERS = 0o432, 0o1036  # magic numbers
_MAX_COLORS = 13  # index of the capability `colors`


@dataclass(frozen=True, slots=True)
class ColorEntry:
    """What an entry says about colors."""

    colors: int  # 0 if it has none
    truecolor: str = ""  # the capability that means true color, empty if there is none


def read_color_entry(term: str) -> ColorEntry | None:
    """The entry of the terminal `term`, from the folders that ncurses searches; None if missing or invalid."""
    if not term or "/" in term or "\0" in term or term.startswith("."):
        return None
    for folder in _folders():
        for group in (term[0], f"{ord(term[0]):02x}"):  # the second on macOS
            try:
                return parse_color_entry(read_whole(folder / group / term, MAX_BYTES, follow=True))
            except (OSError, ValueError):
                continue
    return None


def parse_color_entry(content: bytes) -> ColorEntry:
    """Parse a compiled entry.

    Raises:
        ValueError: it is not one, or it is cut off.
    """
    try:
        magic, names, flags, numbers, strings, table = struct.unpack_from("<6h", content)
        if magic not in (_SHORT_NUMBERS, _LONG_NUMBERS) or min(names, flags, numbers, strings, table) < 0:
            raise ValueError("it is not a terminfo entry")
        kind, size = ("h", 2) if magic == _SHORT_NUMBERS else ("i", 4)
        start = _even(12 + names + flags)
        colors = 0
        if numbers > _MAX_COLORS:
            (colors,) = struct.unpack_from(f"<{kind}", content, start + size * _MAX_COLORS)
    except struct.error:
        raise ValueError("it is cut off") from None
    extended = content[_even(start + size * numbers + 2 * strings + table) :]
    words = extended.split(b"\0")  # the names of extended capabilities are at the end
    truecolor = next((name.decode() for name in TRUECOLOR if name in words), "")
    if not truecolor and colors >= DIRECT:
        truecolor = "colors"
    return ColorEntry(max(colors, 0), truecolor)


def _folders() -> list[Path]:
    """The folders with entries, in ncurses' order; entries in the variable TERMINFO itself are not read."""
    own = os.environ.get("TERMINFO", "")
    listed = os.environ.get("TERMINFO_DIRS", "").split(":")
    home = os.environ.get("HOME", "")
    folders = [own] if own and not own.startswith(("hex:", "b64:")) else []
    folders += [f"{home}/.terminfo"] if home else []
    folders += [folder for folder in listed if folder][:MAX_FOLDERS]
    return [Path(folder) for folder in (*folders, *SYSTEM_FOLDERS)]


def _even(offset: int) -> int:
    return offset + offset % 2
