"""The inside bench: its list, tiles, skips, pixel and fields on a real engine, and a script that computes the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch
from lab_app import Lab, lab, run_script
from textual.geometry import Region
from textual.widgets import Static, Switch

from core.config.training import TrainConfig
from core.diffusion.loaded_model import load_model
from core.lab import layer_table
from core.models.registry import build_model
from core.models.weights import write_tensors
from core.runs.directory import CONFIG, MODEL
from tui.lab.inside import InsideBench
from tui.lab.layers import Layers, short
from tui.lab.pixel_picker import PixelPicker
from tui.lab.tile_panel import TilePanel
from tui.widgets.compact_select import CompactSelect
from tui.widgets.image_grid import ImageGrid

DEFAULT = "default-mnist"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a run that attends, whose weights were never trained."""
    torch.manual_seed(0)
    config = TrainConfig(model="unet2d", name="attends")
    run = tmp_path_factory.mktemp("runs") / "attends"
    run.mkdir()
    (run / CONFIG).write_text(config.to_toml(), encoding="utf-8")
    net = build_model(config.model, **config.model_options)
    write_tensors(run / MODEL, "model", net.state_dict(), config, 0)
    return run.parent


@asynccontextmanager
async def inside(
    root: Path, monkeypatch: pytest.MonkeyPatch, model: str = DEFAULT, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[Lab, InsideBench]]:
    """The bench in sight, with the inside of a model."""
    async with lab(root, monkeypatch, size) as on:
        on.screen.query_one("#model", CompactSelect).value = model
        await on.answered()
        on.screen.open("inside")
        await on.answered()
        assert isinstance(on.bench, InsideBench)
        yield on, on.bench


async def choose(on: Lab, name: str) -> None:
    """Put the cursor on a layer, as the arrows do."""
    layers = on.bench.query_one(Layers)
    layers.list.highlighted = [layer.name for layer in layers.rows].index(name)
    await on.answered()
    assert on.bench.shown is not None
    assert on.bench.shown.layer == name


def tiles_say(on: Lab) -> str:
    return on.bench.query_one(TilePanel).shown_title


def over(on: Lab, name: str) -> str:
    return str(on.bench.query_one(f"#{name}").parent.query_one(".caption", Static).render())


async def test_the_list_names_every_module_and_its_weights_add_up(tmp_path, monkeypatch):
    async with inside(tmp_path, monkeypatch) as (on, bench):
        net = load_model(DEFAULT, device="cpu").net
        layers = bench.query_one(Layers)
        assert [layer.name for layer in layers.rows] == [name for name, _ in net.named_modules()]
        whole = sum(parameter.numel() for parameter in net.parameters())
        assert layers.rows[0].parameters == whole
        assert sum(layer.parameters for layer in layers.rows if layer.depth == 1) == whole
        assert bench.shown.layer == "into"  # the first convolution
        assert on.app.focused is layers.list
        at = layers.list.highlighted
        assert layers.rows[at].name == "into"
        lines = [str(layers.list.get_option_at_index(index).prompt) for index in range(len(layers.rows))]
        assert lines[0].split() == ["PatchUNet", "1x28x28", short(whole)]
        assert lines[at].startswith(" into ")
        assert len({len(line) for line in lines}) == 1
        before = layers.list.get_option_at_index(0)
        await on.pilot.press("down")
        await on.answered()
        assert bench.shown.layer == "down"
        assert layers.list.get_option_at_index(0) is before  # the list is not rebuilt
        assert tiles_say(on) == "v maps: no feature map: a container"
        await on.pilot.press("escape")
        assert on.app.focused is None


async def test_a_chosen_layer_shows_its_maps_and_views_switch(tmp_path, monkeypatch):
    async with inside(tmp_path, monkeypatch) as (on, bench):
        await choose(on, "shrink")
        maps = bench.shown.maps
        assert maps.shape == (64, 7, 7)
        drawn = len(bench.query_one("#tiles", ImageGrid)._images)
        assert tiles_say(on) == f"v maps of shrink: {drawn} of 128 channels, 7x7"
        await on.pilot.press("v")
        assert tiles_say(on).startswith("v kernels of shrink: ")
        assert " of 8192 kernels, 3x3" in tiles_say(on)
        assert bench.query_one("#tiles", ImageGrid)._images
        await choose(on, "norm")
        assert tiles_say(on) == "v kernels: this layer is not a convolution"
        assert not bench.query_one("#tiles", ImageGrid)._images
        await on.pilot.press("v")
        assert tiles_say(on) == "v attention: this network has no attention"
        await on.pilot.press("v")
        assert tiles_say(on).startswith("v maps of norm: ")
        await choose(on, "time_embed.0")
        assert tiles_say(on) == "v maps: no feature map: the output has shape 128"
        await choose(on, "")
        assert " of 1 channels, 28x28" in tiles_say(on)


async def test_the_output_changes_without_skip_connections(tmp_path, monkeypatch):
    async with inside(tmp_path, monkeypatch) as (on, bench):
        before = bench.shown.prediction
        await on.pilot.press("j")
        await on.answered()
        assert bench.shown.prediction != before
        assert not bench.query_one("#skips", Switch).value
        assert over(on, "prediction").endswith(", no skips")
        await on.pilot.press("j")
        await on.answered()
        assert bench.shown.prediction == before


