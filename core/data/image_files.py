"""Decodes image files to gray or RGB arrays, also as child processes that share a folder's files."""

from __future__ import annotations

import json
import struct
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from core.system import subprocesses

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga")
)
BACKGROUND = "white"  # under transparent pixels
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values that swap height and width
SIXTEEN_BIT = 257  # 65,535 / 255
IMAGES = "images.npy"  # in the scratch folder: the decoded images of all files
REPORT = 50  # images between two reports of a child process
# What Pillow raises for damaged files and unsupported pixels.
READ_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)

Bytes = NDArray[np.uint8]


class Header(NamedTuple):
    """What an image file's header says."""

    height: int  # after the EXIF rotation
    width: int
    grey: bool


class Target(NamedTuple):
    """Shape to which images are converted."""

    channels: int  # 1: gray, 3: RGB
    height: int
    width: int
    resize: str  # "crop", "pad" or "stretch", if the size differs


def read_header(path: Path) -> Header:
    """Size and kind of an image without decoding it.

    Raises:
        READ_ERRORS: The file is not a readable image.
    """
    with Image.open(path) as image:
        width, height = image.size
        if image.getexif().get(ORIENTATION) in TURNED:
            width, height = height, width
        return Header(height, width, _is_grey(image))


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        colors = image.getpalette("RGB") or []
        return colors[::3] == colors[1::3] == colors[2::3]
    return image.mode in ("1", "L", "LA", "La", "I") or image.mode.startswith("I;16")


def decode(path: Path, target: Target) -> Bytes:
    """The first frame of an image file as (C, H, W) uint8, as by `load`.

    With another size, "crop" scales the image to cover the target and cuts off the rest, "pad" scales it to fit and
    adds black, and "stretch" changes its proportions.

    Raises:
        READ_ERRORS: The file is damaged, or its pixels are 32-bit or floating-point numbers.
    """
    return fitted(load(path), target)


def load(path: Path) -> Image.Image:
    """The first frame of an image file, with 8 bits per channel and without transparency.

    Pixels are rotated as EXIF says, transparent ones are placed on white, and 16-bit values are scaled to 8 bits.

    Raises:
        READ_ERRORS: As for `decode`.
    """
    with Image.open(path) as file:
        image = _eight_bit(ImageOps.exif_transpose(file))
        image.load()
        return image


def fitted(image: Image.Image, target: Target) -> Bytes:
    """An image with 8 bits per channel and without transparency, as (C, H, W) uint8."""
    image = image.convert("L" if target.channels == 1 else "RGB")
    size = target.width, target.height
    if image.size != size:
        match target.resize:
            case "crop":
                image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
            case "pad":
                image = ImageOps.pad(image, size, Image.Resampling.LANCZOS)
            case _:
                image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image with 8 bits per channel and without transparency."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image.convert("I"))
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError("its pixels are 32-bit numbers")
        return Image.fromarray(((values + SIXTEEN_BIT // 2) // SIXTEEN_BIT).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, BACKGROUND), over)
    return image


def reason(error: BaseException) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def process(files: list[str], first: int, target: Target | None, images: Bytes | None) -> list[Header | str | None]:
    """Read the headers of files, or decode them into `images`, (N, C, H, W), from index `first` on.

    Returns:
        Per file its header, or None if it was decoded, or why it cannot be read.
    """
    results: list[Header | str | None] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        for index, file in enumerate(files, start=first):
            try:
                if target is None or images is None:
                    results.append(read_header(Path(file)))
                else:
                    images[index] = decode(Path(file), target)
                    results.append(None)
            except READ_ERRORS as error:
                results.append(reason(error))
    return results


def _child(scratch: Path, part: int) -> None:
    """Entry point of a child process: its share of the files, with one byte of progress per `REPORT` files."""
    subprocesses.follow_parent(scratch)
    job = json.loads((scratch / f"job-{part}.json").read_text())
    files, first = job["files"], job["first"]
    target = None if job["target"] is None else Target(*job["target"])
    images = None if target is None else np.load(scratch / IMAGES, mmap_mode="r+")
    results: list[Header | str | None] = []
    with (scratch / f"done-{part}").open("wb", buffering=0) as done:
        for start in range(0, len(files), REPORT):
            results += process(files[start : start + REPORT], first + start, target, images)
            done.write(b".")
    (scratch / f"result-{part}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), int(sys.argv[2]))
