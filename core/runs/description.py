"""What is known about a run before it starts: its data, its network, and an estimate of time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.config.datasets import DatasetInfo
from core.text import brief_count, file_size, memory_size, rough_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """A dataset that may still have to be downloaded, generated or decoded."""

    name: str
    location: str  # where it was found, or where it comes from, as a phrase
    pending: str = ""  # what happens to it when training starts, such as "to be downloaded"; "" if it is ready
    info: DatasetInfo | None = None  # None: unknown until it is decoded
    is_guess: bool = False  # whether `info` is that of some of the images
    train: int | None = None  # number of images
    test: int | None = None
    files: int | None = None  # image files of a folder that is not decoded yet

    @property
    def shape(self) -> str:
        """Height, width and kind of the images, such as "28x28 gray"."""
        if self.info is None:
            return "unknown shape"
        kind = "gray" if self.info.channels == 1 else "RGB"
        return f"{'probably ' if self.is_guess else ''}{self.info.height}x{self.info.width} {kind}"

    @property
    def classes(self) -> str:
        """Number of classes in words; "" if unknown."""
        if self.info is None:
            return ""
        count = self.info.classes
        return f"{count:,} class{'' if count == 1 else 'es'}" if count else "no classes"

    @property
    def count(self) -> str:
        """Number of files, or of training and validation images; "" if unknown."""
        if self.files is not None:
            return f"{self.files:,} image files"
        return "" if self.train is None else f"{self.train:,} + {self.test or 0:,} images"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDescription:
    """A run before it starts. `core.training.description.describe_run` measures time and memory last."""

    data: DatasetDescription
    model: str
    device: str
    parameters: int | None = None  # None: unknown, because the shape of the images is
    seconds: float | None = None  # estimate of the whole run, without preparing the data; None: not measured
    memory: int | None = None  # estimate of the peak, in bytes, per process; None: not measured
    snapshot_bytes: int = 0  # on disk, of all snapshots of the run together
    pending: str = ""  # what is being computed meanwhile, such as "measuring time"; "" in the last description

    @property
    def lines(self) -> list[list[str]]:
        """Three lines, the most important first; of each all versions, the longest first."""
        return [list(self._data()), list(self._network()), [self.data.location]]

    def _data(self) -> Iterator[str]:
        data = self.data
        brief = data.count.removesuffix(" images")
        yield _joined(data.name, data.shape, data.classes, data.count, data.pending)
        yield _joined(data.name, data.shape, data.classes, brief, data.pending)
        yield _joined(data.name, data.shape, brief, data.pending)
        if data.files is None:
            yield _joined(data.name, data.shape, data.pending or brief)
        else:
            yield _joined(data.name, brief, data.pending)

    def _network(self) -> Iterator[str]:
        pending = f"{self.pending}…" if self.pending else ""
        if self.parameters is None and self.data.info is not None:
            yield _joined(self.model, pending)
            yield pending or self.model
            return
        if self.parameters is None:
            yield _joined(self.model, "parameters, time and memory are unknown until the images are decoded")
            yield "size and time unknown until images are decoded"
            yield "size and time not known yet"
            return
        parameters = f"{self.parameters:,} parameters"
        time = "" if self.seconds is None else rough_duration(self.seconds)
        about = f"about {time}" if time else ""
        memory = "" if self.memory is None else memory_size(self.memory)
        on_device = about and f"{about} on {self.device}"
        if self.snapshot_bytes:
            snapshots = f"{file_size(self.snapshot_bytes)} of snapshots"
            yield _joined(self.model, parameters, on_device, memory and f"{memory} of memory", snapshots, pending)
        yield _joined(self.model, parameters, on_device, memory and f"{memory} of memory", pending)
        yield _joined(parameters, on_device, memory, pending)
        yield _joined(parameters, about, memory, pending)
        yield _joined(parameters, time and f"~{time}", memory, pending)
        yield _joined(f"{brief_count(self.parameters)} parameters", time and f"~{time}", memory, pending)
        yield _joined(f"{brief_count(self.parameters)} parameters", pending or memory)


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
