"""The real app on a pseudo-terminal that sends what no keyboard does, too much of it, or that nobody reads."""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import struct
import termios
import time
from pathlib import Path

import psutil
import pytest
from test_end_to_end import go_to

from benchmarks.pseudo_terminal import PATIENCE, PseudoTerminal

FLOOD_BYTES = 100_000
FLOOD_SECONDS = 10.0  # a second on an idle machine; 30 while each character was a key
FLOOD_MEMORY = 30e6  # bytes; 3 MB was seen, and 340 MB while each character was a key
QUIT_SECONDS = 5.0  # half a second for an answer that does not come, and one for output that is not taken
STILL_SECONDS = 0.5  # without a byte written, on a terminal with as many bytes unread as it tells of
FULL_BYTES = 4095  # that are told of a terminal whose output nobody reads, however many there are
PLAIN = b"abcdefghijklmoprstuvwxyz0123456789 .,;\r"  # without q, which quits
NUMBERS = (b"", b"0", b"1", b"48", b"97", b"55296", b"1114112", b"9" * 20, b"::", b"3:4", "²".encode())


def devices_screen(root: Path, **options: object) -> PseudoTerminal:
    """The app on the screen that does least by itself, once it shows the processor."""
    terminal = PseudoTerminal("--root", str(root / "runs"), "--screen", "devices", cwd=root, **options)  # type: ignore[arg-type]
    terminal.wait_for("CPU")
    return terminal


def answers_and_quits(terminal: PseudoTerminal) -> None:
    """The app still shows its help, closes it, and ends in good order."""
    terminal.press("?")
    terminal.wait_for("─ Help ─")
    terminal.press("escape")
    terminal.wait_for(lambda text: "─ Help ─" not in text)
    terminal.press("q")
    assert terminal.exit_status() == 0
    assert b"Traceback" not in terminal.output


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b"\xe9 ", id="e acute in Latin-1"),
        pytest.param(b"\xe2\x82\x1b[A", id="a cut character"),
        pytest.param(b"\x1b[200~abc\xff\xe9def\x1b[201~", id="a paste with such bytes"),
        pytest.param(b"\x1b[M \xf8\x28", id="an X10 click in column 216"),
        pytest.param(b"\x1b[M \xca\x84", id="an X10 click that is a character of UTF-8"),
        pytest.param(b"\x1b[::A", id="a key without a number"),
        pytest.param(b"\x1b[1114112u", id="a key beyond Unicode"),
        pytest.param(b"\x1b[97;;" + b"9" * 20 + b"u", id="a key's text beyond all numbers"),
        pytest.param(b"\x1b[97;;55296u", id="half of a surrogate pair"),
        pytest.param(b"\x1b[48;0;0;0;0t", id="a terminal without cells"),
        pytest.param(b"\x1b[48;9000;9000;1;1t", id="a terminal of 81 million cells"),
    ],
)
def test_invalid_input_bytes_do_not_crash_the_app(tmp_path: Path, content: bytes) -> None:
    with devices_screen(tmp_path) as terminal:
        terminal.send(content)
        answers_and_quits(terminal)


