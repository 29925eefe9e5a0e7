"""Runs the tour of the docs on a real pseudo-terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pseudo_terminal import HOME, PseudoTerminal
from core.runs.directory import builtin_directories
from core.runs.trajectory import RECORDING

ROW = re.compile(r"^\|(?P<keys>[^|]*)\|(?P<shows>[^|]*)\|[^|]*\|$")


def steps() -> Iterator[tuple[list[str], str]]:
    """Yield the keys to press and the text that the screen then shows."""
    for line in (HOME / "docs" / "tour.md").read_text(encoding="utf-8").splitlines():
        row = ROW.match(line)
        if row and row["keys"].strip() not in ("press", "---"):
            yield re.findall(r"`([^`]+)`", row["keys"]), row["shows"].strip()


def test_the_tour_has_steps() -> None:
    assert len(list(steps())) > 20


@pytest.mark.skipif(
    not (builtin_directories().get("default-mnist", HOME) / RECORDING).is_file(),
    reason="no built-in model here",
)
def test_the_tour_matches_the_app(tmp_path: Path) -> None:
    with PseudoTerminal("--root", str(tmp_path / "runs"), columns=120, lines=40, cwd=tmp_path) as terminal:
        for keys, shows in steps():
            terminal.press(*keys)
            if keys == ["escape"]:
                terminal.settle()  # a key that follows at once would be taken for alt and that key
            if shows:
                terminal.wait_for(shows)
        assert terminal.exit_status() == 0
