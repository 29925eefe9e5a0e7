"""Exports images (grid, figure, animated GIF, panels), scripts and CSV tables."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from core.errors import MinidiffError
from core.runs.events import Epoch, Progress
from core.system.output_file import resolve_output, write_output

if TYPE_CHECKING:
    from core.runs.history import RunHistory
    from core.runs.snapshots import SnapshotSeries
    from core.runs.trajectory import Denoising

GAP = 2  # pixels between images, before scaling
GRID_SCALE, FIGURE_SCALE, GIF_SCALE = 4, 1, 3
LONGEST_SIDE = 12_000  # in pixels; larger grids are scaled up less
PANEL_SIDE = 224  # pixels to which a panel's longer side is scaled up at most
GIF_STEP_MS, SNAPSHOT_MS, GIF_END_MS = 80, 200, 2500
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # by suffix; the first is the default
MODES = {1: "L", 3: "RGB"}  # Pillow's mode by number of channels
GIF_FORMATS = {".gif": "GIF"}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}
TITLES = ("Input (noisy)", "Model prediction")
_MARGIN, _TITLE_HEIGHT, _LABEL_WIDTH, _TEXT_SIZE = 12, 30, 34, 15


def check_output(path: Path, formats: Mapping[str, str] = FORMATS) -> None:
    """Check that an image can be written to `path`, before generating it.

    Args:
        path: The file.
        formats: Pillow's format by suffix.

    Raises:
        MinidiffError: The suffix is not supported, or the file cannot be written.
    """
    _format_for(path, formats)
    try:
        resolve_output(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def grid_image(
    images: bytes, n: int, height: int, width: int, channels: int = 1, *, inverted: bool = True
) -> Image.Image:
    """Arrange `n` uint8 images, (n, H, W, C), in a grid on white; 8 per row up to 64 images, else square.

    `inverted` shows gray images as negatives: light characters on black become dark on white.
    """
    inverted = inverted and channels == 1
    columns = min(n, 8) if n <= 64 else math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    mode, page = MODES[channels], 0 if inverted else 255
    size = (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP)
    sheet = Image.new(mode, size, (page,) * channels)
    bytes_each = height * width * channels
    for index in range(n):
        image = Image.frombytes(mode, (width, height), images[index * bytes_each : (index + 1) * bytes_each])
        row, column = divmod(index, columns)
        sheet.paste(image, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return ImageOps.invert(sheet) if inverted else sheet


def write_grid(path: Path, denoising: Denoising, index: int = -1) -> Path:
    """Write the images at one step as a grid.

    Args:
        path: The file; without a suffix, PNG.
        denoising: The recorded trajectory.
        index: Step; -1: the last, which holds the samples.

    Raises:
        MinidiffError: The suffix is not supported, or the file cannot be written.
    """
    return _write(path, _scaled_grid(_grid(denoising.frames[index].x, denoising)))


def write_images(path: Path, images: bytes, shape: tuple[int, int, int, int]) -> Path:
    """Write uint8 images, (n, H, W, C), of `shape` (n, C, H, W) as a grid, without inverting gray ones.

    Raises:
        MinidiffError: The suffix is not supported, or the file cannot be written.
    """
    n, channels, height, width = shape
    return _write(path, _scaled_grid(grid_image(images, n, height, width, channels, inverted=False)))


def write_image(path: Path, image: bytes, shape: tuple[int, int, int]) -> Path:
    """Write one uint8 image, (H, W, C), of `shape` (C, H, W), pixel by pixel.

    Raises:
        MinidiffError: The suffix is not supported, or the file cannot be written.
    """
    channels, height, width = shape
    return _write(path, Image.frombytes(MODES[channels], (width, height), image))


def write_figure(path: Path, denoising: Denoising) -> Path:
    """Write a figure with one row per step, with x beside the prediction made from it.

    Raises:
        MinidiffError: There is no step, the suffix is not supported, or the file cannot be written.
    """
    rows = [
        tuple(_scaled(_grid(images, denoising), FIGURE_SCALE) for images in (state.x, after.prediction or b""))
        for state, after in zip(denoising.frames, denoising.frames[1:], strict=False)
    ]
    if not rows:
        raise MinidiffError("there is no step to export yet; wait for the first prediction")
    cell_width, cell_height = rows[0][0].size
    columns = [_LABEL_WIDTH + _MARGIN, _LABEL_WIDTH + 2 * _MARGIN + cell_width]
    width = columns[1] + cell_width + _MARGIN
    pitch = cell_height + 4
    sheet = _page(denoising, (width, _TITLE_HEIGHT + _MARGIN + pitch * len(rows) + _MARGIN))
    draw, black, grey = ImageDraw.Draw(sheet), (0,) * denoising.channels, (110,) * denoising.channels
    font, small = ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_TEXT_SIZE - 4)
    for left, title in zip(columns, TITLES, strict=True):
        draw.text((left + cell_width // 2, _MARGIN + 8), title, fill=black, font=font, anchor="mm")
    for number, pair in enumerate(rows):
        top = _TITLE_HEIGHT + _MARGIN + number * pitch
        draw.text((_LABEL_WIDTH, top + cell_height // 2), str(number), fill=grey, font=small, anchor="rm")
        for left, cell in zip(columns, pair, strict=True):
            sheet.paste(cell, (left, top))
    return _write(path, _scaled(sheet, 2))


def write_gif(path: Path, denoising: Denoising) -> Path:
    """Write the trajectory as a looping GIF, with x above and the prediction below.

    Raises:
        MinidiffError: The suffix is not supported, or the file cannot be written.
    """
    sheets = []
    for frame in denoising.frames:
        prediction = frame.prediction or denoising.frames[min(1, len(denoising.frames) - 1)].prediction or frame.x
        parts = [_grid(images, denoising) for images in (frame.x, prediction)]
        width, height = parts[0].size
        sheet = _page(denoising, (width, 2 * height + 3 * GAP))
        sheet.paste(parts[0], (0, 0))
        sheet.paste(parts[1], (0, height + 3 * GAP))
        sheets.append(_scaled(sheet, GIF_SCALE))
    return _write_gif(path, sheets, GIF_STEP_MS)


def write_snapshots_gif(path: str | Path, series: SnapshotSeries) -> Path:
    """Write the samples of a run's snapshots as a looping GIF, one frame for each, under its step and losses.

    Raises:
        MinidiffError: Nothing is sampled yet, the suffix is not supported, or the file cannot be written.
    """
    grids = _snapshot_grids(series, GIF_SCALE)
    font, space = ImageFont.load_default(_TEXT_SIZE), (255,) * series.channels
    sheets = []
    for frame, grid in zip(series.frames, grids, strict=True):
        sheet = Image.new(grid.mode, (grid.width, grid.height + _TITLE_HEIGHT), space)
        sheet.paste(grid, (0, _TITLE_HEIGHT))
        titles = (frame.title, f"step {frame.step:,}")
        title = next((text for text in titles if font.getlength(text) < grid.width - _MARGIN), titles[-1])
        draw = ImageDraw.Draw(sheet)
        draw.text((_MARGIN, _TITLE_HEIGHT // 2), title, fill=(0,) * series.channels, font=font, anchor="lm")
        sheets.append(sheet)
    return _write_gif(Path(path), sheets, SNAPSHOT_MS)


def write_snapshots_figure(path: Path, series: SnapshotSeries) -> Path:
    """Write a figure with one row of samples per snapshot, labeled with its step.

    Raises:
        MinidiffError: Nothing is sampled yet, the suffix is not supported, or the file cannot be written.
    """
    grids = _snapshot_grids(series, FIGURE_SCALE)
    font = ImageFont.load_default(_TEXT_SIZE - 4)
    left = 2 * _MARGIN + math.ceil(max(font.getlength(f"{frame.step:,}") for frame in series.frames))
    pitch = grids[0].height + 4
    size = left + grids[0].width + _MARGIN, pitch * len(grids) + 2 * _MARGIN
    sheet = Image.new(grids[0].mode, size, (255,) * series.channels)
    draw = ImageDraw.Draw(sheet)
    for number, (frame, grid) in enumerate(zip(series.frames, grids, strict=True)):
        top = _MARGIN + number * pitch
        place, grey = (left - _MARGIN, top + grid.height // 2), (110,) * series.channels
        draw.text(place, f"{frame.step:,}", fill=grey, font=font, anchor="rm")
        sheet.paste(grid, (left, top))
    return _write(path, _scaled(sheet, 2))


def _snapshot_grids(series: SnapshotSeries, scale: int) -> list[Image.Image]:
    if not series.frames:
        raise MinidiffError("there is nothing to export yet; wait for the first snapshot to be sampled")
    shape = series.n, series.height, series.width, series.channels
    grids = (grid_image(frame.images, *shape, inverted=series.characters) for frame in series.frames)
    return [_scaled(grid, scale) for grid in grids]


def write_panels(path: Path, panels: Sequence[tuple[str, tuple[int, int], bytes]]) -> Path:
    """Write images of any sizes side by side, each under its title.

    Args:
        path: The file; without a suffix, PNG.
        panels: Title, (height, width) and uint8 pixels of shape (height, width, channels), gray or RGB.

    Raises:
        MinidiffError: There is no panel, the suffix is not supported, or the file cannot be written.
    """
    if not panels:
        raise MinidiffError("there is nothing to export yet; wait for the first result")
    font = ImageFont.load_default(_TEXT_SIZE)
    images = []
    for title, (height, width), pixels in panels:
        panel = Image.frombytes(MODES[len(pixels) // (height * width)], (width, height), pixels)
        image = _scaled(panel, max(1, PANEL_SIDE // max(height, width)))
        images.append((title, image, max(image.width, math.ceil(font.getlength(title)))))
    size = sum(width for *_, width in images) + _MARGIN * (len(images) + 1)
    mode = "RGB" if any(image.mode == "RGB" for _, image, _ in images) else "L"
    sheet = Image.new(mode, (size, _TITLE_HEIGHT + max(image.height for _, image, _ in images) + 2 * _MARGIN), "white")
    draw, left = ImageDraw.Draw(sheet), _MARGIN
    for title, image, width in images:
        draw.text((left, _MARGIN + 8), title, fill="black", font=font, anchor="lm")
        sheet.paste(image, (left, _TITLE_HEIGHT + _MARGIN))
        left += width + _MARGIN
    return _write(path, sheet)


def write_script(path: Path, lines: Sequence[str]) -> Path:
    """Write lines of a script.

    Raises:
        MinidiffError: The file cannot be written.
    """
    return _write_bytes(path, ("\n".join(lines) + "\n").encode())


def write_csv(path: Path, history: RunHistory) -> Path:
    """Write a run's windows and epochs as CSV, ordered by step; only epochs have a validation loss.

    Raises:
        MinidiffError: The file cannot be written.
    """
    columns = (
        "event",
        "time",
        "epoch",
        "step",
        "loss",
        "loss_min",
        "loss_max",
        "validation_loss",
        "seconds",
        "images_per_second",
        "learning_rate",
        "memory",
    )
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    events: list[Progress | Epoch] = [*history.progress, *history.epochs]
    for event in sorted(events, key=lambda event: (event.step, event.kind == "epoch")):
        table.writerow({"event": event.kind, **dataclasses.asdict(event)})
    return _write_bytes(path, text.getvalue().encode())


def _write_gif(path: Path, frames: Sequence[Image.Image], milliseconds: int) -> Path:
    """Write a GIF that loops, after a pause on its last frame; the others take `milliseconds`."""
    durations = [milliseconds] * (len(frames) - 1) + [GIF_END_MS]
    options: dict[str, Any] = {"append_images": frames[1:], "duration": durations, "loop": 0, "optimize": False}
    return _write(path, frames[0], GIF_FORMATS, save_all=True, **options)


def _grid(images: bytes, denoising: Denoising) -> Image.Image:
    shape = denoising.n, denoising.height, denoising.width, denoising.channels
    return grid_image(images, *shape, inverted=denoising.characters)


def _page(denoising: Denoising, size: tuple[int, int]) -> Image.Image:
    """A white image in the mode of the trajectory's images."""
    return Image.new(MODES[denoising.channels], size, (255,) * denoising.channels)


def _scaled_grid(grid: Image.Image) -> Image.Image:
    return _scaled(grid, max(1, min(GRID_SCALE, LONGEST_SIDE // max(grid.size))))


def _scaled(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _write(path: Path, image: Image.Image, formats: Mapping[str, str] = FORMATS, **options: Any) -> Path:
    content = io.BytesIO()
    format_ = _format_for(path, formats)
    image.save(content, format_, **_SAVE_OPTIONS.get(format_, {}), **options)
    return _write_bytes(path, content.getvalue())


def _format_for(path: Path, formats: Mapping[str, str]) -> str:
    """Pillow's format name for the suffix of `path`; the first of `formats` without a suffix."""
    suffix = path.suffix.lower()
    if suffix and suffix not in formats:
        known = ", ".join(formats)
        raise MinidiffError(f"cannot write {path}: unsupported format {suffix}; use one of: {known}")
    return formats[suffix] if suffix else next(iter(formats.values()))


def _write_bytes(path: Path, content: bytes) -> Path:
    try:
        return write_output(path, content)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> MinidiffError:
    return MinidiffError(f"cannot write {path}: {error.strerror}; choose another path")
