"""Signals turned into a flag, so that Ctrl-C never falls into the middle of a step or a write."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While entered, the first signal is only remembered; a second Ctrl-C interrupts at once, unless `patient`.

    Outside the main thread, where Python delivers no signals, it remembers nothing. Processes that a launcher started
    are patient: one Ctrl-C reaches them twice, from the terminal and from the launcher.

    A generator enters it and releases it at each `yield`, so that its caller's own handlers are in force while it is
    suspended. A caller that wants signals to be remembered then too enters one itself and passes it to the generator;
    entered twice, it is released by nobody but who entered it first.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received: signal.Signals | None = None
        self._patient = patient
        self._before: dict[signal.Signals, object] = {}
        self._depth = 0  # how many times it is entered

    def __enter__(self) -> Interrupts:
        if self._depth == 0:
            self._install()
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._restore()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Inside the `with` block the handlers from before are in force, unless it is entered more than once."""
        if self._depth > 1:
            yield
            return
        self._restore()
        try:
            yield
        finally:
            self._install()

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # nohup stays in force, and so does a handler that is not Python's, which could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._remember)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal.signal itself returned
        self._before.clear()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    def raise_received(self) -> None:
        """Raise what the signal would have raised: KeyboardInterrupt, or SystemExit with 128 + its number."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)


@contextmanager
def loading() -> Iterator[None]:
    """While libraries are imported, Ctrl-C ends the process at once, when there is nothing to keep yet.

    An exception in the middle of an import would be swallowed there, or leave half a library behind.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
