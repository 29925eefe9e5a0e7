"""Pictures and tables to take away: a grid, the tutorial's figure, an animated GIF, metrics as CSV."""

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
    from core.runs.trajectory import Denoising

GAP = 2  # pixels between digits, before scaling
GRID_SCALE, FIGURE_SCALE, GIF_SCALE = 4, 1, 3
LONGEST_SIDE = 12_000  # pixels of a grid, beyond which its images are enlarged less
PANEL_SIDE = 224  # pixels of a panel's longer side, at most, unless it has more
GIF_STEP_MS, GIF_END_MS = 80, 2500
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # by suffix; the first is the default
ANIMATIONS = {".gif": "GIF"}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}
TITLES = ("Input (noisy)", "Model prediction")
_MARGIN, _TITLE_HEIGHT, _LABEL_WIDTH, _TEXT_SIZE = 12, 30, 34, 15


def check_output(path: Path, formats: Mapping[str, str] = PICTURES) -> None:
    """Check before long work that a picture can be written to `path`.

    Raises:
        MinidiffError: its suffix names no format that is written here, or nothing can be written there.
    """
    _format_for(path, formats)
    try:
        resolve_output(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def grid_image(images: bytes, n: int, height: int, width: int) -> Image.Image:
    """`n` uint8 images as one grid, dark ink on white, 8 in a row, or as square as can be beyond 64."""
    columns = min(n, 8) if n <= 64 else math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = Image.new("L", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), 0)
    size = height * width
    for place in range(n):
        digit = Image.frombytes("L", (width, height), images[place * size : (place + 1) * size])
        row, column = divmod(place, columns)
        sheet.paste(digit, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return ImageOps.invert(sheet)


def write_grid(path: Path, denoising: Denoising, index: int = -1) -> Path:
    """Write the state after one step as a PNG; by default the last, which is the samples.

    Raises:
        MinidiffError: the file cannot be written, as for every function here.
    """
    grid = grid_image(denoising.frames[index].x, denoising.n, denoising.height, denoising.width)
    return _write(path, _scaled(grid, max(1, min(GRID_SCALE, LONGEST_SIDE // max(grid.size)))))


def write_figure(path: Path, denoising: Denoising) -> Path:
    """Write the tutorial's figure as a PNG: a row a step, each state beside the prediction made from it.

    Source: the tutorial's section 3.6.
    """
    rows = [
        tuple(
            _scaled(grid_image(images, denoising.n, denoising.height, denoising.width), FIGURE_SCALE)
            for images in (state.x, after.prediction or b"")
        )
        for state, after in zip(denoising.frames, denoising.frames[1:], strict=False)
    ]
    if not rows:
        raise MinidiffError("there is no step to draw yet; wait for the first prediction")
    cell_width, cell_height = rows[0][0].size
    columns = [_LABEL_WIDTH + _MARGIN, _LABEL_WIDTH + 2 * _MARGIN + cell_width]
    width = columns[1] + cell_width + _MARGIN
    pitch = cell_height + 4
    sheet = Image.new("L", (width, _TITLE_HEIGHT + _MARGIN + pitch * len(rows) + _MARGIN), 255)
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_TEXT_SIZE - 4)
    for left, title in zip(columns, TITLES, strict=True):
        draw.text((left + cell_width // 2, _MARGIN + 8), title, fill=0, font=font, anchor="mm")
    for number, pair in enumerate(rows):
        top = _TITLE_HEIGHT + _MARGIN + number * pitch
        draw.text((_LABEL_WIDTH, top + cell_height // 2), str(number), fill=110, font=small, anchor="rm")
        for left, cell in zip(columns, pair, strict=True):
            sheet.paste(cell, (left, top))
    return _write(path, _scaled(sheet, 2))


def write_gif(path: Path, denoising: Denoising) -> Path:
    """Write the whole denoising as a GIF that repeats: the state above, the prediction below."""
    pictures = []
    for frame in denoising.frames:
        prediction = frame.prediction or denoising.frames[min(1, len(denoising.frames) - 1)].prediction or frame.x
        parts = [grid_image(images, denoising.n, denoising.height, denoising.width) for images in (frame.x, prediction)]
        width, height = parts[0].size
        sheet = Image.new("L", (width, 2 * height + 3 * GAP), 255)
        sheet.paste(parts[0], (0, 0))
        sheet.paste(parts[1], (0, height + 3 * GAP))
        pictures.append(_scaled(sheet, GIF_SCALE))
    durations = [GIF_STEP_MS] * (len(pictures) - 1) + [GIF_END_MS]
    return _write(
        path,
        pictures[0],
        ANIMATIONS,
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        optimize=False,
    )


def write_panels(path: Path, panels: Sequence[tuple[str, tuple[int, int], bytes]]) -> Path:
    """Write pictures of any size side by side as a PNG, each under its title: what a bench of the lab shows.

    Args:
        path: the file.
        panels: title, height and width, and the uint8 pixels row by row, white for the largest.

    Raises:
        MinidiffError: there is none, or the file cannot be written.
    """
    if not panels:
        raise MinidiffError("there is nothing to draw yet; wait for the first answer")
    font = ImageFont.load_default(_TEXT_SIZE)
    pictures = []
    for title, (height, width), pixels in panels:
        picture = _scaled(Image.frombytes("L", (width, height), pixels), max(1, PANEL_SIDE // max(height, width)))
        pictures.append((title, picture, max(picture.width, math.ceil(font.getlength(title)))))
    size = sum(width for *_, width in pictures) + _MARGIN * (len(pictures) + 1)
    sheet = Image.new("L", (size, _TITLE_HEIGHT + max(picture.height for _, picture, _ in pictures) + 2 * _MARGIN), 255)
    draw, left = ImageDraw.Draw(sheet), _MARGIN
    for title, picture, width in pictures:
        draw.text((left, _MARGIN + 8), title, fill=0, font=font, anchor="lm")
        sheet.paste(picture, (left, _TITLE_HEIGHT + _MARGIN))
        left += width + _MARGIN
    return _write(path, sheet)


def write_script(path: Path, lines: Sequence[str]) -> Path:
    """Write lines of Python.

    Raises:
        MinidiffError: the file cannot be written.
    """
    return _write_bytes(path, ("\n".join(lines) + "\n").encode())


def write_csv(path: Path, history: RunHistory) -> Path:
    """Write a run's windows and epochs as CSV, in the order of their steps; a window has no validation loss."""
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


def _scaled(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _write(path: Path, image: Image.Image, formats: Mapping[str, str] = PICTURES, **options: Any) -> Path:
    content = io.BytesIO()
    format_ = _format_for(path, formats)
    image.save(content, format_, **_SAVE_OPTIONS.get(format_, {}), **options)
    return _write_bytes(path, content.getvalue())


def _format_for(path: Path, formats: Mapping[str, str]) -> str:
    """Pillow's name of the format that the suffix of `path` stands for; without a suffix, the first of `formats`."""
    suffix = path.suffix.lower()
    if suffix and suffix not in formats:
        known = ", ".join(formats)
        raise MinidiffError(f"cannot write {path}: {suffix} is not a format it can be written in; end it in {known}")
    return formats[suffix] if suffix else next(iter(formats.values()))


def _write_bytes(path: Path, content: bytes) -> Path:
    try:
        return write_output(path, content)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> MinidiffError:
    return MinidiffError(f"cannot write {path}: {error.strerror}; choose another name or place")
