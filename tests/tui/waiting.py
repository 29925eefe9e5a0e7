"""Waiting for what an app shows, in place of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

PATIENCE = 60.0  # seconds; loading torch on a busy machine takes many


async def until(pilot: Pilot[Any], condition: Callable[[], bool], what: str) -> None:
    """Let the app run until `condition` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE:.0f} s in vain until {what}")
        await asyncio.sleep(0.01)  # the turn of the app's own tasks
    await pilot.pause()
