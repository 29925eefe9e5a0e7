"""Standard streams that are closed or have a limited encoding: a one-line error, or ASCII output."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY, environment

from benchmarks.pseudo_terminal import PseudoTerminal
from core.runs.status import Status, run_status

STREAMS = ("<&-", ">&-", "2>&-")
CLOSED = [combination for count in range(4) for combination in itertools.combinations(STREAMS, count)]
PLAIN_LOCALES = {
    "an encoding set for Python": {"PYTHONIOENCODING": "ascii"},
    "a locale without UTF-8": {"LC_ALL": "C"},
}


def shell(words: str, closed: tuple[str, ...], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command with some of its streams closed and the others a pipe or null."""
    line = " ".join((sys.executable, "-m", words, *closed))
    return subprocess.run(
        ["sh", "-c", line],
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", CLOSED, ids=lambda closed: " ".join(closed) or "none")
def test_closed_streams_cause_no_traceback(home: Path, closed: tuple[str, ...]) -> None:
    done = shell("core runs", closed)
    lines = done.stderr.splitlines()
    if ">&-" not in closed:
        assert (done.returncode, lines) == (0, [])
        assert "done" in done.stdout
    else:
        assert done.returncode == 1
        message = "minidiff: standard output is closed; `> /dev/null` discards what is printed"
        assert lines == ([] if "2>&-" in closed else [message])
    done = shell("tui", closed)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == ("2>&-" not in closed)


def test_training_without_an_output_stream_saves_its_run(home: Path) -> None:
    done = shell(f"core train {' '.join(TINY)} --epochs 1 --name quiet", (">&-",))
    assert (done.returncode, done.stderr) == (0, "")
    assert run_status(home / "quiet") is Status.FINISHED


def test_no_file_gets_the_descriptor_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os; from core.system.streams import prepare_streams; print(prepare_streams());"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2, file.fileno();"
        "os.system('echo of a child; echo of a child >&2')"
    )
    line = f'{sys.executable} -c "{program}" >&- 2>&-'
    assert subprocess.run(["sh", "-c", line], env=environment(), check=False).returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_the_app_needs_no_standard_output(tmp_path: Path) -> None:
    command = ["sh", "-c", f"exec {sys.executable} -m tui --root {tmp_path} --screen devices >&-"]
    with PseudoTerminal(command=command) as terminal:
        terminal.wait_for("CPU")
        terminal.press("q")
        assert terminal.exit_status() == 0


@pytest.mark.parametrize("more", PLAIN_LOCALES.values(), ids=PLAIN_LOCALES)
@pytest.mark.parametrize(
    "words",
    ["core --help", "core train --help", "core runs", "core devices", "core watch done", "core nonsensé", "tui --help"],
)
def test_every_command_falls_back_to_ascii(home: Path, words: str, more: dict[str, str]) -> None:
    done = shell(words, (), **more)
    assert done.returncode == (2 if "nonsens" in words else 0), done.stderr
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    assert "Traceback" not in done.stderr
    assert done.stdout or done.stderr


@pytest.mark.parametrize("more", PLAIN_LOCALES.values(), ids=PLAIN_LOCALES)
def test_a_progress_bar_falls_back_to_ascii(home: Path, more: dict[str, str]) -> None:
    command = [sys.executable, "-m", "core", "train", *TINY, "--epochs", "2", "--name", "plain"]
    with PseudoTerminal(command=command, columns=120, env=environment(**more)) as terminal:
        assert terminal.exit_status() == 0
        assert terminal.output.isascii()
        assert b"finished after" in terminal.output
    assert run_status(home / "plain") is Status.FINISHED


@pytest.mark.parametrize(
    ("options", "term", "more", "shown"),
    [
        pytest.param(("--drawing", "ascii"), "xterm-256color", {}, "", id="--drawing ascii"),
        *(pytest.param((), "xterm-256color", more, "", id=name) for name, more in PLAIN_LOCALES.items()),
        pytest.param((), "linux", {}, bytes(range(128, 256)).decode("cp437"), id="the console"),
    ],
)
def test_the_app_uses_only_characters_the_terminal_can_show(
    tmp_path: Path, options: tuple[str, ...], term: str, more: dict[str, str], shown: str
) -> None:
    with PseudoTerminal("--root", str(tmp_path), *options, term=term, env=more, columns=100, lines=30) as terminal:
        terminal.wait_for("Quit")
        for key, words in (("2", "Start training"), ("3", "Runs"), ("4", "CPU"), ("5", "Convolution"), ("1", "model")):
            terminal.press(key)
            terminal.wait_for(words)
        terminal.press("?")
        terminal.wait_for("Everywhere")
        drawn = set(terminal.output.decode())
        assert {character for character in drawn if not character.isascii()} <= set(shown)
        assert ("▀" in drawn) == bool(shown), "digits are drawn in half blocks where there are any"


@pytest.mark.parametrize(("column", "wide"), [(4, False), (7, True)])
def test_the_app_draws_in_ascii_if_the_terminal_draws_ambiguous_characters_wide(
    tmp_path: Path, column: int, wide: bool
) -> None:
    arguments = ("--root", str(tmp_path), "--screen", "devices")
    with PseudoTerminal(*arguments, columns=100, lines=30, answers=False) as terminal:
        terminal.wait_for("Quit")
        assert not terminal.text.isascii()
        terminal.send(b"\x1b[1;%dR" % column)
        terminal.press("?")
        terminal.wait_for(lambda text: "Everywhere" in text and text.isascii() == wide)


def test_ascii_can_be_toggled_while_the_app_runs(tmp_path: Path) -> None:
    with PseudoTerminal("--root", str(tmp_path), "--drawing", "shade", columns=100, lines=30) as terminal:
        terminal.wait_for("Quit")
        terminal.press("b")
        terminal.wait_for("drawing mode: ascii")
        terminal.wait_for(str.isascii)
        terminal.press("b")
        terminal.wait_for(lambda text: "drawing mode: auto" in text and not text.isascii())


def test_a_name_that_is_not_valid_text_causes_no_traceback(home: Path) -> None:
    root = os.fsencode(home) + b"/caf\xe9"
    os.mkdir(root)
    (home / "done").rename(Path(os.fsdecode(root)) / "done")
    for words in (["runs"], ["runs", "--json"], ["watch", "done"]):
        done = subprocess.run(
            [sys.executable, "-m", "core", *words, "--root", root],  # type: ignore[list-item]
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
