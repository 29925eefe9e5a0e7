"""Datasets of the user's own: decoded once into memory-mapped arrays in the cache, which later starts reuse."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.config.datasets import MAX_SIDE, MIN_SIDE, DatasetInfo, ImageOptions, missing_source
from core.data import arrays, parquet
from core.data.folders import ImageFile, list_images
from core.data.image_decoder import decode_files, read_headers
from core.data.image_files import Header, Target
from core.errors import DatasetError
from core.generators import WithResult
from core.runs.events import Event, Preparing, Warned
from core.system.atomic_write import write_atomically
from core.system.safe_io import parse_json, read_whole

VERSION = 1  # of the cached files; part of the fingerprint
RECORD, RECORD_BYTES = "info.json", 1_048_576
KEPT = 3  # newest versions of one source that stay in the cache
LARGE_SIDE, SMALL_SIDE = 64, 32  # to which images are converted if their sizes differ, or are too large
TEST_SHARE, MAX_TEST = 10, 10_000  # one image in ten is in the test split if the data has none, at most so many
SPLIT_SEED = 0  # the same split for every run, so that validation losses compare
FEW_IMAGES = 100  # fewer get a warning
NAMED = 3  # files that a warning names
COPY = 2_000  # images copied at once


class Prepared(NamedTuple):
    """A decoded dataset in the cache."""

    directory: Path
    info: DatasetInfo
    digests: dict[str, str]  # SHA-256 of the images by split

    def count(self, split: str) -> int:
        """Number of images of a split."""
        return len(np.load(self.directory / f"{split}-labels.npy", mmap_mode="r", allow_pickle=False))

    def read(self, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Memory-mapped images, (N, C, H, W), and labels, (N,), -1 without classes; changes are not written back."""
        images: NDArray[np.uint8] = np.load(self.directory / f"{split}.npy", mmap_mode="c", allow_pickle=False)
        labels: NDArray[np.int64] = np.load(self.directory / f"{split}-labels.npy", allow_pickle=False)
        return images, labels


class Undecoded(NamedTuple):
    """A folder or file of the user's own that is not in the cache yet."""

    files: list[ImageFile]  # of a folder of images; empty for arrays and Parquet files
    class_names: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, int]:
        """Number of files in the training and in the test split."""
        total = len(self.files)
        test = sum(file.split == "test" for file in self.files)
        if not 0 < test < total:  # not split yet
            test = _test_count(total)
        return total - test, test


class _Record(BaseModel):
    """What the cache stores beside the arrays."""

    model_config = ConfigDict(extra="forbid")

    source: str
    info: DatasetInfo
    digests: dict[str, str]
    warnings: list[str]


def prepare(source: Path, options: ImageOptions, cache: Path) -> Generator[Event, None, Prepared]:
    """Find the prepared arrays of a folder or file, or make them.

    Args:
        source: A folder of images or Parquet files, or a .npy, .npz, .safetensors or .parquet file.
        options: How images are converted.
        cache: Folder of the user's cache.

    Yields:
        Preparing events while images are decoded, then Warned events.

    Raises:
        DatasetError: The source has no usable images, or the cache cannot be written. With `options.strict`, also if a
            file cannot be read.
    """
    files, class_names, directory = _look_up(source, options, cache)
    home, record = directory.parent, _read_record(directory)
    if record is None:
        try:
            home.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".preparing-", dir=home))
        except OSError as error:
            raise _unwritable(cache, error) from error
        try:
            record = yield from _decode(source, files, class_names, options, scratch)
            _discard_old(home)
            if _read_record(directory) is None:  # else another process has made it in the meantime
                shutil.rmtree(directory, ignore_errors=True)  # damaged
                os.rename(scratch, directory)
        except OSError as error:
            raise _unwritable(cache, error) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    for message in record.warnings:
        yield Warned(message=message)
    return Prepared(directory, record.info, record.digests)


def find(source: Path, options: ImageOptions, cache: Path) -> Prepared | Undecoded:
    """The prepared arrays of a folder or file, or what is known about it without decoding or making anything.

    Raises:
        DatasetError: The source has no images, or cannot be read.
    """
    files, class_names, directory = _look_up(source, options, cache)
    record = _read_record(directory)
    return Undecoded(files, class_names) if record is None else Prepared(directory, record.info, record.digests)


