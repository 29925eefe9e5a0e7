"""What a race yields: frozen records, which the command prints as JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from core.config.numbers import number, whole_number
from core.errors import ConfigError, MinidiffError

Clock = Literal["steps", "seconds"]
# Verdicts on the candidates that were compared to the end; others have the reason why they were stopped.
BEST, NOT_SIGNIFICANT, WORSE = "best", "no significant difference", "worse"
_LIMITS: dict[str, tuple[float, float]] = {  # of the rules
    "seconds": (0.1, 1e9),
    "steps": (1, 1e9),
    "comparisons": (1, 1_000),
    "images": (2, 1e6),
    "samples": (0, 1e5),
    "confidence": (0.5, 0.9999),
    "margin": (0, 10),
    "stop_after": (0, 1_000),
}
_REAL = ("seconds", "confidence", "margin")  # the others are whole numbers


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """The interval times a positive factor."""
        return Interval(self.mean * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRules:
    """How long the candidates of a race train, how they are compared, and when one is stopped.

    Exactly one of `seconds` and `steps` is the budget of each run.

    Raises:
        ConfigError: A value is out of range.
    """

    seconds: float | None = None  # of training, on the same clock as in a run's log
    steps: int | None = None
    comparisons: int = 12  # at equal fractions of the budget
    images: int = 1_000  # validation images of a comparison
    samples: int = 1_000  # for the Frechet distance at the end; 0: none
    confidence: float = 0.95  # of the intervals
    margin: float = 0.01  # fraction of the best loss; the interval of a candidate that is stopped lies above it
    stop_after: int = 3  # consecutive comparisons after which a candidate that is worse is stopped; 0: never

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise ConfigError("a race needs a budget: either a time (--budget 120s) or a number of steps (--steps 500)")
        for name, (low, high) in _LIMITS.items():
            if (value := getattr(self, name)) is None:
                continue
            try:
                checked = number(value, name) if name in _REAL else whole_number(value, name)
            except MinidiffError as error:
                raise ConfigError(str(error)) from None
            if not low <= checked <= high:
                raise ConfigError(f"{name}: must be from {low:g} to {high:g}, not {checked:g}")
            object.__setattr__(self, name, checked)
        if self.samples == 1:
            raise ConfigError("samples: a distance needs at least 2; 0 turns it off")

    @property
    def clock(self) -> Clock:
        """What the budget counts."""
        return "steps" if self.seconds is None else "seconds"

    @property
    def marks(self) -> tuple[Mark, ...]:
        """When candidates are compared on the clock of the budget, ascending; the last mark is its end."""
        count, total = self.comparisons, self.steps if self.seconds is None else self.seconds
        assert total is not None
        if self.clock == "steps":
            steps = sorted({max(1, round(total * k / count)) for k in range(1, count + 1)})
            return tuple(Mark("steps", step) for step in steps)
        return tuple(Mark("seconds", total * k / count) for k in range(1, count + 1))


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """When candidates are compared: after equal steps, or after equal training time."""

    clock: Clock
    value: float  # steps, or seconds

    def __str__(self) -> str:
        return f"step {self.value:,.0f}" if self.clock == "steps" else f"{self.value:,.4g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRecord:
    """Base of all records."""

    kind: ClassVar[str] = ""

    def as_json(self) -> dict[str, Any]:
        """The record as values of JSON; numbers that are not finite are None."""
        return {"record": self.kind, **_plain(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceStarted(RaceRecord):
    """The race starts or continues."""

    kind: ClassVar[str] = "race_started"
    name: str
    folder: Path
    labels: tuple[str, ...]  # of the candidates 1, 2 ...
    seeds: tuple[int, ...]
    runs: tuple[tuple[str, ...], ...]  # names of the run directories, by candidate and seed
    rules: RaceRules
    continued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceProgress(RaceRecord):
    """A run has trained for a slice."""

    kind: ClassVar[str] = "race_progress"
    run: str
    candidate: int
    seed: int
    step: int
    seconds: float  # of training
    loss: float  # training loss of the last window


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A candidate in a comparison, with means over seeds."""

    candidate: int
    loss: float  # validation loss of the EMA weights
    difference: Interval  # loss - loss of the best candidate, paired by image and seed
    step: float
    seconds: float  # of training


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceComparison(RaceRecord):
    """A comparison of the candidates."""

    kind: ClassVar[str] = "race_comparison"
    mark: Mark
    best: int  # the candidate with the lowest loss
    standings: tuple[Standing, ...]  # of the candidates that are still in the race


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStopped(RaceRecord):
    """A candidate is out of the race; its runs keep their checkpoints."""

    kind: ClassVar[str] = "candidate_stopped"
    candidate: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """A candidate at the end of the race."""

    candidate: int
    label: str
    runs: tuple[str, ...]
    verdict: str  # BEST, NOT_SIGNIFICANT, WORSE, or why it was stopped
    loss: float | None  # in the last comparison; None if it was stopped before
    difference: Interval | None  # loss - loss of the winner
    step: float | None  # mean over seeds
    seconds: float | None  # of training, mean over seeds
    frechet: float | None  # mean over seeds
    frechet_difference: Interval | None  # to the winner, over at least two seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Difference of a candidate to the winner in one comparison."""

    candidate: int
    mark: Mark
    loss: float
    difference: Interval  # loss - loss of the winner


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceResult(RaceRecord):
    """The end of a race, or its state so far."""

    kind: ClassVar[str] = "race_result"
    name: str
    complete: bool  # False in the file of a race that still trains, or was interrupted
    winner: int
    decided_at: Mark | None  # of the last comparison
    candidates: tuple[CandidateResult, ...]
    command: str  # that trains the winner alone, with the first seed
    seeds: tuple[int, ...]
    images: int  # validation images of each comparison: those of the rules, or all if there are fewer
    rules: RaceRules
    curves: tuple[CurvePoint, ...]  # of the comparisons on both clocks


def brief(verdict: str) -> str:
    """A verdict without its details, such as "stopped at 80 s"."""
    return verdict.partition(":")[0]


def _plain(value: Any) -> Any:
    """A value of JSON for a record, or for what it contains."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {spec.name: _plain(getattr(value, spec.name)) for spec in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):  # which JSON does not have
        return None
    return str(value) if isinstance(value, Path) else value
