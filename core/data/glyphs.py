"""Draws handwritten-looking digits with a round pen, for training without a downloaded dataset."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from core.config.datasets import CLASSES, IMAGE_SIZE
from core.data.glyph_strokes import SKELETONS, GlyphStrokes
from core.data.idx import header, read_idx
from core.errors import DatasetError
from core.runs.events import Download, Event
from core.system import subprocesses
from core.system.atomic_write import write_atomically
from core.system.safe_io import parse_json, read_whole

VERSION = 1  # part of the cache folder's name; increment it when pixels change
SEED = 0
COUNTS = {"train": 60_000, "test": 10_000}
FILES = {
    split: (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    for split, part in (("train", "train"), ("test", "t10k"))
}
MAX_IN_MEMORY = 3_000  # drawn in half a second, without filling the cache with all 70,000
CHUNK = 250  # images per random stream; chunks are independent of one another
PROCESSES = 2
SUPERSAMPLING = 4  # drawn at this scale, then downsampled for soft edges
STEP = 0.04  # largest distance between two pen positions; the digit's height is 1
_RECORD, RECORD_BYTES = "sha256.json", 4096
_SPLIT_STREAM = {"train": 0, "test": 1}

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


def draw(split: str, count: int, seed: int = SEED) -> tuple[Bytes, Bytes]:
    """The first `count` images, (count, 28, 28) uint8, and labels, (count,) uint8, of a split; a function of `seed`."""
    chunks = [draw_chunk(split, index, seed) for index in range(-(-count // CHUNK))]
    return (
        np.concatenate([images for images, _ in chunks])[:count],
        np.concatenate([labels for _, labels in chunks])[:count],
    )


def draw_chunk(split: str, index: int, seed: int = SEED) -> tuple[Bytes, Bytes]:
    """Images `index * CHUNK` to `(index + 1) * CHUNK` of a split, with equal counts of all digits."""
    random = np.random.default_rng((seed, _SPLIT_STREAM[split], index))
    labels = random.permutation(np.arange(CHUNK) % CLASSES).astype(np.uint8)
    across = int(np.ceil(np.sqrt(CHUNK)))
    down = -(-CHUNK // across)
    sheet = Image.new("L", (across * IMAGE_SIZE * SUPERSAMPLING, down * IMAGE_SIZE * SUPERSAMPLING))
    pen = ImageDraw.Draw(sheet)
    for digit, variants in enumerate(SKELETONS):
        weights = np.array([variant.weight for variant in variants])
        chosen = random.choice(len(variants), size=CHUNK, p=weights / weights.sum())
        for number, variant in enumerate(variants):
            indices = np.flatnonzero((labels == digit) & (chosen == number))
            centres, widths = _strokes(variant, len(indices), random)
            tiles = np.stack([indices % across, indices // across], axis=-1) * IMAGE_SIZE
            middle = (centres + tiles[:, None]) * SUPERSAMPLING
            radius = widths[..., None] * (SUPERSAMPLING / 2)
            for box in np.rint(np.concatenate([middle - radius, middle + radius], axis=-1)).reshape(-1, 4).tolist():
                pen.ellipse(box, fill=255)
    small: Bytes = np.asarray(
        sheet.resize((across * IMAGE_SIZE, down * IMAGE_SIZE), Image.Resampling.HAMMING), dtype=np.uint8
    )
    images = small.reshape(down, IMAGE_SIZE, across, IMAGE_SIZE).swapaxes(1, 2).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return images[:CHUNK].copy(), labels


def _strokes(variant: GlyphStrokes, count: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """`count` random distortions of a variant: pen positions (count, S, 2) and widths (count, S), in pixels."""
    points, curve, owner = _basis(variant)

    def normal(spread: float, *shape: int) -> Floats:
        return random.normal(0.0, spread, (count, *shape))

    # Shape: jitter of every point, then bending, slant and rotation of the whole digit.
    control = points + normal(0.034, len(points), 2)
    x, y = control[..., 0] - 0.5, control[..., 1] - 0.5
    bend, swell, squeeze = normal(0.16, 1), normal(0.28, 1), normal(0.12, 1)
    x, y = x * (1 + swell * y) + bend * (y * y - 0.08), y * (1 + 0.4 * swell * x) + squeeze * (y * y - 0.08)
    x = x * variant.aspect * np.exp(0.04 + normal(0.19, 1))
    slant = np.clip(0.2 + normal(0.24, 1), -0.4, 0.9)
    angle = normal(0.09, 1)
    x = x - slant * y
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    path = np.einsum("sp,npd->nsd", curve, np.stack([x, y], axis=-1))

    # Pen width in pixels, which varies along each stroke.
    along = np.linspace(0.0, 1.0, path.shape[1])
    weight = np.clip(2.4 * np.exp(normal(0.24, 1)), 1.5, 4.4)
    waves = 1 + 0.13 * np.sin(2 * np.pi * (along * np.exp(normal(0.4, 1)) * 1.5 + random.random((count, 1))))
    widths = weight * waves

    # Position: scaled to size including the pen width, centered at the center of mass, then shifted at random.
    extent = np.ptp(path, axis=1).max(axis=-1)
    size = np.clip(19.2 + normal(1.0), 16.0, 21.5)
    path = path * ((size - weight[:, 0]) / extent)[:, None, None]
    steps = np.linalg.norm(np.diff(path, axis=1), axis=-1) * (owner[1:] == owner[:-1])
    mass = widths * (np.pad(steps, ((0, 0), (1, 0))) + np.pad(steps, ((0, 0), (0, 1))))
    centre = (path * mass[..., None]).sum(axis=1) / mass.sum(axis=1)[:, None]
    path = path - centre[:, None] + IMAGE_SIZE / 2 + normal(0.6, 1, 2)
    margin = widths.max(axis=1)[:, None] / 2 + 1.75  # including the reach of the downsampling filter
    low, high = path.min(axis=1) - margin, path.max(axis=1) + margin
    return path + (np.maximum(-low, 0) - np.maximum(high - IMAGE_SIZE, 0))[:, None], widths


@functools.cache
def _basis(variant: GlyphStrokes) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Control points (P, 2), weights (S, P) that map them to pen positions, and the curve of each position (S,).

    Curves are uniform Catmull-Rom splines, so positions are linear in the control points and one matrix serves all
    distortions. Points shared by curves appear once and move together.
    """
    distinct = list(dict.fromkeys(point for curve in variant.curves for point in curve))
    rows, owners = [], []
    for number, curve in enumerate(variant.curves):
        knots = np.zeros((len(curve) + 2, len(distinct)))
        for row, point in enumerate(curve, start=1):
            knots[row, distinct.index(point)] = 1.0
        knots[0], knots[-1] = 2 * knots[1] - knots[2], 2 * knots[-2] - knots[-3]
        for start in range(len(curve) - 1):
            last = start == len(curve) - 2
            chord = np.hypot(*((np.array(curve[start + 1]) - curve[start]) * (variant.aspect, 1)))
            for t in np.linspace(0, 1, int(np.ceil(chord / STEP)) + last, endpoint=last):
                cubic = np.array(
                    [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
                )
                rows.append(0.5 * cubic @ knots[start : start + 4])
                owners.append(number)
    return np.array(distinct), np.array(rows), np.array(owners)


def digest(split: str, count: int) -> str:
    """SHA-256 of an IDX file of the first `count` images of a split."""
    images, _ = draw(split, count)
    return hashlib.sha256(header(images.shape) + images.tobytes()).hexdigest()


def directory(cache: Path) -> Path:
    """Folder of this version's drawn digits in `cache`."""
    return cache / f"glyphs-{VERSION}"


def recorded(folder: Path, counts: Mapping[str, int]) -> dict[str, str] | None:
    """Recorded SHA-256 of each file in a cache folder; None if a file is missing or does not match."""
    try:
        digests = parse_json(read_whole(folder / _RECORD, RECORD_BYTES, follow=True))
        for split, pair in FILES.items():
            for name, shape in zip(pair, _shapes(counts[split]), strict=True):
                if read_idx(folder / name, shape).sha256 != digests[name]:
                    return None
    except (OSError, ValueError, TypeError, KeyError, DatasetError):
        return None
    return {name: str(digests[name]) for pair in FILES.values() for name in pair}


def ensure(folder: Path, counts: Mapping[str, int]) -> Generator[Event, None, dict[str, str]]:
    """Draw `counts` digits into `folder`, in two processes, unless they exist.

    Closing the generator, or Ctrl-C, ends the processes and removes partial files.

    Yields:
        Download events.

    Returns:
        SHA-256 by file name.

    Raises:
        DatasetError: `folder` cannot be written, or a process fails.
    """
    if digests := recorded(folder, counts):
        return digests
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".glyphs-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield from _draw_parts(scratch, counts)
        folder.mkdir(exist_ok=True)
        return _assemble(scratch, folder, counts)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"The drawn digits cannot be written to {folder} ({error.strerror or error}); "
        f"free some space there or set XDG_CACHE_HOME to a writable folder."
    )


