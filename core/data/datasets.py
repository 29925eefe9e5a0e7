"""Finds the data sets on disk, has them downloaded or drawn where they are missing, and reads them into tensors."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from platformdirs import user_cache_dir

from core.config.datasets import CLASSES, IMAGE_SIZE, SOURCES, File
from core.config.numbers import whole_number
from core.data import glyphs
from core.data.download import download
from core.data.idx import Idx, read_idx
from core.errors import DatasetError
from core.runs.events import Event, Warned

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "test")


class Dataset(NamedTuple):
    """Images and their labels, in the order of the files they came from."""

    images: Tensor  # (N, 1, 28, 28) uint8, 0 is background
    labels: Tensor  # (N,) int64, 0 to 9


@dataclass(frozen=True)
class Located:
    """A data set that was found whole: which it is, where it lies, and the SHA-256 of its images."""

    name: str  # the set itself, never "auto"
    directory: Path  # the folder of its files
    files: dict[str, tuple[Path, Path]]  # images and labels of each split; none when glyphs are drawn in memory
    digests: dict[str, str]
    drawn: int = 0  # how many images of a split are drawn, where there are no files

    def sha256(self, split: str = "train") -> str:
        """The SHA-256 of the split's uncompressed image file, as `zcat FILE | sha256sum` gives it."""
        return self.digests[split]


def names() -> tuple[str, ...]:
    """Every name that `locate` and `load_dataset` know."""
    return (*SOURCES, "glyphs", "auto")


def cache_directory() -> Path:
    """Where downloads and drawn digits are kept, unless a download is asked for into another folder."""
    return Path(user_cache_dir("minidiff")) / "data"


def search_roots(root: str | os.PathLike[str] | None = None) -> list[Path]:
    """The folders that are searched, in order: the argument alone, else $MINIDIFF_DATA, ./data and the user's cache."""
    if root:
        return [Path(root).expanduser()]
    named = os.environ.get("MINIDIFF_DATA")
    places = [*([Path(named).expanduser()] if named else []), Path("data"), cache_directory()]
    return list(dict.fromkeys(places))


def load_dataset(
    name: str = "auto", root: str | os.PathLike[str] | None = None, split: str = "train", limit: int | None = None
) -> Dataset:
    """The images (N, 1, 28, 28) uint8 and labels (N,) int64 of one split, the first `limit` of them.

    `name` is "mnist", "fashion-mnist", "kmnist", "glyphs" (digits drawn here, no network) or "auto": MNIST on disk,
    else downloaded, else glyphs, with a Python warning. `root` is the folder that holds the files; without it, see
    `search_roots`. Raises DatasetError, also where `root` does not hold the set.
    """
    events = locate(name, root, (split,), limit=limit)
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            located: Located = stop.value
            return read(located, split, limit)
        if isinstance(event, Warned):
            warnings.warn(event.message, stacklevel=2)


def load_local(name: str, *, split: str = "test", limit: int | None = None) -> Dataset:
    """`load_dataset` of what is on this machine already; glyphs are drawn.

    Raises:
        DatasetError: the set is not here; nothing is downloaded.
    """
    if name == "glyphs":
        return load_dataset(name, split=split, limit=limit)
    for place in search_roots() if name in SOURCES else ():
        if located := _look(place, name, (split,)):
            return read(located, split, limit)
    if name not in SOURCES:
        raise DatasetError(f"there is no data set {name!r} of files; choose one of: {', '.join(SOURCES)}, glyphs")
    raise DatasetError(f"{name} is not on this machine; `minidiff download {name}` gets it, or set MINIDIFF_DATA")


