"""The tour in docs/guide.md, run on a real pseudo-terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pseudo_terminal import HOME, PseudoTerminal
from core.runs.directory import builtin_directories
from core.runs.trajectory import RECORDING

ROW = re.compile(r"^\|(?P<keys>[^|]*)\|(?P<shows>[^|]*)\|[^|]*\|$")


def tour() -> Iterator[tuple[list[str], str]]:
    """Yields the keys of each row and the text shown after them."""
    guide = (HOME / "docs" / "guide.md").read_text(encoding="utf-8")
    section = guide.partition("\n## Tour\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        row = ROW.match(line)
        if row and row["keys"].strip() not in ("press", "---"):
            yield re.findall(r"`([^`]+)`", row["keys"]), row["shows"].strip()


def test_the_tour_has_rows_on_every_screen() -> None:
    keys = [key for pressed, _ in tour() for key in pressed]
    assert len(list(tour())) > 20
    assert {"1", "2", "3", "4", "5", "q"} <= set(keys)


@pytest.mark.skipif(
    not (builtin_directories().get("default-mnist", HOME) / RECORDING).is_file(),
    reason="no built-in model here",
)
def test_the_tour_matches_the_app(tmp_path: Path) -> None:
    with PseudoTerminal("--root", str(tmp_path / "runs"), columns=120, lines=40, cwd=tmp_path) as terminal:
        for keys, shows in tour():
            terminal.press(*keys)
            if keys == ["escape"]:
                terminal.wait_for(lambda text: "esc closes" not in text)  # what it uncovers may show beside an overlay
                terminal.wait_for_silence()  # an immediate second key would be read as alt plus that key
            if shows:
                terminal.wait_for(shows)
        assert terminal.exit_status() == 0
