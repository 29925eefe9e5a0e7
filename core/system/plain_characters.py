"""Replaces characters missing in an encoding or font by ASCII of the same width, so that columns stay aligned."""

from __future__ import annotations

import codecs
import unicodedata

HANDLER = "lookalike"  # name of the encoding error handler registered below
UNKNOWN = "?"
# Characters that the UI and the command line write and that Unicode does not decompose.
_PLAIN = {
    "-": "─━╌╍┄┅┈┉═╴╶╸╺╼╾▔–—−‐‑",
    "|": "│┃╎╏┆┇┊┋║╵╷╹╻╽╿▌▍▎▏▐▊▋⎟⎢‖",
    "+": "┌┍┎┏┐┑┒┓└┕┖┗┘┙┚┛├┝┞┟┠┡┢┣┤┥┦┧┨┩┪┫┬┭┮┯┰┱┲┳┴┵┶┷┸┹┺┻┼╀╁╂╃╄╅╆╇╈╉╊╋╔╗╚╝╠╣╦╩╬╭╮╯╰",
    "_": "▁⌊⌋",
    ".": "▂·•▖▗…░",
    ":": "▃▄▚▞▒",
    "'": "▀▘▝‘’´",
    '"': "“”",
    "#": "▅▆▇█▉▓▙▛▜▟■▪◼",
    "*": "●◆✓✔★",
    "o": "○◯°",
    "s": "σ",
    ">": "▸▶►→❯›»⏵",
    "<": "◂◀◄←❮‹«",
    "^": "▴▲↑",
    "v": "▾▼↓⮟",
    "/": "↗↙╱",
    "\\": "↘↖╲",
    "x": "×✕✗",
}
_TABLE = {ord(character): plain for plain, characters in _PLAIN.items() for character in characters}
_TABLE |= {0x2800 + dots: " .:#"[min(3, (dots.bit_count() + 1) // 2)] for dots in range(256)}  # braille, by density
_TABLE |= {0x1FB00 + number: ":" for number in range(60)}  # sextants
_TABLE |= {0x1CD00 + number: ":" for number in range(230)}  # octants
_TABLE |= dict.fromkeys((0x1CEA0, 0x1CEA3, 0x1CEA8, 0x1CEAB, 0x1FBE6, 0x1FBE7), ".")
_TABLE |= {0x1FB82: "'", 0x1FB85: "#"}


def plain(text: str) -> str:
    """`text` in ASCII of the same width: similar characters, base letters, else question marks."""
    return "".join(character if character.isascii() else _plain(character) for character in text)


def _plain(character: str) -> str:
    if replacement := _TABLE.get(ord(character)):
        return replacement
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Cf"):
        return ""  # zero width
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return UNKNOWN * 2
    base = unicodedata.normalize("NFKD", character)[0]
    return base if base.isascii() and base.isprintable() else UNKNOWN


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _replace)
