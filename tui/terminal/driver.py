"""The terminal driver: Textual's Linux driver, hardened against invalid or excessive input and blocked output.

Uses private APIs of Textual, checked with 8.2.5 to 8.2.8: `XTermParser`, `exit_event`, `_key_thread`,
`_run_input_thread`, `_writer_thread` and its queue, and the app's `_handle_exception`.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
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
from tui.terminal.frame_pacing import QUERY
from tui.terminal.replies import NAME_QUERY, ReplyFilter

if TYPE_CHECKING:
    from tui.app import MinidiffApp

READ_BYTES = 4096
POLL_SECONDS = 0.1  # interval at which the input thread checks for exit; also the delay of a lone escape key
MAX_TYPED = 64  # characters in one read; more are treated as a paste
PASTE_GAP_SECONDS = 0.02  # a paste ends after this long without input
MAX_PASTE = 4096  # characters of a paste; the rest is dropped, as no field holds more
MAX_UNHANDLED = 64  # reading stops while the app has more messages queued
UNHANDLED_SECONDS = 0.01  # interval between checks of the queues
KEY_SECONDS = 1.0  # a key is posted at the latest this long after the one before it
MAX_SIDE = 1000  # columns or rows; a reported size beyond this is ignored
MAX_SEQUENCE = 32  # characters of an escape sequence, as in Textual's parser
AMBIGUOUS = "●─▀"  # some terminals draw these in two columns each: their East Asian width is ambiguous

_X10_REPORT = re.compile(rb"\x1b\[M(?:.{3}|.{0,2}\Z)", re.DOTALL)


class InputDecoder:
    """Decodes the bytes of terminal input incrementally; invalid bytes become U+FFFD.

    In the X10 mouse protocol, `ESC [ M` is followed by three bytes for button and position, which are not ASCII beyond
    column 95. Textual ignores such reports, so the three bytes become spaces.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._tail = b""  # the last bytes, which may hold the start of a report

    def decode(self, data: bytes) -> str:
        """Decode the next bytes; an incomplete character is returned with the bytes that complete it."""
        both = _X10_REPORT.sub(lambda match: b"\x1b[M".ljust(len(match[0])), self._tail + data)
        text = self._decoder.decode(both[len(self._tail) :])
        self._tail = both[-5:]
        return text


def _is_plausible(size: Size) -> bool:
    return 0 < size.width <= MAX_SIDE and 0 < size.height <= MAX_SIDE


