"""The events of a run: small frozen records, one JSON line each in `events.jsonl`."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import math
import time
import zlib
from dataclasses import dataclass, field
from typing import Any, ClassVar

from core.config.legacy import EVENT_FIELDS
from core.system.safe_io import parse_json
from core.text import sanitize

LINE_BYTES = 1_048_576  # maximum; trainers write lines of at most 180,000, in ASCII
IMAGE_BYTES = 131_072  # maximum of a preview; eight MNIST images take 6,272
MAX_COUNT = 2**53  # of steps, bytes and so on; larger integers are not exact as floats
MAX_TIME = 253_402_300_799.0  # the last second of the year 9999
MAX_FLOAT = 3.5e38  # just above the maximum of float32
MAX_LEVELS = 1_024  # noise levels of an event
POSITIVE = ("epochs", "steps_per_epoch")  # counts that are at least 1
NON_NEGATIVE = ("seconds", "images_per_second")  # numbers that are finite and at least 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events; `time` is in seconds since the epoch (UTC)."""

    kind: ClassVar[str] = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """Training started at step 0."""

    kind: ClassVar[str] = "started"
    name: str
    device: str
    threads: int
    parameters: int
    epochs: int
    torch: str = ""  # version
    devices: str = ""  # of all processes, in distributed training


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """Training resumed at `step`; earlier events beyond it are void."""

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
    """The dataset is in memory. `sha256` is that of the training images."""

    kind: ClassVar[str] = "dataset"
    name: str
    source: str
    train: int
    test: int
    sha256: str
    steps_per_epoch: int
    memory: int | None = None  # estimated peak of the training in bytes, including the data
    snapshot_bytes: int = 0  # at most, of all snapshots of the run together


@dataclass(frozen=True, slots=True, kw_only=True)
class Download(Event):
    """Bytes of one file received so far; `total` is None until the server reports it."""

    kind: ClassVar[str] = "download"
    name: str
    file: str
    received: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing(Event):
    """Images of a dataset prepared so far; `total` is None if it is not known."""

    kind: ClassVar[str] = "preparing"
    name: str
    doing: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """One window of steps: mean, minimum and maximum loss, and throughput."""

    kind: ClassVar[str] = "progress"
    step: int  # steps done
    epoch: int  # the epoch those steps are in, from 1
    loss: float
    loss_min: float
    loss_max: float
    images_per_second: float
    learning_rate: float
    memory: int | None  # bytes allocated on the device, or used by the process on a CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch(Event):
    """An epoch is complete: its average training loss, and the validation loss on the test split."""

    kind: ClassVar[str] = "epoch"
    epoch: int  # from 1
    step: int
    loss: float
    validation_loss: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Event):
    """Samples from the same noise in every epoch: uint8 of shape (count, height, width, channels)."""

    kind: ClassVar[str] = "preview"
    epoch: int
    step: int
    count: int
    height: int
    width: int
    images: bytes
    channels: int = 1  # 1: gray, 3: RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Event):
    """Samples were compared with the test split, as by `minidiff eval` but with fewer samples."""

    kind: ClassVar[str] = "evaluated"
    epoch: int
    step: int
    n: int
    frechet: float  # comparable only at the same n
    agreement: float  # fraction classified as the requested class; NaN without class conditioning
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossByLevel(Event):
    """The loss of the EMA weights at several noise levels, and the least possible one, on the same noisy images.

    These are made from training images. The excess over the floor is the network's distance from the ideal denoiser.
    """

    kind: ClassVar[str] = "loss_by_level"
    epoch: int
    step: int
    n: int  # noisy images per level
    levels: tuple[float, ...]  # noise levels, ascending
    losses: tuple[float, ...]  # in the units of the training loss
    floors: tuple[float, ...]
    loss: float  # means over the noise levels of the training
    floor: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Event):
    """The state after `step` steps was saved."""

    kind: ClassVar[str] = "checkpoint"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """Training paused, with its state saved."""

    kind: ClassVar[str] = "paused"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued(Event):
    """Training continued after a pause."""

    kind: ClassVar[str] = "continued"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """A problem that does not end the training."""

    kind: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """Training stopped early, with its state saved; it can be resumed."""

    kind: ClassVar[str] = "stopped"
    step: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """All epochs are complete."""

    kind: ClassVar[str] = "finished"
    step: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """Training ended with an error; `message` is the error's text."""

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
        Preparing,
        Progress,
        Epoch,
        Preview,
        Evaluated,
        LossByLevel,
        Checkpoint,
        Paused,
        Continued,
        Warned,
        Stopped,
        Finished,
        Failed,
    )
}
_FIELDS = {kind: {spec.name: str(spec.type) for spec in dataclasses.fields(cls)} for kind, cls in TYPES.items()}
LIFECYCLE = (Started, Resumed, Paused, Continued, Stopped, Finished, Failed)


