"""Exits the UI process on hangup or a signal, even if Textual is blocked.

Textual's input loop spins at end of input, and its event loop blocks when nobody reads the terminal and the write queue
is full. This module relies on neither.
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

EXIT_SECONDS = 1.0  # time for a clean exit before the process is ended
WATCH_SECONDS = 0.1  # interval between checks that the terminal accepts output
# Disables mouse and bracketed paste, restores the main screen and the cursor, as Textual does on a clean exit.
RESET_SEQUENCES = b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[<u\x1b[?1049l\x1b[?25h"


def end_with_terminal(on_hangup: Callable[[], object], on_term: Callable[[], object]) -> None:
    """Call `on_hangup` in the running loop when the terminal of stdin hangs up, `on_term` on SIGTERM or SIGINT.

    The process exits at most `EXIT_SECONDS` later, even if the callback does not end it.
    """
    loop = asyncio.get_running_loop()

    def wait() -> None:
        terminal = select.poll()
        terminal.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)  # POLLHUP needs no event mask
        if any(events & (select.POLLHUP | select.POLLERR) for _, events in terminal.poll()):
            shut_down(signal.SIGHUP, on_hangup)

    def shut_down(number: int, callback: Callable[[], object]) -> None:
        timer = threading.Timer(EXIT_SECONDS, _exit_now, (128 + number,))
        timer.daemon = True
        timer.start()
        loop.call_soon_threadsafe(callback)

    def on_signal(number: int, frame: FrameType | None) -> None:
        shut_down(number, on_hangup if number == signal.SIGHUP else on_term)

    signal.signal(signal.SIGHUP, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)  # sent by another process, it would hang Textual; Ctrl-C arrives as a key
    threading.Thread(target=wait, name="terminal-watch", daemon=True).start()


def end_if_stuck(code: int) -> None:
    """Exit with status `code` if the terminal accepts no output for `EXIT_SECONDS`.

    Call before a normal exit: restoring the terminal would block forever if nobody reads it.
    """

    def watch() -> None:
        terminal = select.poll()
        terminal.register(2, select.POLLOUT)  # Textual writes to stderr
        while terminal.poll(EXIT_SECONDS * 1000):
            time.sleep(WATCH_SECONDS)
        _exit_now(code)

    threading.Thread(target=watch, name="terminal-stuck", daemon=True).start()


def _exit_now(code: int) -> None:
    """Exit at once; restore the terminal modes first if the terminal accepts output."""
    terminal = select.poll()
    terminal.register(2, select.POLLOUT)  # Textual writes to stderr
    if terminal.poll(0) == [(2, select.POLLOUT)]:
        with contextlib.suppress(OSError, termios.error):
            modes = termios.tcgetattr(2)
            modes[0] |= termios.ICRNL | termios.IXON
            modes[3] |= termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN
            termios.tcsetattr(2, termios.TCSANOW, modes)
            os.write(2, RESET_SEQUENCES)
    os._exit(code)
