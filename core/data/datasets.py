"""Finds datasets on disk, downloads or draws missing ones, and reads them into tensors."""

from __future__ import annotations

import hashlib
import os
import shlex
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from platformdirs import user_cache_dir

from core.config.datasets import CIFAR10, CLASSES, IMAGE_SIZE, INFO, SOURCES, File, ImageOptions, is_path
from core.config.numbers import whole_number
from core.data import cifar10, glyphs, sprites
from core.data.download import download
from core.data.idx import Idx, read_idx
from core.data.prepared import Prepared, prepare
from core.errors import DatasetError
from core.generators import WithResult
from core.runs.events import Event, Warned

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "test")
_DRAWN = {"glyphs": glyphs, "sprites": sprites}  # modules with `draw` and `COUNTS`


class LabeledImages(NamedTuple):
    """Images and labels, in file order."""

    images: Tensor  # (N, C, H, W) uint8; memory-mapped if the dataset is the user's own
    labels: Tensor  # (N,) int64, from 0; -1 without classes


@dataclass(frozen=True)
class Located:
    """A complete, verified dataset: its name, its files and the SHA-256 of its images."""

    name: str  # never "auto"
    directory: Path  # the folder of its files, or the user's own folder or file; `memory` if it needs none
    files: Mapping[str, tuple[Path, ...]]  # images and labels by split, or records; empty if they are drawn in memory
    digests: dict[str, str]
    drawn: int = 0  # most images per split to draw in memory, if there are no files
    prepared: Prepared | None = None  # a dataset of the user's own

    @property
    def title(self) -> str:
        """The name for display: of the user's own data the last part of its path."""
        return self.name if self.prepared is None else Path(self.name).name

    def sha256(self, split: str = "train") -> str:
        """SHA-256 of the split's uncompressed image file, as printed by `zcat FILE | sha256sum`.

        For cifar10 that of `cat data_batch_*.bin | sha256sum`, for sprites that of the images' bytes.
        """
        return self.digests[split]


def names() -> tuple[str, ...]:
    """All names that `locate` and `load_dataset` accept."""
    return (*_published(), *_DRAWN, "auto")


def _published() -> tuple[str, ...]:
    return (*SOURCES, "cifar10")


def cache_directory() -> Path:
    """Default folder for downloads and drawn digits."""
    return Path(user_cache_dir("minidiff")) / "data"


