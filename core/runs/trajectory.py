"""A denoising held as uint8 frames, so that it can be drawn, exported and replayed without torch."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from core.errors import CheckpointError
from core.system.atomic_write import write_atomically
from core.system.safe_io import parse_json, read_whole
from core.text import sanitize

RECORDING = "denoising.json"
VERSION = 1
FILE_BYTES = 16_777_216  # of a recording; those that ship have half a million at most
IMAGE_BYTES = 67_108_864  # of all frames: 1,000 steps of 64 digits, say


@dataclass(frozen=True, slots=True)
class Frame:
    """One record of a denoising: `n` images one after another, row by row, 0 black ink's absence to 255 full ink."""

    index: int  # 0 is the start
    t: float  # noise left in x, 1 to 0
    x: bytes  # n * height * width
    prediction: bytes | None  # what the net made of the previous frame's x; None in frame 0
    read: tuple[tuple[int, int], ...] | None = None  # what a classifier takes each prediction for, and percent sure


@dataclass(frozen=True, slots=True)
class Denoising:
    """A whole denoising, or as much of it as there is so far."""

    model: str
    seed: int
    steps: int
    n: int
    height: int
    width: int
    frames: tuple[Frame, ...]

    @property
    def complete(self) -> bool:
        """Whether the last step is there."""
        return len(self.frames) == self.steps + 1


def save_recording(denoising: Denoising, path: Path) -> None:
    """Write a denoising as JSON with deflated, base64 frames."""
    content = {
        "version": VERSION,
        **{name: getattr(denoising, name) for name in ("model", "seed", "steps", "n", "height", "width")},
        "amounts": [frame.t for frame in denoising.frames],
        "x": _pack(b"".join(frame.x for frame in denoising.frames)),
        "prediction": _pack(b"".join(frame.prediction or b"" for frame in denoising.frames)),
    }
    if all(frame.read is not None for frame in denoising.frames[1:]):
        content["read"] = [frame.read for frame in denoising.frames[1:]]
    write_atomically(path, json.dumps(content, separators=(",", ":")).encode())


def load_recording(path: Path) -> Denoising:
    """Read what `save_recording` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or of a newer version.
    """
    try:
        content = parse_json(read_whole(path, FILE_BYTES, follow=True))
        if content["version"] > VERSION:
            raise CheckpointError(f"{path} was written by a newer minidiff; update this one")
        n, height, width, steps, seed = (_whole(content[name]) for name in ("n", "height", "width", "steps", "seed"))
        noise_levels = [float(t) for t in content["amounts"]]
        size, count = n * height * width, len(noise_levels)
        if min(size, count) < 1 or size * count > IMAGE_BYTES:
            raise ValueError("sizes make no sense")
        x, prediction = _unpack(content["x"], size * count), _unpack(content["prediction"], size * (count - 1))
        read = [None, *(tuple((int(c), int(sure)) for c, sure in frame) for frame in content.get("read", []))]
        read += [None] * (len(noise_levels) - len(read))
        if len(read) != len(noise_levels) or any(frame is not None and len(frame) != n for frame in read):
            raise ValueError("frames and readings disagree")
        frames = tuple(
            Frame(i, t, x[i * size : (i + 1) * size], prediction[(i - 1) * size : i * size] if i else None, read[i])
            for i, t in enumerate(noise_levels)
        )
        return Denoising(sanitize(content["model"]), seed, steps, n, height, width, frames)
    except OSError as error:
        raise CheckpointError(f"cannot read the recording {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, zlib.error) as error:
        raise CheckpointError(f"{path} is not a recorded denoising ({error}); record it again") from None


def _pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def _unpack(content: str, size: int) -> bytes:
    inflater = zlib.decompressobj()
    images = inflater.decompress(base64.b64decode(content), size + 1)
    if not inflater.eof or len(images) != size:
        raise ValueError("frames and sizes disagree")
    return images


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a count is no whole number")
    return value
