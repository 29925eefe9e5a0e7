"""Roots shared by several users: unreadable runs do not hide readable ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pseudo_terminal import APP, PseudoTerminal
from core.runs.directory import CONFIG, EVENTS, LOCK
from core.runs.events import Finished, Started, to_line

NOBODY = 65_534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
STARTED = Started(name="a", device="cpu", threads=1, parameters=10, epochs=2)


@pytest.fixture(scope="module")
def nobody() -> None:
    """Skip a test if programs cannot run as another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv, with which a program is run as another user, is not here")
    if subprocess.run(
        [*AS_NOBODY, sys.executable, "-m", "core", "--version"], check=False, capture_output=True
    ).returncode:
        pytest.skip("another user may not read this Python, or this checkout")


@pytest.fixture
def shared(nobody: None) -> Iterator[Path]:
    """A root with a world-readable run, and a folder that only its owner can read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "runs"
        make_run(root / "open")
        (root / "private").mkdir(mode=0o700)
        yield root


def make_run(path: Path) -> None:
    path.mkdir(parents=True)
    (path / CONFIG).write_text('preset = "quick"\ndataset = "mnist"\nepochs = 2\n')
    (path / LOCK).write_text("{}")
    (path / EVENTS).write_text(to_line(STARTED) + to_line(Finished(step=4, seconds=1.0)))


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `minidiff` as another user."""
    command = [*AS_NOBODY, sys.executable, "-m", "core", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_unreadable_folder_is_skipped_and_reported_once(shared: Path) -> None:
    done = as_nobody("runs", "--root", str(shared))
    assert done.returncode == 0
    assert "open" in done.stdout
    assert "finished" in done.stdout
    assert done.stderr == "minidiff: skipped 1 folder without read permission: private\n"
    done = as_nobody("runs", "--json", "--root", str(shared))
    assert '"name": "open"' in done.stdout


def test_readable_runs_of_another_user_can_be_watched_and_used(shared: Path) -> None:
    done = as_nobody("watch", "open", "--root", str(shared))
    assert (done.returncode, done.stderr) == (0, "")
    assert "finished after 4 steps" in done.stdout
    done = as_nobody("watch", "other", "--root", str(shared))
    assert done.returncode == 1
    assert "existing runs: open" in done.stderr
    done = as_nobody("watch", "private", "--root", str(shared))
    assert done.returncode == 1
    assert done.stderr == (
        f"minidiff: cannot read {shared / 'private'}: Permission denied; ask its owner, or choose another run\n"
    )


@pytest.mark.parametrize(
    ("name", "problem"), [(EVENTS, "events.jsonl: Permission denied"), (LOCK, "lock: Permission denied")]
)
def test_a_run_with_unreadable_files_is_unreadable_and_not_starting(shared: Path, name: str, problem: str) -> None:
    run = shared / "closed"
    make_run(run)
    (run / EVENTS).write_text(to_line(STARTED))  # without access to the lock, its state is unknown
    (run / name).chmod(0o600)
    done = as_nobody("runs", "--root", str(shared))
    line = next(line for line in done.stdout.splitlines() if line.startswith("closed"))
    assert f"unreadable: cannot read {problem}" in line


def test_the_runs_screen_shows_readable_runs_and_reports_skipped_ones_once(shared: Path) -> None:
    make_run(shared / "closed")
    (shared / "closed" / EVENTS).chmod(0o600)
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        places = {f"XDG_{kind}_HOME": home for kind in ("CACHE", "CONFIG", "STATE")} | {"HOME": home}
        command = (*AS_NOBODY, *APP)
        arguments = ("--root", str(shared), "--screen", "runs")
        with PseudoTerminal(*arguments, command=command, columns=120, lines=40, env=places) as terminal:
            terminal.wait_for("Welcome")
            terminal.press("enter")
            terminal.wait_for("skipped 1 folder without read permission: private")
            text = terminal.wait_for(lambda text: "● finished" in text and "● unreadable" in text)
            assert "open" in text
            terminal.press("down")
            terminal.wait_for(lambda text: "cannot read events.jsonl: Permission denied" in text)
            terminal.press("q")
            assert terminal.exit_status() == 0
