"""The terminal driver's decoder, and the private parts of Textual that the driver is made of."""

from __future__ import annotations

import inspect
from io import StringIO
from queue import Queue

import pytest
import textual
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers._writer_thread import WriterThread
from textual.drivers.linux_driver import LinuxDriver

from tui.terminal.driver import InputDecoder


def decoded(*pieces: bytes, encoding: str = "utf-8") -> str:
    decoder = InputDecoder(encoding)
    return "".join(map(decoder.decode, pieces))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("é漢😀q".encode(), "é漢😀q"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xe9t\xe9 ", "\ufffdt\ufffd "),
        (b"\xe2\x82q", "\ufffdq"),
        (b"\x1b[M \xf8\x28q", "\x1b[M   q"),
        (b"\x1b[M \xca\x84q", "\x1b[M   q"),
        (b"\x1b[<0;3;4Mq", "\x1b[<0;3;4Mq"),
    ],
)
def test_decoding_does_not_depend_on_chunk_boundaries(content: bytes, text: str) -> None:
    assert decoded(content) == text
    assert decoded(*(bytes([byte]) for byte in content)) == text
    for cut in range(len(content)):
        assert decoded(content[:cut], content[cut:]) == text


def test_the_terminals_own_encoding_is_decoded() -> None:
    assert decoded(b"\xe9", encoding="iso8859-1") == "é"
    assert decoded(b"\xe9", encoding="ascii") == "\ufffd"


def test_private_textual_apis_are_those_of_8_2_5_to_8_2_8() -> None:
    seen = f"Textual {textual.__version__} is not as tui.terminal.driver takes it to be"
    assert "run_input_thread" in inspect.getsource(LinuxDriver._run_input_thread), seen
    assert "target=self._run_input_thread" in inspect.getsource(LinuxDriver.start_application_mode), seen
    assert "WriterThread(self._file)" in inspect.getsource(LinuxDriver.start_application_mode), seen
    assert "self.exit_event.set()" in inspect.getsource(LinuxDriver.disable_input), seen
    assert "self._key_thread.join()" in inspect.getsource(LinuxDriver.disable_input), seen
    assert isinstance(WriterThread(StringIO())._queue, Queue), seen
    assert {"feed", "tick"} <= set(dir(XTermParser)), seen
    assert [key.key for key in XTermParser().feed("\x1b[B")] == ["down"], seen  # type: ignore[attr-defined]
    assert "_return_code = 1" in inspect.getsource(App._handle_exception), seen