def search_roots(root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Folders to search, in order: only `root` if given, else $MINIDIFF_DATA, ./data and the user's cache."""
    if root:
        return [Path(root).expanduser()]
    variable = os.environ.get("MINIDIFF_DATA")
    folders = [*([Path(variable).expanduser()] if variable else []), Path("data"), cache_directory()]
    return list(dict.fromkeys(folders))


def load_dataset(
    name: str = "auto",
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    limit: int | None = None,
    options: ImageOptions = ImageOptions(),  # noqa: B008 - immutable
) -> LabeledImages:
    """Load one split of a dataset, downloading, drawing or decoding it if necessary.

    Args:
        name: "mnist", "fashion-mnist", "kmnist", "cifar10", "glyphs" or "sprites" (digits and color figures, drawn on
            this machine), "auto" (MNIST; if it cannot be downloaded, glyphs with a Python warning), or a path to images
            (`core.data.prepared`).
        root: Folder with the files; None: the folders of `search_roots`.
        split: "train" or "test".
        limit: Use only the first `limit` images; None: all.
        options: How images of the user's own are converted, as by `TrainConfig.image_options`.

    Returns:
        Images (N, C, H, W) uint8, for MNIST (N, 1, 28, 28), and labels (N,) int64, -1 without classes.

    Raises:
        DatasetError: The dataset is unknown, damaged, not in `root`, or cannot be downloaded.
    """
    search = WithResult(locate(name, root, (split,), limit=limit, options=options))
    for event in search:
        if isinstance(event, Warned):
            warnings.warn(event.message, stacklevel=2)
    return read(search.result, split, limit)


def load_local(
    name: str,
    *,
    split: str = "test",
    limit: int | None = None,
    options: ImageOptions = ImageOptions(),  # noqa: B008 - immutable
) -> LabeledImages:
    """`load_dataset` without downloading.

    Raises:
        DatasetError: The dataset is unknown or not on this machine.
    """
    if name in _DRAWN or is_path(name):
        return load_dataset(name, split=split, limit=limit, options=options)
    if name in _published() and (located := find_local(name, splits=(split,))):
        return read(located, split, limit)
    if name not in _published():
        raise DatasetError(f"there is no dataset {name!r}; choose one of: {', '.join([*_published(), *_DRAWN])}")
    raise DatasetError(f"{name} is not on this machine; run `minidiff download {name}` or set MINIDIFF_DATA")


def find_local(name: str, root: str | os.PathLike[str] | None = None, splits: Sequence[str] = SPLITS) -> Located | None:
    """A published dataset in one of the folders of `search_roots`, or None.

    Raises:
        DatasetError: A file is damaged, or `root` is given and does not hold all splits.
    """
    folders = search_roots(root)
    for folder in folders:
        if located := _find(folder, name, splits):
            return located
    if root:
        raise _missing(folders[0], name)
    return None


def locate(
    name: str,
    root: str | os.PathLike[str] | None = None,
    splits: Sequence[str] = SPLITS,
    *,
    limit: int | None = None,
    download_to_root: bool = False,
    options: ImageOptions = ImageOptions(),  # noqa: B008 - immutable
) -> Generator[Event, None, Located]:
    """Find a dataset, and download or draw it if necessary.

    Every file of `splits` is checked against its published size and SHA-256.

    Args:
        name: As for `load_dataset`.
        root: Folder that must hold the dataset; None: the folders of `search_roots`. Glyphs and sprites ignore it.
        splits: Required splits.
        limit: Most images per split that will be read. A few glyphs are drawn in memory instead of 70,000 in the cache.
        download_to_root: Download to `root` if the dataset is not there.
        options: How images of the user's own are converted.

    Yields:
        Download, Preparing and Warned events.

    Returns:
        The location of the dataset.

    Raises:
        DatasetError: The dataset is unknown, damaged or cannot be downloaded.
    """
    if name not in names() and not is_path(name):
        raise DatasetError(
            f"Unknown dataset {name!r}; choose one of: {', '.join(names())}; or a path such as ./{name}."
        )
    for split in splits:
        _check_split(split)
    limit = _checked_limit(limit)
    if is_path(name):
        source_path = Path(os.path.abspath(os.path.expanduser(name)))
        prepared = yield from prepare(source_path, options, cache_directory())
        return Located(str(source_path), source_path, {}, prepared.digests, prepared=prepared)
    if name == "glyphs":
        return (yield from _locate_glyphs(splits, limit))
    if name == "sprites":
        counts = {split: min(limit or count, count) for split, count in sprites.COUNTS.items()}
        digests = {split: sprites.digest(split, counts[split]) for split in splits}
        return Located("sprites", Path("memory"), {}, digests, drawn=max(counts.values()))
    source = "mnist" if name == "auto" else name
    folders = search_roots(root)
    for folder in folders:
        if located := _find(folder, source, splits):
            return located
    if root:
        return (yield from _locate_in(folders[0], source, splits, download_to_root))
    try:
        yield from _download(source, cache_directory())
    except DatasetError as error:
        reason = f"{_title(source)} is not in {', '.join(_describe(folder, source) for folder in folders)}, and {error}"
        remedy = f"put {_files_in(Path('data'), source)}, or set MINIDIFF_DATA to their folder"
        if name != "auto":
            drawn = "sprites" if source == "cifar10" else "glyphs"
            raise DatasetError(f"{reason}; {remedy}, or choose the dataset {drawn}, which needs no network.") from error
        yield Warned(message=f"Using drawn digits (glyphs) instead of MNIST: {reason}; for MNIST, {remedy}.")
        return (yield from _locate_glyphs(splits, limit))
    if located := _find(cache_directory(), source, splits):
        return located
    raise DatasetError(f"{source} disappeared from {cache_directory()} after its download; try again.")


def _download(name: str, cache: Path) -> Generator[Event, None, None]:
    yield from cifar10.download(cache) if name == "cifar10" else download(name, cache)


def _title(name: str) -> str:
    return CIFAR10.title if name == "cifar10" else SOURCES[name].title


def _files_in(root: Path, name: str) -> str:
    """The files that a dataset needs and where in `root` they belong, for an error message."""
    if name == "cifar10":
        return f"{CIFAR10.archive} into {root} or its files into {root / CIFAR10.folder}"
    return f"its files into {root / SOURCES[name].folder / 'raw'}"


def _missing(root: Path, name: str) -> DatasetError:
    note = "" if os.path.isdir(root) else ", which is not a folder"
    return DatasetError(
        f"{_title(name)} is not in {_describe(root, name)}{note}; put {_files_in(root, name)}, run "
        f"`minidiff download {name} --data-root {shlex.quote(str(root))}`, or leave the data root out to search "
        "the default folders"
    )


def _locate_in(root: Path, name: str, splits: Sequence[str], download_to_root: bool) -> Generator[Event, None, Located]:
    """Download a dataset that `root` does not hold, or raise DatasetError."""
    if not download_to_root:
        raise _missing(root, name)
    try:
        yield from _download(name, root)
    except DatasetError as error:
        raise DatasetError(f"{_title(name)} is not in {_describe(root, name)}, and {error}") from error
    if located := _find(root, name, splits):
        return located
    raise DatasetError(f"{name} disappeared from {root} after its download; try again.")


def read(located: Located, split: str, limit: int | None = None) -> LabeledImages:
    """Read the first `limit` images and labels of a split, or all of them.

    Raises:
        DatasetError: `limit` is below 1, or a file changed since it was located.
    """
    import torch  # slow to import, and not needed to find or download data

    _check_split(split)
    limit = _checked_limit(limit)
    if located.prepared is not None:
        values, labels_of = located.prepared.read(split)
        return LabeledImages(torch.from_numpy(values[:limit]), torch.from_numpy(labels_of[:limit]))
    if not located.files:
        source = _DRAWN[located.name]
        available = min(located.drawn, source.COUNTS[split])
        images, labels = source.draw(split, min(limit or available, available))
        shape = INFO[located.name].shape
        return LabeledImages(torch.from_numpy(images).view(-1, *shape), torch.from_numpy(labels).long())
    if located.name == "cifar10":
        images, labels = cifar10.read(located.files[split], split, limit)
        return LabeledImages(torch.from_numpy(images), torch.from_numpy(labels).long())
    count = glyphs.COUNTS[split] if located.name == "glyphs" else SOURCES[located.name].splits[split][0].shape[0]
    length = min(limit or count, count)
    image_path, label_path = located.files[split]
    image_file = read_idx(image_path, (count, IMAGE_SIZE, IMAGE_SIZE))
    if image_file.sha256 != located.digests[split]:
        raise DatasetError(f"{image_path} changed during use; start again.")
    pixels = torch.frombuffer(_first(image_file, length * IMAGE_SIZE * IMAGE_SIZE), dtype=torch.uint8)
    classes = torch.frombuffer(_first(read_idx(label_path, (count,)), length), dtype=torch.uint8).long()
    if classes.max() >= CLASSES:
        raise DatasetError(f"{label_path} has the label {int(classes.max())}; labels must be 0 to {CLASSES - 1}.")
    return LabeledImages(pixels.view(length, 1, IMAGE_SIZE, IMAGE_SIZE), classes)


def images_digest(located: Located, data: LabeledImages, split: str = "train") -> str:
    """SHA-256 of images that `read` returned; for a whole dataset of the user's own, that of its cache."""
    if located.prepared is not None and len(data.images) == located.prepared.count(split):
        return located.digests[split]
    return images_sha256(data)


def images_sha256(data: LabeledImages) -> str:
    """SHA-256 of images in memory."""
    return hashlib.sha256(data.images.contiguous().numpy().data).hexdigest()


def _first(file: Idx, length: int) -> bytearray:
    """A writable copy of the first `length` values, for `torch.frombuffer`."""
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
    """Find the drawn digits in the cache; otherwise draw them, in memory if `limit` is small."""
    directory = glyphs.directory(cache_directory())
    recorded = glyphs.recorded(directory, glyphs.COUNTS)
    if recorded is None:
        if limit is not None and limit <= glyphs.MAX_IN_MEMORY:
            digests = {split: glyphs.digest(split, limit) for split in splits}
            return Located("glyphs", directory, {}, digests, drawn=limit)
        recorded = yield from glyphs.ensure(directory, glyphs.COUNTS)
    names = {split: glyphs.FILES[split] for split in splits}
    files = {split: (directory / images, directory / labels) for split, (images, labels) in names.items()}
    return Located("glyphs", directory, files, {split: recorded[images] for split, (images, _) in names.items()})


def _layouts(root: Path, name: str) -> tuple[tuple[Path, bool], tuple[Path, bool]]:
    """Folders of `root` that may hold the dataset, and whether the folder's name identifies it."""
    return (root / SOURCES[name].folder / "raw", True), (root, False)


def _copies(directory: Path, file: File) -> list[Path]:
    """Existing copies of a file, raw or gzip; the one with a published digest first, then the one that is faster."""
    order = ("", ".gz") if file.sha256 else (".gz", "")
    return [path for path in (directory / (file.name + end) for end in order) if os.path.exists(path)]


def _find(root: Path, name: str, splits: Sequence[str]) -> Located | None:
    """The dataset, or None if `root` does not hold all splits.

    Raises:
        DatasetError: A file is damaged, is not a published one, or is missing from its split.
    """
    if name == "cifar10":
        found = cifar10.find(root, splits)
        return Located(name, *found) if found else None
    for directory, named in _layouts(root, name):
        if not all(any(_copies(directory, file) for file in SOURCES[name].splits[split]) for split in splits):
            continue
        pairs = {split: _pair(directory, name, split, named) for split in splits}
        verified = {split: pair for split, pair in pairs.items() if pair}
        if len(verified) == len(pairs):
            files = {split: (images, labels) for split, (images, labels, _) in verified.items()}
            return Located(name, directory, files, {split: sha256 for split, (_, _, sha256) in verified.items()})
    return None


def _pair(directory: Path, name: str, split: str, named: bool) -> tuple[Path, Path, str] | None:
    """Paths of a split's images and labels, and the images' SHA-256; None if they belong to another dataset."""
    checked = []
    for position, file in enumerate(SOURCES[name].splits[split]):
        copies = _copies(directory, file)
        if not copies:
            other = SOURCES[name].splits[split][1 - position].name
            raise DatasetError(f"{directory / file.name} is missing, also as .gz; put it beside {other}.")
        genuine = _genuine(copies, name, split, position, named)
        if genuine is None:
            return None
        checked.append(genuine)
    (images, sha256), (labels, _) = checked
    return images, labels, sha256


def _genuine(copies: list[Path], name: str, split: str, position: int, named: bool) -> tuple[Path, str] | None:
    """The first genuine copy and its content's SHA-256; None if it belongs to another dataset.

    Raises:
        DatasetError: No copy is genuine.
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
            f"{path} belongs to {SOURCES[owner].title}, not {SOURCES[name].title}; replace it."
        )
    assert failure is not None
    raise failure


def _owner(path: Path, name: str, split: str, position: int, named: bool) -> tuple[str, str]:
    """The dataset that the file at `path` belongs to, and the content's SHA-256."""
    expected = SOURCES[name].splits[split][position]
    idx = read_idx(path, expected.shape)
    for owner, source in SOURCES.items():
        file = source.splits[split][position]
        if idx.sha256 == file.sha256 or idx.archive_sha256 == file.archive_sha256:
            return owner, idx.sha256
    if named and expected.sha256 is None and idx.archive_sha256 is None:
        return name, idx.sha256  # raw, and only the archive's digest is published: only size and header can be checked
    raise DatasetError(
        f"{path} is not the published {SOURCES[name].title} file (its SHA-256 starts with {idx.sha256[:12]}); "
        f"delete it or replace it with a genuine copy."
    )


def _describe(root: Path, name: str) -> str:
    """`root` for an error message, with the splits of the dataset that it holds."""
    if name == "cifar10":
        return cifar10.describe(root)
    for directory, named in _layouts(root, name):
        if named and os.path.isdir(directory):
            splits = [
                split for split, pair in SOURCES[name].splits.items() if all(_copies(directory, file) for file in pair)
            ]
            if splits:
                return f"{root} (only the {' and '.join(splits)} split)"
    return str(root)
