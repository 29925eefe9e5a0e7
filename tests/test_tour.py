"""The tour of the docs, walked through on a real pseudo-terminal as it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pseudo_terminal import HOME, PseudoTerminal
from core.runs.directory import builtin_directories
from core.runs.trajectory import RECORDING

ROW = re.compile(r"^\|(?P<keys>[^|]*)\|(?P<shows>[^|]*)\|[^|]*\|$")


def stations() -> Iterator[tuple[list[str], str]]:
    """What to press, and what the screen shows then."""
    for line in (HOME / "docs" / "tour.md").read_text(encoding="utf-8").splitlines():
        found = ROW.match(line)
        if found and found["keys"].strip() not in ("press", "---"):
            yield re.findall(r"`([^`]+)`", found["keys"]), found["shows"].strip()


def test_the_tour_has_stations() -> None:
    assert len(list(stations())) > 20


@pytest.mark.skipif(
    not (builtin_directories().get("default-mnist", HOME) / RECORDING).is_file(),
    reason="no built-in model here",
)
def test_the_tour_shows_what_it_says(tmp_path: Path) -> None:
    with PseudoTerminal("--root", str(tmp_path / "runs"), columns=120, lines=40, cwd=tmp_path) as terminal:
        for keys, shows in stations():
            terminal.press(*keys)
            if keys == ["escape"]:
                terminal.settle()  # a key that follows at once would be taken for alt and that key
            if shows:
                terminal.wait_for(shows)
        assert terminal.exit_status() == 0
