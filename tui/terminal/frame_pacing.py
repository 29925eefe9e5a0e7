"""How fast the terminal takes what is drawn: pictures are followed by a question, and the answers set the pace."""

from __future__ import annotations

import math
from collections import deque

QUERY = "\x1b[6n"  # where the cursor is: every terminal answers, once it has drawn all that came before
FASTEST, SLOWEST = 30.0, 4.0  # pictures a second
QUEUED_SECONDS = 0.1  # of waiting in line that are taken for a link too slow for the present pace
STALLED_SECONDS = 0.25  # beyond the link's own delay without an answer: nothing more is drawn meanwhile
NO_REPLY_SECONDS = 3.0  # without a first answer: this terminal gives none, and is asked no more
NO_REPLY_RATE = 12.0  # pictures a second for such a terminal
QUERY_SECONDS = 10.0  # between two questions, at least one, also where no pictures are drawn
UNRESPONSIVE_SECONDS = 10.0  # without an answer or any other input, after which nothing at all is written


class FramePacer:
    """The pace that the terminal keeps up with, from `SLOWEST` to `fastest` pictures a second.

    Times are seconds of one clock that only goes forward. What an answer takes beyond the fastest is time spent in
    line, in a link that is slower than what is written to it: then the pace falls, and else it rises. So nothing queues
    up, whatever the link's delay: the newest picture is drawn next, and those in between are not.
    """

    def __init__(self, fastest: float = FASTEST) -> None:
        self.fastest = max(SLOWEST, fastest)
        self.replies_missing = False
        self._pace = self.fastest
        self._queries: deque[float] = deque()  # when, of the questions without an answer
        self._base_delay: float | None = None
        self._drawn = float("-inf")
        self._query_due = False  # whether a picture was drawn since the last question
        self._last_query = float("-inf")
        self._last_input = float("-inf")  # when anything came from the terminal

    @property
    def pace(self) -> float:
        """Pictures a second."""
        return min(NO_REPLY_RATE, self.fastest) if self.replies_missing else self._pace

    @property
    def delay(self) -> float:
        """Seconds that the terminal takes to answer when nothing is in line; 0 before it is known."""
        return self._base_delay or 0.0

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._queries)

    def needs_query(self, now: float) -> bool:
        """Whether what was just written should be followed by `QUERY`: if it was a picture, and now and then."""
        self._stop_querying(now)
        due = not self._queries and now - self._last_query > QUERY_SECONDS
        return (self._query_due or due) and not self.replies_missing

    def query_sent(self, now: float) -> None:
        """A question was written."""
        self._query_due = False
        self._queries.append(now)
        self._last_query = now

    def input_received(self, now: float) -> None:
        """Something came from the terminal: an answer, a key, a new size.

        After a silence, questions may have been lost, with a terminal that was detached or that went to sleep.
        """
        if self.is_unresponsive(now):
            self.discard_queries()
        self._last_input = now

    def discard_queries(self) -> None:
        """Expect no answers to what was asked so far: the terminal was given to another program meanwhile."""
        self._queries.clear()

    def is_unresponsive(self, now: float) -> bool:
        """Whether a terminal that has answered before gives no sign any more, and should be written nothing.

        SSH finds a connection dead only if nothing is written on it: its keepalives are sent on idle ones.
        """
        if not self._queries or self._base_delay is None:
            return False
        return now - max(self._queries[0], self._last_input) > UNRESPONSIVE_SECONDS

    def reply_received(self, now: float) -> None:
        """An answer came, to the oldest question."""
        if not self._queries:
            return  # to a question of somebody else
        took = now - self._queries.popleft()
        self._base_delay = took if self._base_delay is None else min(self._base_delay, took)
        if took - self.delay > QUEUED_SECONDS:
            self._pace = max(SLOWEST, self._pace / 1.5)
        else:
            self._pace = min(self.fastest, self._pace * 1.1)

    def can_draw(self, now: float) -> bool:
        """Whether a picture may be drawn now."""
        self._stop_querying(now)
        on_their_way = 1 + math.ceil(self.delay * self.pace)
        stalled = bool(self._queries) and now - self._queries[0] > self.delay + STALLED_SECONDS
        full = len(self._queries) >= (on_their_way if self._base_delay is not None else 1)
        return not stalled and not full and now - self._drawn >= 0.95 / self.pace

    def frame_drawn(self, now: float) -> None:
        """A picture was drawn."""
        self._drawn = now
        self._query_due = True

    def _stop_querying(self, now: float) -> None:
        if self._queries and self._base_delay is None and now - self._queries[0] > NO_REPLY_SECONDS:
            self.replies_missing = True
            self._queries.clear()
