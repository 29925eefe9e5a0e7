"""Reads Parquet files in the image layout of Hugging Face datasets; needs pyarrow."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from core.data.folders import SPLITS, ImageFile, unique_names
from core.errors import DatasetError
from core.system.safe_io import parse_json

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "images"), ("label", "labels", "fine_label")
ROWS = 500  # read at once


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files at `path`, a file or a folder; empty if there are none."""
    if path.suffix == ".parquet":
        return [path]
    return sorted([*path.glob("*.parquet"), *path.glob("*/*.parquet")]) if path.is_dir() else []


def extract(files: list[Path], scratch: Path) -> Generator[int, None, tuple[list[ImageFile], tuple[str, ...]]]:
    """Write the images of Parquet files into `scratch`; yields the number of images so far.

    The image column holds {"bytes": ..., "path": ...} or bytes. The split follows from the beginning of a file's name,
    such as train-00000-of-00001.parquet, or from its folder.

    Returns:
        The image files with their labels, and the class names.

    Raises:
        DatasetError: pyarrow is missing, or a file is damaged or has no images.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DatasetError("reading Parquet files needs pyarrow: pip install 'minidiff[parquet]'") from None
    images: list[ImageFile] = []
    names: list[str] = []
    for number, file in enumerate(files):
        try:
            table = pyarrow.parquet.ParquetFile(file)
            column, label_column = _columns(file, table.schema_arrow.names)
            names = names or _class_names(table.schema_arrow.metadata, label_column)
            columns = [column, *([label_column] if label_column else [])]
            for batch in table.iter_batches(batch_size=ROWS, columns=columns):
                for row in batch.to_pylist():
                    content = row[column]["bytes"] if isinstance(row[column], dict) else row[column]
                    if not isinstance(content, bytes):
                        raise DatasetError(f"{file} has no image bytes in {column}; embed the images in the file")
                    target = scratch / f"{number:04}-{len(images):08}"
                    target.write_bytes(content)
                    label = row[label_column] if label_column else -1
                    images.append(ImageFile(str(target), label if isinstance(label, int) else -1, _split(file)))
                yield len(images)
        except (OSError, pyarrow.ArrowException, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DatasetError(f"cannot read {file} ({reason}); download it again") from None
    if {image.split for image in images} == {"", "train"}:
        images = [image._replace(split="train") for image in images]
    found = {image.label for image in images}
    if found == {-1}:
        return images, ()
    if min(found) < 0 or (names and max(found) >= len(names)):
        raise DatasetError(f"{files[0]} has labels from {min(found)} to {max(found)}, outside its class names")
    return images, unique_names(names or [str(label) for label in range(max(found) + 1)])


def _columns(file: Path, names: list[str]) -> tuple[str, str | None]:
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    if image is None:
        raise DatasetError(f"{file} has no column {' or '.join(IMAGE_COLUMNS)}; it has {', '.join(names)}")
    return image, next((name for name in LABEL_COLUMNS if name in names), None)


def _class_names(metadata: dict[bytes, bytes] | None, label: str | None) -> list[str]:
    """The names of a ClassLabel feature in the metadata that datasets writes; empty without it."""
    try:
        feature: Any = parse_json((metadata or {})[b"huggingface"])["info"]["features"][label]
        return [str(name) for name in feature["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def _split(file: Path) -> str:
    for text in (file.name, file.parent.name):
        for name, split in SPLITS.items():
            if text.lower().startswith(name):
                return split
    return ""
