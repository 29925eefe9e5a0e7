"""Number of repetitions in fault tests: few by default, many with FAULTS=full."""

from __future__ import annotations

import os

FULL = os.environ.get("FAULTS") == "full"


def count(small: int, full: int) -> int:
    """`full` with FAULTS=full, otherwise `small`."""
    return full if FULL else small
