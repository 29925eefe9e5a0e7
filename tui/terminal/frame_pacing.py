"""Frame pacing: a cursor position query follows each frame, and the response time sets the frame rate."""

from __future__ import annotations

import math
from collections import deque

QUERY = "\x1b[6n"  # cursor position query; the terminal replies after it has drawn everything before
FASTEST, SLOWEST = 30.0, 4.0  # frames per second
QUEUED_SECONDS = 0.1  # queueing delay above which the frame rate is lowered
STALLED_SECONDS = 0.25  # overdue reply, beyond the base delay: no frames are drawn meanwhile
NO_REPLY_SECONDS = 3.0  # without a first reply, the terminal is not queried again
NO_REPLY_RATE = 12.0  # frames per second for such a terminal
QUERY_SECONDS = 10.0  # longest interval between queries, even if no frames are drawn
UNRESPONSIVE_SECONDS = 10.0  # without a reply or other input, after which nothing is written


class FramePacer:
    """Adapts the frame rate to the terminal, from `SLOWEST` to `fastest` frames per second.

    All times are seconds on a monotonic clock. The fastest reply gives the base delay of the connection; anything
    beyond it is queueing. The frame rate falls when replies queue and rises otherwise, so output never piles up: the
    newest frame is drawn next and those in between are skipped.

    Attributes:
        fastest: Highest frame rate, in frames per second.
        replies_missing: Whether the terminal never replied; the frame rate is then `NO_REPLY_RATE`.
    """

    def __init__(self, fastest: float = FASTEST) -> None:
        self.fastest = max(SLOWEST, fastest)
        self.replies_missing = False
        self._rate = self.fastest
        self._queries: deque[float] = deque()  # send times of unanswered queries
        self._base_delay: float | None = None
        self._drawn = float("-inf")
        self._query_due = False  # whether a frame was drawn since the last query
        self._last_query = float("-inf")
        self._last_input = float("-inf")  # time of the last input of any kind

    def set_fastest(self, fastest: float) -> None:
        """Change the highest frame rate, in frames per second."""
        self.fastest = max(SLOWEST, fastest)
        self._rate = min(self._rate, self.fastest)

    @property
    def frame_rate(self) -> float:
        """Current frame rate, in frames per second."""
        return min(NO_REPLY_RATE, self.fastest) if self.replies_missing else self._rate

    @property
    def delay(self) -> float:
        """Base response time in seconds, without queueing; 0 until it is known."""
        return self._base_delay or 0.0

    @property
    def waiting(self) -> bool:
        """Whether a reply is pending."""
        return bool(self._queries)

    def needs_query(self, now: float) -> bool:
        """Whether to send `QUERY` now: after each frame, and every `QUERY_SECONDS`."""
        self._stop_querying(now)
        due = not self._queries and now - self._last_query > QUERY_SECONDS
        return (self._query_due or due) and not self.replies_missing

    def query_sent(self, now: float) -> None:
        """Record that a query was sent."""
        self._query_due = False
        self._queries.append(now)
        self._last_query = now

    def input_received(self, now: float) -> None:
        """Record input from the terminal: a reply, a key or a new size.

        If the terminal was unresponsive (detached or suspended), pending queries may be lost and are discarded.
        """
        if self.is_unresponsive(now):
            self.discard_queries()
        self._last_input = now

    def discard_queries(self) -> None:
        """Drop pending queries, for example after another program used the terminal."""
        self._queries.clear()

    def is_unresponsive(self, now: float) -> bool:
        """Whether a terminal that replied before has stopped responding; nothing should be written to it.

        SSH sends keepalives only on idle connections, so it detects a dead connection only if nothing is written.
        """
        if not self._queries or self._base_delay is None:
            return False
        return now - max(self._queries[0], self._last_input) > UNRESPONSIVE_SECONDS

    def reply_received(self, now: float) -> None:
        """Record the reply to the oldest pending query."""
        if not self._queries:
            return  # reply to another program's query
        elapsed = now - self._queries.popleft()
        self._base_delay = elapsed if self._base_delay is None else min(self._base_delay, elapsed)
        if elapsed - self.delay > QUEUED_SECONDS:
            self._rate = max(SLOWEST, self._rate / 1.5)
        else:
            self._rate = min(self.fastest, self._rate * 1.1)

    def can_draw(self, now: float) -> bool:
        """Whether a frame may be drawn now."""
        self._stop_querying(now)
        in_flight = 1 + math.ceil(self.delay * self.frame_rate)
        stalled = bool(self._queries) and now - self._queries[0] > self.delay + STALLED_SECONDS
        full = len(self._queries) >= (in_flight if self._base_delay is not None else 1)
        return not stalled and not full and now - self._drawn >= 0.95 / self.frame_rate

    def frame_drawn(self, now: float) -> None:
        """Record that a frame was drawn."""
        self._drawn = now
        self._query_due = True

    def _stop_querying(self, now: float) -> None:
        if self._queries and self._base_delay is None and now - self._queries[0] > NO_REPLY_SECONDS:
            self.replies_missing = True
            self._queries.clear()
