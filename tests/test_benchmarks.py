"""The benchmarks run to their end and print their tables; how fast is not asked here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.recording import RECORDING
from core.runs import builtin_directories

HOME = Path(__file__).resolve().parents[1]


def test_the_terminal_benchmark_prints_time_to_the_first_screen_and_bytes_a_frame() -> None:
    home = builtin_directories().get("quick-mnist")
    if home is None or not (home / RECORDING).is_file():
        pytest.skip("the built-in checkpoint quick-mnist and its recording are not in this tree")
    done = subprocess.run(
        [sys.executable, "benchmarks/terminal.py", "--quick"],
        cwd=HOME,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| 80x24")]
    assert len(rows) == 3, done.stdout  # the first screen, and frames in truecolor and in 256 colours
    assert float(rows[0][1].split()[0]) > 0
    truecolor, indexed = (float(row[-2].split()[0]) for row in rows[1:])
    assert 1 < indexed < truecolor
