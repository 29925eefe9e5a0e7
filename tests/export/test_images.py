"""Exported images and tables, checked pixel by pixel and cell by cell."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from core import MinidiffError, save_grid
from core.export.images import (
    FIGURE_SCALE,
    GAP,
    GIF_END_MS,
    GIF_SCALE,
    GIF_STEP_MS,
    GRID_SCALE,
    SNAPSHOT_MS,
    grid_image,
    write_csv,
    write_figure,
    write_gif,
    write_grid,
    write_panels,
    write_snapshots_figure,
    write_snapshots_gif,
)
from core.runs.events import Epoch
from core.runs.history import RunHistory
from core.runs.snapshots import LoggedValues, SnapshotFrame, SnapshotSeries
from core.runs.trajectory import Denoising, Frame

HEIGHT, WIDTH, STEPS = 6, 5, 3
FIGURE_ZOOM = 2 * FIGURE_SCALE


def made(n: int, brightness: int) -> bytes:
    """n images in which every pixel has a distinct value."""
    return bytes((brightness + 7 * image + pixel) % 256 for image in range(n) for pixel in range(HEIGHT * WIDTH))


def denoising(n: int = 9, steps: int = STEPS) -> Denoising:
    frames = [Frame(i, 1 - i / steps, made(n, 10 * i), made(n, 100 + 10 * i) if i else None) for i in range(steps + 1)]
    return Denoising("m", 0, steps, n, HEIGHT, WIDTH, tuple(frames))


def pixel(images: bytes, image: int, row: int, column: int) -> int:
    """The expected color of ink on white."""
    return 255 - images[image * HEIGHT * WIDTH + row * WIDTH + column]


def assert_grid(picture: Image.Image, images: bytes, n: int, columns: int, zoom: int) -> None:
    """Check every pixel of every image in the grid, and the white gaps."""
    rows = -(-n // columns)
    assert picture.size == (zoom * (columns * (WIDTH + GAP) + GAP), zoom * (rows * (HEIGHT + GAP) + GAP))
    for image in range(n):
        top = GAP + image // columns * (HEIGHT + GAP)
        left = GAP + image % columns * (WIDTH + GAP)
        for row in range(HEIGHT):
            for column in range(WIDTH):
                x, y = zoom * (left + column), zoom * (top + row)
                expected = pixel(images, image, row, column)
                assert picture.getpixel((x, y)) == expected
                assert picture.getpixel((x + zoom - 1, y + zoom - 1)) == expected
        assert picture.getpixel((zoom * left - 1, zoom * top)) == 255
    assert picture.getpixel((0, 0)) == 255


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (3, 3), (8, 8), (9, 8), (64, 8), (65, 9)])
def test_a_grid_has_every_image_in_its_place(n: int, columns: int) -> None:
    assert_grid(grid_image(made(n, 0), n, HEIGHT, WIDTH), made(n, 0), n, columns, zoom=1)


def test_a_grid_png_is_the_last_step_dark_on_white(tmp_path: Path) -> None:
    path = write_grid(tmp_path / "grid.png", denoising())
    picture = Image.open(path)
    assert (picture.format, picture.mode) == ("PNG", "L")
    assert_grid(picture, made(9, 30), 9, 8, GRID_SCALE)


def test_any_step_can_be_written_as_a_grid(tmp_path: Path) -> None:
    picture = Image.open(write_grid(tmp_path / "grid.png", denoising(), 1))
    assert_grid(picture, made(9, 10), 9, 8, GRID_SCALE)


def cells(picture: Image.Image, n: int, rows: int) -> list[list[Image.Image]]:
    """The pairs of grids in a figure, located from its lower right corner, where the last prediction ends."""
    columns = min(n, 8)
    width = FIGURE_ZOOM * (columns * (WIDTH + GAP) + GAP)
    height = FIGURE_ZOOM * (-(-n // columns) * (HEIGHT + GAP) + GAP)
    margin, pitch = 2 * 12, height + 2 * 4
    pairs = []
    for row in range(rows):
        bottom = picture.height - margin - 2 * 4 - (rows - 1 - row) * pitch
        right = picture.width - margin
        left = right - width - margin
        boxes = [(end - width, bottom - height, end, bottom) for end in (left, right)]
        pairs.append([picture.crop(box) for box in boxes])
    return pairs


def test_the_figure_shows_each_state_next_to_its_prediction(tmp_path: Path) -> None:
    picture = Image.open(write_figure(tmp_path / "figure.png", denoising()))
    assert (picture.format, picture.mode) == ("PNG", "L")
    for row, (state, prediction) in enumerate(cells(picture, 9, STEPS)):
        assert_grid(state, made(9, 10 * row), 9, 8, FIGURE_ZOOM)
        assert_grid(prediction, made(9, 100 + 10 * (row + 1)), 9, 8, FIGURE_ZOOM)


def test_the_figure_has_dark_titles_over_both_columns(tmp_path: Path) -> None:
    from core.export import images

    assert images.TITLES == ("Input (noisy)", "Model prediction")
    blank = Denoising(
        "m", 0, 1, 8, 28, 28, (Frame(0, 1, bytes(8 * 784), None), Frame(1, 0, bytes(8 * 784), bytes(8 * 784)))
    )
    picture = Image.open(write_figure(tmp_path / "figure.png", blank))
    top = picture.crop((0, 0, picture.width, 2 * 40))
    ink = ImageChops.invert(top).getbbox()
    assert ink is not None
    left, right = (top.crop(box) for box in ((0, 0, top.width // 2, top.height), (top.width // 2, 0, *top.size)))
    for half in (left, right):
        low, _ = half.getextrema()
        assert low == 0
        box = ImageChops.invert(half).getbbox()
        assert box is not None
        assert box[0] > 0
        assert box[2] < half.width  # not clipped at the edge


def test_a_figure_before_the_first_prediction_is_refused(tmp_path: Path) -> None:
    started = Denoising("m", 0, 3, 1, HEIGHT, WIDTH, (Frame(0, 1.0, made(1, 0), None),))
    with pytest.raises(MinidiffError, match="no step to export"):
        write_figure(tmp_path / "figure.png", started)
    assert list(tmp_path.iterdir()) == []


def test_the_gif_shows_every_step_and_holds_the_last(tmp_path: Path) -> None:
    picture = Image.open(write_gif(tmp_path / "trajectory.gif", denoising()))
    assert picture.format == "GIF"
    assert picture.n_frames == STEPS + 1
    assert picture.info["loop"] == 0
    durations = []
    _, height = grid_image(made(9, 0), 9, HEIGHT, WIDTH).size
    for index in range(picture.n_frames):
        picture.seek(index)
        durations.append(picture.info["duration"])
        shown = picture.convert("L")
        state = shown.crop((0, 0, shown.width, GIF_SCALE * height))
        assert_grid(state, made(9, 10 * index), 9, 8, GIF_SCALE)
        prediction = shown.crop((0, shown.height - GIF_SCALE * height, shown.width, shown.height))
        assert_grid(prediction, made(9, 100 + 10 * max(index, 1)), 9, 8, GIF_SCALE)
    assert durations == [GIF_STEP_MS] * STEPS + [GIF_END_MS]


def test_a_gif_of_only_the_start_is_one_frame(tmp_path: Path) -> None:
    started = Denoising("m", 0, 3, 1, HEIGHT, WIDTH, (Frame(0, 1.0, made(1, 0), None),))
    assert Image.open(write_gif(tmp_path / "trajectory.gif", started)).n_frames == 1


RED, GREEN, BLUE = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff"


def test_rgb_images_are_exported_in_their_own_colours(tmp_path: Path) -> None:
    start, end = (b"".join(color * (HEIGHT * WIDTH) for color in colors) for colors in ((RED, GREEN), (BLUE, RED)))
    frames = (Frame(0, 1.0, start, None), Frame(1, 0.0, end, end))
    trajectory = Denoising("m", 0, 1, 2, HEIGHT, WIDTH, frames, channels=3)
    with Image.open(write_grid(tmp_path / "grid.png", trajectory)) as grid:
        assert grid.mode == "RGB"
        middle = GRID_SCALE * (GAP + HEIGHT // 2)
        assert grid.getpixel((GRID_SCALE * (GAP + 1), middle)) == (0, 0, 255)
        assert grid.getpixel((GRID_SCALE * (2 * GAP + WIDTH + 1), middle)) == (255, 0, 0)
        assert grid.getpixel((1, 1)) == (255, 255, 255)
    with Image.open(write_figure(tmp_path / "figure.png", trajectory)) as figure:
        colors = {color for _, color in figure.convert("RGB").getcolors(1 << 16)}
        assert colors >= {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)}
    with Image.open(write_gif(tmp_path / "steps.gif", trajectory)) as gif:
        assert gif.n_frames == 2
        gif.seek(1)
        assert gif.convert("RGB").getpixel((GIF_SCALE * (GAP + 1), GIF_SCALE * (GAP + 1))) == (0, 0, 255)


def test_rgb_and_grey_panels_are_on_one_sheet(tmp_path: Path) -> None:
    panels = [("image", (2, 2), RED * 4), ("luminance", (2, 2), bytes([76] * 4))]
    with Image.open(write_panels(tmp_path / "panels.png", panels)) as sheet:
        assert {color for _, color in sheet.getcolors(1 << 16)} >= {(255, 0, 0), (76, 76, 76)}


def test_csv_metrics_are_the_logged_ones_in_step_order(finished_run: Path, tmp_path: Path) -> None:
    history = RunHistory.of(finished_run / "events.jsonl")
    with open(write_csv(tmp_path / "metrics.csv", history), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == sorted(int(row["step"]) for row in rows)
    epochs = [row for row in rows if row["event"] == "epoch"]
    assert len(rows) == len(history.progress) + len(history.epochs)
    for row, event in zip(epochs, history.epochs, strict=True):
        assert isinstance(event, Epoch)
        assert (int(row["epoch"]), float(row["loss"]), float(row["validation_loss"])) == (
            event.epoch, event.loss, event.validation_loss,
        )  # fmt: skip
        assert row["images_per_second"] == row["memory"] == ""
    for row, window in zip((row for row in rows if row["event"] == "progress"), history.progress, strict=True):
        assert float(row["loss"]) == window.loss
        assert row["validation_loss"] == ""


def test_metrics_of_a_run_without_any_are_only_a_header(tmp_path: Path) -> None:
    assert len(write_csv(tmp_path / "metrics.csv", RunHistory()).read_text().splitlines()) == 1


def test_missing_folders_are_created_and_old_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "grid.png"
    write_grid(path, denoising(1))
    write_grid(path, denoising(2))
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]


@pytest.mark.parametrize("place", ["file/grid.png", "folder", "", ".", "..", "/", "x" * 300])
def test_an_unwritable_path_is_a_one_line_error(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MinidiffError) as caught:
        write_grid(Path(place), denoising(1))
    assert len(str(caught.value).splitlines()) == 1
    assert "None" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


# Photographs, color and tensors


def test_photographs_are_not_inverted(tmp_path: Path) -> None:
    photographs = dataclasses.replace(denoising(), characters=False)
    grid, figure = (write(tmp_path / name, photographs) for write, name in ((write_grid, "a.png"), (write_figure, "b")))
    gif = write_gif(tmp_path / "c.gif", photographs)
    with Image.open(grid) as picture:
        assert picture.getpixel((0, 0)) == 255
        assert picture.getpixel((GRID_SCALE * GAP, GRID_SCALE * GAP)) == made(1, 30)[0]
    with Image.open(figure) as picture:
        (state, prediction), *_ = cells(picture, 9, STEPS)
        at = FIGURE_ZOOM * GAP
        assert (state.getpixel((at, at)), prediction.getpixel((at, at))) == (made(1, 0)[0], made(1, 110)[0])
    with Image.open(gif) as picture:
        assert picture.convert("L").getpixel((GIF_SCALE * GAP, GIF_SCALE * GAP)) == made(1, 0)[0]


def colour(n: int) -> bytes:
    return bytes((image * 40 + 3 * pixel) % 256 for image in range(n) for pixel in range(HEIGHT * WIDTH * 3))


def test_colour_images_keep_their_colours_on_white() -> None:
    images, n = colour(9), 9
    picture = grid_image(images, n, HEIGHT, WIDTH, 3)
    assert (picture.mode, picture.getpixel((0, 0))) == ("RGB", (255, 255, 255))
    for image in range(n):
        top, left = GAP + image // 8 * (HEIGHT + GAP), GAP + image % 8 * (WIDTH + GAP)
        for row in range(HEIGHT):
            for column in range(WIDTH):
                first = ((image * HEIGHT + row) * WIDTH + column) * 3
                assert picture.getpixel((left + column, top + row)) == tuple(images[first : first + 3])


def test_figure_and_gif_of_a_colour_trajectory_are_in_colour(tmp_path: Path) -> None:
    frames = tuple(Frame(i, 1 - i / 2, colour(4 + i)[-360:], colour(4) if i else None) for i in range(3))
    denoising = Denoising("m", 0, 2, 4, HEIGHT, WIDTH, frames, 3)
    for path in (write_grid(tmp_path / "a.png", denoising), write_figure(tmp_path / "b.png", denoising)):
        assert Image.open(path).mode == "RGB"
    with Image.open(write_gif(tmp_path / "c.gif", denoising)) as animation:
        assert animation.n_frames == 3  # type: ignore[attr-defined]
        animation.seek(2)
        near = animation.convert("RGB").getpixel((GIF_SCALE * (GAP + 3), GIF_SCALE * (GAP + 2)))
    expected = frames[2].x[(2 * WIDTH + 3) * 3 :][:3]
    assert all(abs(a - b) <= 24 for a, b in zip(near, expected, strict=True))  # type: ignore[arg-type] # 256 colors


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_of_a_tensor_keeps_pixel_values(tmp_path: Path, channels: int) -> None:
    images = torch.randint(256, (3, channels, HEIGHT, WIDTH), dtype=torch.uint8)
    for name, tensor in (("a.png", images), ("b", images.float() / 255), ("c.png", images.numpy())):
        path = save_grid(tensor, tmp_path / name)
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            small = picture.reduce(GRID_SCALE)
        pixels = torch.from_numpy(np.array(small)).view(HEIGHT + 2 * GAP, 3 * (WIDTH + GAP) + GAP, channels)
        for index in range(3):
            left = GAP + index * (WIDTH + GAP)
            cell = pixels[GAP : GAP + HEIGHT, left : left + WIDTH].permute(2, 0, 1)
            assert torch.equal(cell, images[index])


@pytest.mark.parametrize(
    ("images", "path", "words"),
    [
        (torch.rand(2, 2, 8, 8), "a.png", "images needs shape"),
        (torch.rand(8, 8), "a.png", "images needs shape"),
        (torch.rand(2, 1, 8, 8) * 255, "a.png", r"must be in \[0, 1\]"),
        (torch.full((1, 1, 8, 8), torch.nan), "a.png", r"must be in \[0, 1\]"),
        ([0.5], "a.png", "images must be a tensor or a NumPy array, not list"),
        (torch.rand(2, 1, 8, 8), "a.bmp", "unsupported format .bmp"),
    ],
)
def test_a_grid_of_other_tensors_is_refused_in_one_line(tmp_path: Path, images: object, path: str, words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        save_grid(images, tmp_path / path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def snapshots(frames: int = 3, n: int = 9) -> SnapshotSeries:
    sampled = tuple(SnapshotFrame(10**i, made(n, 10 * i), None, LoggedValues(0.5 / (1 + i))) for i in range(frames))
    steps = tuple(frame.step for frame in sampled)
    return SnapshotSeries("m", 0, n, HEIGHT, WIDTH, 1, True, steps, sampled)


def test_the_gif_of_snapshots_has_a_frame_for_each_below_its_title(tmp_path: Path) -> None:
    series = snapshots()
    with Image.open(write_snapshots_gif(tmp_path / "h.gif", series)) as picture:
        assert picture.n_frames == 3
        durations = []
        for number, frame in enumerate(series.frames):
            picture.seek(number)
            durations.append(picture.info["duration"])
            whole = picture.convert("L")
            grid = whole.crop((0, whole.height - grid_height(9), whole.width, whole.height))
            assert_grid(grid, frame.images, 9, 8, GIF_SCALE)
            title = whole.crop((0, 0, whole.width, whole.height - grid_height(9)))
            assert min(title.tobytes()) < 90
        assert durations == [SNAPSHOT_MS, SNAPSHOT_MS, GIF_END_MS]


def grid_height(n: int) -> int:
    return GIF_SCALE * (-(-n // 8) * (HEIGHT + GAP) + GAP)


def test_the_figure_of_snapshots_has_a_row_for_each(tmp_path: Path) -> None:
    series = snapshots(n=4)
    with Image.open(write_snapshots_figure(tmp_path / "h.png", series)) as figure:
        width, height = FIGURE_ZOOM * (4 * (WIDTH + GAP) + GAP), FIGURE_ZOOM * (HEIGHT + 2 * GAP)
        left, pitch = figure.width - width - FIGURE_ZOOM * 12, height + FIGURE_ZOOM * 4
        for number, frame in enumerate(series.frames):
            top = FIGURE_ZOOM * 12 + number * pitch
            row = figure.crop((left, top, left + width, top + height))
            assert_grid(row, frame.images, 4, 4, FIGURE_ZOOM)


def test_snapshots_can_be_exported_once_one_is_sampled(tmp_path: Path) -> None:
    empty = dataclasses.replace(snapshots(), frames=())
    for write, name in ((write_snapshots_gif, "h.gif"), (write_snapshots_figure, "h.png")):
        with pytest.raises(MinidiffError, match="wait for the first snapshot"):
            write(tmp_path / name, empty)
