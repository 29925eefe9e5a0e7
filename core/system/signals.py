"""Deferred signal handling, so that Ctrl-C does not interrupt a step or a write."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Context manager that records the first signal; a second Ctrl-C interrupts immediately unless `patient`.

    Outside the main thread, where Python delivers no signals, it does nothing. Processes started by a launcher are
    patient because they receive one Ctrl-C twice, from the terminal and from the launcher.

    A generator enters it and releases it at each `yield`, so that the caller's handlers are active while it is
    suspended. A caller that also wants signals recorded then enters one itself and passes it to the generator: if
    entered more than once, `released` does nothing.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received: signal.Signals | None = None
        self._patient = patient
        self._before: dict[signal.Signals, object] = {}
        self._depth = 0  # number of times entered

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
        """Restore the previous handlers inside the `with` block, unless entered more than once."""
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
                # Keep SIG_IGN (nohup), and handlers not installed by Python, which could not be restored.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._record)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # as returned by signal.signal
        self._before.clear()

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    def raise_received(self) -> None:
        """Raise KeyboardInterrupt or SystemExit(128 + signal number) if a signal was received."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)


@contextmanager
def loading() -> Iterator[None]:
    """While importing libraries, let Ctrl-C kill the process immediately; there is nothing to save yet.

    A KeyboardInterrupt during an import could be swallowed, or leave a partially imported library.
    """
    before = signal.getsignal(signal.SIGINT)
    replace = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if replace:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if replace:
            signal.signal(signal.SIGINT, before)
