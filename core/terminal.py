"""What the terminal can show, as far as the environment tells: no probes, whose answers go astray on slow links."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

_BLOCKS = "▀▄█"


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal of this process."""

    term: str  # TERM, empty when not set
    colorterm: str  # COLORTERM, empty when not set
    colors: str  # what the app will use: "truecolor", "256", "16" or "none"
    encoding: str  # of the standard output
    utf8: bool
    blocks: bool  # whether half blocks, which the digits are drawn with, can be written
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
    return Terminal(
        term=term,
        colorterm=os.environ.get("COLORTERM", ""),
        colors=_colors(term),
        encoding=encoding,
        utf8=encoding.lower().replace("-", "").replace("_", "") in ("utf8", "utf8sig"),
        blocks=term != "dumb" and _encodable(_BLOCKS, encoding),
        columns=columns,
        rows=rows,
        stdin_is_terminal=sys.stdin is not None and sys.stdin.isatty(),
        stdout_is_terminal=sys.stdout is not None and sys.stdout.isatty(),
        tmux=bool(os.environ.get("TMUX")),
        ssh=bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY")),
    )


def _colors(term: str) -> str:
    """By the same variables as the libraries that draw: NO_COLOR, TEXTUAL_COLOR_SYSTEM, COLORTERM, then TERM's end."""
    chosen = os.environ.get("TEXTUAL_COLOR_SYSTEM", "").lower()
    if os.environ.get("NO_COLOR"):
        return "none"
    if chosen in ("truecolor", "256", "standard"):
        return {"standard": "16"}.get(chosen, chosen)
    if term.lower() in ("dumb", "unknown"):
        return "none"
    if os.environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    return "256" if term.rpartition("-")[2] in ("256color", "kitty") else "16"


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
