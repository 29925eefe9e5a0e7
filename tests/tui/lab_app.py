"""Opens the Lab for tests, on glyphs and with an engine process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static
from waiting import until

from core.data.datasets import search_roots
from core.system import subprocesses
from tui.app import MinidiffApp
from tui.lab.bench import Bench
from tui.screens.lab import LabScreen
from tui.settings import Settings


class Lab:
    """The app on its Lab screen."""

    def __init__(self, app: MinidiffApp, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> LabScreen:
        assert isinstance(self.app.screen_stack[0], LabScreen)
        return self.app.screen_stack[0]

    @property
    def bench(self) -> Bench:
        return self.screen.bench

    @property
    def description(self) -> str:
        """The text below the bench, or the error in its place."""
        return str(self.bench.query_one(".description", Static).render())

    @property
    def is_wrong(self) -> bool:
        return self.bench.query_one(".description", Static).has_class("-wrong")

    async def until(self, condition: Any, what: str) -> None:
        await until(self.pilot, condition, what)

    async def answered(self) -> None:
        """Wait for the reply to the newest request."""
        bench = self.bench
        await self.pilot.pause()
        await self.until(lambda: bench.shown is not None and self.screen.is_idle, f"{bench.NAME} is shown")

    async def fill(self, field: str, value: str) -> None:
        """Type into a field, and wait for the reply, unless the value is invalid."""
        self.screen.query_one(f"#{self.bench.NAME} #{field}, #subject #{field}", Input).value = value
        await self.pilot.pause()
        if not self.is_wrong:
            await self.answered()


@asynccontextmanager
async def lab(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int] = (120, 40),
    bench: str = "convolution",
) -> AsyncIterator[Lab]:
    """The Lab with a bench visible; without MNIST, so that its digits are glyphs."""
    monkeypatch.setenv("MINIDIFF_DATA", str(root / "nothing"))
    monkeypatch.chdir(root)
    assert search_roots()
    app = MinidiffApp(root, mode="lab", settings=Settings(reduced_motion=True))
    async with app.run_test(size=size) as pilot:
        made = Lab(app, pilot)
        made.screen.open(bench)
        await made.answered()
        yield made


def run_script(script: list[str], folder: Path) -> str:
    """What an exported script prints."""
    file = folder / "script.py"
    file.write_text("\n".join(script))
    done = subprocess.run(
        [sys.executable, str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=subprocesses.environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
