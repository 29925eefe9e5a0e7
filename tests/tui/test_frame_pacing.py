"""The pace of pictures: full on a fast link with any delay, slow without a queue on a slow one."""

from __future__ import annotations

import heapq

import pytest

from tui.terminal.frame_pacing import (
    FASTEST,
    NO_REPLY_RATE,
    NO_REPLY_SECONDS,
    QUERY_SECONDS,
    SLOWEST,
    UNRESPONSIVE_SECONDS,
    FramePacer,
)

TICK = 1 / 60


class Terminal:
    """Draws what comes over a wire of `rate` bytes a second, `delay` seconds there and back, and answers."""

    def __init__(self, rate: float, delay: float, picture: int) -> None:
        self.pacer = FramePacer()
        self.rate, self.delay, self.picture = rate, delay, picture
        self.now = 0.0
        self.idle_at = 0.0  # when the wire has nothing more to carry
        self.answers: list[float] = []
        self.pictures: list[float] = []
        self.longest_line = 0.0
        self.pacer.query_sent(0.0)  # before the first picture
        self.answers.append(delay)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            while self.answers and self.answers[0] <= self.now:
                self.pacer.reply_received(heapq.heappop(self.answers))
            if self.pacer.can_draw(self.now):
                self.pacer.frame_drawn(self.now)
                self.pictures.append(self.now)
                self.idle_at = max(self.idle_at, self.now) + self.picture / self.rate
                self.longest_line = max(self.longest_line, self.idle_at - self.now)
                if self.pacer.needs_query(self.now):
                    self.pacer.query_sent(self.now)
                    heapq.heappush(self.answers, self.idle_at + self.delay)

    def rate_over_last(self, seconds: float) -> float:
        return sum(moment > self.now - seconds for moment in self.pictures) / seconds


@pytest.mark.parametrize("delay", [0.001, 0.05, 0.3])
def test_a_fast_connection_gets_every_frame_at_any_latency(delay: float) -> None:
    terminal = Terminal(rate=10e6, delay=delay, picture=20_000)
    terminal.run(10)
    assert terminal.rate_over_last(5) >= 0.9 * FASTEST


@pytest.mark.parametrize("delay", [0.02, 0.3])
def test_a_slow_connection_gets_fewer_frames_and_no_queue(delay: float) -> None:
    terminal = Terminal(rate=160_000, delay=delay, picture=20_000)  # eight a second
    terminal.run(30)
    assert SLOWEST <= terminal.rate_over_last(20) <= 8.5
    assert terminal.idle_at - terminal.now < 0.6


def test_below_the_minimum_frame_rate_a_frame_waits_for_the_last_reply() -> None:
    terminal = Terminal(rate=20_000, delay=0.05, picture=20_000)  # one a second
    terminal.run(30)
    assert terminal.rate_over_last(20) <= 1.2
    assert terminal.longest_line <= 3.1


def test_the_frame_rate_recovers_with_the_connection() -> None:
    terminal = Terminal(rate=80_000, delay=0.02, picture=20_000)
    terminal.run(20)
    assert terminal.rate_over_last(10) <= 5
    terminal.rate = 10e6
    terminal.run(20)
    assert terminal.rate_over_last(5) >= 0.9 * FASTEST


def test_a_terminal_that_never_replies_is_no_longer_queried() -> None:
    pacer = FramePacer()
    pacer.query_sent(0.0)
    pacer.frame_drawn(1.0)
    assert pacer.needs_query(1.0)
    assert not pacer.needs_query(NO_REPLY_SECONDS + 0.1)
    assert pacer.can_draw(NO_REPLY_SECONDS + 0.2)
    assert pacer.frame_rate == NO_REPLY_RATE


def test_an_unsolicited_reply_is_ignored() -> None:
    pacer = FramePacer()
    pacer.reply_received(1.0)
    assert pacer.frame_rate == FASTEST
    assert pacer.delay == 0


def test_the_maximum_frame_rate_is_respected() -> None:
    pacer = FramePacer(fastest=10)
    pacer.frame_drawn(0.0)
    assert not pacer.can_draw(0.05)
    assert pacer.can_draw(0.1)


def answering_pacer() -> FramePacer:
    pacer = FramePacer()
    pacer.query_sent(0.0)
    pacer.reply_received(0.1)
    pacer.input_received(0.1)
    return pacer


def test_an_idle_terminal_is_queried_occasionally() -> None:
    pacer = answering_pacer()
    assert not pacer.needs_query(QUERY_SECONDS - 0.1)
    assert pacer.needs_query(QUERY_SECONDS + 0.1)
    pacer.query_sent(QUERY_SECONDS + 0.1)
    assert not pacer.needs_query(3 * QUERY_SECONDS), "one question without an answer is enough"


def test_a_terminal_that_stops_replying_gets_no_frames_until_it_replies_or_sends_input() -> None:
    pacer = answering_pacer()
    pacer.query_sent(20.0)
    assert not pacer.is_unresponsive(20.0 + UNRESPONSIVE_SECONDS - 0.1)
    assert pacer.is_unresponsive(20.0 + UNRESPONSIVE_SECONDS + 0.1)
    pacer.input_received(60.0)  # a key, from a terminal that was detached when it was asked
    assert not pacer.is_unresponsive(60.0 + 10 * UNRESPONSIVE_SECONDS), "the lost question is forgotten"
    assert pacer.needs_query(60.0)


def test_a_terminal_that_sends_keys_is_not_unresponsive() -> None:
    pacer = answering_pacer()
    pacer.query_sent(20.0)
    pacer.input_received(29.0)
    assert not pacer.is_unresponsive(31.0)


def test_a_terminal_that_never_replied_is_never_unresponsive() -> None:
    pacer = FramePacer()
    pacer.query_sent(0.0)
    assert not pacer.is_unresponsive(1000.0)


def test_a_terminal_used_by_another_program_is_queried_again() -> None:
    pacer = answering_pacer()
    pacer.query_sent(20.0)
    pacer.discard_queries()
    assert not pacer.is_unresponsive(1000.0)
    assert pacer.needs_query(1000.0)