def locate(
    name: str,
    root: str | os.PathLike[str] | None = None,
    splits: Sequence[str] = SPLITS,
    *,
    limit: int | None = None,
    download_to_root: bool = False,
) -> Generator[Event, None, Located]:
    """Find the set, or have it downloaded or drawn, yielding Download and Warned events; returns where it is.

    Every file of `splits` is checked against its published size and SHA-256. `limit` is how many images of a split
    will be read at most: a few glyphs are then drawn in memory rather than 70,000 into the cache. With a `root` the set
    must be there, unless it may be downloaded to it; glyphs need no files, and no root.
    Raises DatasetError, naming the file and the remedy.
    """
    if name not in names():
        raise DatasetError(f"Unknown data set {name!r}; choose one of: {', '.join(names())}.")
    for split in splits:
        _check_split(split)
    limit = _checked_limit(limit)
    if name == "glyphs":
        return (yield from _locate_glyphs(splits, limit))
    wanted = "mnist" if name == "auto" else name
    places = search_roots(root)
    for place in places:
        if located := _look(place, wanted, splits):
            return located
    if root:
        return (yield from _locate_in(places[0], wanted, splits, download_to_root))
    try:
        yield from download(wanted, cache_directory())
    except DatasetError as error:
        title = SOURCES[wanted].title
        reason = f"{title} is not in {', '.join(_describe(place, wanted) for place in places)}, and {error}"
        home = Path("data") / SOURCES[wanted].folder / "raw"
        remedy = f"put its files into {home}, or name their folder in MINIDIFF_DATA"
        if name != "auto":
            raise DatasetError(f"{reason}; {remedy}, or choose the data set glyphs, which needs no network.") from error
        yield Warned(message=f"Using drawn digits (glyphs) instead of MNIST: {reason}; for MNIST, {remedy}.")
        return (yield from _locate_glyphs(splits, limit))
    if located := _look(cache_directory(), wanted, splits):
        return located
    raise DatasetError(f"{wanted} vanished from {cache_directory()} right after its download; try again.")


def _locate_in(root: Path, name: str, splits: Sequence[str], download_to_root: bool) -> Generator[Event, None, Located]:
    """What `locate` does where the named root does not hold the set: refuse, or download it to there."""
    title = SOURCES[name].title
    if not download_to_root:
        found = "" if os.path.isdir(root) else ", which is no folder"
        raise DatasetError(
            f"{title} is not in {_describe(root, name)}{found}; put its files into "
            f"{root / SOURCES[name].folder / 'raw'} (`minidiff download {name} --data-root {shlex.quote(str(root))}` "
            "does), or leave the data root out to search the usual folders"
        )
    try:
        yield from download(name, root)
    except DatasetError as error:
        raise DatasetError(f"{title} is not in {_describe(root, name)}, and {error}") from error
    if located := _look(root, name, splits):
        return located
    raise DatasetError(f"{name} vanished from {root} right after its download; try again.")


def read(located: Located, split: str, limit: int | None = None) -> Dataset:
    """The first `limit` images and labels of a split of a located set, or all of them.

    Raises DatasetError for a limit below 1, or a file that changed since it was located.
    """
    import torch  # here, so that finding and downloading data never waits for it

    _check_split(split)
    limit = _checked_limit(limit)
    if not located.files:
        images, labels = glyphs.draw(split, min(limit or located.drawn, located.drawn))
        return Dataset(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())
    count = glyphs.COUNTS[split] if located.name == "glyphs" else SOURCES[located.name].splits[split][0].shape[0]
    kept = min(limit or count, count)
    image_path, label_path = located.files[split]
    image_file = read_idx(image_path, (count, IMAGE_SIZE, IMAGE_SIZE))
    if image_file.sha256 != located.digests[split]:
        raise DatasetError(f"{image_path} changed while it was being used; start again.")
    pixels = torch.frombuffer(_first(image_file, kept * IMAGE_SIZE * IMAGE_SIZE), dtype=torch.uint8)
    classes = torch.frombuffer(_first(read_idx(label_path, (count,)), kept), dtype=torch.uint8).long()
    if classes.max() >= CLASSES:
        raise DatasetError(f"{label_path} holds the label {int(classes.max())}, but labels go from 0 to {CLASSES - 1}.")
    return Dataset(pixels.view(kept, 1, IMAGE_SIZE, IMAGE_SIZE), classes)


def _first(file: Idx, length: int) -> bytearray:
    """A writable copy of the first `length` values, as torch wants it."""
    return bytearray(memoryview(file.content)[file.offset : file.offset + length])


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise DatasetError(f"Unknown split {split!r}; choose one of: {', '.join(SPLITS)}.")


def _checked_limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    limit = whole_number(limit, "limit")
    if limit < 1:
        raise DatasetError(f"The limit of images must be 1 or more, not {limit}; leave it out to use them all.")
    return limit