def _look_up(source: Path, options: ImageOptions, cache: Path) -> tuple[list[ImageFile], tuple[str, ...], Path]:
    """The image files of a folder and their classes, and the directory in the cache for the arrays."""
    files, class_names, stamp = _stamp(source)
    text = json.dumps([VERSION, options, stamp])
    home = cache / "prepared" / hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
    return files, class_names, home / hashlib.sha256(text.encode()).hexdigest()[:16]


def _unwritable(cache: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"the decoded images cannot be written to {cache} ({error.strerror or error}); free some space there or set "
        "XDG_CACHE_HOME to a writable folder"
    )


def _stamp(source: Path) -> tuple[list[ImageFile], tuple[str, ...], list[tuple[str, int, int]]]:
    """The image files of a folder and their classes, and what identifies the content: paths, sizes and times."""
    if not source.exists():
        raise DatasetError(missing_source(source))
    files: list[ImageFile] = []
    class_names: tuple[str, ...] = ()
    paths = [str(path) for path in parquet.parquet_files(source)]
    if not paths and source.is_dir():
        files, class_names = list_images(source)
        paths = [file.path for file in files]
    elif not paths and source.suffix not in arrays.SUFFIXES:
        raise DatasetError(f"{source} is not a folder, nor a .npz, .npy, .safetensors or .parquet file")
    try:
        states = [(path, os.stat(path)) for path in paths or [str(source)]]
    except OSError as error:
        raise DatasetError(f"cannot read {error.filename}: {error.strerror}") from None
    return files, class_names, [(path, state.st_size, state.st_mtime_ns) for path, state in states]


def _read_record(directory: Path) -> _Record | None:
    try:
        content = parse_json(read_whole(directory / RECORD, RECORD_BYTES))
        return _Record(**content)
    except (OSError, ValueError, TypeError, ValidationError):
        return None  # it is made again


