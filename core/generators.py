"""Iteration over generators that also return a value."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class WithResult(AbstractContextManager["WithResult[T, R]"], Generic[T, R]):
    """Iterates over what a generator yields and keeps what it returns; leaving the `with` block closes it.

    Example:
        with WithResult(locate("mnist")) as search:
            for event in search:
                print(event)
        located = search.result
    """

    def __init__(self, generator: Generator[T, None, R]) -> None:
        self._generator = generator
        self._results: list[R] = []

    def __iter__(self) -> Iterator[T]:
        self._results.append((yield from self._generator))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generator.close()

    @property
    def result(self) -> R:
        """What the generator returned, once it has been iterated to its end."""
        (result,) = self._results
        return result


def result_of(generator: Generator[object, None, R]) -> R:
    """Run a generator to its end and return what it returns."""
    search = WithResult(generator)
    for _ in search:
        pass
    return search.result
