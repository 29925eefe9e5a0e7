"""Helpers for command-line tests: how to start it, options of tiny runs, and its error messages."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.cli import run
from core.runs import directory
from core.runs.events import Event
from core.runs.history import LogTail
from core.system import subprocesses

TINY = [
    *("--preset", "quick", "--dataset", "glyphs", "--limit", "64", "--batch-size", "32", "--channels", "8", "8"),
    *("--device", "cpu", "--threads", "1"),
]
FOREVER = [*TINY, "--epochs", "1000000"]

Capture = pytest.CaptureFixture[str]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "core", *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**subprocesses.environment(), **more}


def error_line(capsys: Capture, *arguments: str, code: int = 1) -> str:
    """Run a command that fails with `code`; returns its one-line error message."""
    assert run([*arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("minidiff: ")
    assert len(captured.err.splitlines()) == 1
    return captured.err.strip()


def wait_until(condition: Callable[[], bool], description: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting until {description}"
        time.sleep(0.01)


def events(path: Path) -> list[Event]:
    return LogTail(path / directory.EVENTS).read()[0]
