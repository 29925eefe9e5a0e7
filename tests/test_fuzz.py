"""Damaged input gives a value or a one-line error, within limits of time and memory.

`FUZZ=10000 python -m pytest tests/test_fuzz.py -s` feeds ten thousand inputs to each reader and prints the results.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import TARGETS

from core.system import subprocesses

COUNT = int(os.environ.get("FUZZ", "500"))
HERE = Path(__file__).parent


@pytest.mark.parametrize("target", list(TARGETS))
def test_damaged_input_gives_a_value_or_a_one_line_error(target: str) -> None:
    """Runs in a separate process that measures memory and time for each input."""
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz_targets.py"), target, str(COUNT)],
        env=subprocesses.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    print(done.stdout.strip())
    assert report["values"] + report["refusals"] == COUNT
    if target != "events":  # where damage is silently skipped
        assert report["refusals"] > COUNT // 10  # otherwise the damage had no effect
