"""The terminal's capabilities, without queries to it, which are unreliable on slow connections."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

from core.system.color_support import detect_colors

# Characters for pixels, from dark to bright, where there are no colors.
RAMPS = {"shade": " ░▒▓█", "ascii": " .:-=+*#%@"}
_BLOCKS = "▀▄█"
_QUADRANTS = "▖▗▘▙▚▛▜▝▞▟"
# Terminals that draw sextants (U+1FB00 to U+1FB3B) themselves, instead of a font that may not have them.
_SEXTANT_TERMS = re.compile(r"(foot|alacritty|wezterm|contour|(xterm-)?(ghostty|kitty))(-.*)?")
_SEXTANT_PROGRAMS = ("WezTerm", "ghostty", "iTerm.app")  # TERM_PROGRAM
_SEXTANT_VTE = 6200  # VTE_VERSION
_CONSOLE = "cp437"  # the characters in the Linux console's default font; other fonts have hardly more


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal of this process."""

    term: str  # TERM, empty when not set
    colorterm: str  # COLORTERM, empty when not set
    colors: str  # that the UI uses: "truecolor", "256", "16" or "none"
    colors_reason: str  # where that is from
    encoding: str  # of the standard output
    utf8: bool
    blocks: bool  # whether half blocks can be written
    quadrants: bool  # whether quarter blocks can be written
    columns: int | None  # None if no stream is a terminal
    rows: int | None
    stdin_is_terminal: bool
    stdout_is_terminal: bool
    tmux: bool
    ssh: bool


def describe_terminal() -> Terminal:
    """Describe the terminal from this process's environment and streams."""
    term = os.environ.get("TERM", "")
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    columns, rows = _size()
    codec = drawable(term, encoding)
    colors = detect_colors(term)
    return Terminal(
        term=term,
        colorterm=os.environ.get("COLORTERM", ""),
        colors=colors.system,
        colors_reason=colors.reason,
        encoding=encoding,
        utf8=_is_utf8(encoding),
        blocks=term != "dumb" and (codec is None or _encodable(_BLOCKS, codec)),
        quadrants=term != "dumb" and (codec is None or _encodable(_QUADRANTS, codec)),
        columns=columns,
        rows=rows,
        stdin_is_terminal=sys.stdin is not None and sys.stdin.isatty(),
        stdout_is_terminal=sys.stdout is not None and sys.stdout.isatty(),
        tmux=bool(os.environ.get("TMUX")),
        ssh=bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY")),
    )


def drawable(term: str, encoding: str) -> str | None:
    """The codec whose characters the terminal can display; None if not limited."""
    if not _is_utf8(encoding):
        return encoding
    return _CONSOLE if term == "linux" or term.startswith("linux-") else None


def drawing(term: str, encoding: str) -> str:
    """How to draw images below full size: "sextant", "quadrant", "half" or "ascii", the finest that is safe."""
    codec = drawable(term, encoding)
    if codec is None and _draws_sextants(term):
        return "sextant"
    if codec is None or _encodable(_BLOCKS + _QUADRANTS, codec):
        return "quadrant"
    return "half" if _encodable(_BLOCKS, codec) else "ascii"


def _draws_sextants(term: str) -> bool:
    if _SEXTANT_TERMS.fullmatch(term.lower()):
        return True
    if term.startswith(("screen", "tmux")) or os.environ.get("TMUX"):
        return False  # other variables may be those of a terminal that is no longer attached
    vte = os.environ.get("VTE_VERSION", "")
    return os.environ.get("TERM_PROGRAM") in _SEXTANT_PROGRAMS or (vte.isdecimal() and int(vte) >= _SEXTANT_VTE)


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "").replace("_", "") in ("utf8", "utf8sig")


def _encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _size() -> tuple[int, int] | tuple[None, None]:
    """Columns and rows of the first standard stream that is a terminal."""
    for descriptor in (1, 2, 0):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        return columns, rows
    return None, None