class TerminalDriver(LinuxDriver):
    """Reads keys, pastes and mouse reports, and writes output without blocking.

    - Invalid bytes and escape sequences with out-of-range numbers are never an error.
    - More than `MAX_TYPED` characters in one read are posted as one `Paste`, as with bracketed paste.
    - A key is posted when the app has handled those before it, so keys after Tab reach the next field.
    - While more than `MAX_UNHANDLED` messages are queued in the app, nothing is read.
    - `write` drops output that the terminal does not accept, and sets `output_dropped`.
    """

    def __init__(
        self, app: MinidiffApp, *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._minidiff = app
        self._pacer = app.pacer
        self._parser = XTermParser(debug)
        self._batch: list[Message] = []  # messages parsed from the last read
        self._stopping = False
        self._last_key = ""  # that was posted
        self.output_dropped = False
        """Whether output was dropped, so the whole screen has to be redrawn."""
        self.measuring = False
        """Whether the next cursor position is the one after `AMBIGUOUS`."""

    # Input, in its own thread

    def _run_input_thread(self) -> None:
        """Read input; an error is handled like any other error of the app."""
        try:
            self.run_input_thread()
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._app._handle_exception, error)  # type: ignore[arg-type]
            raise

    def run_input_thread(self) -> None:
        """Read until the app exits or the terminal hangs up, which `tui.terminal.shutdown` handles."""
        self._parser = XTermParser(self._debug)
        decoder = InputDecoder(getattr(sys.__stdin__, "encoding", None) or "utf-8")
        replies = ReplyFilter()
        pasted: str | None = None  # text so far of an unbracketed paste; None if there is none
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
                    text = replies.feed(decoder.decode(data))
                    if not text and not replies.replies:  # the start of one
                        continue
                    self._batch += replies.replies
                    replies.replies.clear()
                else:
                    text = replies.tick()
                    if pasted is not None:
                        self._batch.append(events.Paste(pasted))
                        pasted = None
                if pasted is not None and "\x1b" not in recent + text:
                    pasted += text  # bypasses the parser, which would make a key of each character
                else:
                    self._parse(text)
                    pasted = self._extract_paste(pasted)
                recent = (recent + text)[-MAX_SEQUENCE:]
                pasted = None if pasted is None else pasted[:MAX_PASTE]
                self._deliver()

    def _parse(self, text: str) -> None:
        """Parse `text` into the batch; empty text flushes a pending escape sequence that timed out."""
        for character in text:  # one at a time, so an invalid sequence discards nothing else
            try:
                self._process(self._parser.feed(character))
            except (ValueError, ArithmeticError):  # out-of-range numbers, such as a key beyond Unicode
                self._parser = XTermParser(self._debug)
        if not text:
            self._process(self._parser.tick())

    def _process(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if not isinstance(message, events.Resize) or _is_plausible(message.size):
                self.process_message(message)

    def _extract_paste(self, pasted: str | None) -> str | None:
        """Move pasted keys from the batch to the paste and return its text; None if the keys were typed."""
        keys = [message for message in self._batch if isinstance(message, events.Key)]
        characters = (key.character or "" for key in keys)
        text = "".join(character for character in characters if character.isprintable() or character in "\r\n\t")
        if pasted is None and len(text) <= MAX_TYPED:
            return None
        self._batch = [message for message in self._batch if not isinstance(message, events.Key)]
        return (pasted or "") + text.replace("\r", "\n")

    def send_message(self, message: Message) -> None:
        """Add a message of the input thread to the batch; post others at once."""
        if threading.current_thread() is self._key_thread:
            self._batch.append(message)
        else:
            super().send_message(message)

    def _deliver(self) -> None:
        """Post the batch to the app, and wait until the app has handled enough of it."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        delivery = asyncio.run_coroutine_threadsafe(self._post(batch), self._loop)
        while not self.exit_event.is_set():  # on exit the app joins this thread
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
                message.text = message.text[:MAX_PASTE]
            if isinstance(message, events.Key | events.Paste):
                await self._wait_for_keys(message.key if isinstance(message, events.Key) else "paste")
            self._app.post_message(message)
            while self._unhandled() > MAX_UNHANDLED:
                await asyncio.sleep(UNHANDLED_SECONDS)

    async def _wait_for_keys(self, key: str) -> None:
        """Before posting `key`, wait until the app has handled the keys before it, unless they are the same key.

        Keys may move the focus, and the app sends a key to the widget that has the focus when it receives it.
        """
        if self._last_key and key != self._last_key:
            handled = asyncio.Event()
            self._minidiff.call_later(self._minidiff.follow_last_key, handled)
            with contextlib.suppress(TimeoutError):  # its receiver was removed meanwhile, or the app is exiting
                async with asyncio.timeout(KEY_SECONDS):
                    await handled.wait()
        self._last_key = key

    def _unhandled(self) -> int:
        """Number of messages queued in the app and in the focused widget, or in the screen."""
        if not self._app.screen_stack:
            return self._app.message_queue_size
        return self._app.message_queue_size + (self._app.focused or self._app.screen).message_queue_size

    # Output

    @property
    def accepts_output(self) -> bool:
        """Whether the write queue has room and the terminal responds."""
        if self._writer_thread is None or self._writer_thread._queue.full():
            return False
        return not self._pacer.is_unresponsive(time.monotonic())

    def write(self, data: str) -> None:
        """Write to the terminal, replacing characters that it cannot show; drop the output if it would block."""
        codec = "ascii" if self._minidiff.drawing == "ascii" else self._minidiff.codec
        if codec is not None:
            data = data.encode(codec, HANDLER).decode(codec)
        if self._stopping or self.accepts_output:
            super().write(data)
        else:
            self.output_dropped = True

    def start_application_mode(self) -> None:
        """Set up the terminal."""
        self._stopping = False
        self._pacer.discard_queries()
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._minidiff.images is not None:
            self.write(NAME_QUERY)
        if self._minidiff.drawing == "auto" and self._minidiff.codec is None:
            self.measuring = True
            self.write(f"\x1b[H{AMBIGUOUS}{QUERY}\r\x1b[K")  # before the first frame
            self._pacer.query_sent(time.monotonic())

    def disable_input(self) -> None:
        """Stop reading; later output restores the terminal and is always written."""
        self._stopping = True
        super().disable_input()

    def stop_application_mode(self) -> None:
        """Restore the terminal."""
        self._stopping = True
        if self._minidiff.images is not None:
            self._minidiff.images.delete_all()
        super().stop_application_mode()