async def test_moving_the_pixel_moves_the_receptive_field(tmp_path, monkeypatch):
    async with inside(tmp_path, monkeypatch) as (on, bench):
        board, before = bench.query_one("#prediction", PixelPicker), bench.shown.receptive_field
        for _ in range(20):
            if on.app.focused is board:
                break
            await on.pilot.press("tab")
        assert on.app.focused is board
        await on.pilot.press("left", "up", "up")
        assert board.frame == Region(13, 12, 1, 1)  # at once
        await on.answered()
        field = bench.shown.receptive_field
        assert bench.shown.pixel == (12, 13)
        assert field != before
        part = sum(value > 0.01 * field.max_abs for value in field.values)
        assert over(on, "field") == f"field: {part} pixels over 1%"
        assert over(on, "prediction") == "predicted 12, 13"
        place = board._image_region
        await on.pilot.click("#prediction", offset=(place.x + 3, (place.y + 8) // 2))
        await on.answered()
        assert bench.shown.pixel == (8, 3)
        await on.pilot.press(*["left"] * 5)
        await on.answered()
        assert bench.shown.pixel == (8, 0)  # the edge


async def test_noise_level_and_class_change_the_request_and_an_invalid_level_is_reported(tmp_path, monkeypatch):
    async with inside(tmp_path, monkeypatch) as (on, bench):
        before = bench.shown
        for text in ("2", "", "x", "nan", "-0.1"):
            await on.fill("t", text)
            said = f"t takes a number from 0 (no noise) to 1 (only noise), not {text or 'nothing'}"
            assert on.is_wrong
            assert on.description == said
            assert bench.query_one("#t").value == text
        await on.fill("t", "0.9")
        assert not on.is_wrong
        assert bench.shown.noisy != before.noisy
        assert over(on, "noisy") == "noisy, t 0.9"
        own = bench.shown.prediction
        label = bench.shown.label
        for name in ("any", str((label + 1) % 10)):
            bench.query_one("#class", CompactSelect).value = name
            await on.answered()
            assert bench.shown.prediction != own


async def test_attention_is_shown_and_the_model_can_be_changed_afterwards(root, monkeypatch):
    async with inside(root, monkeypatch, "attends") as (on, bench):
        net = load_model("attends", device="cpu", root=root).net
        table = layer_table(net)
        layers = bench.query_one(Layers)
        assert [layer.parameters for layer in layers.rows] == [row.parameters for row in table]
        await on.pilot.press("v", "v")
        assert tiles_say(on) == "v attention: this layer has no attention"
        await choose(on, "unet.mid_block.attentions.0")
        attention = bench.shown.attention
        heads = attention.shape[0]
        assert attention.shape == (heads, 7, 7)
        assert sum(attention.values) == pytest.approx(heads, abs=1e-3)
        assert tiles_say(on) == f"v attention from position 3, 3: {heads} of {heads} heads, 7x7"
        await on.pilot.press("v")
        assert "of unet.mid_block.attentions.0: " in tiles_say(on)
        on.screen.query_one("#model", CompactSelect).value = "quick-mnist"
        await on.answered()
        assert bench.shown.layer == "down.0"  # what was chosen is none of its layers
        assert layers.rows[layers.list.highlighted].name == "down.0"
        assert bench.query_one("#class", CompactSelect).disabled


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 60)])
async def test_every_size_shows_the_list_the_tiles_the_output_and_the_receptive_field(size, tmp_path, monkeypatch):
    async with inside(tmp_path, monkeypatch, size=size) as (on, bench):

        def in_sight(*names: str) -> bool:
            regions = [bench.query_one(name).region for name in names]
            return all(region.area and on.app.screen.region.contains_region(region) for region in regions)

        assert in_sight(".description", "#skips", "#layers", "#tiles")
        if not in_sight("#prediction"):
            await on.pilot.press("v", "v", "v")
            await on.until(lambda: in_sight("#prediction", "#field"), "both are shown")
            await on.until(lambda: bench.query_one("#prediction").has_focus, "the arrows move the pixel")
            await on.pilot.press("right")
            await on.answered()
            assert bench.shown.pixel == (14, 15)
            await on.pilot.press("v")
            await on.until(lambda: in_sight("#layers", "#tiles"), "the tiles are back")
            assert bench.query_one(Layers).list.has_focus
        assert bench.timeline is None
        assert on.screen.check_action("play", ()) is False


async def test_the_exported_script_computes_the_displayed_values(tmp_path, monkeypatch):
    async with inside(tmp_path, monkeypatch) as (on, bench):
        await on.fill("t", "0.7")
        await choose(on, "shrink")
        await on.pilot.press("j")
        await on.answered()
        titles = [panel.title for panel in bench.panels()]
        assert titles == ["noisy", "prediction", "field", "maps"]
        assert all(len(panel.image) == panel.shape[0] * panel.shape[1] for panel in bench.panels())
        printed = run_script(bench.script(on.screen.subject), tmp_path)
        answer = float(printed.partition("prediction ")[2].split()[0])
        assert answer == pytest.approx(bench.shown.prediction.at(14, 14), abs=1e-3)
        assert "maps of shrink (1, 128, 7, 7) from" in printed
        assert "kernels (128, 64, 3, 3)" in printed
        seen = int(printed.partition("field ")[2].split()[0])
        assert seen == pytest.approx(int(over(on, "field").split()[1]), abs=3)  # sums in another order
        assert "  into Conv2d (64, 14, 14) 2368" in printed


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, ""), (832, "832"), (1000, "1.00k"), (51264, "51.3k"), (999_700, "1.00M"), (145_756_160, "146M")],
)
def test_numbers_in_short_units(number, said):
    assert short(number) == said