def flood(kind: str) -> bytes:
    """FLOOD_BYTES of a kind, from a seed, of which nothing is a key that quits."""
    draw = random.Random(kind)
    if kind == "text":
        return bytes(draw.choices(PLAIN, k=FLOOD_BYTES))
    if kind == "bytes":
        leaving = (0x03, 0x11, 0x1A, ord("q"))
        return bytes(draw.choices([byte for byte in range(256) if byte not in leaving], k=FLOOD_BYTES))
    if kind == "arrows":
        return b"\x1b[B" * (FLOOD_BYTES // 3)
    if kind == "mouse":
        moves = (b"\x1b[<35;%d;%dM" % (draw.randint(1, 80), draw.randint(1, 24)) for _ in range(FLOOD_BYTES // 20))
        return b"".join(moves)
    sequences = []
    while sum(map(len, sequences)) < FLOOD_BYTES // 4:
        numbers = b";".join(draw.choices(NUMBERS, k=draw.randint(1, 5)))
        sequences.append(b"\x1b[" + draw.choice((b"", b"<", b"?")) + numbers + draw.choice((*b"uAtRMm~",)).to_bytes())
    return b"".join(sequences)


@pytest.mark.parametrize("kind", ["text", "bytes", "arrows", "mouse", "sequences"])
def test_a_flood_of_input_takes_little_time_and_memory(tmp_path: Path, kind: str) -> None:
    with devices_screen(tmp_path) as terminal:
        process = psutil.Process(terminal.pid)
        before = process.memory_info().rss
        began = time.monotonic()
        terminal.send(flood(kind))
        terminal.send(b"\x1b[201~")  # should a paste have begun in there
        terminal.wait_for(lambda text: "CPU" in text or "Help" in text)
        for key in ("\x1b", "\x1b"):  # close what it opened
            terminal.press(key)
            terminal.read(0.2)
        terminal.press("ctrl+q")
        peak = before
        while terminal.running():
            try:
                peak = max(peak, process.memory_info().rss)
                terminal.read(0.02)
            except (psutil.Error, EOFError):
                break
            assert time.monotonic() - began < PATIENCE, "the flood was never over"
        assert time.monotonic() - began < FLOOD_SECONDS
        assert peak - before < FLOOD_MEMORY
        assert terminal.exit_status() == 0
        assert b"Traceback" not in terminal.output


def test_text_that_arrives_at_once_is_pasted_and_presses_no_keys(tmp_path: Path) -> None:
    pasted = "a/long/path/" + "with/many/folders/" * 6
    with PseudoTerminal("--root", str(tmp_path), "--screen", "train", cwd=tmp_path, columns=100, lines=30) as terminal:
        terminal.wait_for("Start training")
        go_to(terminal, "root")
        terminal.send(pasted.encode() + b"\rqqqq")
        terminal.wait_for("with/man")
        assert terminal.running(), "the second line was not typed"
        terminal.press("escape")
        terminal.wait_for(" q Quit")  # no longer ^q: the field is left
        terminal.press("5")
        terminal.wait_for("Convolution")


def test_keys_sent_at_once_reach_the_field_that_has_the_focus_when_they_are_handled(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with PseudoTerminal("--root", str(root), cwd=tmp_path, columns=120, lines=30) as terminal:
        terminal.wait_for("engine ready")
        terminal.press(*["tab"] * 3, "12", "tab", "backspace", ".7", "tab", "tab", "3", "tab", "4")
        terminal.wait_for(lambda text: re.search(r" steps +12 +guidance +\.7 .* images +3 +seed +4 ", text) is not None)


def unread(root: Path, *, answers: bool = True) -> PseudoTerminal:
    """The app with a denoising that plays without an end, on a terminal that holds no more of it."""
    terminal = PseudoTerminal("--root", str(root / "runs"), cwd=root, answers=answers)
    process = psutil.Process(terminal.pid)
    if not hasattr(process, "io_counters"):
        pytest.skip("this system does not tell how much a process has written")
    terminal.wait_for("engine ready")
    terminal.press("l", "space")
    deadline = time.monotonic() + PATIENCE
    written, since = 0, time.monotonic()
    while time.monotonic() - since < STILL_SECONDS:
        assert time.monotonic() < deadline, "the terminal was never full"
        time.sleep(0.01)  # nothing tells of it: what the kernel says has to be looked at
        waiting = struct.unpack("i", fcntl.ioctl(terminal.descriptor, termios.FIONREAD, bytes(4)))[0]
        before, written = written, process.io_counters().write_chars
        if before != written or waiting < FULL_BYTES:
            since = time.monotonic()
    return terminal


@pytest.mark.parametrize("answers", [True, False], ids=["answered until then", "never answered"])
def test_q_exits_on_a_terminal_that_nobody_reads(tmp_path: Path, answers: bool) -> None:
    with unread(tmp_path, answers=answers) as terminal:
        terminal.press("q")
        pressed = time.monotonic()
        while terminal.running():
            assert time.monotonic() - pressed < QUIT_SECONDS, "the app did not end"
            time.sleep(0.01)
        assert terminal.exit_status() == 0


def test_sigterm_exits_on_a_terminal_that_nobody_reads(tmp_path: Path) -> None:
    with unread(tmp_path) as terminal:
        os.kill(terminal.pid, signal.SIGTERM)
        told = time.monotonic()
        while terminal.running():
            assert time.monotonic() - told < QUIT_SECONDS, "the app did not end"
            time.sleep(0.01)


def test_a_terminal_that_is_read_again_gets_a_full_redraw(tmp_path: Path) -> None:
    with unread(tmp_path, answers=False) as terminal:
        terminal.press("2")
        terminal.wait_for("Start training")
        terminal.wait_for(lambda text: "minidiff" in text.splitlines()[0] and "Quit" in text.splitlines()[-1])
        answers_and_quits(terminal)
