"""Wait for a condition of a running app instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

PATIENCE = 60.0  # seconds; loading torch on a busy machine takes many


async def until(pilot: Pilot[Any], condition: Callable[[], bool], description: str = "the condition holds") -> None:
    """Run the app until `condition` is true.

    Raises:
        AssertionError: it is still false after `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {PATIENCE:.0f} s waiting until {description}")
        await asyncio.sleep(0.01)  # yield to the tasks of the app
    await pilot.pause()
