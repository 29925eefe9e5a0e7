"""The terminal driver: Textual's, hardened against input that is not text or too much of it, and against a terminal
that takes no output.

Private parts of Textual are used in this module alone, as seen in 8.2.5 to 8.2.8: `XTermParser`, `exit_event`,
`_key_thread`, `_run_input_thread`, `_writer_thread` and its queue, and the app's `_handle_exception`.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import selectors
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size
from textual.message import Message

from core.system.plain_characters import HANDLER

if TYPE_CHECKING:
    from tui.app import MinidiffApp

READ_BYTES = 4096
POLL_SECONDS = 0.1  # how often the input thread looks whether it should end; also how late a lone escape key may be
MOST_TYPED = 64  # characters in one read; more of them were pasted, not typed
PASTE_GAP_SECONDS = 0.02  # without input, after which a paste is complete
PASTE_CHARACTERS = 4096  # of a paste; the rest is dropped: no field takes more
MOST_UNHANDLED = 64  # messages in the app's queues; while there are more, nothing is read
UNHANDLED_SECONDS = 0.01  # between two looks at those queues
WIDEST = 1000  # columns or lines of a terminal; one that reports more, or none, is not believed
LONGEST_SEQUENCE = 32  # characters of an escape sequence, as Textual's parser has it

_X10_REPORT = re.compile(rb"\x1b\[M(?:.{3}|.{0,2}\Z)", re.DOTALL)


class InputDecoder:
    """Turns the bytes that a terminal sends into text, with U+FFFD for what is not of the encoding.

    The three bytes after `ESC [ M` are the button and place of a mouse report in the X10 protocol, not text; beyond
    column 95 they are not even ASCII. Textual makes nothing of such a report, so they become spaces.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._before = b""  # the last bytes, in which a report may have begun

    def decode(self, data: bytes) -> str:
        """The text of the next bytes; a character that is not complete yet comes with the bytes that complete it."""
        both = _X10_REPORT.sub(lambda found: b"\x1b[M".ljust(len(found[0])), self._before + data)
        text = self._decoder.decode(both[len(self._before) :])
        self._before = both[-5:]
        return text


def _is_possible(size: Size) -> bool:
    return 0 < size.width <= WIDEST and 0 < size.height <= WIDEST


