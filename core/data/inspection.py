"""Describes a dataset without downloading, generating or decoding it."""

from __future__ import annotations

import os
from pathlib import Path

from core.config.datasets import CIFAR10, INFO, SOURCES, DatasetInfo, ImageOptions, is_path
from core.config.training import TrainConfig
from core.data import glyphs, sprites
from core.data.datasets import cache_directory, find_local
from core.data.image_files import Header, process
from core.data.prepared import Undecoded, choose_target, find, too_few_images
from core.errors import DatasetError
from core.runs.description import DatasetDescription
from core.text import sanitize

SAMPLED = 200  # headers read of a folder that is not decoded yet


def describe_dataset(config: TrainConfig) -> DatasetDescription:
    """What is known about the config's dataset: files are verified, but nothing is written.

    The shape of images that are not decoded yet is that of up to 200 headers.

    Raises:
        DatasetError: The dataset is damaged, is not in the config's `data_root`, or has no usable images.
    """
    if is_path(config.dataset):
        return _describe_own(Path(config.dataset), config.image_options, config.limit)
    name = config.dataset
    if name in ("glyphs", "sprites"):
        counts = (glyphs if name == "glyphs" else sprites).COUNTS
        return _description(name, "generated on this machine", counts["train"], counts["test"], config.limit)
    source = "mnist" if name == "auto" else name
    if source == "cifar10":
        train, test = (sum(file.records for file in CIFAR10.splits[split]) for split in ("train", "test"))
    else:
        train, test = (SOURCES[source].splits[split][0].shape[0] for split in ("train", "test"))
    located = find_local(source, config.data_root)
    if located is not None:
        return _description(source, f"found in {_shown(located.directory)}", train, test, config.limit)
    target = f"not on this machine: downloaded to {_shown(cache_directory())} when training starts"
    return _description(source, target, train, test, config.limit, pending="to be downloaded")


def _description(
    name: str, location: str, train: int, test: int, limit: int | None, *, pending: str = ""
) -> DatasetDescription:
    train, test = _limited(train, limit), _limited(test, limit)
    return DatasetDescription(name=name, location=location, pending=pending, info=INFO[name], train=train, test=test)


def _describe_own(source: Path, options: ImageOptions, limit: int | None) -> DatasetDescription:
    """A folder of images or a file of the user's own."""
    name, location = sanitize(source.name), f"found in {_shown(source)}"
    found = find(source, options, cache_directory())
    if not isinstance(found, Undecoded):
        train, test = (_limited(found.count(split), limit) for split in ("train", "test"))
        return DatasetDescription(name=name, location=location, info=found.info, train=train, test=test)
    if not found.files:  # an array or Parquet file
        return DatasetDescription(name=name, location=location, pending="to be converted")
    train, test = (_limited(count, limit) for count in found.counts)
    if not train:
        raise too_few_images(source)
    return DatasetDescription(
        name=name,
        location=location,
        pending="to be decoded",
        info=_sampled_info(source, found, options),
        is_guess=len(found.files) > SAMPLED,
        train=train,
        test=test,
        files=len(found.files),
    )


def _sampled_info(source: Path, found: Undecoded, options: ImageOptions) -> DatasetInfo:
    """Shape and classes, from the headers of some of the files, evenly spaced."""
    files = found.files[:: -(-len(found.files) // SAMPLED)]
    results = process([file.path for file in files], 0, None, None)
    headers = [result for result in results if isinstance(result, Header)]
    if not headers:
        raise DatasetError(f"none of the images in {source} can be read: {results[0]}")
    target = choose_target(source, headers, options, [])
    return DatasetInfo(
        channels=target.channels, height=target.height, width=target.width, class_names=found.class_names
    )


def _limited(count: int, limit: int | None) -> int:
    return count if limit is None else min(count, limit)


def _shown(path: Path) -> str:
    """A path for display; the home directory is ~."""
    text, home = os.path.abspath(path), os.path.expanduser("~")
    return sanitize(f"~{text.removeprefix(home)}" if text.startswith(home + os.sep) else text)
