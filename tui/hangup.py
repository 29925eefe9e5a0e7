"""An end for the screen's process when its terminal is gone or it is told to go, also where Textual waits for ever.

Textual's input loop spins on the end of its input, and its event loop stands still once a terminal that nobody reads
has filled the queue of what is written. So neither is relied upon.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

LAST_RESORT_SECONDS = 1.0  # for a clean end; then the process ends as it is


def end_with_terminal(on_hangup: Callable[[], object], on_term: Callable[[], object]) -> None:
    """Call `on_hangup` in the running event loop when the terminal behind stdin hangs up, `on_term` at SIGTERM.

    Whatever they do, the process has ended a second later.
    """
    loop = asyncio.get_running_loop()

    def wait() -> None:
        terminal = select.poll()
        terminal.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)  # a hangup is reported without asking
        if any(events & (select.POLLHUP | select.POLLERR) for _, events in terminal.poll()):
            end(signal.SIGHUP, on_hangup)

    def end(number: int, call: Callable[[], object]) -> None:
        last_resort = threading.Timer(LAST_RESORT_SECONDS, os._exit, (128 + number,))
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(call)

    def heard(number: int, frame: FrameType | None) -> None:
        end(number, on_hangup if number == signal.SIGHUP else on_term)

    signal.signal(signal.SIGHUP, heard)
    signal.signal(signal.SIGTERM, heard)
    threading.Thread(target=wait, name="terminal-watch", daemon=True).start()
