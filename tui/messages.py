"""What happened elsewhere and a screen should hear of, named in the past tense."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from core.runs.trajectory import Denoising, Frame
from tui.arrays import Array

if TYPE_CHECKING:
    from core.runs.events import Event
    from core.runs.history import RunHistory
    from core.runs.status import RunSummary, Status


@dataclass
class ModelChosen(Message):
    """The user asked to sample from a model: a built-in name or a run under the root."""

    model: str


@dataclass
class RunChosen(Message):
    """The user asked to watch a run; None: for the form of a new one."""

    run: str | None


@dataclass
class ForkChosen(Message):
    """The user asked for the form of a new run, filled in as run `run` was."""

    run: str


@dataclass
class EngineReady(Message):
    """The engine has loaded torch and takes requests at once."""

    device: str
    seconds: float


@dataclass
class SamplingStarted(Message):
    """The engine took a request; `denoising` has no frames yet. `labels`: the class of each image, -1 for any."""

    denoising: Denoising
    parameters: int
    device: str
    sampler: str
    guidance: float
    labels: tuple[int, ...] | None  # None: the model has no classes
    evaluations: int  # of the net, for each image

    @property
    def in_words(self) -> str:
        """The sampler, the guidance where there is some, and the cost."""
        guidance = f", guidance {self.guidance:g}" if self.guidance != 1 else ""
        plural = "s" if self.evaluations > 1 else ""
        return f"{self.sampler}{guidance}, {self.evaluations:,} eval{plural}"


@dataclass
class FrameSampled(Message):
    """One record of the denoising under way."""

    frame: Frame


@dataclass
class SamplingFinished(Message):
    """The last frame has been sent, `seconds` after the first."""

    seconds: float


@dataclass
class BenchShown(Message):
    """The engine told what a bench of the lab shows, or a further part of it."""

    bench: str
    values: dict[str, Any]
    arrays: dict[str, Array]


@dataclass
class EngineRefused(Message):
    """The engine could not do what was asked; it stays up."""

    notice: str


@dataclass
class EngineDied(Message):
    """The engine process is gone; the next request starts another, or `restarted`: another is being started already."""

    notice: str
    restarted: bool = False


@dataclass
class EventsAppended(Message):
    """The log of the watched run at `path` grew by `events`.

    `anew`: the log was begun again, so what was known of it is void. `live`: they happened while the run was watched;
    what the log held before that is told first, with `live` False.
    """

    path: Path
    events: list[Event]
    anew: bool
    live: bool


@dataclass
class StatusChanged(Message):
    """The watched run at `path` is now `status`; `host` is where its last trainer ran, None if unknown."""

    path: Path
    status: Status
    host: str | None


@dataclass
class TrainerLost(Message):
    """The trainer started on the run at `path` ended before it took the run; `reason` is its last word."""

    path: Path
    reason: str


@dataclass
class RunVanished(Message):
    """The directory of the watched run at `path` is gone or cannot be read, for `reason`."""

    path: Path
    reason: str


@dataclass
class HistoriesRead(Message):
    """The logs of the marked runs were read again; by path, in the order of their marking."""

    histories: dict[str, RunHistory]


@dataclass
class RunsListed(Message):
    """The runs under the root were read again, or could not be, for the reason `problem`.

    `unreadable`: folders that this user may not look into, each named only once.
    """

    runs: list[RunSummary]
    problem: str | None = None
    unreadable: tuple[str, ...] = ()
