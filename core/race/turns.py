"""One run of a race: it trains in turns with the others, and pauses where all are compared."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from core.config.training import TrainConfig
from core.diffusion.loaded_model import LoadedModel, load_model
from core.errors import RunError, TrainingError
from core.race.candidates import Candidate
from core.race.records import Mark, RaceProgress, RaceRules
from core.runs.directory import CONFIG
from core.runs.events import DatasetLoaded, Event, Progress
from core.runs.launcher import config_to_resume
from core.runs.status import Status, run_status, summarize
from core.runs.store import create_run
from core.system.signals import Interrupts
from core.training.api import train_in_directory
from core.training.distributed import DistributedContext
from core.training.loop import RunData, TrainingLoop

FIRST_STEP = 64  # of the comparisons after equal steps in a race with a time budget
MAX_STEP = 1_000_000_000


def step_marks() -> tuple[Mark, ...]:
    """Comparisons after equal steps for a time budget, whose number of steps is not known: 64, 96, 128, 192, 256 ..."""
    steps, step = [], FIRST_STEP
    while step < MAX_STEP:
        steps += [step, step * 3 // 2]
        step *= 2
    return tuple(Mark("steps", step) for step in steps)


class RaceRun:
    """A candidate with one seed, in a run directory of its own.

    Args:
        candidate: Its options.
        seed: Of the run.
        path: The run directory; created by `open` if there is none.
        rules: The rules of the race.
        measured: When it was measured before.
    """

    def __init__(self, candidate: Candidate, seed: int, path: Path, rules: RaceRules, measured: set[Mark]) -> None:
        self.candidate, self.seed, self.path = candidate, seed, path
        self._clock = rules.clock
        if (path / CONFIG).exists() and run_status(path) in (Status.INTERRUPTED, Status.FAILED):
            measured = measured - {rules.marks[-1]}  # there is no checkpoint of its end
        self._own_marks = [mark for mark in rules.marks if mark not in measured]  # on the clock of the budget
        more = step_marks() if rules.clock == "seconds" else ()
        self._step_marks = [mark for mark in more if mark not in measured]
        self._events: Generator[Event, None, None] | None = None
        self._loop: TrainingLoop | None = None
        self._earlier_step, self._earlier_seconds = 0, 0.0  # of a run that an earlier process finished
        self._has_ended = False  # all epochs are done, or it was stopped from outside
        self.loss = float("nan")  # training loss of the last window

    @property
    def done(self) -> bool:
        """Whether the budget is spent."""
        return not self._own_marks

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._loop.trainer.step if self._loop else self._earlier_step

    @property
    def seconds(self) -> float:
        """Training time."""
        return self._loop.seconds if self._loop else self._earlier_seconds

    @property
    def progress(self) -> RaceProgress:
        """Where it is."""
        return RaceProgress(
            run=self.path.name,
            candidate=self.candidate.number,
            seed=self.seed,
            step=self.step,
            seconds=self.seconds,
            loss=self.loss,
        )

    @property
    def used(self) -> float:
        """How much of the budget it has used, for the choice of the next run: that with the least."""
        if self._has_ended:
            return 0.0  # it only has to be measured
        return self.step if self._clock == "steps" else self.seconds

    @property
    def model(self) -> LoadedModel:
        """Its EMA weights."""
        return self._loop.trainer.ema_model() if self._loop else load_model(self.path, self.candidate.config.device)

    @property
    def was_stopped(self) -> bool:
        """Whether someone else stopped the run."""
        return self._has_ended and self._loop is not None and self.step < self._loop.trainer.total_steps

    def open(self, data: RunData, threads: int | None, interrupts: Interrupts | None) -> Iterator[Event]:
        """Create or resume the run, up to its first step; yields its events.

        Args:
            data: Read once for all runs.
            threads: CPU threads of a new run, unless its candidate sets them.
            interrupts: Signals received so far.

        Raises:
            MinidiffError: As for `resume`.
        """
        if not (self.path / CONFIG).exists():
            config = self.candidate.config
            chosen = {name: getattr(config, name) for name in config.model_fields_set}
            own = {"seed": self.seed, "name": self.path.name, "root": self.path.parent}
            create_run(TrainConfig(**{"threads": threads, **chosen, **own}))
        if run_status(self.path) is Status.FINISHED:
            summary = summarize(self.path)
            self._has_ended, self._earlier_step, self._earlier_seconds = True, summary.step, summary.seconds or 0.0
            return
        self._events = train_in_directory(
            self.path,
            config_to_resume(self.path),
            None,
            None,
            False,
            DistributedContext(),
            interrupts,
            functools.partial(self._set_loop, data),
        )
        for event in self._events:
            yield event
            if isinstance(event, DatasetLoaded):
                break
        else:
            raise RunError(f"{self.path.name} was stopped before its first step; the same command continues the race")

    def _set_loop(self, data: RunData, loop: TrainingLoop) -> None:
        self._loop = loop
        loop.data = data

    def train(self, seconds: float) -> Iterator[Event]:
        """Train for about `seconds`, or until the next mark; yields the run's events.

        Raises:
            TrainingError: It diverged, or memory ran out.
            MinidiffError: As for `resume`.
        """
        if self._has_ended or self._events is None or self._loop is None:
            return
        start = self.seconds
        steps = [int(mark.value) for mark in (*self._own_marks, *self._step_marks) if mark.clock == "steps"]
        self._loop.window_end = min((step for step in steps if step > self.step), default=None)
        for event in self._events:
            yield event
            if isinstance(event, Progress):
                self.loss = event.loss
                if self.seconds - start >= seconds or self._is_at(self._own_marks) or self._is_at(self._step_marks):
                    return
        self._has_ended = True

    def _is_at(self, marks: list[Mark]) -> bool:
        """Whether the next of these marks is reached."""
        return bool(marks) and marks[0].value <= (self.step if marks[0].clock == "steps" else self.seconds)

    def take_marks(self) -> list[Mark]:
        """The marks reached since the last call. A run whose epochs are all done reaches every later time."""
        reached = []
        for marks in (self._step_marks, self._own_marks):
            while self._is_at(marks):
                mark = marks.pop(0)
                if mark.clock == "seconds" or mark.value == self.step:  # else it was passed before it was resumed
                    reached.append(mark)
        if self._has_ended:
            reached += [mark for mark in self._own_marks if mark.clock == "seconds"]
            self._own_marks.clear()
        return reached

    def stop(self, reason: str) -> None:
        """Stop with a checkpoint, or finish if all steps are taken."""
        if self._events is None or self._loop is None or self._has_ended:
            return
        if self.step < self._loop.trainer.total_steps:
            self._loop.stop_reason = reason
        with suppress(TrainingError):  # its weights are not finite, as its log says
            for _ in self._events:
                pass
        self._has_ended = True

    def close(self) -> None:
        """Stop with a checkpoint, if it is open."""
        if self._events is not None:
            with suppress(TrainingError):  # its weights are not finite, as its log says
                self._events.close()
