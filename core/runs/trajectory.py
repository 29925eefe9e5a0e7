"""A denoising trajectory as uint8 frames, which is displayed, exported and replayed without torch."""

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
FILE_BYTES = 16_777_216  # maximum of a recording; those that ship have at most half a million
IMAGE_BYTES = 67_108_864  # maximum of all frames, such as 1,000 steps of 64 MNIST images
_STORED = ("model", "seed", "steps", "n", "height", "width", "channels", "characters")


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of a denoising trajectory: uint8 images of shape (n, height, width, channels)."""

    index: int  # 0 is the start
    t: float  # noise level of x, from 1 to 0
    x: bytes  # n * height * width * channels
    prediction: bytes | None  # the network's prediction from the previous frame's x; None in frame 0
    read: tuple[tuple[int, int], ...] | None = None  # predicted class and confidence in percent of each prediction


@dataclass(frozen=True, slots=True)
class Denoising:
    """A denoising trajectory, complete or in progress."""

    model: str
    seed: int
    steps: int
    n: int
    height: int
    width: int
    frames: tuple[Frame, ...]
    channels: int = 1  # 1: gray, 3: RGB
    characters: bool = True  # light on black, which exports and light themes show as dark on white

    @property
    def complete(self) -> bool:
        """Whether the trajectory includes the last step."""
        return len(self.frames) == self.steps + 1


def save_recording(denoising: Denoising, path: Path) -> None:
    """Write a trajectory as JSON with deflated base64 frames."""
    content = {
        "version": VERSION,
        **{name: getattr(denoising, name) for name in _STORED},
        "amounts": [frame.t for frame in denoising.frames],
        "x": _pack(b"".join(frame.x for frame in denoising.frames)),
        "prediction": _pack(b"".join(frame.prediction or b"" for frame in denoising.frames)),
    }
    if all(frame.read is not None for frame in denoising.frames[1:]):
        content["read"] = [frame.read for frame in denoising.frames[1:]]
    write_atomically(path, json.dumps(content, separators=(",", ":")).encode())


def load_recording(path: Path) -> Denoising:
    """Read a recording written by `save_recording`.

    Raises:
        CheckpointError: the file is missing, damaged or of a newer version.
    """
    try:
        content = parse_json(read_whole(path, FILE_BYTES, follow=True))
        if content["version"] > VERSION:
            raise CheckpointError(f"{path} was written by a newer minidiff; update this one")
        n, height, width, steps, seed = (_integer(content[name]) for name in ("n", "height", "width", "steps", "seed"))
        channels = _integer(content.get("channels", 1))
        noise_levels = [float(t) for t in content["amounts"]]
        size, count = n * height * width * channels, len(noise_levels)
        if channels not in (1, 3) or min(size, count) < 1 or size * count > IMAGE_BYTES:
            raise ValueError("invalid sizes")
        x, prediction = _unpack(content["x"], size * count), _unpack(content["prediction"], size * (count - 1))
        classified = content.get("read", [])
        read = [None, *(tuple((int(c), int(percent)) for c, percent in frame) for frame in classified)]
        read += [None] * (len(noise_levels) - len(read))
        if len(read) != len(noise_levels) or any(frame is not None and len(frame) != n for frame in read):
            raise ValueError("frames and classifications do not match")
        frames = tuple(
            Frame(i, t, x[i * size : (i + 1) * size], prediction[(i - 1) * size : i * size] if i else None, read[i])
            for i, t in enumerate(noise_levels)
        )
        characters = content.get("characters", True) is True
        return Denoising(sanitize(content["model"]), seed, steps, n, height, width, frames, channels, characters)
    except OSError as error:
        raise CheckpointError(f"cannot read the recording {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, zlib.error) as error:
        raise CheckpointError(f"{path} is not a valid recording ({error}); record it again") from None


def _pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def _unpack(content: str, size: int) -> bytes:
    inflater = zlib.decompressobj()
    images = inflater.decompress(base64.b64decode(content), size + 1)
    if not inflater.eof or len(images) != size:
        raise ValueError("frames and sizes do not match")
    return images


def _integer(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a count is not a whole number")
    return value
