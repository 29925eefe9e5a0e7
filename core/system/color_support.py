"""The colors of the terminal, from environment variables, terminfo and the terminal's name."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from core.system.terminfo import read_color_entry

# Terminals that have true color in all versions in use. Their terminfo entries are often missing on the other side of
# an SSH connection, or do not say so; ssh forwards only TERM, not COLORTERM.
_TRUECOLOR = re.compile(
    r"(foot|alacritty|wezterm|(xterm-)?ghostty|(xterm-)?kitty|(xterm-)?rio|contour|st|iterm2(\.app)?|konsole|mintty"
    r"|ms-terminal|vte|gnome)(?!.*-(mono|m|\d\d?color)$)(-.*)?|.*-direct\d*"
)


class Colors(NamedTuple):
    """The colors to use, and why."""

    system: str  # "truecolor", "256", "16" or "none"
    reason: str


def detect_colors(term: str) -> Colors:
    """The colors of this process's terminal, whose TERM is `term`.

    In this order: NO_COLOR, TEXTUAL_COLOR_SYSTEM, COLORTERM, then the terminfo entry or the name, whichever promises
    more. Nothing is asked of the terminal.
    """
    override = os.environ.get("TEXTUAL_COLOR_SYSTEM", "").lower()
    colorterm = os.environ.get("COLORTERM", "").strip().lower()
    name = term.strip().lower()
    if os.environ.get("NO_COLOR"):
        return Colors("none", "NO_COLOR is set")
    if override in ("truecolor", "256", "standard"):
        return Colors({"standard": "16"}.get(override, override), f"TEXTUAL_COLOR_SYSTEM={override}")
    if name in ("dumb", "unknown"):
        return Colors("none", f"TERM={term}")
    if colorterm in ("truecolor", "24bit"):
        return Colors("truecolor", f"COLORTERM={colorterm}")
    entry = read_color_entry(term)
    if entry is not None and entry.truecolor:
        return Colors("truecolor", f"terminfo has {entry.truecolor}")
    if _TRUECOLOR.fullmatch(name):
        return Colors("truecolor", "TERM is the name of a terminal with true color")
    if entry is not None and entry.colors >= 256:
        return Colors("256", f"terminfo has {entry.colors} colors")
    if name.endswith("-256color"):
        return Colors("256", "the name in TERM")
    if entry is None:
        return Colors("16", "terminfo has no entry for this TERM" if term else "TERM is not set")
    if entry.colors >= 8:
        return Colors("16", f"terminfo has {entry.colors} colors")
    return Colors("none", "terminfo has no colors")
