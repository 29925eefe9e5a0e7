"""Images passed from Python: written to the user's cache once, and from then on read like any file of arrays."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetError
from core.system.atomic_write import write_atomically

Values = NDArray[Any]


def store_images(data: Any, cache: Path) -> Path:
    """Write images, and labels if there are any, to a .npz file that is named after their content.

    Args:
        data: Images as a tensor or array, (N, H, W), (N, H, W, C) or (N, C, H, W); a pair of images and labels, (N,); a
            mapping with the names of a .npz file, such as images, labels and class_names; or a map-style dataset of
            torch, whose items are an image or (image, label, ...), all of one size.
        cache: Folder of the user's cache.

    Returns:
        The file; the same for the same data. It stays until the user deletes it.

    Raises:
        DatasetError: The data is none of these, or the file cannot be written.
    """
    arrays = _arrays(data)
    digest = hashlib.sha256()
    for name, values in arrays.items():
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).data)
    path = cache / "arrays" / f"data-{digest.hexdigest()[:12]}.npz"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            np.savez(content, allow_pickle=False, **arrays)
            write_atomically(path, content.getvalue())
    except OSError as error:
        raise DatasetError(
            f"the images cannot be written to {path.parent}: {error.strerror or error}; free some space there or set "
            "XDG_CACHE_HOME to a writable folder"
        ) from error
    return path


def _arrays(data: Any) -> dict[str, Values]:
    if isinstance(data, Mapping):
        return {str(name): _array(values) for name, values in data.items()}
    if isinstance(data, tuple) and len(data) == 2:
        return {"images": _array(data[0]), "labels": _array(data[1])}
    if hasattr(data, "__array__"):
        return {"images": _array(data)}
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise DatasetError(
            f"data is a {type(data).__name__}; pass images, (images, labels), a mapping of arrays, or a dataset with "
            "a length"
        )
    items = [data[index] for index in range(len(data))]
    pairs = [item if isinstance(item, tuple | list) else (item,) for item in items]
    images = [_array(pair[0]) for pair in pairs]
    if not images:
        raise DatasetError("data has no images")
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise DatasetError(
            f"the images in data have {len(shapes)} different shapes, such as {shapes[0]} and {shapes[-1]}; resize "
            "them in its transform, or train on a folder of files"
        )
    arrays = {"images": np.stack(images)}
    if all(len(pair) > 1 for pair in pairs):
        arrays["labels"] = np.array([int(pair[1]) for pair in pairs])
        if isinstance(names := getattr(data, "classes", None), Sequence):  # as of torchvision's datasets
            arrays["class_names"] = np.array([str(name) for name in names])
    return arrays


def _array(values: Any) -> Values:
    """Values as an array; tensors may be on any device."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.dtype == object:
        raise DatasetError(f"data has {type(values).__name__} values that are not an array of numbers")
    return array
