"""What the terminal can show, as far as the environment tells: no probes, whose answers go astray on slow links."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

_BLOCKS = "▀▄█"
_QUADRANTS = "▖▗▘▙▚▛▜▝▞▟"
# By their own documentation and terminfo entries, also where COLORTERM is not passed on, as over SSH.
_TRUECOLOR = re.compile(r"(foot|alacritty|wezterm|(xterm-)?ghostty|xterm-kitty)(-.*)?|.*-direct\d*")
_CONSOLE = "cp437"  # the characters of the Linux console's own font; others that are loaded have hardly more


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal of this process."""

    term: str  # TERM, empty when not set
    colorterm: str  # COLORTERM, empty when not set
    colors: str  # what the app will use: "truecolor", "256", "16" or "none"
    encoding: str  # of the standard output
    utf8: bool
    blocks: bool  # whether half blocks, which the digits are drawn with, can be written
    quadrants: bool  # whether quarter blocks can, which small digits are drawn with
    columns: int | None  # None where no stream is a terminal
    rows: int | None
    stdin_is_terminal: bool
    stdout_is_terminal: bool
    tmux: bool
    ssh: bool


def describe_terminal() -> Terminal:
    """The terminal as this process's environment and streams present it."""
    term = os.environ.get("TERM", "")
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    columns, rows = _size()
    codec = drawable(term, encoding)
    return Terminal(
        term=term,
        colorterm=os.environ.get("COLORTERM", ""),
        colors=colors(term),
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
    """The codec whose characters the terminal can show; None where it can show any that its font has."""
    if not _is_utf8(encoding):
        return encoding
    return _CONSOLE if term == "linux" or term.startswith("linux-") else None


def drawing(term: str, encoding: str) -> str:
    """The way to draw digits that works there: "auto", "half" where the font lacks quarter blocks, or "ascii"."""
    codec = drawable(term, encoding)
    if codec is None or _encodable(_BLOCKS + _QUADRANTS, codec):
        return "auto"
    return "half" if _encodable(_BLOCKS, codec) else "ascii"


def colors(term: str) -> str:
    """How many colours the app uses: "truecolor", "256", "16" or "none".

    By the variables that rich and Textual read (NO_COLOR, TEXTUAL_COLOR_SYSTEM, COLORTERM, the end of TERM), and by
    the names of terminals that have true colour, which those libraries do not know.
    """
    chosen = os.environ.get("TEXTUAL_COLOR_SYSTEM", "").lower()
    if os.environ.get("NO_COLOR"):
        return "none"
    if chosen in ("truecolor", "256", "standard"):
        return {"standard": "16"}.get(chosen, chosen)
    if term.lower() in ("dumb", "unknown"):
        return "none"
    if os.environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    if _TRUECOLOR.fullmatch(term.strip().lower()):
        return "truecolor"
    return "256" if term.rpartition("-")[2] in ("256color", "kitty") else "16"


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
