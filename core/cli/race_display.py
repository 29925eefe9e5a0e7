"""Output of `minidiff race`: a live table on a terminal, plain lines elsewhere, or JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from core.cli.progress import PLAIN_SECONDS, StatelessDisplay
from core.cli.tables import print_table
from core.evaluation.reference import EvaluationProgress
from core.race.folder import PLOT
from core.race.records import (
    CandidateStopped,
    Interval,
    RaceComparison,
    RaceProgress,
    RaceRecord,
    RaceResult,
    RaceStarted,
    Standing,
    brief,
)
from core.race.result_file import RESULT
from core.runs.directory import config_options
from core.runs.events import Event, to_line
from core.runs.history import in_words, loss_text
from core.runs.status import summarize

if TYPE_CHECKING:
    from rich.table import Table

    from core.race.race import Step

HEADINGS = ("", "candidate", "steps", "time", "loss", "to the best", "interval", "state")


class RaceDisplay(Protocol):
    """Shows what a race yields."""

    def __enter__(self) -> RaceDisplay: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, step: Step) -> None:
        """Show one record."""


def race_display(*, as_json: bool = False) -> RaceDisplay:
    """A live table if stdout is a terminal, else plain lines; with `as_json` one JSON object a line."""
    if as_json:
        return JsonRecords()
    return LiveTable() if sys.stdout.isatty() else PlainRecords()


class JsonRecords(StatelessDisplay):
    """Prints each record and event as a line of JSON."""

    def add(self, step: Step) -> None:
        if isinstance(step, RaceRecord):
            print(json.dumps(step.as_json(), allow_nan=False), flush=True)
        elif isinstance(step, Event):
            print(to_line(step), end="", flush=True)


class PlainRecords(StatelessDisplay):
    """Prints one line per comparison on the clock of the budget, and little of the rest."""

    def __init__(self) -> None:
        self._table = _Standings()
        self._last_time = 0.0

    def add(self, step: Step) -> None:
        self._table.add(step)
        if isinstance(step, RaceProgress | EvaluationProgress):
            if time.monotonic() - self._last_time < PLAIN_SECONDS:
                return
            self._last_time = time.monotonic()
        if line := self._table.in_words(step):
            print(line, flush=True)
        if isinstance(step, RaceResult):
            print_result(step, self._table.folder)


class LiveTable:
    """A table of the candidates that is redrawn while they train; other lines are printed above it."""

    def __init__(self) -> None:
        from rich.live import Live

        self._table = _Standings()
        self._live = Live(get_renderable=self._table.as_table, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def add(self, step: Step) -> None:
        self._table.add(step)
        if isinstance(step, RaceResult):
            self._live.stop()
            print_result(step, self._table.folder)
        elif isinstance(step, RaceStarted | CandidateStopped | Event) and (line := self._table.in_words(step)):
            self._live.console.print(line, markup=False, emoji=False, highlight=False)


class _Standings:
    """What is known of each candidate so far."""

    def __init__(self) -> None:
        self._started: RaceStarted | None = None
        self._progress: dict[str, RaceProgress] = {}
        self._standings: dict[int, tuple[Standing, float]] = {}  # newest, with the best loss
        self._best = 0
        self._stopped: dict[int, str] = {}
        self._doing = ""

    def add(self, step: Step) -> None:
        match step:
            case RaceStarted():
                self._started = step
            case RaceProgress():
                self._progress[step.run] = step
                self._doing = step.run
            case RaceComparison() if self._started and step.mark.clock == self._started.rules.clock:
                self._best = step.best
                best = next(standing.loss for standing in step.standings if standing.candidate == step.best)
                self._standings.update((standing.candidate, (standing, best)) for standing in step.standings)
            case CandidateStopped():
                self._stopped[step.candidate] = step.reason
            case EvaluationProgress():
                self._doing = f"{step.doing}: {step.done:,} of {step.total:,}"
            case _:
                pass

    @property
    def folder(self) -> Path:
        """The race's folder."""
        return self._started.folder if self._started else Path()

    def in_words(self, step: Step) -> str:
        """A record in one line; "" for those that are not shown."""
        match step:
            case RaceStarted():
                verb = "continues" if step.continued else "starts"
                runs = len(step.labels) * len(step.seeds)
                return f"race {step.name} {verb}: {len(step.labels)} candidates, {runs} runs in {step.folder.parent}"
            case RaceProgress():
                return f"{step.run}: step {step.step:,}, {step.seconds:.1f} s, loss {loss_text(step.loss)}"
            case RaceComparison() if self._started and step.mark.clock == self._started.rules.clock:
                losses = "  ".join(
                    f"{row.candidate}: {_compared(*self._standings[row.candidate], is_best=row.candidate == step.best)}"
                    for row in step.standings
                )
                return f"{step.mark}  {losses}"
            case CandidateStopped():
                label = self._started.labels[step.candidate - 1] if self._started else ""
                return f"candidate {step.candidate} ({label}) is out of the race: {step.reason}"
            case EvaluationProgress():
                return self._doing
            case Event():
                return in_words(step)
            case _:
                return ""

    def as_table(self) -> Table:
        """The live table."""
        from rich.table import Table
        from rich.text import Text

        doing = Text(self._doing)
        table = Table(*HEADINGS, box=None, pad_edge=False, caption=doing, caption_justify="left")
        if self._started is None:
            return table
        for number, (label, runs) in enumerate(zip(self._started.labels, self._started.runs, strict=True), start=1):
            known = [self._progress[run] for run in runs if run in self._progress]
            steps = min((progress.step for progress in known), default=0)
            seconds = min((progress.seconds for progress in known), default=0.0)
            standing = self._standings.get(number)
            state = brief(self._stopped.get(number, "best" if number == self._best else ""))
            cells = [str(number), label, f"{steps:,}", f"{seconds:.0f} s", *_loss_cells(standing), state]
            style = "dim" if number in self._stopped else "bold" if number == self._best else ""
            table.add_row(*(Text(cell, style=style) for cell in cells))
        return table


