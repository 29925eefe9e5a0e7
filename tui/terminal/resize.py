"""Images in other sizes, and marked pixels in them."""

from __future__ import annotations

import functools
from collections.abc import Callable

LANE = 4  # bytes, as of an item "I" of a memoryview


def resize(images: bytes, n: int, height: int, width: int, new_height: int, new_width: int, channels: int = 1) -> bytes:
    """Return `n` images in another size; each pixel is the mean of the area that it covers, rounded.

    Rows and columns of all images are added at once. An image may have at most 65,536 pixels.
    """
    columns = [
        _lanes(b"".join(images[x * channels + c :: width * channels] for c in range(channels))) for x in range(width)
    ]  # each with the channels, images and rows
    size = n * height * channels
    sums = b"".join(
        sum(columns[x] * weight for x, weight in weights).to_bytes(LANE * size, "little")
        for weights in _weights(width, new_width)
    )
    items = memoryview(sums).cast("I")
    rows = [int.from_bytes(items[y::height].tobytes(), "little") for y in range(height)]  # columns, channels, images
    row_size = LANE * n * channels * new_width
    half = int.from_bytes((1 << 23).to_bytes(LANE, "little") * (row_size // LANE), "little")
    factor = (1 << 24) // (height * width)  # so that a lane's highest byte is the mean
    smaller = [b""] * (n * new_height)
    for y, weights in enumerate(_weights(height, new_height)):
        means = sum(rows[y] * weight for y, weight in weights) * factor + half
        row = means.to_bytes(row_size, "little")[LANE - 1 :: LANE]
        smaller[y::new_height] = [row[image::n] for image in range(n)]
    return b"".join(smaller)


def _lanes(values: bytes) -> int:
    """Bytes as one integer with `LANE` bytes for each of them, so that they can be added."""
    lanes = bytearray(LANE * len(values))
    lanes[::LANE] = values
    return int.from_bytes(lanes, "little")


def scaled_tiles(
    images: bytes,
    n: int,
    size: tuple[int, int],
    new_size: tuple[int, int],
    channels: int,
    convert: Callable[[bytes], bytes],
) -> list[list[bytes]]:
    """The rows of `n` images in another size.

    Args:
        images: uint8 pixels of shape (n, height, width, channels).
        n: Number of images.
        size: Height and width.
        new_size: The same of the rows. In whole multiples, every pixel is repeated; otherwise see `resize`.
        channels: 1 for gray, 3 for RGB.
        convert: Called once for the pixels of all images.
    """
    (height, width), (new_height, new_width) = size, new_size
    if new_height % height or new_width % width:
        images = resize(images, n, *size, *new_size, channels)
        height, width = new_size
    pixels = convert(images)
    row_size = len(pixels) // (n * height)
    rows = [pixels[start : start + row_size] for start in range(0, len(pixels), row_size)]
    tiles = [rows[start : start + height] for start in range(0, len(rows), height)]
    if (height, width) == new_size:
        return tiles
    return [enlarge(tile, width, new_height // height, new_width // width) for tile in tiles]


def enlarge(rows: list[bytes], width: int, factor_y: int, factor_x: int) -> list[bytes]:
    """Return rows of `width` pixels with every pixel repeated."""
    if factor_x > 1:
        rows = [repeat_pixels(row, len(row) // width, factor_x) for row in rows]
    return [row for row in rows for _ in range(factor_y)]


def repeat_pixels(row: bytes, pixel_bytes: int, factor: int) -> bytes:
    """Return a row with every pixel repeated."""
    repeated = bytearray(len(row) * factor)
    step = pixel_bytes * factor
    for byte in range(pixel_bytes):
        values = row[byte::pixel_bytes]
        for number in range(factor):
            repeated[pixel_bytes * number + byte :: step] = values
    return bytes(repeated)


def draw_marker(tile: list[bytes], mark: bytes, pixel: tuple[int, int], width: int, height: int) -> None:
    """Mark a pixel of a `width` by `height` image in its scaled rows."""
    size = len(mark)
    left, right = _scaled_span(pixel[0], width, len(tile[0]) // size)
    top, bottom = _scaled_span(pixel[1], height, len(tile))
    for y in range(top, bottom):
        tile[y] = tile[y][: left * size] + mark * (right - left) + tile[y][right * size :]


def _scaled_span(index: int, old: int, new: int) -> tuple[int, int]:
    first = index * new // old
    return first, max(first + 1, (index + 1) * new // old)


@functools.cache
def _weights(old: int, new: int) -> list[list[tuple[int, int]]]:
    """The old pixels that each new one covers, with how much of them; `old` in total."""
    return [
        [(i, min(end, (i + 1) * new) - max(end - old, i * new)) for i in range((end - old) // new, -(-end // new))]
        for end in range(old, old * new + 1, old)
    ]
