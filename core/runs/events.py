"""The events of a run: small frozen records, one JSON line each in `events.jsonl`."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import time
import zlib
from dataclasses import dataclass, field
from typing import Any, ClassVar

from core.config.legacy import EVENT_FIELDS
from core.system.safe_io import parse_json
from core.text import sanitize

LINE_BYTES = 1_048_576  # of a line; those that a trainer writes have 10,000 at most, all of them ASCII
IMAGE_BYTES = 65_536  # of a preview; eight digits take 6,272
GREATEST = 2**53  # number of steps, bytes or whatever is counted: beyond, floats skip some
LATEST = 253_402_300_799.0  # the last second of the year 9999
LARGEST = 3.5e38  # loss: beyond what float32 holds
POSITIVE = ("epochs", "steps_per_epoch")  # counts that are at least 1
MEASURED = ("seconds", "images_per_second")  # numbers that are finite and not negative


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has: the moment it happened, in seconds since the epoch (UTC)."""

    kind: ClassVar[str] = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A trainer took the run and begins at step 0."""

    kind: ClassVar[str] = "started"
    name: str
    device: str
    threads: int
    parameters: int
    epochs: int
    torch: str = ""  # version
    devices: str = ""  # the devices of all processes, where several train together


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """A trainer took the run again; whatever earlier lines say beyond `step` is void."""

    kind: ClassVar[str] = "resumed"
    name: str
    device: str
    threads: int
    parameters: int
    epochs: int
    step: int
    torch: str = ""
    devices: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetLoaded(Event):
    """The data is in memory: how many images of which set, from where, and the training images' SHA-256."""

    kind: ClassVar[str] = "dataset"
    name: str
    source: str
    train: int
    test: int
    sha256: str
    steps_per_epoch: int
    memory: int | None = None  # bytes that the training will take at its peak, estimated; data included


@dataclass(frozen=True, slots=True, kw_only=True)
class Download(Event):
    """Bytes of one file received so far; `total` is None while the server has not said."""

    kind: ClassVar[str] = "download"
    name: str
    file: str
    received: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """One window of steps: mean, least and greatest loss, and the pace."""

    kind: ClassVar[str] = "progress"
    step: int  # steps done
    epoch: int  # the epoch those steps are in, from 1
    loss: float
    loss_min: float
    loss_max: float
    images_per_second: float
    learning_rate: float
    memory: int | None  # bytes held on the device, or by the process on a CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch(Event):
    """An epoch ended: its average training loss and the validation loss on the test split."""

    kind: ClassVar[str] = "epoch"
    epoch: int  # from 1
    step: int
    loss: float
    validation_loss: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Event):
    """Samples from the same noise in every epoch: `count` images, uint8, row by row."""

    kind: ClassVar[str] = "preview"
    epoch: int
    step: int
    count: int
    height: int
    width: int
    images: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Event):
    """Samples were measured against the test split, as `minidiff eval` does with more of them."""

    kind: ClassVar[str] = "evaluated"
    epoch: int
    step: int
    n: int
    frechet: float  # compare only those of the same n
    agreement: float  # share recognised as the class asked for; NaN for a model without classes
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Event):
    """The state after `step` steps is on disk."""

    kind: ClassVar[str] = "checkpoint"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """The trainer waits, with its state on disk."""

    kind: ClassVar[str] = "paused"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued(Event):
    """The trainer goes on after a pause."""

    kind: ClassVar[str] = "continued"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something the user should know, though training goes on."""

    kind: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """The run was stopped before its end; its state is on disk and it can be resumed."""

    kind: ClassVar[str] = "stopped"
    step: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """Every epoch is done."""

    kind: ClassVar[str] = "finished"
    step: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The run ended with an error; `message` is the error's own text."""

    kind: ClassVar[str] = "failed"
    step: int
    message: str


TYPES: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        Started,
        Resumed,
        DatasetLoaded,
        Download,
        Progress,
        Epoch,
        Preview,
        Evaluated,
        Checkpoint,
        Paused,
        Continued,
        Warned,
        Stopped,
        Finished,
        Failed,
    )
}
_KNOWN = {kind: {spec.name: str(spec.type) for spec in dataclasses.fields(cls)} for kind, cls in TYPES.items()}
LIFECYCLE = (Started, Resumed, Paused, Continued, Stopped, Finished, Failed)


def to_line(event: Event) -> str:
    """One line of JSON ending in a newline; bytes are deflated base64, numbers that are not finite become null.

    Times are kept to the millisecond, other numbers to 7 digits, float32's own precision.
    """
    record: dict[str, Any] = {"event": event.kind}
    for spec in dataclasses.fields(event):
        value = getattr(event, spec.name)
        if isinstance(value, bytes):
            value = base64.b64encode(zlib.compress(value, 9)).decode("ascii")
        elif isinstance(value, float):
            digits = round(value, 3) if spec.name == "time" else float(f"{value:.7g}")
            value = digits if math.isfinite(value) else None
        record[spec.name] = value
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"


def from_line(line: str) -> Event | None:
    """The event that `line` holds, or None for a damaged line or a kind this version does not know.

    Nothing that a line says is taken on trust: counts lie in 0 to `GREATEST` (those of `POSITIVE` in 1 to `GREATEST`),
    times of day in 0 to `LATEST`, texts are `sanitize`, images inflate to no more than `IMAGE_BYTES`, a loss beyond
    `LARGEST` is read as NaN, and a window's least loss is not above its greatest.
    """
    if len(line) > LINE_BYTES:
        return None
    try:
        record = parse_json(line)
        kind = record.pop("event")
        known = _KNOWN[kind]
        record = {EVENT_FIELDS.get(name, name): value for name, value in record.items()}
        event = TYPES[kind](**{name: _read(value, known[name]) for name, value in record.items() if name in known})
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return None
    return event if _is_possible(event) else None


def _is_possible(event: Event) -> bool:
    """Whether a trainer can have written this event."""
    if not 0 <= event.time <= LATEST:
        return False
    if any(getattr(event, name, 1) < 1 for name in POSITIVE):
        return False
    if not all(0 <= getattr(event, name, 0.0) <= LARGEST for name in MEASURED):  # false of NaN
        return False
    match event:
        case Preview():
            sizes = event.count, event.height, event.width
            return min(sizes) >= 1 and len(event.images) == math.prod(sizes)
        case Progress():
            return not event.loss_min > event.loss_max  # true of NaN
        case _:
            return True


def _read(value: Any, wanted: str) -> Any:
    """A JSON value as the field type `wanted`, one of those used above."""
    kind = type(value)
    if wanted == "float" and (kind is float or kind is int):
        return float(value) if abs(value) <= LARGEST else math.nan  # which tells NaN itself, too
    if wanted == "float" and value is None:
        return math.nan
    if wanted == "str" and kind is str:
        return sanitize(value)
    if wanted == "bytes":
        return _inflated(base64.b64decode(value))
    if wanted == "int | None" and value is None:
        return None
    if wanted in ("int", "int | None") and kind is int and 0 <= value <= GREATEST:
        return value
    raise TypeError(f"not a value for {wanted}")


def _inflated(content: bytes) -> bytes:
    inflater = zlib.decompressobj()
    images = inflater.decompress(content, IMAGE_BYTES)
    if not inflater.eof:
        raise ValueError("the images are cut short, or too many")
    return images
