"""Notices that the terminal is gone: Textual's input loop would spin on the end of its input for ever."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Callable


def watch_terminal(on_hangup: Callable[[], object]) -> None:
    """Call `on_hangup` once, from a thread of its own, when the terminal behind stdin hangs up."""
    threading.Thread(target=_wait, args=(on_hangup,), name="terminal-watch", daemon=True).start()


def _wait(on_hangup: Callable[[], object]) -> None:
    terminal = select.poll()
    terminal.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)  # a hangup is reported without asking
    if any(events & (select.POLLHUP | select.POLLERR) for _, events in terminal.poll()):
        on_hangup()
