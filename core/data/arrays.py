"""Reads images and labels from .npy, .npz and .safetensors files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from core.config.datasets import MAX_CLASSES
from core.data.folders import unique_names
from core.data.image_files import BACKGROUND, SIXTEEN_BIT, Target, fitted
from core.errors import DatasetError

SUFFIXES = (".npy", ".npz", ".safetensors")
IMAGE_KEYS = ("images", "image", "x", "data", "arr_0")
LABEL_KEYS = ("labels", "label", "y", "targets", "arr_1")
SPLIT_KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels"), ("val_images", "val_labels")),
}
READ_ERRORS = (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, safetensors.SafetensorError)
CHUNK = 1_000  # images converted at once
Values = NDArray[Any]


class ArrayImages(NamedTuple):
    """The images of one split, converted on use."""

    values: Values  # (N, H, W) or (N, H, W, C)
    convert: Callable[[Values], NDArray[np.uint8]]  # values to uint8
    labels: NDArray[np.int64]  # (N,), -1 without labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels (1 to 4) of the images as stored."""
        height, width, *channels = self.values.shape[1:]
        return height, width, channels[0] if channels else 1

    def chunks(self, target: Target) -> Iterator[NDArray[np.uint8]]:
        """The images as (n, C, H, W) uint8, some at a time."""
        height, width, channels = self.shape
        for start in range(0, len(self.values), CHUNK):
            part = self.convert(self.values[start : start + CHUNK]).reshape(-1, height, width, channels)
            if (channels, height, width) == target[:3]:
                yield part.transpose(0, 3, 1, 2)
            else:
                yield np.stack([fitted(_to_image(pixels), target) for pixels in part])


def _to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """(H, W, C) as an image without transparency."""
    if pixels.shape[2] == 1:
        return Image.fromarray(pixels[..., 0])
    image = Image.fromarray(pixels)
    if image.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image


def read_arrays(path: Path) -> tuple[dict[str, ArrayImages], tuple[str, ...]]:
    """The splits of a file, by name ("" if it has no splits), and the class names.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W): uint8, booleans, uint16 (a value above 255 means a range
    of 65,535), floating point in [0, 1] or [-1, 1], or other numbers in [0, 255]. Names in the file: images and labels
    (or x and y), x_train, y_train, x_test and y_test, and class_names.

    Raises:
        DatasetError: The file is damaged, or its images or labels have another shape or unknown values.
    """
    content = _load(path)
    splits: dict[str, tuple[Values, Values | None]] = {}
    for split, pairs in SPLIT_KEYS.items():
        for images, labels in pairs:
            if images in content and split not in splits:
                splits[split] = content[images], content.get(labels)
    if not splits:
        name = next((name for name in IMAGE_KEYS if name in content), None)
        if name is None:
            raise DatasetError(
                f"{path} has no images: it has {', '.join(content) or 'nothing'}; name the array of images 'images'"
            )
        splits[""] = content[name], next((content[key] for key in LABEL_KEYS if key in content), None)
    elif "train" not in splits:
        raise DatasetError(f"{path} has test images, but no training images; name them x_train")
    given = content.get("class_names")
    names = None if given is None else [str(name) for name in np.ravel(given)]
    encoded, class_names = _classes(path, {split: pair[1] for split, pair in splits.items()}, names)
    return {split: _images(path, values, encoded[split]) for split, (values, _) in splits.items()}, class_names


