"""How often the tests of faults break something: few times in the ordinary run, many with FAULTS=full."""

from __future__ import annotations

import os

FULL = os.environ.get("FAULTS") == "full"


def count(small: int, full: int) -> int:
    """`small` in the ordinary run, else `full`."""
    return full if FULL else small
