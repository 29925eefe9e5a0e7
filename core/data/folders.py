"""Finds the images of a folder, with their classes and splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.config.datasets import MAX_CLASS_NAME, MAX_CLASSES
from core.data.image_files import SUFFIXES
from core.errors import DatasetError
from core.text import sanitize

# Names of folders that hold a split.
SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(("test", "val", "valid", "validation"), "test")


class ImageFile(NamedTuple):
    """An image file of a folder."""

    path: str
    label: int  # -1 without classes
    split: str  # "train", "test", or "" if the folder has no splits


def list_images(root: Path) -> tuple[list[ImageFile], tuple[str, ...]]:
    """The images below `root`, in order of their paths, and the class names, in order of their labels.

    Each folder in `root` is a class, with all images below it. Folders such as train and test (or val, or both) are the
    splits, if there are no other folders with images. A folder that contains nothing but one folder stands for that
    folder. Without folders there are no classes. Hidden files and files without the suffix of an image are ignored.

    Raises:
        DatasetError: There are no images, images beside class folders, or too many classes.
    """
    root = _descend(root)
    splits = {folder: SPLITS.get(folder.name.lower(), "") for folder in _folders(root)}
    if {"train", "test"} <= set(splits.values()):
        splits = {folder: split for folder, split in splits.items() if next(_images_below(folder), None)}
    if set(splits.values()) == {"train", "test"} and not _images(root):
        parts = [(split, _class_folders(folder), folder) for folder, split in splits.items()]
    else:
        parts = [("", _class_folders(root), root)]
    names = sorted({name for _, classes, _ in parts for name in classes})
    if len(names) > MAX_CLASSES:
        raise DatasetError(
            f"{root} has {len(names):,} class folders, and at most {MAX_CLASSES:,} are supported; put all images into "
            "one folder to train without classes"
        )
    files: list[ImageFile] = []
    for split, classes, folder in parts:
        if names and not classes and _images(folder):
            raise DatasetError(f"{folder} has images without class folders, unlike the other split; use them in both")
        files += [ImageFile(path, -1, split) for path in _images(folder)] if not names else []
        for label, name in enumerate(names):
            files += [ImageFile(path, label, split) for path in classes.get(name, ())]
    if not files:
        raise DatasetError(f"{root} has no images{_contents(root)}; supported are {', '.join(sorted(SUFFIXES))}")
    return files, unique_names(names)


def unique_names(names: list[str]) -> tuple[str, ...]:
    """Class names for display: printable, at most 64 characters, and different from one another."""
    shown: list[str] = []
    for name in names:
        short = sanitize(name).strip()[:MAX_CLASS_NAME] or "?"
        shown.append(short if short not in shown else f"{short[: MAX_CLASS_NAME - 8]} ({len(shown)})")
    return tuple(shown)


def _descend(root: Path) -> Path:
    """The first folder, from `root` down, that contains more than one other folder."""
    while len(entries := _entries(root)) == 1 and entries[0].is_dir():
        root = Path(entries[0].path)
    return root


def _class_folders(root: Path) -> dict[str, list[str]]:
    """The images of each class folder, by its name; folders without images are left out."""
    below = {folder.name: sorted(_images_below(folder)) for folder in _folders(root)}
    classes = {name: images for name, images in below.items() if images}
    if classes and (loose := _images(root)):
        raise DatasetError(
            f"{root} has images ({os.path.basename(loose[0])}) beside folders with images ({next(iter(classes))}); "
            "move the images into class folders, or all into one folder to train without classes"
        )
    return classes


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder contains, without hidden entries, in order of name."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except OSError as error:
        raise DatasetError(f"cannot read {folder}: {error.strerror}; choose another folder") from None
    return sorted(visible, key=lambda entry: entry.name)


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir()]


def _images(folder: Path) -> list[str]:
    return [entry.path for entry in _entries(folder) if _is_image(entry.name) and entry.is_file()]


def _images_below(folder: str | Path) -> Iterator[str]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):  # a link may lead back here
            yield from _images_below(entry.path)
        elif _is_image(entry.name):
            yield entry.path


def _is_image(name: str) -> bool:
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in SUFFIXES


def _contents(root: Path) -> str:
    """What `root` holds instead of images, such as ", but 3 .txt files"."""
    suffixes = Counter(Path(name).suffix.lower() or "other" for _, _, names in os.walk(root) for name in names)
    if not suffixes:
        return ": it is empty"
    suffix, count = suffixes.most_common(1)[0]
    return f", but {count:,} {suffix} file{'s' if count != 1 else ''}"
