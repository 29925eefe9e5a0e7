"""Every screen on a real terminal, at several sizes and in all themes: content, focus and frames."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runlogs import training, write_run

from benchmarks.pseudo_terminal import HOME, PseudoTerminal
from core.runs.directory import builtin_directories
from core.runs.events import Stopped
from core.runs.trajectory import RECORDING

SIZES = ((60, 20), (120, 40), (200, 60), (80, 24))
THEMES = ("minidiff-dark", "minidiff-light", "minidiff-contrast", "minidiff-safe", "ansi-dark", "ansi-light")
# Screen key -> text on the screen at every size, and entries of the footer.
WORDS = {
    "1": (("default-mnist", "steps", "noise", "step "), ("space", "Quit", "Help")),
    "3": (("older", "finished", "loss", "smoothed"), ("Watch", "Quit", "Help")),
    "2": (("older", "● finished", "smoothed"), ("Sample", "Quit", "Help")),
    "4": (("CPU", "Memory", "Disk", "Network", "Processes", "PID"), ("Quit", "Help")),
    "5": (("Plane", "points", "sampler", "● upper", "step "), ("space", "Quit", "Help")),
}
CORNERS = {"╭": ("╮", "╰"), "┌": ("┐", "└")}

pytestmark = pytest.mark.skipif(
    not (builtin_directories().get("default-mnist", HOME) / RECORDING).is_file(), reason="no built-in model here"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    root = tmp_path_factory.mktemp("layout") / "runs"
    write_run(root, "older", training(8, total=8, name="older"), weights=True, epochs=8)
    return root


def frame_errors(lines: list[str]) -> Iterator[str]:
    """Yield an error for each frame corner without its counterpart."""
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            if letter in CORNERS:
                right, below = CORNERS[letter]
                if right not in line[column:]:
                    yield f"the frame that begins in row {row} has no end: {line}"
                if not any(lower[column : column + 1] == below for lower in lines[row:]):
                    yield f"the frame that begins in row {row} has nothing below it"


def is_whole(rows: list[str], words: tuple[str, ...], keys: tuple[str, ...]) -> bool:
    """Whether the screen shows all `words`, all `keys` in the footer, and only complete frames."""
    text = "\n".join(rows[1:-1])
    edges = "minidiff" in rows[0] and all(word in rows[-1] for word in keys)
    return edges and all(word in text for word in words) and not list(frame_errors(rows))


def colours(terminal: PseudoTerminal) -> dict[tuple[int, int], tuple[str, str, bool, bool, bool]]:
    """Style of each cell above the device line and the footer."""
    terminal.wait_for_silence()
    terminal.draw()
    return {
        (row, column): (cell.fg, cell.bg, cell.bold, cell.reverse, cell.underscore)
        for row, column in itertools.product(range(terminal.screen.lines - 2), range(terminal.screen.columns))
        for cell in (terminal.screen.buffer[row][column],)
    }


@pytest.mark.parametrize("theme", ["minidiff-dark", "ansi-light"])  # the others differ in colors only
def test_every_screen_shows_its_content_at_every_size(theme: str, root: Path) -> None:
    options = ("--root", str(root), "--theme", theme, "--reduced-motion", "--screen", "runs")
    with PseudoTerminal(*options, columns=80, lines=24, cwd=root.parent) as terminal:
        terminal.wait_for("older")
        terminal.press("enter")  # the Train screen shows it
        terminal.wait_for("took 4 min")
        for columns, lines in SIZES:
            terminal.resize(columns, lines)
            for key, (words, keys) in WORDS.items():
                terminal.press(key)
                terminal.wait_for(lambda _, words=words, keys=keys: is_whole(terminal.screen.display, words, keys))
            terminal.press("?")
            terminal.wait_for(lambda text: "esc closes" in text and not list(frame_errors(terminal.screen.display)))
            terminal.press("escape")
            terminal.wait_for(lambda text: "esc closes" not in text)
        terminal.press("q")
        assert terminal.exit_status() == 0


def _changes(before: dict[tuple[int, int], object], after: dict[tuple[int, int], object]) -> int:
    """The number of places that have other colors than before."""
    return sum(after[place] != before[place] for place in after)


@pytest.mark.parametrize("theme", THEMES)
def test_the_focus_is_visible(theme: str, root: Path) -> None:
    options = ("--root", str(root), "--theme", theme, "--reduced-motion", "--screen", "train")
    with PseudoTerminal(*options, columns=80, lines=24, cwd=root.parent) as terminal:
        terminal.wait_for("Leave field")
        before = colours(terminal)
        for _ in range(4):
            terminal.press("tab")
            terminal.wait_for(lambda _, before=before: _changes(before, colours(terminal)) >= 4)  # not a mere cursor
            before = colours(terminal)
        terminal.press("escape")
        terminal.wait_for(lambda text: "Leave field" not in text)
        terminal.press("q")
        assert terminal.exit_status() == 0


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["colours", "no-colours"])
@pytest.mark.parametrize("term", ["screen", "xterm-256color"])
def test_text_is_distinguishable_from_its_background(term: str, environment: dict[str, str], tmp_path: Path) -> None:
    stopped = Stopped(step=515, reason="on request", time=time.time())
    write_run(tmp_path, "ended", [*training(1.1, name="ended"), stopped], weights=True)
    options = ("--root", str(tmp_path), "--reduced-motion", "--run", "ended")
    with PseudoTerminal(*options, columns=80, lines=24, cwd=tmp_path, term=term, env=environment) as terminal:
        terminal.wait_for("r resumes from step 469")  # the banner
        for key, text in (("2", "smoothed"), ("n", "Start training"), ("3", "ended")):
            if key == "3":
                terminal.press("escape")
                terminal.wait_for(lambda text: "Leave field" not in text)
            terminal.press(key)
            terminal.wait_for(text)
            terminal.wait_for_silence()
            terminal.draw()
            cells = (terminal.screen.buffer[row][column] for row in range(24) for column in range(80))
            hidden = [cell.data for cell in cells if cell.data.isalnum() and cell.fg == cell.bg != "default"]
            assert not hidden, f"{''.join(hidden)} cannot be read on\n{terminal.text}"
