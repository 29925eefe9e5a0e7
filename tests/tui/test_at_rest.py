"""A screen at rest writes only what changed: the line of devices each second, and little else."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from runlogs import training, write_run

from benchmarks.pseudo_terminal import PseudoTerminal

SECONDS = 5
BYTES_A_SECOND = 500  # for the line of devices, which takes 380 on 120 columns
COLUMNS, LINES = 120, 40
DEVICE_LINE = LINES - 1
DAY = 86_400


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with 38 runs that ended days ago."""
    now = time.time()
    for number in range(38):
        write_run(tmp_path, f"run-{number:02}", training(30, began=now - (number + 3) * DAY, every=200))
    return tmp_path


def written_at_rest(app: PseudoTerminal) -> bytes:
    """What the app writes in some seconds after it has come to rest."""
    app.wait_for_silence(0.9)  # the line of devices changes each second
    before, end = len(app.output), time.monotonic() + SECONDS
    while time.monotonic() < end:
        app.read(0.2)
    return app.output[before:]


def lines_written(output: bytes) -> list[int]:
    """The lines that the cursor was moved to, from 1."""
    return [int(line) for line in re.findall(rb"\x1b\[(\d+);\d+H", output)]


@pytest.mark.parametrize("motion", [(), ("--reduced-motion",)], ids=["", "reduced-motion"])
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--screen", "runs"), "● finished"),
        (("--screen", "train", "--run", "run-00"), "took"),
        (("--screen", "sample", "--reduced-motion"), "● live"),
    ],
    ids=["runs", "train", "sample"],
)
def test_an_idle_screen_writes_little(
    root: Path, builtin: Path, options: tuple[str, ...], shown: str, motion: tuple[str, ...]
) -> None:
    with PseudoTerminal("--root", str(root), *options, *motion, columns=COLUMNS, lines=LINES) as app:
        app.wait_for("GiB")
        app.wait_for(shown)
        if shown == "● live":
            app.wait_for("■")  # it rests on the last step
        assert len(written_at_rest(app)) / SECONDS < BYTES_A_SECOND


def test_only_the_row_of_a_run_whose_age_changes_is_written(root: Path) -> None:
    began = time.time() - 30 * 31  # it ended seconds ago, so its age changes each second
    write_run(root, "newest", training(30, began=began, every=200))
    with PseudoTerminal("--root", str(root), "--screen", "runs", columns=COLUMNS, lines=LINES) as app:
        app.wait_for("GiB")
        app.wait_for("● finished")
        lines = lines_written(written_at_rest(app))
    rows = {line for line in lines if 1 < line < DEVICE_LINE}
    assert len(rows) == 1, rows
    assert lines.count(rows.pop()) >= 2


def test_the_devices_screen_writes_only_lines_that_changed(root: Path) -> None:
    with PseudoTerminal("--root", str(root), "--screen", "devices", columns=COLUMNS, lines=LINES) as app:
        text = app.wait_for("PID")
        still = [number for number, line in enumerate(text.splitlines(), 1) if re.search(r"Memory|Processes|PID", line)]
        assert len(still) == 3
        assert not set(still) & set(lines_written(written_at_rest(app)))