def _locate_glyphs(splits: Sequence[str], limit: int | None) -> Generator[Event, None, Located]:
    """The drawn digits: from the cache, or just the first few of them where the cache has none and few will do."""
    directory = glyphs.directory(cache_directory())
    recorded = glyphs.recorded(directory, glyphs.COUNTS)
    if recorded is None:
        if limit is not None and limit <= glyphs.FEW:
            digests = {split: glyphs.digest(split, limit) for split in splits}
            return Located("glyphs", directory, {}, digests, drawn=limit)
        recorded = yield from glyphs.ensure(directory, glyphs.COUNTS)
    names = {split: glyphs.FILES[split] for split in splits}
    files = {split: (directory / images, directory / labels) for split, (images, labels) in names.items()}
    return Located("glyphs", directory, files, {split: recorded[images] for split, (images, _) in names.items()})


def _layouts(root: Path, name: str) -> tuple[tuple[Path, bool], tuple[Path, bool]]:
    """The two folders of `root` that may hold the set, and whether the folder's own name says which set it is."""
    return (root / SOURCES[name].folder / "raw", True), (root, False)


def _copies(directory: Path, file: File) -> list[Path]:
    """What there is of a file: raw, gzip or both; first the one whose check is the stronger, then the faster."""
    order = ("", ".gz") if file.sha256 else (".gz", "")
    return [path for path in (directory / (file.name + end) for end in order) if os.path.exists(path)]


def _look(root: Path, name: str, splits: Sequence[str]) -> Located | None:
    """The set if `root` holds the splits whole, None if it does not hold them.

    Raises DatasetError for a file that is damaged or no published file at all, and for half of a split.
    """
    for directory, named in _layouts(root, name):
        if not all(any(_copies(directory, file) for file in SOURCES[name].splits[split]) for split in splits):
            continue
        pairs = {split: _pair(directory, name, split, named) for split in splits}
        found = {split: pair for split, pair in pairs.items() if pair}
        if len(found) == len(pairs):
            files = {split: (images, labels) for split, (images, labels, _) in found.items()}
            return Located(name, directory, files, {split: sha256 for split, (_, _, sha256) in found.items()})
    return None


def _pair(directory: Path, name: str, split: str, named: bool) -> tuple[Path, Path, str] | None:
    """The paths of a split's images and labels and the images' SHA-256; None if they are another set's."""
    checked = []
    for position, file in enumerate(SOURCES[name].splits[split]):
        copies = _copies(directory, file)
        if not copies:
            other = SOURCES[name].splits[split][1 - position].name
            raise DatasetError(f"{directory / file.name} is missing (also as .gz) beside {other}; put it there.")
        genuine = _genuine(copies, name, split, position, named)
        if genuine is None:
            return None
        checked.append(genuine)
    (images, sha256), (labels, _) = checked
    return images, labels, sha256


def _genuine(copies: list[Path], name: str, split: str, position: int, named: bool) -> tuple[Path, str] | None:
    """The first copy that is the published file and its content's SHA-256; None if it is another set's file.

    A damaged copy is passed over when a genuine one lies beside it; with none, its error is raised.
    """
    failure: DatasetError | None = None
    for path in copies:
        try:
            owner, sha256 = _owner(path, name, split, position, named)
        except DatasetError as error:
            failure = failure or error
            continue
        if owner == name:
            return path, sha256
        if not named:
            return None
        failure = failure or DatasetError(
            f"{path} is the file of {SOURCES[owner].title}, not of {SOURCES[name].title}; put the right one there."
        )
    assert failure is not None
    raise failure


def _owner(path: Path, name: str, split: str, position: int, named: bool) -> tuple[str, str]:
    """The name of the set that the file at `path` belongs to, and its content's SHA-256."""
    asked = SOURCES[name].splits[split][position]
    idx = read_idx(path, asked.shape)
    for owner, source in SOURCES.items():
        file = source.splits[split][position]
        if idx.sha256 == file.sha256 or idx.archive_sha256 == file.archive_sha256:
            return owner, idx.sha256
    if named and asked.sha256 is None and idx.archive_sha256 is None:
        return name, idx.sha256  # raw, and only the archive's digest is published: size and header are all we can check
    raise DatasetError(
        f"{path} is not the published {SOURCES[name].title} file (its content's SHA-256 begins {idx.sha256[:12]}); "
        f"delete it or replace it with a genuine copy."
    )


def _describe(place: Path, name: str) -> str:
    """`place` for an error, with the splits of the set that it does hold."""
    for directory, named in _layouts(place, name):
        if named and os.path.isdir(directory):
            held = [
                split for split, pair in SOURCES[name].splits.items() if all(_copies(directory, file) for file in pair)
            ]
            if held:
                return f"{place} (only its {' and '.join(held)} split)"
    return str(place)