def _shapes(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (count, IMAGE_SIZE, IMAGE_SIZE), (count,)


def _draw_parts(scratch: Path, counts: Mapping[str, int]) -> Generator[Event, None, None]:
    """Run the processes that draw into `scratch`, and report their progress."""
    total = sum(counts.values()) * IMAGE_SIZE * IMAGE_SIZE
    yield Download(name="glyphs", file="drawing", received=0, total=total)
    workers = []
    try:
        for part in range(PROCESSES):
            with (scratch / f"report-{part}").open("wb") as output:
                workers.append(
                    subprocesses.start("core.data.glyphs", str(scratch), str(part), json.dumps(counts), output=output)
                )
        for part, worker in enumerate(workers):
            while subprocesses.running(worker, 0.2):
                drawn = sum(path.stat().st_size for path in scratch.glob("images-*"))
                yield Download(name="glyphs", file="drawing", received=drawn, total=total)
            if worker.returncode != 0:
                reason = (scratch / f"report-{part}").read_text(errors="replace").strip().rpartition("\n")[2]
                raise DatasetError(f"Drawing the digits failed ({reason or 'the process was killed'}); try again.")
    finally:
        for worker in workers:
            subprocesses.end(worker)
    yield Download(name="glyphs", file="drawing", received=total, total=total)


def _draw_part(scratch: Path, part: int, counts: Mapping[str, int]) -> None:
    """Entry point of one process: draw its part of the chunks in order and write each when it is done."""
    chunks = [(split, index) for split in counts for index in range(-(-counts[split] // CHUNK))]
    per_process = -(-len(chunks) // PROCESSES)
    with (scratch / f"images-{part}").open("wb") as images, (scratch / f"labels-{part}").open("wb") as labels:
        for split, index in chunks[part * per_process : (part + 1) * per_process]:
            remaining = counts[split] - index * CHUNK
            chunk = draw_chunk(split, index)
            images.write(chunk[0][:remaining].tobytes())
            labels.write(chunk[1][:remaining].tobytes())


def _assemble(scratch: Path, folder: Path, counts: Mapping[str, int]) -> dict[str, str]:
    """Join the parts into IDX files in `folder`, and write the record of digests last."""
    digests: dict[str, str] = {}
    for position, kind in enumerate(("images", "labels")):
        values = b"".join((scratch / f"{kind}-{part}").read_bytes() for part in range(PROCESSES))
        start = 0
        for split, count in counts.items():
            shape = _shapes(count)[position]
            length = math.prod(shape)
            content = header(shape) + values[start : start + length]
            start += length
            write_atomically(folder / FILES[split][position], content)
            digests[FILES[split][position]] = hashlib.sha256(content).hexdigest()
    write_atomically(folder / _RECORD, json.dumps(digests, indent=1).encode())
    return digests


if __name__ == "__main__":
    subprocesses.follow_parent(Path(sys.argv[1]))
    _draw_part(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
