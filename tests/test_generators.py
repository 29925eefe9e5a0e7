"""Generators that return a value: iterated, closed early, run to their end."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from core.generators import WithResult, result_of


def counting(closed: list[bool]) -> Generator[int, None, str]:
    try:
        yield 1
        yield 2
    finally:
        closed.append(True)
    return "three"


def test_the_result_is_there_after_the_last_value() -> None:
    numbers = WithResult(counting([]))
    assert list(numbers) == [1, 2]
    assert numbers.result == "three"
    assert result_of(counting([])) == "three"


def test_there_is_no_result_before_the_end() -> None:
    numbers = WithResult(counting([]))
    assert next(iter(numbers)) == 1
    with pytest.raises(ValueError, match="unpack"):
        _ = numbers.result


def test_leaving_the_with_block_closes_the_generator() -> None:
    closed: list[bool] = []
    with pytest.raises(KeyError), WithResult(counting(closed)) as numbers:
        for number in numbers:
            raise KeyError(number)
    assert closed == [True]
