"""An end for the screen's process when its terminal is gone or it is told to go, also where Textual waits for ever.

Textual's input loop spins on the end of its input, and its event loop stands still once a terminal that nobody reads
has filled the queue of what is written. So neither is relied upon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from types import FrameType

LAST_RESORT_SECONDS = 1.0  # for a clean end; then the process ends as it is
WATCH_SECONDS = 0.1  # between two looks at whether the terminal takes output
# No mouse, no bracketed paste, the cursor and the main screen: what Textual writes at a clean end.
RESTORED = b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[<u\x1b[?1049l\x1b[?25h"


def end_with_terminal(on_hangup: Callable[[], object], on_term: Callable[[], object]) -> None:
    """Call `on_hangup` in the running loop when the terminal behind stdin hangs up, `on_term` at SIGTERM or SIGINT.

    Whatever they do, the process has ended a second later.
    """
    loop = asyncio.get_running_loop()

    def wait() -> None:
        terminal = select.poll()
        terminal.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)  # a hangup is reported without asking
        if any(events & (select.POLLHUP | select.POLLERR) for _, events in terminal.poll()):
            end(signal.SIGHUP, on_hangup)

    def end(number: int, call: Callable[[], object]) -> None:
        last_resort = threading.Timer(LAST_RESORT_SECONDS, _end_as_it_is, (128 + number,))
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(call)

    def heard(number: int, frame: FrameType | None) -> None:
        end(number, on_hangup if number == signal.SIGHUP else on_term)

    signal.signal(signal.SIGHUP, heard)
    signal.signal(signal.SIGTERM, heard)
    signal.signal(signal.SIGINT, heard)  # from outside, which would hang Textual; Ctrl-C comes as a character
    threading.Thread(target=wait, name="terminal-watch", daemon=True).start()


def end_if_stuck(code: int) -> None:
    """End the process with status `code` once its terminal takes no output for `LAST_RESORT_SECONDS`.

    For an app that is about to end: what restores the terminal would wait for ever for a reader, and the app with it.
    """

    def watch() -> None:
        terminal = select.poll()
        terminal.register(2, select.POLLOUT)  # where Textual draws
        while terminal.poll(LAST_RESORT_SECONDS * 1000):
            time.sleep(WATCH_SECONDS)
        _end_as_it_is(code)

    threading.Thread(target=watch, name="terminal-stuck", daemon=True).start()


def _end_as_it_is(code: int) -> None:
    """End at once; a terminal that still takes something is left as a shell needs it."""
    terminal = select.poll()
    terminal.register(2, select.POLLOUT)  # where Textual draws
    if terminal.poll(0) == [(2, select.POLLOUT)]:
        with contextlib.suppress(OSError, termios.error):
            modes = termios.tcgetattr(2)
            modes[0] |= termios.ICRNL | termios.IXON
            modes[3] |= termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN
            termios.tcsetattr(2, termios.TCSANOW, modes)
            os.write(2, RESTORED)
    os._exit(code)