def _discard_old(home: Path) -> None:
    """Delete all but the newest versions of a source."""
    versions = sorted((path for path in home.iterdir() if path.name[0] != "."), key=lambda path: path.stat().st_mtime)
    for old in versions[: 1 - KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _decode(
    source: Path, files: list[ImageFile], class_names: tuple[str, ...], options: ImageOptions, scratch: Path
) -> Generator[Event, None, _Record]:
    """Write the arrays and their record into `scratch`."""
    warnings: list[str] = []
    name = source.name
    parts: dict[str, _Part] = {}
    if source.suffix in arrays.SUFFIXES and source.is_file():
        stored, class_names = arrays.read_arrays(source)
        headers = [Header(*part.shape[:2], part.shape[2] == 1) for part in stored.values()]
        target = choose_target(source, headers, options, warnings)
        for split, array in stored.items():
            done, images = 0, _new_array(scratch / f"all-{split}.npy", len(array.values), target)
            for chunk in array.chunks(target):
                images[done : done + len(chunk)] = chunk
                done += len(chunk)
                yield Preparing(name=name, doing="converting images", done=done, total=len(images))
            parts[split] = _Part(images, np.arange(len(images)), array.labels)
    else:
        if not files:
            extraction = WithResult(parquet.extract(parquet.parquet_files(source), scratch))
            for done in extraction:
                yield Preparing(name=name, doing="reading Parquet files", done=done, total=None)
            files, class_names = extraction.result
        paths = [file.path for file in files]
        reading = WithResult(read_headers(paths, scratch))
        for done in reading:
            yield Preparing(name=name, doing="reading image headers", done=done, total=len(files))
        found = [header for header in reading.result if isinstance(header, Header)]
        if not found:
            raise DatasetError(f"none of the {len(files):,} images in {source} can be read: {reading.result[0]}")
        target = choose_target(source, found, options, warnings)
        decoding = WithResult(decode_files(paths, target, scratch))
        for done in decoding:
            yield Preparing(name=name, doing="decoding images", done=done, total=len(files))
        images, failures = decoding.result
        warnings += _failure_warning(source, files, failures, options)
        labels = np.array([file.label for file in files], dtype=np.int64)
        for split in dict.fromkeys(file.split for file in files):
            usable = [i for i, file in enumerate(files) if file.split == split and failures[i] is None]
            parts[split] = _Part(images, np.array(usable, dtype=np.int64), labels[usable])
    info = DatasetInfo(channels=target.channels, height=target.height, width=target.width, class_names=class_names)
    digests = {split: part.write(scratch, split) for split, part in _split(source, parts).items()}
    for leftover in scratch.iterdir():
        if leftover.name.removesuffix(".npy").removesuffix("-labels") not in digests:
            leftover.unlink()
    if (count := sum(len(part.rows) for part in parts.values())) < FEW_IMAGES:
        warnings.append(f"{source} has only {count} images; a model trained on so few memorizes them")
    record = _Record(source=str(source), info=info, digests=digests, warnings=warnings)
    write_atomically(scratch / RECORD, record.model_dump_json().encode())
    return record


def _new_array(path: Path, count: int, target: Target) -> NDArray[np.uint8]:
    shape = (count, target.channels, target.height, target.width)
    array: NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    return array


class _Part(NamedTuple):
    """Some of the decoded images, and their labels."""

    images: NDArray[np.uint8]  # (N, C, H, W)
    rows: NDArray[np.int64]  # of `images`, in the order to be stored
    labels: NDArray[np.int64]  # of each row

    def take(self, positions: NDArray[np.int64]) -> _Part:
        return _Part(self.images, self.rows[positions], self.labels[positions])

    def write(self, folder: Path, split: str) -> str:
        """Write images and labels; returns the SHA-256 of the images."""
        digest = hashlib.sha256()
        shape = (len(self.rows), *self.images.shape[1:])
        stored = np.lib.format.open_memmap(folder / f"{split}.npy", mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(self.rows), COPY):
            chunk = self.images[self.rows[start : start + COPY]]
            stored[start : start + COPY] = chunk
            digest.update(chunk.tobytes())
        stored.flush()
        np.save(folder / f"{split}-labels.npy", self.labels)
        return digest.hexdigest()


def _split(source: Path, parts: dict[str, _Part]) -> dict[str, _Part]:
    """The training and test split, each in a random order that is the same for every run."""
    random = np.random.default_rng(SPLIT_SEED)
    if "test" in parts and len(parts) == 2:
        shuffled = {"train" if split != "test" else split: part for split, part in parts.items()}
        result = {split: part.take(random.permutation(len(part.rows))) for split, part in shuffled.items()}
    else:
        (part,) = parts.values()
        order = random.permutation(len(part.rows))
        count = _test_count(len(order))
        result = {"train": part.take(order[count:]), "test": part.take(order[:count])}
    if any(not len(part.rows) for part in result.values()):
        raise too_few_images(source)
    return result


def too_few_images(source: Path) -> DatasetError:
    """The error for a source whose images are not enough for two splits."""
    return DatasetError(f"{source} has too few images; at least one for training and one for validation are needed")


def _test_count(images: int) -> int:
    return min(MAX_TEST, max(1, images // TEST_SHARE))


def choose_target(source: Path, headers: list[Header], options: ImageOptions, warnings: list[str]) -> Target:
    """The shape to convert the images to."""
    grey = all(header.grey for header in headers) if options.mode == "auto" else options.mode == "L"
    sizes = {(header.height, header.width) for header in headers}
    if options.size is not None:
        height, width = options.size[0], options.size[-1]
        return Target(1 if grey else 3, height, width, options.resize)
    height, width = next(iter(sizes))
    if len(sizes) > 1 or max(height, width) > MAX_SIDE:
        typical = statistics.median(min(size) for size in sizes)
        height = width = LARGE_SIDE if typical >= LARGE_SIDE else SMALL_SIDE
        difference = f"{len(sizes):,} different sizes" if len(sizes) > 1 else f"a side above {MAX_SIDE} pixels"
        warnings.append(
            f"the images in {source} have {difference}; they are converted to {height}x{width} ({options.resize}); "
            "--image-size and --resize choose otherwise"
        )
    elif min(height, width) < MIN_SIDE:
        raise DatasetError(
            f"the images in {source} are {height}x{width}; the smallest side is {MIN_SIDE} pixels: use --image-size"
        )
    return Target(1 if grey else 3, height, width, options.resize)


def _failure_warning(
    source: Path, files: list[ImageFile], failures: list[str | None], options: ImageOptions
) -> Iterator[str]:
    failed = [(file.path, reason) for file, reason in zip(files, failures, strict=True) if reason is not None]
    if not failed:
        return
    named = ", ".join(f"{os.path.relpath(path, source)} ({reason})" for path, reason in failed[:NAMED])
    more = f" and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
    text = f"{len(failed):,} of {len(files):,} files in {source} cannot be read: {named}{more}"
    if options.strict:
        raise DatasetError(f"{text}; repair or remove them, or leave out --strict")
    if len(failed) == len(files):
        raise DatasetError(f"{text}; repair them")
    yield f"{text}; skipped"
