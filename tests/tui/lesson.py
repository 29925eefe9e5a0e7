"""Two apps, of which one follows the other through a file."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from runlogs import training, write_run
from textual.pilot import Pilot
from waiting import until

from core.runs.events import Event
from tui.app import MinidiffApp
from tui.follow import current_view
from tui.io.lead_file import View
from tui.settings import Settings
from tui.widgets.header import Header


class Class:
    """A teacher's and a student's app, with one file."""

    def __init__(self, file: Path, teacher: Pilot[None], student: Pilot[None]) -> None:
        self.file, self.teacher, self.student = file, teacher, student

    @property
    def shown(self) -> View | None:
        """What the student's app shows."""
        return current_view(app_of(self.student))

    async def press(self, *keys: str) -> None:
        """Press the teacher's keys."""
        await self.teacher.press(*keys)
        await self.teacher.pause()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        await until(self.student, condition, what)

    async def shows(self, condition: Callable[[View | None], bool]) -> None:
        """Wait until both apps show the same view, for which `condition` is true."""
        teachers = app_of(self.teacher)
        await self.until(
            lambda: condition(self.shown) and self.shown == current_view(teachers), "the student's app follows"
        )


def app_of(pilot: Pilot[None]) -> MinidiffApp:
    assert isinstance(pilot.app, MinidiffApp)
    return pilot.app


def notifications(pilot: Pilot[None]) -> list[str]:
    return [notification.message for notification in app_of(pilot)._notifications]


def header(pilot: Pilot[None]) -> str:
    return str(app_of(pilot).screen_stack[0].query_one(Header).render())


@asynccontextmanager
async def lesson(
    folder: Path, root: Path, *, students: Path | None = None, mode: str = "runs", still: bool = True
) -> AsyncIterator[Class]:
    """Both apps; the student's has another root if given, and opens on another screen."""
    file, settings = folder / "lesson.json", Settings(reduced_motion=still)
    teacher = MinidiffApp(root, mode=mode, settings=settings, lead=file)
    student = MinidiffApp(students or root, mode="devices", settings=settings, follow=file)
    async with teacher.run_test(size=(80, 24)) as leads, student.run_test(size=(80, 24)) as follows:
        yield Class(file, leads, follows)


def write_runs(root: Path, *names: str) -> None:
    now = time.time()
    for age, name in enumerate(names):
        events: list[Event] = training(2, total=2, name=name, began=now - 1000 * (age + 1))
        write_run(root, name, events)
