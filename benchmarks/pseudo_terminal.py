"""Runs a program on a pseudo-terminal: sends keys and sizes, reads its output, and emulates the screen."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pexpect
import pyte

HOME = Path(__file__).resolve().parents[1]
APP = (sys.executable, "-m", "tui")
PATIENCE = 60.0  # seconds to wait for output; loading torch on a busy machine is slow
READ_BYTES = 65_536
ANSWERS = {
    b"\x1b[6n": "\x1b[1;1R",  # cursor position: at home
    b"\x1b[?2026$p": "\x1b[?2026;2$y",  # synchronized output is supported
}
UPDATING = 2026 << 5  # pyte's mode during synchronized output
KEYS = {
    "enter": "\r",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "escape": "\x1b",
    "space": " ",
    "backspace": "\x7f",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "ctrl+c": "\x03",
    "ctrl+o": "\x0f",
    "ctrl+p": "\x10",
    "ctrl+s": "\x13",
    "ctrl+u": "\x15",
}


class PseudoTerminal:
    """Runs `command` on a terminal of `columns` by `lines` cells; `term` and `colorterm` set its environment.

    It answers what it is asked of itself, unless `answers` is False, and the app takes its user for one who was here
    before, unless `welcomed` is False. `chunks` holds what the program wrote as (seconds since its start, bytes).
    Reading and drawing are apart, so that drawing, which is slow, does not hold up a program that is being timed:
    `read` takes bytes, `draw` shows them.
    """

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] = APP,
        columns: int = 80,
        lines: int = 24,
        term: str = "xterm-256color",
        colorterm: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        answers: bool = True,
        welcomed: bool = True,
    ) -> None:
        own = {name: value for name, value in os.environ.items() if name not in ("COLORTERM", "NO_COLOR", "TERM")}
        path = os.pathsep.join(filter(None, (str(HOME), os.environ.get("PYTHONPATH"))))
        variables = {"COLORTERM": colorterm} if colorterm else {}
        self._state = tempfile.TemporaryDirectory()  # the app's state, so that it is not the first start
        if welcomed:
            (Path(self._state.name) / "minidiff").mkdir()
            (Path(self._state.name) / "minidiff" / "welcomed").touch()
        variables["XDG_STATE_HOME"] = self._state.name
        self._answers = answers
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.chunks: list[tuple[float, bytes]] = []
        self._drawn = 0  # chunks fed to the emulated screen
        self._began = time.monotonic()
        self._child = pexpect.spawn(
            command[0],
            [*command[1:], *arguments],
            dimensions=(lines, columns),
            cwd=str(cwd or HOME),
            env={**own, "TERM": term, "PYTHONPATH": path, **variables, **(env or {})},
        )
        self._child.delaybeforesend = None
        self.pid: int = self._child.pid
        self.descriptor: int = self._child.child_fd  # terminal side of the pseudo-terminal

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.hang_up()
        self._child.terminate(force=True)
        self._state.cleanup()

    @property
    def output(self) -> bytes:
        """All output so far."""
        return b"".join(content for _, content in self.chunks)

    @property
    def text(self) -> str:
        """The screen's text, one line per row."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self, seconds: float) -> bool:
        """Take what the program writes, waiting for it up to `seconds`; False when there was nothing.

        Raises:
            EOFError: the program has closed the terminal.
        """
        try:
            content = self._child.read_nonblocking(READ_BYTES, timeout=seconds)
        except pexpect.TIMEOUT:
            return False
        except pexpect.EOF:
            raise EOFError("the program has closed the terminal") from None
        self.chunks.append((time.monotonic() - self._began, content))
        for question, answer in ANSWERS.items() if self._answers else ():
            if question in content:
                self._child.send(answer * content.count(question))
        return True

    def draw(self) -> None:
        """Feed all output to the emulated screen."""
        for _, content in self.chunks[self._drawn :]:
            self._stream.feed(content)
        self._drawn = len(self.chunks)

    def wait_for(self, wanted: str | Callable[[str], bool], seconds: float = PATIENCE) -> str:
        """Read until the screen shows `wanted`, or it is true of the screen's text, which is returned.

        A screen of which only a part is written yet is not looked at.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.draw()
            text = self.text
            if UPDATING not in self.screen.mode and (wanted in text if isinstance(wanted, str) else wanted(text)):
                return text
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:.0f} s in vain for {wanted!r}; the screen shows\n{text}")
            try:
                self.read(0.05)
            except EOFError:
                raise AssertionError(f"the program ended before it showed {wanted!r}; last was\n{text}") from None

    def wait_for_silence(self, seconds: float = 0.1) -> None:
        """Read until there is no output for `seconds`."""
        while self.read(seconds):
            pass

    def press(self, *keys: str) -> None:
        """Send keys, by their names in KEYS or as characters."""
        self._child.send("".join(KEYS.get(key, key) for key in keys))

    def send(self, content: bytes) -> None:
        """Send bytes, reading output while the program's input buffer is full."""
        os.set_blocking(self.descriptor, False)
        try:
            while content:
                try:
                    content = content[os.write(self.descriptor, content[:READ_BYTES]) :]
                except BlockingIOError:
                    self.read(0.05)
        finally:
            os.set_blocking(self.descriptor, True)

    def resize(self, columns: int, lines: int) -> None:
        """Resize the terminal."""
        self.draw()
        self.screen.resize(lines, columns)
        self._child.setwinsize(lines, columns)

    def hang_up(self) -> None:
        """Hang up: the program receives SIGHUP and end of file."""
        self._child.ptyproc.fileobj.close()

    def running(self) -> bool:
        """Whether the program is running."""
        return bool(self._child.isalive())

    def exit_status(self, seconds: float = PATIENCE) -> int:
        """Read until the program exits; returns its exit status, or minus the signal."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self.read(0.05)
        except (EOFError, ValueError, OSError):
            pass  # already closed
        while self._child.isalive():
            if time.monotonic() > deadline:
                self.draw()
                raise AssertionError(f"the program did not end within {seconds:.0f} s; the screen shows\n{self.text}")
            time.sleep(0.01)  # a closed terminal has no more output to wait for
        signal = self._child.signalstatus
        return -signal if signal is not None else int(self._child.exitstatus)
