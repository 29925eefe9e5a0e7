"""Images that belong together are drawn with the same cells per pixel, and each feature map with its own range."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from waiting import until

from core.data.datasets import load_dataset
from core.diffusion.loaded_model import load_model
from core.engine.lab import LabImage, lab_replies
from core.engine.lab_messages import ConvolutionRequest, InsideReply
from core.engine.protocol import Array, LabRequest
from tui.app import MinidiffApp
from tui.grayscale import normalized
from tui.lab.image_canvas import ImageCanvas
from tui.lab.inside import InsideBench
from tui.lab.tile_grid import TileGrid, scaled
from tui.lab.tile_panel import TilePanel
from tui.messages import LabReplied
from tui.screens.lab import LabScreen
from tui.settings import Settings
from tui.widgets.image_grid import ImageGrid

if TYPE_CHECKING:
    from textual.pilot import Pilot

SIZES = [(60, 20), (80, 24), (100, 30), (120, 24), (120, 40), (200, 60)]
MODEL = "default-mnist"


@asynccontextmanager
async def bench_of(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch, **fields: object
) -> AsyncIterator[tuple[LabScreen, Pilot[None]]]:
    """A bench with the reply to its request, or to that request with other fields; no engine runs."""

    async def show_lab(engine: object, request: LabRequest) -> None:
        pass

    monkeypatch.setattr("tui.io.engine_client.EngineClient.show_lab", show_lab)
    app = MinidiffApp(root, mode="lab", settings=Settings(reduced_motion=True))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, LabScreen)
        await pilot.pause()
        screen.open(name)
        await pilot.pause()
        digits = load_dataset("glyphs", split="test", limit=1)
        image = LabImage(digits.images[0] / 255, int(digits.labels[0]))
        request = replace(screen.bench.request(screen.subject), **fields)  # type: ignore[arg-type]
        replies = lab_replies(request, image, partial(load_model, MODEL, "cpu"), lambda *_: None)
        reply = next(replies)
        screen.post_message(LabReplied(reply))
        await until(pilot, lambda: screen.bench.shown is reply, "the reply is shown")
        await pilot.pause()
        yield screen, pilot


def visible(screen: LabScreen) -> list[ImageCanvas]:
    return [canvas for canvas in screen.bench.query(ImageCanvas) if canvas.region.area and canvas._in_sight]


async def check_scales(screen: LabScreen, pilot: Pilot[None], at_least: int) -> None:
    """At every size, all visible canvases have one scale, and draw their images at it."""
    for size in SIZES:
        await pilot.resize_terminal(*size)
        await pilot.pause()
        canvases = visible(screen)
        assert len(canvases) >= at_least, size
        assert len({canvas.scale for canvas in canvases}) <= 1, size
        for canvas in canvases:
            (tall, wide), scale = canvas.shape, canvas.scale
            region = canvas._image_region
            assert (region.width, region.height) == (int(wide * scale + 1e-9), int(tall * scale + 1e-9)), (size, canvas)
            assert region.right <= canvas.size.width
            assert region.bottom <= 2 * canvas.size.height


@pytest.mark.parametrize(
    "fields",
    [{}, {"padding": 4, "stride": 2}, {"padding": 6, "dilation": 3, "flip": True}],
    ids=["plain", "padded, strided", "dilated, flipped"],
)
async def test_an_image_and_its_map_have_pixels_of_one_size(
    fields: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_of("convolution", tmp_path, monkeypatch, **fields) as (screen, pilot):
        assert isinstance(screen.bench.request(screen.subject), ConvolutionRequest)
        await check_scales(screen, pilot, 3 if "flip" in fields else 2)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        if not fields:
            assert visible(screen)[0].scale == 1


async def test_a_small_map_and_its_outputs_have_pixels_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_of("transposed", tmp_path, monkeypatch, stride=3) as (screen, pilot):
        await check_scales(screen, pilot, 2)


async def test_input_receptive_field_and_prediction_have_pixels_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_of("inside", tmp_path, monkeypatch) as (screen, pilot):
        bench = screen.bench
        assert isinstance(bench, InsideBench)
        await check_scales(screen, pilot, 0)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        while bench.view != "prediction":
            await pilot.press("v")
        await check_scales(screen, pilot, 2)


async def test_noisy_and_restored_images_have_pixels_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_of("corruption", tmp_path, monkeypatch) as (screen, pilot):
        for size in SIZES[1:]:
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await pilot.pause()
            grids = [screen.bench.query_one(f"#{name}", ImageGrid) for name in ("noisy", "back")]
            layouts = {grid.layout_of(3, grid.size, 28, 28) for grid in grids}
            assert len(layouts) == 1, size
            assert layouts.pop().width


def test_each_tile_is_scaled_by_its_own_values_or_all_by_one_range() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((5, 4, 3), generator=generator) * torch.tensor([0.01, 1, 30, 2, 1])[:, None, None]
    values[3].abs_()  # zero is black, where nothing is negative
    values[4] = 0
    own = []
    for tile in values:
        largest = max(float(tile.abs().max()), 1e-30)
        own.append(127.5 + 127.5 * tile / largest if float(tile.min()) < 0 else 255 * tile / largest)
    common = 127.5 + 127.5 * values / float(values.abs().max())
    array = Array((5, 4, 3), values.flatten().tolist())
    for expected, is_common in ((torch.stack(own), False), (common, True)):
        levels = torch.tensor(list(scaled(array, 5, common=is_common)), dtype=torch.float32).reshape(5, 4, 3)
        assert torch.allclose(levels, expected, atol=0.51)
    assert scaled(array, 2, common=True) == scaled(array, 5, common=True)[:24]


async def test_the_panel_says_which_range_is_used_and_shows_that_of_the_chosen_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_of("inside", tmp_path, monkeypatch) as (screen, pilot):
        reply = screen.bench.shown
        assert isinstance(reply, InsideReply)
        assert reply.maps is not None
        panel, grid = screen.bench.query_one(TilePanel), screen.bench.query_one(TileGrid)

        def said() -> list[float]:
            _, _, text = panel.shown_note.rpartition(": ")
            words = text.removesuffix(", g each its own range").split(" to ")
            return [float(word) for word in words]

        for channel in (0, 1, 2):
            values = reply.maps[channel].values
            assert said() == pytest.approx([min(values), max(values)], abs=0.006)
            assert f"channel {channel}: " in panel.shown_note
            assert "each its own range" in panel.shown_note
            assert grid._images[channel] == normalized(values)
            await pilot.press("full_stop")
        await pilot.press("g")
        await pilot.pause()
        assert said() == pytest.approx([min(reply.maps.values), max(reply.maps.values)], abs=0.006)
        assert panel.shown_note.startswith("g one range for all channels: ")
        assert grid._images[1] == normalized(reply.maps.values)[196:392]
