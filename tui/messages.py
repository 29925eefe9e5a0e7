"""Messages posted to screens, named in the past tense."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from core.engine.plane_messages import PlaneReply
    from core.engine.protocol import LabReply, NearestProgress, NearestReply, SamplingInfo
    from core.runs.description import RunDescription
    from core.runs.events import Event
    from core.runs.history import RunHistory
    from core.runs.snapshots import SnapshotFrame
    from core.runs.status import RunSummary, Status
    from core.runs.trajectory import Frame


@dataclass
class KeyFollowed(Message):
    """Takes the way of a key, from the widget that received it up to the app, which then sets `handled`."""

    handled: asyncio.Event


@dataclass
class ModelChosen(Message):
    """The user chose a model to sample from: a built-in one or a run."""

    model: str


@dataclass
class RunChosen(Message):
    """The user chose a run to watch, or None for the form of a new run."""

    run: str | None


@dataclass
class ForkChosen(Message):
    """The user opened the form of a new run with the options of `run`."""

    run: str


@dataclass
class TrainingHistoryChosen(Message):
    """The user opened the training history of a run."""

    run: str


@dataclass
class EngineReady(Message):
    """The engine has loaded torch."""

    device: str
    seconds: float


@dataclass
class SamplingStarted(Message):
    """The engine started to sample."""

    info: SamplingInfo

    @property
    def summary(self) -> str:
        """The sampler, the guidance scale unless it is 1, and the number of function evaluations."""
        sampling = self.info.sampling
        guidance = f", guidance {sampling.guidance:g}" if sampling.guidance != 1 else ""
        return f"{sampling.sampler}{guidance}, NFE {self.info.nfe:,}"


@dataclass
class ImagesInverted(Message):
    """The engine did one more step of the inversion of two images, which precedes their interpolation."""

    done: int
    steps: int


@dataclass
class FrameSampled(Message):
    """The engine sampled one step."""

    frame: Frame


@dataclass
class SnapshotReceived(Message):
    """The engine sampled one snapshot of a run."""

    frame: SnapshotFrame


@dataclass
class SamplingFinished(Message):
    """The engine sampled the last step or snapshot, `seconds` after the first."""

    seconds: float


@dataclass
class RunDescribed(Message):
    """The engine described the run that the form would start, or measured a further part of it."""

    description: RunDescription


@dataclass
class NearestReplied(Message):
    """The engine compared some training images with the samples, or found the nearest ones."""

    reply: NearestProgress | NearestReply


@dataclass
class LabReplied(Message):
    """The engine replied to a bench of the Lab, or sent a further part of its reply."""

    reply: LabReply | PlaneReply


@dataclass
class EngineRefused(Message):
    """The engine could not handle the request; it keeps running."""

    notice: str


@dataclass
class EngineDied(Message):
    """The engine process exited; the next request starts it again, unless it is `restarted` already."""

    notice: str
    restarted: bool = False


@dataclass
class EventsAppended(Message):
    """Events were read from the log of the watched run."""

    path: Path
    events: list[Event]
    reset: bool  # whether the log started over, which voids earlier events
    live: bool  # False for what the log held when watching began


@dataclass
class StatusChanged(Message):
    """The status of the watched run changed; `host` is where it ran last, None if unknown."""

    path: Path
    status: Status
    host: str | None


@dataclass
class TrainerLost(Message):
    """The process started for the run at `path` exited before training began; `reason` is its error message."""

    path: Path
    reason: str


@dataclass
class RunVanished(Message):
    """The directory of the watched run was removed or cannot be read."""

    path: Path
    reason: str


@dataclass
class HistoriesRead(Message):
    """The logs of the marked runs were read; histories by path, in the order in which the runs were marked."""

    histories: dict[str, RunHistory]


@dataclass
class RunsListed(Message):
    """The list of runs was read, or could not be, for the reason `problem`."""

    runs: list[RunSummary]
    problem: str | None = None
    unreadable: tuple[str, ...] = ()  # directories without read permission, each reported once
    complete: bool = False  # whether these are all runs