def _loss_cells(standing: tuple[Standing, float] | None) -> list[str]:
    if standing is None:
        return ["", "", ""]
    row, best = standing
    return [loss_text(row.loss), *_percent(row.difference, best)]


def _compared(row: Standing, best: float, *, is_best: bool) -> str:
    difference, interval = _percent(row.difference, best)
    return f"{loss_text(row.loss)} ({'best' if is_best else f'{difference}, {interval}'})"


def _percent(difference: Interval | None, best: float) -> list[str]:
    """A difference and its interval in percent of the best loss; empty if they are not known."""
    if difference is None or not best > 0:
        return ["", ""]
    if difference.mean == difference.low == difference.high == 0:
        return ["0", "0"]
    relative = difference.scaled(1 / best)
    return [f"{relative.mean:+.2%}", f"{relative.low:+.2%} to {relative.high:+.2%}"]


def print_result(result: RaceResult, folder: Path) -> None:
    """Print the final table, the verdict, the winner's command and where the results are."""
    winner = result.candidates[result.winner - 1]
    rows = []
    for row in result.candidates:
        is_winner = row is winner
        difference = ["", ""] if is_winner or winner.loss is None else _percent(row.difference, winner.loss)
        rows.append(
            (
                row.candidate,
                row.label,
                "" if row.step is None else f"{row.step:,.0f}",
                "" if row.seconds is None else f"{row.seconds:.1f} s",
                "" if row.loss is None else loss_text(row.loss),
                *difference,
                "" if row.frechet is None else f"{row.frechet:.3f}",
                brief(row.verdict),
            )
        )
    interval = f"{result.rules.confidence:.0%} interval"
    print_table(("", "candidate", "steps", "time", "loss", "difference", interval, "Frechet", "verdict"), rows)
    seeds = "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
    print(
        f"loss: validation loss of the EMA weights on {result.images:,} images, {seeds}; differences to the "
        f"winner are paired by image{' and seed' if len(result.seeds) > 1 else ', for this seed only'}"
    )
    print(f"winner: candidate {result.winner}; `{result.command}` trains it alone")
    print(f"wrote {folder / RESULT} and {folder / PLOT}")


def schedule_note(result: RaceResult, root: Path) -> str:
    """A note if the budget covers only part of the winner's run; "" if not."""
    path = root / result.candidates[result.winner - 1].runs[0]
    summary = summarize(path)
    total, epochs = summary.total_steps, summary.epochs
    if not total or summary.step >= 0.9 * total:
        return ""
    done = summary.step / total
    linear = (config_options(path) or {}).get("lr_schedule") == "linear"
    rate = f" and ends at {1 - done:.0%} of the peak learning rate" if linear else ""
    return (
        f"note: the budget covers {done:.0%} of {epochs} epochs{rate}; whole runs may rank differently. With fewer "
        "--epochs, or a larger budget, whole runs are raced"
    )
