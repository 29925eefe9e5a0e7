"""The training bench: the images of a step, the bars of the gradient, the curve of the losses, and the export."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
import torch
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Select, Static
from toy_models import colour_model
from waiting import until

from core.data.datasets import load_dataset
from core.diffusion.loaded_model import load_model
from core.engine.lab import LabImage
from core.engine.protocol import DatasetImage, LabRequest
from core.engine.training import training_replies
from core.engine.training_messages import TrainingReply, TrainingRequest
from tui.app import MinidiffApp
from tui.grayscale import from_unit
from tui.lab.bench import ExportPanel
from tui.lab.gradient_bars import GradientBars, Layer, bar_of, grouped
from tui.lab.number_text import short
from tui.lab.small_plot import SmallPlot
from tui.lab.step_pictures import StepPictures, images_of
from tui.lab.training import TrainingBench
from tui.messages import EngineRefused, LabReplied
from tui.screens.lab import LabScreen
from tui.settings import Settings
from tui.terminal.color_maps import colors_of
from tui.themes import DARK, LIGHT, theme_color
from tui.widgets.compact_select import CompactSelect
from tui.widgets.image_grid import ImageGrid

FIELDS = {"batch_size": 2, "steps": 3}
TILES = ("image", "noise", "noisy", "prediction", "target", "error")


@cache
def replies_of(model: str, t: float | None, learning_rate: float | None) -> tuple[TrainingReply, ...]:
    digits = load_dataset("glyphs", split="test", limit=1)
    image = LabImage(digits.images[0] / 255, int(digits.labels[0]))
    request = TrainingRequest(model=model, image=DatasetImage("", 0), t=t, learning_rate=learning_rate, **FIELDS)
    return tuple(training_replies(request, image, load_model(model, "cpu"), lambda *_: None))


class Bench:
    """The bench in an app without an engine."""

    def __init__(self, screen: LabScreen, pilot: Pilot[None]) -> None:
        self.screen, self.pilot = screen, pilot
        assert isinstance(screen.bench, TrainingBench)
        self.bench = screen.bench

    @property
    def shown(self) -> TrainingReply:
        assert self.bench.shown is not None
        return self.bench.shown

    @property
    def plot(self) -> SmallPlot:
        return self.bench.query_one("#losses SmallPlot", SmallPlot)

    @property
    def description(self) -> str:
        return str(self.bench.query_one(".description", Static).render())

    async def reply(self, *replies: TrainingReply) -> None:
        for reply in replies:
            self.screen.post_message(LabReplied(reply))
        await until(self.pilot, lambda: self.bench.shown is replies[-1], "the last step is shown")
        await self.pilot.pause()

    def images(self) -> dict[str, bytes]:
        return {name: self.bench.query_one(f"#step-{name} ImageGrid", ImageGrid)._images[0] for name in TILES}

    def captions(self) -> list[str]:
        return [str(self.bench.query_one(f"#step-{name} .caption", Static).render()) for name in TILES]


@asynccontextmanager
async def opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async def show_lab(engine: object, request: LabRequest) -> None:
        pass

    monkeypatch.setattr("tui.io.engine_client.EngineClient.show_lab", show_lab)
    app = MinidiffApp(root, mode="lab", settings=Settings(reduced_motion=True))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, LabScreen)
        await pilot.pause()
        screen.open("training")
        yield Bench(screen, pilot)


async def test_a_step_shows_six_images_and_the_curve_the_losses_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as on:
        replies = replies_of("quick-mnist", None, None)
        await on.reply(*replies)
        reply, drawn = on.shown, on.images()
        assert drawn["image"] == drawn["target"] == from_unit(reply.image.values)  # this model predicts the image
        assert drawn["noisy"] == from_unit(reply.noisy.values)
        assert drawn["prediction"] == from_unit(reply.output.values)
        assert len(drawn["error"]) == 3 * len(drawn["image"])
        assert on.captions() == [
            f"image × {reply.alpha:.2f}".replace("0.", "."),
            f"+ noise × {reply.sigma:.2f}".replace("0.", "."),
            "= noisy image",
            "prediction: image",
            "− target: image",
            f"squared error: mean {short(reply.loss)}",
        ]
        assert set(on.plot.curves) == {"mean", "this step"}
        assert list(on.plot.curves["mean"][1]) == list(reply.bins.values[::3])
        assert list(on.plot.curves["mean"][2]) == pytest.approx(list(reply.bins.values[1::3]))
        assert on.plot.cursor == on.plot.curves["this step"][1][0] == reply.t
        await on.pilot.press("home")
        assert on.shown is replies[0]
        assert len(on.plot.curves["mean"][1]) < reply.bins.shape[0]
        await on.pilot.press("right")
        assert on.shown is replies[1]
        assert on.images()["noise"] != drawn["noise"]


def check_panels(panels: list[ExportPanel], drawn: dict[str, bytes]) -> None:
    """The picture has the images, then charts in which a bar or a curve of some color is visible."""
    images, charts = panels[:6], panels[6:]
    assert [panel.title for panel in images] == [*TILES[:2], "noisy image", *TILES[3:5], "squared error"]
    assert [panel.image for panel in images] == [drawn[name] for name in TILES]
    assert [panel.title for panel in charts] == ["gradient by layer, % of the weights", "loss: mean and std"]
    for (_, (height, width), pixels), color in zip(charts, ("plot-average", "plot-validation"), strict=True):
        assert len(pixels) == 3 * height * width
        colored = bytes(theme_color(LIGHT.variables, color).rgb)
        assert colored in {pixels[at : at + 3] for at in range(0, len(pixels), 3)}


async def test_while_a_copy_is_trained_the_error_keeps_its_scale_and_the_script_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as on:
        replies = replies_of("quick-mnist", 0.9, 1e-3)
        await on.reply(*replies)
        assert list(on.plot.curves) == ["before", "now", "this step"]
        assert list(on.plot.curves["before"][2]) == pytest.approx(list(on.shown.first_bins.values[1::3]))
        assert replies[-1].errors.max_abs != replies[0].errors.max_abs
        assert on.images()["error"] == images_of(replies[-1], replies[0].errors.max_abs)["error"]
        await on.pilot.press("left")
        reply = on.shown
        assert (reply.step, reply.keeps_noise) == (2, True)
        on.screen.fields._missing.add("mnist")
        on.bench.set_fields(t=0.9, batch=2, steps=3, rate="0.001")
        with on.screen.prevent(Select.Changed):
            on.screen.query_one("#model", CompactSelect).value = "quick-mnist"
        check_panels(on.bench.panels(), on.images())
        with redirect_stdout(StringIO()) as printed:
            exec("\n".join(on.bench.script(on.screen.subject)), {})
        lines = [line.split() for line in printed.getvalue().splitlines()]
        (step,) = (words for words in lines if words[:2] == ["step", "2"])
        assert float(step[step.index("loss") + 1]) == pytest.approx(reply.loss, rel=1e-3)
        gradients = [words for words in lines if words[0] == "gradient"]
        assert [words[1] for words in gradients] == list(reply.layers)
        assert [float(words[2]) for words in gradients] == pytest.approx(list(reply.gradients.values[::2]), rel=1e-2)
        for start, bins in ((["t", "from"], reply.bins), (["before:", "t"], reply.first_bins)):
            means = [float(words[words.index("loss") + 1]) for words in lines if words[:2] == start]
            assert means == pytest.approx([row[1] for row in bins.rows], rel=1e-3)


class Pictures(App[None]):
    """The images of a step by themselves."""

    def compose(self) -> ComposeResult:
        yield StepPictures()

    def on_mount(self) -> None:
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name


async def test_no_error_is_dark_in_a_dark_theme_and_light_in_a_light_one() -> None:
    app = Pictures()
    async with app.run_test(size=(120, 40)) as pilot:
        (reply, *_) = replies_of("quick-mnist", 0.9, 1e-3)
        app.query_one(StepPictures).show(reply, reply.errors.max_abs)
        least = reply.errors.values.index(min(reply.errors.values))
        brightness = []
        for theme in (DARK, LIGHT, DARK):
            app.theme = theme.name
            await pilot.pause()
            image = app.query_one("#step-error ImageGrid", ImageGrid)._images[0]
            brightness.append(sum(image[3 * least : 3 * least + 3]))
        assert brightness[0] == brightness[2] < 50
        assert brightness[1] > 600


async def test_every_size_shows_images_of_one_size_and_all_views_can_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as on:
        await on.reply(*replies_of("default-mnist", 0.4, None)[:1])
        rows = {}
        views = {(60, 20): 4, (80, 24): 2, (200, 60): 1, (120, 40): 1}
        for size, count in views.items():
            await on.pilot.resize_terminal(*size)
            await on.pilot.pause()
            seen: set[str] = set()
            for _ in range(count):
                grids = [grid for grid in on.bench.query(ImageGrid) if grid.region.area]
                others = [part for part in on.bench.query("GradientBars, SmallPlot, Timeline") if part.region.area]
                assert len({grid.size for grid in grids}) <= 1
                for part in (*grids, *others):
                    assert on.screen.region.contains_region(part.region), (size, part)
                    assert part.region.right <= on.bench.region.right, (size, part)
                seen |= {str(grid.parent.id) for grid in grids if grid.parent is not None}
                seen |= {type(part).__name__ for part in others}
                if count > 1:
                    await on.pilot.press("v")
                    await on.pilot.pause()
            assert on.bench.has_more_views == (count > 1)
            assert seen == {*(f"step-{name}" for name in TILES), "GradientBars", "SmallPlot", "Timeline"}, size
            rows[size] = len(on.bench.query_one(GradientBars).lines)
        assert rows[200, 60] > rows[120, 40] > 5
        bars = on.bench.query_one(GradientBars)
        text = str(bars.render()).splitlines()
        assert len(text) == len(bars.lines) + 1 <= bars.size.height
        assert [line.split()[0] for line in text[1:]] == [layer.name for layer in bars.lines]
        norms = [layer.norm for layer in bars.lines]
        assert math.hypot(*norms) == pytest.approx(on.shown.gradient_norm, rel=1e-3)
        longest = bars.lines[norms.index(max(norms))].name
        assert max(text, key=lambda line: line.count("█")).startswith(longest)


async def test_fields_become_the_request_and_errors_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as on:
        request = on.bench.request(on.screen.subject)
        assert (request.t, request.batch_size, request.steps, request.learning_rate) == (None, 8, 60, None)
        other = replace(request, t=0.25, batch_size=3, steps=9, learning_rate=0.0003)
        on.bench.fill(other)
        assert on.bench.request(on.screen.subject) == other
        on.bench.query_one("#t", Input).value = "2"
        error = "t takes a noise level from 0 to 1, or drawn, not 2"
        await until(on.pilot, lambda: error in on.description, "the error is shown")
        on.bench.query_one("#t", Input).value = "drawn"
        await on.pilot.pause()
        on.screen.post_message(EngineRefused("the loss or its gradient is not finite after 3 steps"))
        await until(on.pilot, lambda: "not finite" in on.description, "the reason is shown")


def test_the_squared_error_is_colored_and_velocities_have_one_scale_around_gray() -> None:
    (first, *_) = replies_of("default-mnist", 0.4, None)
    drawn = images_of(first, 2.0)
    colors = colors_of("inferno")
    assert first.prediction == "velocity"
    values = first.target.values
    white = 2.5 * math.sqrt(sum(value**2 for value in values) / len(values))
    for pixel in range(0, 784, 97):
        error = first.errors.values[pixel]
        assert tuple(drawn["error"][3 * pixel : 3 * pixel + 3]) == colors[min(255, round(255 * error / 2.0))]
        for name, array in (("target", first.target), ("prediction", first.output)):
            level = 127.5 + 127.5 * array.values[pixel] / white
            assert drawn[name][pixel] == pytest.approx(min(255, max(0, level)), abs=1)
    level = (first.noise.values[5] + 1) * 127.5
    assert drawn["noise"][5] == pytest.approx(min(255, max(0, level)), abs=1)


def test_layers_share_a_line_with_those_of_the_same_parent() -> None:
    layers = [
        Layer("into", 1.0, 2.0),
        Layer("down.0.conv", 3.0, 1.0),
        Layer("down.0.norm", 4.0, 1.0),
        Layer("out", 0, 0),
    ]
    assert grouped(layers, 4) == layers
    assert grouped(layers, 3) == [Layer("into", 1.0, 2.0), Layer("down.0", 5.0, math.sqrt(2)), Layer("out", 0, 0)]
    assert grouped(layers, 2) == [Layer("into", 1.0, 2.0), Layer("down", 5.0, math.sqrt(2))]
    assert grouped([], 3) == []


def test_bars_and_numbers_fit_their_columns() -> None:
    assert [bar_of(fraction, 4) for fraction in (0, 1e-9, 0.5, 0.53, 1)] == ["", "▏", "██", "██▏", "████"]
    values = (0, 1e-9, 0.00099, 0.0312, 0.999, 1.26, 99.4, 99_999, 5e12)
    assert [short(value) for value in values] == ["0", "1e-9", "1e-3", ".031", "1", "1.3", "99", "1e5", "5e+12"]


def test_rgb_images_keep_their_colors() -> None:
    pixels = torch.rand((3, 16, 12), generator=torch.Generator().manual_seed(1))
    request = TrainingRequest(model="", image=DatasetImage("", 0), t=0.3, learning_rate=None, **FIELDS)
    reply = next(training_replies(request, LabImage(pixels, 1), colour_model(), lambda *_: None))
    assert reply.condition == 1
    assert reply.errors.shape == (16, 12)
    drawn = images_of(reply, 1.0)
    assert drawn["image"] == from_unit(pixels.movedim(0, -1).flatten().tolist())
    assert {len(image) for image in drawn.values()} == {3 * 16 * 12}