def _load(path: Path) -> dict[str, Values]:
    try:
        if path.suffix == ".npy":
            return {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        return dict(safetensors.numpy.load_file(path))
    except READ_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason:
            reason = "it holds Python objects, which only pickle could load"
        raise DatasetError(f"cannot read {path} ({reason}); save plain arrays with numpy.savez") from None


def _classes(
    path: Path, found: Mapping[str, Values | None], names: list[str] | None
) -> tuple[dict[str, NDArray[np.int64] | None], tuple[str, ...]]:
    """Labels from 0 for each split, and the class names: the given ones, else the label values."""
    given = {split: values for split, values in found.items() if values is not None}
    if not given:
        return dict.fromkeys(found), ()
    if len(given) != len(found):
        raise DatasetError(f"{path} has labels for only one split; add the others, or leave all labels out")
    whole = {split: _whole(path, values) for split, values in given.items()}
    values = np.unique(np.concatenate(list(whole.values())))
    if names is not None:
        if values.size and not 0 <= values.min() <= values.max() < len(names):
            raise DatasetError(
                f"{path} has labels from {values.min()} to {values.max()}, but {len(names)} class names; "
                "labels must count from 0"
            )
        values = np.arange(len(names))
    if len(values) > MAX_CLASSES:
        raise DatasetError(f"{path} has {len(values):,} different labels, and at most {MAX_CLASSES:,} are supported")
    class_names = unique_names(names if names is not None else [str(value) for value in values])
    return {split: np.searchsorted(values, labels) for split, labels in whole.items()}, class_names


def _whole(path: Path, labels: Values) -> NDArray[np.int64]:
    """Labels as (N,) int64."""
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or not (np.issubdtype(flat.dtype, np.integer) or np.issubdtype(flat.dtype, np.floating)):
        raise DatasetError(f"{path} has labels of shape {labels.shape} and type {labels.dtype}; use (N,) integers")
    result = flat.astype(np.int64)
    if not np.array_equal(result, flat):
        raise DatasetError(f"{path} has labels that are not whole numbers; use (N,) integers")
    return result


def _images(path: Path, values: Values, labels: NDArray[np.int64] | None) -> ArrayImages:
    shape = values.shape
    if values.ndim == 4:
        last, first = shape[3] in (1, 3, 4), shape[1] in (1, 3, 4)
        if last and first:
            raise DatasetError(f"{path} has images of shape {shape}, which could be (N, C, H, W) or (N, H, W, C)")
        if first:
            values = values.transpose(0, 2, 3, 1)
        elif not last:
            raise DatasetError(f"{path} has images of shape {shape}; channels must be 1, 3 or 4, first or last")
    elif values.ndim != 3:
        raise DatasetError(f"{path} has images of shape {shape}; use (N, H, W), (N, H, W, C) or (N, C, H, W)")
    if labels is None:
        labels = np.full(len(values), -1, dtype=np.int64)
    if len(labels) != len(values):
        raise DatasetError(f"{path} has {len(values):,} images and {len(labels):,} labels; their numbers must agree")
    return ArrayImages(values, _conversion(path, values), labels)


def _conversion(path: Path, values: Values) -> Callable[[Values], NDArray[np.uint8]]:
    """How to convert values to uint8.

    Raises:
        DatasetError: Their range is unknown.
    """
    if values.dtype == np.bool_:
        return lambda part: part.astype(np.uint8) * 255
    parts = [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)] or [np.zeros(1)]
    low = min(float(np.min(part)) for part in parts) if values.dtype.kind in "iuf" else float("nan")
    high = max(float(np.max(part)) for part in parts) if values.dtype.kind in "iuf" else float("nan")
    is_float = values.dtype.kind == "f"
    if len(values) and not is_float and 0 <= low <= high <= 1:
        raise DatasetError(
            f"{path} has {values.dtype} values from {low:g} to {high:g}, which are black; multiply them by 255, or "
            "save booleans"
        )
    if values.dtype == np.uint8:
        return lambda part: np.ascontiguousarray(part)
    if values.dtype == np.uint16 and high > 255:
        return lambda part: ((part.astype(np.uint32) + SIXTEEN_BIT // 2) // SIXTEEN_BIT).astype(np.uint8)
    if is_float and 0 <= low <= high <= 1:
        scale, offset = 255.0, 0.0
    elif is_float and -1 <= low <= high <= 1:
        scale, offset = 127.5, 127.5
    elif 0 <= low <= high <= 255:  # not for NaN
        scale, offset = 1.0, 0.0
    else:
        raise DatasetError(
            f"{path} has {values.dtype} values from {low:g} to {high:g}; scale them to [0, 1], or save uint8"
        )
    return lambda part: np.rint(part.astype(np.float64) * scale + offset).astype(np.uint8)
