"""How fast the terminal takes what is drawn: pictures are followed by a question, and the answers set the pace."""

from __future__ import annotations

import math
from collections import deque

QUESTION = "\x1b[6n"  # where the cursor is: every terminal answers, once it has drawn all that came before
FASTEST, SLOWEST = 30.0, 4.0  # pictures a second
QUEUED_SECONDS = 0.1  # of waiting in line that are taken for a link too slow for the present pace
STALLED_SECONDS = 0.25  # beyond the link's own delay without an answer: nothing more is drawn meanwhile
DEAF_SECONDS = 3.0  # without a first answer: this terminal gives none, and is asked no more
DEAF = 12.0  # pictures a second for such a terminal


class Link:
    """The pace that the terminal keeps up with, from `SLOWEST` to `fastest` pictures a second.

    Times are seconds of one clock that only goes forward. What an answer takes beyond the fastest is time spent in
    line, in a link that is slower than what is written to it: then the pace falls, and else it rises. So nothing queues
    up, whatever the link's delay: the newest picture is drawn next, and those in between are not.
    """

    def __init__(self, fastest: float = FASTEST) -> None:
        self.fastest = max(SLOWEST, fastest)
        self.deaf = False
        self._pace = self.fastest
        self._asked: deque[float] = deque()  # when, of the questions without an answer
        self._least: float | None = None
        self._drawn = float("-inf")
        self._unasked = False  # whether a picture was drawn since the last question

    @property
    def pace(self) -> float:
        """Pictures a second."""
        return min(DEAF, self.fastest) if self.deaf else self._pace

    @property
    def delay(self) -> float:
        """Seconds that the terminal takes to answer when nothing is in line; 0 before it is known."""
        return self._least or 0.0

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._asked)

    def wants_question(self, now: float) -> bool:
        """Whether what was just written should be followed by `QUESTION`: if it was a picture."""
        self._give_up(now)
        return self._unasked and not self.deaf

    def asked(self, now: float) -> None:
        """A question was written."""
        self._unasked = False
        self._asked.append(now)

    def answered(self, now: float) -> None:
        """An answer came, to the oldest question."""
        if not self._asked:
            return  # to a question of somebody else
        took = now - self._asked.popleft()
        self._least = took if self._least is None else min(self._least, took)
        if took - self.delay > QUEUED_SECONDS:
            self._pace = max(SLOWEST, self._pace / 1.5)
        else:
            self._pace = min(self.fastest, self._pace * 1.1)

    def is_free(self, now: float) -> bool:
        """Whether a picture may be drawn now."""
        self._give_up(now)
        on_their_way = 1 + math.ceil(self.delay * self.pace)
        stalled = bool(self._asked) and now - self._asked[0] > self.delay + STALLED_SECONDS
        full = len(self._asked) >= (on_their_way if self._least is not None else 1)
        return not stalled and not full and now - self._drawn >= 0.95 / self.pace

    def drew(self, now: float) -> None:
        """A picture was drawn."""
        self._drawn = now
        self._unasked = True

    def _give_up(self, now: float) -> None:
        if self._asked and self._least is None and now - self._asked[0] > DEAF_SECONDS:
            self.deaf = True
            self._asked.clear()
