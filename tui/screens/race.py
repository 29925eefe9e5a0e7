"""The race of a run: its candidates' differences to the best one, while they train and afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.race.records import NOT_SIGNIFICANT, RaceResult
from core.race.result_file import read_result
from tui.actions import bindings
from tui.widgets.modal import Modal
from tui.widgets.race_view import DifferencePlot, RaceTable
from tui.widgets.text_line import update_text

READ_SECONDS = 1.0  # interval of reading the result


class RaceScreen(Modal[None]):
    """Shows result.json of a race, and reads it again while the race trains.

    Args:
        folder: The race's folder.
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings("race")
    DEFAULT_CSS = """
    RaceScreen {
        & > Vertical { width: 100%; max-width: 160; height: 100%; max-height: 48; padding: 0 1; }
        #state, #command { height: auto; max-height: 3; }
        #axis { height: 1; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        DifferencePlot { margin-bottom: 1; }
        #command { margin-top: 1; color: $foreground 60%; }
    }
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.result: RaceResult | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f"Race {self._folder.name}")
            box.border_subtitle = "esc closes"
            yield Static("loading …", id="state", markup=False)
            yield Static(id="axis", markup=False)
            yield DifferencePlot()
            yield RaceTable()
            yield Static(id="command", markup=False)

    def on_mount(self) -> None:
        self.set_interval(READ_SECONDS, self._read)
        self._read()

    @work(exclusive=True)
    async def _read(self) -> None:
        if self.result is not None and self.result.complete:
            return
        result = await asyncio.to_thread(read_result, self._folder)
        if result is None and self.result is None:
            self.query_one("#state", Static).update("the result of this race cannot be read")
        elif result is not None and result != self.result:
            self.result = result
            self._show(result)

    def _show(self, result: RaceResult) -> None:
        update_text(self.query_one("#state", Static), _state(result))
        axis = f"validation loss, difference to candidate {result.winner} with {result.rules.confidence:.0%} intervals"
        self.query_one("#axis", Static).update(axis)
        self.query_one(DifferencePlot).show(result)
        self.query_one(RaceTable).show(result)
        self.query_one("#command", Static).update(result.command)


def _state(result: RaceResult) -> Content:
    """The verdict, or how far the race is."""
    winner = result.candidates[result.winner - 1]
    seeds = "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
    images = f"{result.images:,} images, {seeds}"
    if not result.complete:
        at = "" if result.decided_at is None else f" of {result.rules.marks[-1]}, compared at {result.decided_at}"
        return Content.assemble((f"best so far: {winner.label}", "bold"), f"{at} · {images}")
    close = [str(row.candidate) for row in result.candidates if row.verdict == NOT_SIGNIFICANT]
    others = f" · {NOT_SIGNIFICANT}: {', '.join(close)}" if close else ""
    return Content.assemble((f"winner: {winner.label}", "bold"), f"{others} · {images}")
