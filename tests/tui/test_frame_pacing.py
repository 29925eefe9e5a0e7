"""The pace of pictures: full on a fast link whatever its delay, slow without a queue on a slow one."""

from __future__ import annotations

import heapq

import pytest

from tui.terminal.frame_pacing import ASK_SECONDS, DEAF, DEAF_SECONDS, FASTEST, SILENT_SECONDS, SLOWEST, Link

TICK = 1 / 60


class Terminal:
    """Draws what comes over a wire of `rate` bytes a second, `delay` seconds there and back, and answers."""

    def __init__(self, rate: float, delay: float, picture: int) -> None:
        self.link = Link()
        self.rate, self.delay, self.picture = rate, delay, picture
        self.now = 0.0
        self.idle_at = 0.0  # when the wire has nothing more to carry
        self.answers: list[float] = []
        self.pictures: list[float] = []
        self.longest_line = 0.0
        self.link.asked(0.0)  # before the first picture
        self.answers.append(delay)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            while self.answers and self.answers[0] <= self.now:
                self.link.answered(heapq.heappop(self.answers))
            if self.link.is_free(self.now):
                self.link.drew(self.now)
                self.pictures.append(self.now)
                self.idle_at = max(self.idle_at, self.now) + self.picture / self.rate
                self.longest_line = max(self.longest_line, self.idle_at - self.now)
                if self.link.wants_question(self.now):
                    self.link.asked(self.now)
                    heapq.heappush(self.answers, self.idle_at + self.delay)

    def rate_over_last(self, seconds: float) -> float:
        return sum(moment > self.now - seconds for moment in self.pictures) / seconds


@pytest.mark.parametrize("delay", [0.001, 0.05, 0.3])
def test_a_link_with_room_gets_every_picture_whatever_its_delay(delay: float) -> None:
    terminal = Terminal(rate=10e6, delay=delay, picture=20_000)
    terminal.run(10)
    assert terminal.rate_over_last(5) >= 0.9 * FASTEST


@pytest.mark.parametrize("delay", [0.02, 0.3])
def test_a_slow_link_gets_what_it_can_carry_and_no_queue(delay: float) -> None:
    terminal = Terminal(rate=160_000, delay=delay, picture=20_000)  # eight a second
    terminal.run(30)
    assert SLOWEST <= terminal.rate_over_last(20) <= 8.5
    assert terminal.idle_at - terminal.now < 0.6


def test_on_a_link_slower_than_the_slowest_pace_a_picture_waits_for_the_last() -> None:
    terminal = Terminal(rate=20_000, delay=0.05, picture=20_000)  # one a second
    terminal.run(30)
    assert terminal.rate_over_last(20) <= 1.2
    assert terminal.longest_line <= 3.1


def test_a_link_that_recovers_gets_its_pictures_back() -> None:
    terminal = Terminal(rate=80_000, delay=0.02, picture=20_000)
    terminal.run(20)
    assert terminal.rate_over_last(10) <= 5
    terminal.rate = 10e6
    terminal.run(20)
    assert terminal.rate_over_last(5) >= 0.9 * FASTEST


def test_a_terminal_that_never_answers_is_asked_no_more() -> None:
    link = Link()
    link.asked(0.0)
    link.drew(1.0)
    assert link.wants_question(1.0)
    assert not link.wants_question(DEAF_SECONDS + 0.1)
    assert link.is_free(DEAF_SECONDS + 0.2)
    assert link.pace == DEAF


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    link = Link()
    link.answered(1.0)
    assert link.pace == FASTEST
    assert link.delay == 0


def test_a_cap_is_kept() -> None:
    link = Link(fastest=10)
    link.drew(0.0)
    assert not link.is_free(0.05)
    assert link.is_free(0.1)


def answering_link() -> Link:
    link = Link()
    link.asked(0.0)
    link.answered(0.1)
    link.heard(0.1)
    return link


def test_a_terminal_at_rest_is_asked_now_and_then() -> None:
    link = answering_link()
    assert not link.wants_question(ASK_SECONDS - 0.1)
    assert link.wants_question(ASK_SECONDS + 0.1)
    link.asked(ASK_SECONDS + 0.1)
    assert not link.wants_question(3 * ASK_SECONDS), "one question without an answer is enough"


def test_a_terminal_that_stops_answering_is_written_nothing_until_it_gives_a_sign() -> None:
    link = answering_link()
    link.asked(20.0)
    assert not link.silent(20.0 + SILENT_SECONDS - 0.1)
    assert link.silent(20.0 + SILENT_SECONDS + 0.1)
    link.heard(60.0)  # a key, from a terminal that was detached when it was asked
    assert not link.silent(60.0 + 10 * SILENT_SECONDS), "the lost question is forgotten"
    assert link.wants_question(60.0)


def test_a_terminal_whose_keys_arrive_is_not_silent() -> None:
    link = answering_link()
    link.asked(20.0)
    link.heard(29.0)
    assert not link.silent(31.0)


def test_a_terminal_that_never_answered_is_never_silent() -> None:
    link = Link()
    link.asked(0.0)
    assert not link.silent(1000.0)


def test_a_terminal_that_another_program_had_meanwhile_is_asked_again() -> None:
    link = answering_link()
    link.asked(20.0)
    link.forget()
    assert not link.silent(1000.0)
    assert link.wants_question(1000.0)