def to_line(event: Event) -> str:
    """The event as a line of JSON with its newline. Bytes become deflated base64, non-finite numbers null.

    Times are rounded to the millisecond, other floats to 7 significant digits, the precision of float32.
    """
    record: dict[str, Any] = {"event": event.kind}
    for spec in dataclasses.fields(event):
        value = getattr(event, spec.name)
        if isinstance(value, bytes):
            value = base64.b64encode(zlib.compress(value, 9)).decode("ascii")
        elif isinstance(value, float):
            value = round(value, 3) if spec.name == "time" and math.isfinite(value) else _rounded(value)
        elif isinstance(value, tuple):
            value = [_rounded(item) for item in value]
        record[spec.name] = value
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"


def _rounded(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def from_line(line: str) -> Event | None:
    """Parse and validate a line; None if it is damaged or of an unknown kind.

    Counts lie in [0, `MAX_COUNT`] (those in `POSITIVE` in [1, `MAX_COUNT`]), times in [0, `MAX_TIME`]. Texts are
    sanitized, images inflate to at most `IMAGE_BYTES`, floats beyond `MAX_FLOAT` become NaN, and `loss_min` is at most
    `loss_max`.
    """
    if len(line) > LINE_BYTES:
        return None
    try:
        record = parse_json(line)
        kind = record.pop("event")
        types = _FIELDS[kind]
        record = {EVENT_FIELDS.get(name, name): value for name, value in record.items()}
        event = TYPES[kind](**{name: _read(value, types[name]) for name, value in record.items() if name in types})
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return None
    return event if _is_valid(event) else None


def _is_valid(event: Event) -> bool:
    if not 0 <= event.time <= MAX_TIME:
        return False
    if any(getattr(event, name, 1) < 1 for name in POSITIVE):
        return False
    if not all(0 <= getattr(event, name, 0.0) <= MAX_FLOAT for name in NON_NEGATIVE):  # NaN fails, too
        return False
    match event:
        case Preview():
            sizes = event.count, event.height, event.width, event.channels
            return event.channels in (1, 3) and min(sizes) >= 1 and len(event.images) == math.prod(sizes)
        case Progress():
            return not event.loss_min > event.loss_max  # NaN is valid here
        case LossByLevel():
            ascending = all(a < b for a, b in itertools.pairwise((-1.0, *event.levels, 1.0 + 1e-9)))  # NaN fails
            return ascending and len(event.levels) == len(event.losses) == len(event.floors) <= MAX_LEVELS
        case _:
            return True


def _read(value: Any, field_type: str) -> Any:
    """Convert a JSON value to one of the field types used above."""
    kind = type(value)
    if field_type == "float" and (kind is float or kind is int):
        return float(value) if abs(value) <= MAX_FLOAT else math.nan  # also for NaN itself
    if field_type == "float" and value is None:
        return math.nan
    if field_type == "tuple[float, ...]" and kind is list:
        return tuple(_read(item, "float") for item in value)
    if field_type == "str" and kind is str:
        return sanitize(value)
    if field_type == "bytes":
        return _inflate(base64.b64decode(value))
    if field_type == "int | None" and value is None:
        return None
    if field_type in ("int", "int | None") and kind is int and 0 <= value <= MAX_COUNT:
        return value
    raise TypeError(f"invalid value for {field_type}")


def _inflate(content: bytes) -> bytes:
    inflater = zlib.decompressobj()
    images = inflater.decompress(content, IMAGE_BYTES)
    if not inflater.eof:
        raise ValueError("the images are truncated or too large")
    return images