class TerminalDriver(LinuxDriver):
    """Reads keys, pastes and mouse reports, and writes what is drawn.

    - Bytes that are no text, and escape sequences with impossible numbers, are never an error.
    - More than `MOST_TYPED` characters in one read are one `Paste`, as with bracketed paste, not as many keys.
    - While the app has `MOST_UNHANDLED` messages to handle, nothing more is read, so its queues stay short.
    - `write` never blocks: what the terminal does not take, or does not answer, is not written, and `missed` is set.
    """

    def __init__(
        self, app: MinidiffApp, *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._minidiff = app
        self._pacer = app.pacer
        self._parser = XTermParser(debug)
        self._batch: list[Message] = []  # what the bytes read last amount to
        self._ending = False
        self.missed = False
        """Whether something was not written, so that the whole screen has to be drawn again."""

    # Input, in a thread of its own

    def _run_input_thread(self) -> None:
        """Read, and end the app as for any other error should reading fail."""
        try:
            self.run_input_thread()
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._app._handle_exception, error)  # type: ignore[arg-type]
            raise

    def run_input_thread(self) -> None:
        """Read until the app ends, or until the terminal hangs up, on which `tui.terminal.shutdown` ends the app."""
        self._parser = XTermParser(self._debug)
        decoder = InputDecoder(getattr(sys.__stdin__, "encoding", None) or "utf-8")
        pasted: str | None = None  # of a paste without brackets that is still coming
        recent = ""
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                text = ""
                if selector.select(POLL_SECONDS if pasted is None else PASTE_GAP_SECONDS):
                    try:
                        data = os.read(self.fileno, READ_BYTES)
                    except BlockingIOError:
                        continue
                    except OSError:
                        return
                    if not data:
                        return
                    text = decoder.decode(data)
                elif pasted is not None:
                    self._batch.append(events.Paste(pasted))
                    pasted = None
                if pasted is not None and "\x1b" not in recent + text:
                    pasted += text  # nothing for the parser: it would make a key of each character
                else:
                    self._parse(text)
                    pasted = self._without_pasted_keys(pasted)
                recent = (recent + text)[-LONGEST_SEQUENCE:]
                pasted = None if pasted is None else pasted[:PASTE_CHARACTERS]
                self._deliver()

    def _parse(self, text: str) -> None:
        """Add the messages that `text` amounts to, or without any those whose time is up, to the batch."""
        for character in text:  # one by one, so that an impossible sequence takes nothing with it
            try:
                self._process(self._parser.feed(character))
            except (ValueError, ArithmeticError):  # numbers that mean nothing, such as a key beyond Unicode
                self._parser = XTermParser(self._debug)
        if not text:
            self._process(self._parser.tick())

    def _process(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if not isinstance(message, events.Resize) or _is_possible(message.size):
                self.process_message(message)

    def _without_pasted_keys(self, pasted: str | None) -> str | None:
        """Take the keys out of the batch if they were pasted; what was pasted so far, None if they were typed."""
        keys = [message for message in self._batch if isinstance(message, events.Key)]
        characters = (key.character or "" for key in keys)
        text = "".join(character for character in characters if character.isprintable() or character in "\r\n\t")
        if pasted is None and len(text) <= MOST_TYPED:
            return None
        self._batch = [message for message in self._batch if not isinstance(message, events.Key)]
        return (pasted or "") + text.replace("\r", "\n")

    def send_message(self, message: Message) -> None:
        """Pass a message on to the app, with all others that came with it."""
        if threading.current_thread() is self._key_thread:
            self._batch.append(message)
        else:
            super().send_message(message)

    def _deliver(self) -> None:
        """Let the app take the batch, and wait until it has handled enough of it."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        delivery = asyncio.run_coroutine_threadsafe(self._post(batch), self._loop)
        while not self.exit_event.is_set():  # at the end, the app itself waits for this thread
            try:
                delivery.result(POLL_SECONDS)
            except TimeoutError:
                continue
            return
        delivery.cancel()

    async def _post(self, batch: list[Message]) -> None:
        self._pacer.input_received(time.monotonic())
        for message in batch:
            if isinstance(message, events.Paste):
                message.text = message.text[:PASTE_CHARACTERS]
            self._app.post_message(message)
            while self._unhandled() > MOST_UNHANDLED:
                await asyncio.sleep(UNHANDLED_SECONDS)

    def _unhandled(self) -> int:
        """Messages in the queues that keys go through: the app's, then that of the focused widget or the screen."""
        if not self._app.screen_stack:
            return self._app.message_queue_size
        return self._app.message_queue_size + (self._app.focused or self._app.screen).message_queue_size

    # Output

    @property
    def takes_output(self) -> bool:
        """Whether what is written now would reach the terminal without waiting, as far as one can tell."""
        if self._writer_thread is None or self._writer_thread._queue.full():
            return False
        return not self._pacer.is_unresponsive(time.monotonic())

    def write(self, data: str) -> None:
        """Write to the terminal, unless it takes nothing, in characters that it can show."""
        codec = "ascii" if self._minidiff.drawing == "ascii" else self._minidiff.codec
        if codec is not None:
            data = data.encode(codec, HANDLER).decode(codec)
        if self._ending or self.takes_output:
            super().write(data)
        else:
            self.missed = True

    def start_application_mode(self) -> None:
        """Take the terminal over."""
        self._ending = False
        self._pacer.discard_queries()
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def disable_input(self) -> None:
        """Stop reading; what is written from now on restores the terminal, and is written whatever happens."""
        self._ending = True
        super().disable_input()

    def stop_application_mode(self) -> None:
        """Give the terminal back."""
        self._ending = True
        super().stop_application_mode()
