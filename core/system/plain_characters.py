"""Plain characters in place of those that an encoding or a font lacks, one for one, so that columns stay aligned."""

from __future__ import annotations

import codecs
import unicodedata

HANDLER = "lookalike"  # the name under which this module registers itself as an error handler of encoders
UNKNOWN = "?"
# What the screen and the command write, but for what Unicode itself takes apart, such as an e with an accent.
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
    ">": "▸▶►→❯›»⏵",
    "<": "◂◀◄←❮‹«",
    "^": "▴▲↑",
    "v": "▾▼↓⮟",
    "/": "↗╱",
    "\\": "↘╲",
    "x": "×✕✗",
}
_TABLE = {ord(character): plain for plain, characters in _PLAIN.items() for character in characters}
_TABLE |= {0x2800 + dots: " .:#"[min(3, (dots.bit_count() + 1) // 2)] for dots in range(256)}  # braille, by its density


def plain(text: str) -> str:
    """`text` in ASCII, each character in as many cells as before: look-alikes, base letters, else question marks."""
    return "".join(character if character.isascii() else _plain(character) for character in text)


def _plain(character: str) -> str:
    if found := _TABLE.get(ord(character)):
        return found
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Cf"):
        return ""  # it takes no cell
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return UNKNOWN * 2
    base = unicodedata.normalize("NFKD", character)[0]
    return base if base.isascii() and base.isprintable() else UNKNOWN


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _replace)
