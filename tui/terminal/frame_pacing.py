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
ASK_SECONDS = 10.0  # between two questions, at least one, also where no pictures are drawn
SILENT_SECONDS = 10.0  # without an answer or any other input, after which nothing at all is written


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
        self._last_asked = float("-inf")
        self._last_heard = float("-inf")  # when anything came from the terminal

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
        """Whether what was just written should be followed by `QUESTION`: if it was a picture, and now and then."""
        self._give_up(now)
        due = not self._asked and now - self._last_asked > ASK_SECONDS
        return (self._unasked or due) and not self.deaf

    def asked(self, now: float) -> None:
        """A question was written."""
        self._unasked = False
        self._asked.append(now)
        self._last_asked = now

    def heard(self, now: float) -> None:
        """Something came from the terminal: an answer, a key, a new size.

        After a silence, questions may have been lost, with a terminal that was detached or that went to sleep.
        """
        if self.silent(now):
            self.forget()
        self._last_heard = now

    def forget(self) -> None:
        """Expect no answers to what was asked so far: the terminal was given to another program meanwhile."""
        self._asked.clear()

    def silent(self, now: float) -> bool:
        """Whether a terminal that has answered before gives no sign any more, and should be written nothing.

        SSH finds a connection dead only if nothing is written on it: its keepalives are sent on idle ones.
        """
        if not self._asked or self._least is None:
            return False
        return now - max(self._asked[0], self._last_heard) > SILENT_SECONDS

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
