"""Replies of the terminal about its name and graphics: found in the input, never keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual._xterm_parser import XTermParser

from benchmarks.pseudo_terminal import PseudoTerminal
from core.runs.directory import BUILTIN, builtin_directories
from core.runs.trajectory import RECORDING
from tui.terminal.frame_pacing import QUERY
from tui.terminal.replies import NAME_QUERY, Abilities, ReplyFilter, abilities

NAME = "\x1bP>|kitty(0.42.1)\x1b\\"
GRAPHICS = "\x1b_Gi=16777232;OK\x1b\\"


def filtered(*reads: str) -> tuple[str, list[str]]:
    """The input without replies, and the replies, when it pauses after each read."""
    replies = ReplyFilter()
    text = "".join(replies.feed(read) + replies.tick() for read in reads)
    return text, [reply.text for reply in replies.replies]


def test_replies_are_taken_out_of_the_input_wherever_it_is_divided() -> None:
    content = f"a{NAME}\x1b[A{GRAPHICS}b\x1b"
    for first in range(len(content)):
        for second in range(first, len(content)):
            replies = ReplyFilter()
            pieces = content[:first], content[first:second], content[second:]
            keys = XTermParser()
            read = [message for piece in pieces for key in replies.feed(piece) for message in keys.feed(key)]
            assert [message.key for message in read if isinstance(message, events.Key)] == ["a", "up", "b"], pieces
            assert [reply.text for reply in replies.replies] == ["kitty(0.42.1)", "i=16777232;OK"], pieces
            assert [reply.graphics for reply in replies.replies] == [False, True]


def test_a_reply_may_pause() -> None:
    assert filtered("\x1bP>|kit", "", "", "ty(0.42.1)", "\x1b", "\\x") == ("x", ["kitty(0.42.1)"])


@pytest.mark.parametrize("key", ["\x1b", "\x1bP", "\x1b_", "\x1bO", "P", "_G", "\x1b\x1b", "\x1bP>"])
def test_keys_that_begin_like_a_reply_are_passed_on_when_the_input_pauses(key: str) -> None:
    assert filtered(key, "y") == (key + "y", [])


def test_an_interrupted_reply_takes_no_later_keys() -> None:
    assert filtered("\x1bP>|kitty\ry") == ("\ry", [])
    assert filtered("\x1bP>|kitty\x1b[A") == ("\x1b[A", [])
    assert filtered("\x1bP>|kitty", *[""] * 10, "y") == ("y", [])
    assert filtered("\x1b_G" + "a" * 1000, "y") == ("y", [])


@pytest.mark.parametrize(
    ("name", "octants", "placeholders"),
    [
        ("kitty(0.42.1)", True, True),
        ("kitty(0.28.0)", False, True),
        ("kitty(0.27.1)", False, False),
        ("ghostty 1.2.0", True, True),
        ("ghostty 1.1.3-arch", False, True),
        ("foot(1.20.2)", True, False),
        ("foot(1.9.0)", False, False),
        ("VTE(7803)", True, False),
        ("VTE(7603)", False, False),
        ("WezTerm 20240203-110809-5046fc22", False, False),
        ("tmux 3.5a", False, False),
        ("Konsole 24.12.3", False, False),
        ("", False, False),
    ],
)
def test_a_terminal_is_known_by_name_and_version(name: str, octants: bool, placeholders: bool) -> None:
    assert abilities(name) == Abilities(octants, placeholders)


def opened(root: Path, screen: str) -> PseudoTerminal:
    return PseudoTerminal("--root", str(root / "runs"), "--screen", screen, cwd=root, env={"TMUX": ""})


def wait_for_output(terminal: PseudoTerminal, content: bytes) -> None:
    """Read until the app has written `content`."""
    while content not in terminal.output:
        assert terminal.read(30.0), f"{content!r} was not written"


def test_a_terminal_that_draws_images_gets_them_and_they_are_deleted_on_exit(tmp_path: Path) -> None:
    home = builtin_directories().get("quick-mnist")
    if home is None or not (home / RECORDING).is_file():
        pytest.skip(f"no built-in model in {BUILTIN}")
    with opened(tmp_path, "sample") as terminal:
        wait_for_output(terminal, NAME_QUERY.encode())
        terminal.send(NAME.encode())
        wait_for_output(terminal, b"\x1b_Ga=q,i=")
        assert b"\x1b_Ga=T" not in terminal.output
        terminal.send(GRAPHICS.encode())
        wait_for_output(terminal, b"\x1b_Ga=T,U=1")
        wait_for_output(terminal, "\U0010eeee".encode())
        first = terminal.output.index(b"\x1b_Ga=T")
        while QUERY.encode() not in terminal.output[first:]:  # frames are paced
            assert terminal.read(30.0)
        terminal.press("q")
        assert terminal.exit_status() == 0
        assert b"\x1b_Ga=d,d=I" in terminal.output[terminal.output.rindex(b"\x1b_Ga=T") :]


@pytest.mark.parametrize("replies", [False, True])
def test_other_terminals_get_no_images_and_late_replies_press_no_keys(tmp_path: Path, replies: bool) -> None:
    with opened(tmp_path, "devices") as terminal:
        terminal.wait_for("CPU")
        if replies:  # any of these letters would quit
            terminal.send(b"\x1bP>|qqq")
            terminal.wait_for_silence(0.3)
            terminal.send(b"qqq(1.0)\x1b\\")
        terminal.press("?")
        terminal.wait_for("─ Help ─")
        assert b"\x1b_G" not in terminal.output
        terminal.press("escape")
        terminal.wait_for(lambda text: "─ Help ─" not in text)
        terminal.press("q")
        assert terminal.exit_status() == 0
