"""Replies of the terminal to queries for its name and its graphics, kept apart from the keys in the input."""

from __future__ import annotations

import re
from typing import NamedTuple

from textual.message import Message

NAME_QUERY = "\x1b[>q"  # XTVERSION; the reply is ESC P > | name ESC \
MAX_REPLY = 512  # characters; what is longer is no reply
REPLY_TICKS = 10  # a reply ends at the latest after so many pauses in the input
# How replies start: with the terminal's name, and of the Kitty graphics protocol.
_STARTS = ("\x1bP>|", "\x1b_G")
_END = "\x1b\\"
_IGNORED = "[?0;0$y"  # after an ESC that the parser already has, a report that it ignores
_NAME = re.compile(r"([A-Za-z][\w.-]*?)[ (]v?(\d+(?:\.\d+)*)")
_OCTANTS = {"kitty": (0, 40), "ghostty": (1, 2), "foot": (1, 20), "VTE": (7800,)}
_PLACEHOLDERS = {"kitty": (0, 28), "ghostty": (1, 0)}


class TerminalReply(Message):
    """The terminal replied to a query.

    Attributes:
        graphics: Whether the reply is about graphics; otherwise it is the terminal's name and version.
        text: The reply without its start and end.
    """

    def __init__(self, text: str, *, graphics: bool) -> None:
        super().__init__()
        self.text = text
        self.graphics = graphics


class ReplyFilter:
    """Removes replies from the input, wherever reads divide them.

    What only starts like a reply, such as Alt+P, is passed on when the input pauses. A reply itself may pause for some
    time, as on slow connections.
    """

    def __init__(self) -> None:
        self._held = ""  # a reply, or its start
        self._follows_escape = False  # whether an ESC was passed on, and nothing after it
        self._ticks = 0
        self.replies: list[TerminalReply] = []
        """Complete replies; whoever handles them removes them."""

    def feed(self, text: str) -> str:
        """The input without replies."""
        if not text:
            return ""
        passed = []
        if self._follows_escape and any(("\x1b" + text).startswith(start[: len(text) + 1]) for start in _STARTS):
            passed.append(_IGNORED)
            text = "\x1b" + text
        self._ticks = 0
        text, self._held = self._held + text, ""
        while text:
            start = text.find("\x1b")
            if start < 0 or text[start:] == "\x1b":  # the parser knows whether that is a key
                passed.append(text)
                break
            passed.append(text[:start])
            text = text[start:]
            if any(begin.startswith(text) for begin in _STARTS):
                self._held = text
                break
            if not text.startswith(_STARTS):
                passed.append(text[0])
                text = text[1:]
                continue
            end = next((at for at in range(2, len(text)) if not text[at].isprintable()), len(text))
            if len(text) <= min(end + 1, MAX_REPLY) and text[end:] in ("", "\x1b"):
                self._held = text
                break
            if not text.startswith(_END, end):  # interrupted, or too long
                text = text[end:]
                continue
            graphics = text.startswith(_STARTS[1])
            self.replies.append(TerminalReply(text[len(_STARTS[graphics]) : end], graphics=graphics))
            text = text[end + len(_END) :]
        output = "".join(passed)
        if output:
            self._follows_escape = output[-1] == "\x1b"
        return output

    def tick(self) -> str:
        """What the input has held back, when it pauses."""
        self._follows_escape = False
        self._ticks += 1
        if not self._held or (self._held.startswith(_STARTS) and self._ticks < REPLY_TICKS):
            return ""
        held, self._held = self._held, ""
        return "" if held.startswith(_STARTS) else held


class Abilities(NamedTuple):
    """What a terminal draws, by its name and version."""

    octants: bool
    placeholders: bool  # images of the Kitty graphics protocol in place of characters


def abilities(name: str) -> Abilities:
    """What the terminal of this name draws, as in its reply to `NAME_QUERY`, such as `kitty(0.42.1)`."""
    match = _NAME.match(name)
    if match is None:
        return Abilities(octants=False, placeholders=False)
    version = tuple(map(int, match[2].split(".")))
    octants, placeholders = (match[1] in known and version >= known[match[1]] for known in (_OCTANTS, _PLACEHOLDERS))
    return Abilities(octants, placeholders)
