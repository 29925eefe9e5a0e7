"""A model of RGB images with class names on the screens that show and export its images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_sample_screen import notifications, screen_of, text_of
from textual.app import App, ComposeResult
from textual.widgets import Input, OptionList
from waiting import until

from core.config.datasets import DatasetInfo
from core.config.sampling import Sampling
from core.config.training import TrainConfig
from core.diffusion.loaded_model import load_model
from core.engine.codec import decode_reply, encode, parse_header
from core.engine.lab import LabImage, lab_replies
from core.engine.protocol import SampleRequest, SamplingInfo
from core.runs.events import Preview
from core.runs.history import RunHistory
from core.runs.status import Status
from core.runs.trajectory import Denoising
from tui.app import MinidiffApp
from tui.class_names import class_name
from tui.io.engine_client import LINE_BYTES
from tui.messages import LabReplied
from tui.screens.lab import LabScreen
from tui.screens.zoom import ZoomScreen
from tui.settings import Settings
from tui.widgets.compact_select import CompactSelect
from tui.widgets.image_grid import ImageGrid
from tui.widgets.run_details import RunDetails
from tui.widgets.run_monitor import RunMonitor
from tui.widgets.sampling_controls import SamplingControls

MODEL = "sprites"


class ControlsApp(App[None]):
    """The sampling controls by themselves."""

    def compose(self) -> ComposeResult:
        yield SamplingControls(["many"])


def test_a_class_without_a_name_is_shown_by_its_number() -> None:
    assert [class_name(label, ("a", "b\x1b[31m")) for label in (-1, 0, 1, 2)] == ["any", "a", "b\ufffd[31m", "2"]


async def test_a_class_is_chosen_by_its_name_and_shown_by_it(rgb_root: Path, tmp_path: Path) -> None:
    app = MinidiffApp(rgb_root, mode="sample", settings=Settings(reduced_motion=True))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = screen_of(app)
        await screen.choose_model(MODEL)
        await until(pilot, lambda: screen.denoising.model == MODEL and screen.denoising.complete, "it is sampled")
        select = screen.query_one("#class", CompactSelect)
        prompts = [str(option.prompt) for option in select.query_one(OptionList).options]
        assert prompts == ["in turn", "knight", "[red]mage", "ankle boot", "any"]
        assert screen.denoising.channels == 3
        assert len(screen.query_one("#noisy-images", ImageGrid)._images[0]) == 12 * 16 * 3

        select.value = "2"
        await until(pilot, lambda: "class ankle boot" in text_of(app, "#noisy-caption"), "the class is shown")
        await until(pilot, lambda: screen.denoising.complete, "it is sampled")
        await pilot.press("end", "z")
        assert isinstance(app.screen, ZoomScreen)
        x = screen.denoising.frames[-1].x
        red, green, blue = (value / 255 for value in x[3 * (6 * 16 + 8) :][:3])
        assert f"column 8, row 6  RGB {red:.2f} {green:.2f} {blue:.2f}, predicted" in text_of_zoom(app)

        await pilot.press("escape", "e")
        app.screen.query_one(Input).value = str(tmp_path)
        await pilot.press("enter")
        await until(pilot, lambda: any("wrote" in text for text in notifications(app)), "it is written")
    (picture,) = tmp_path.iterdir()
    with Image.open(picture) as image:
        assert image.mode == "RGB"


def text_of_zoom(app: MinidiffApp) -> str:
    return str(app.screen.query_one("#values").render())


class PreviewApp(App[None]):
    """The details of a run on the Runs screen, and the monitor on the Train screen."""

    def compose(self) -> ComposeResult:
        yield RunDetails()
        yield RunMonitor()


async def test_previews_of_a_run_are_drawn_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    green = bytes([0, 255, 0]) * 8 * 12
    history, app = RunHistory(), PreviewApp()
    history.extend([Preview(epoch=1, step=9, count=1, height=8, width=12, images=green, channels=3)])
    async with app.run_test(size=(160, 60)) as pilot:
        app.query_one(RunDetails).set_history(history)
        app.query_one(RunMonitor).update_run("run", history, Status.FINISHED, None, None)
        await pilot.pause()
        for grid in app.query(ImageGrid):
            colors = {segment.style.bgcolor.triplet for segment in grid.render_line(grid.size.height // 2)}
            assert (0, 255, 0) in colors


def test_a_reply_with_a_thousand_names_fits_a_line() -> None:
    info = SamplingInfo(
        denoising=Denoising("m", 0, 1, 64, 8, 8, (), 3),
        sampling=Sampling("euler", 1, 1.0, 1.0),
        labels=(999,) * 64,
        class_names=("😀" * 64,) * 1000,
        start=None,
        drawing_read=None,
        nfe=1,
        parameters=1,
        device="cpu",
    )
    line, _, payload = encode(info).partition(b"\n")
    assert len(line) < LINE_BYTES
    assert decode_reply(parse_header(line)[0], payload) == info


@pytest.mark.parametrize("width", [80, 120])
async def test_a_thousand_classes_of_long_names_can_be_chosen_from(width: int) -> None:
    names = tuple(f"class {number} of long names" for number in range(1000))
    config = TrainConfig(dataset_info=DatasetInfo(channels=3, height=16, width=16, class_names=names))
    app = ControlsApp()
    async with app.run_test(size=(width, 24)) as pilot:
        bar = app.query_one(SamplingControls)
        bar.set_request(SampleRequest(model="many", steps=12))
        bar.set_config(config)
        select = bar.query_one("#class", CompactSelect)
        select.focus()
        await pilot.press("enter", "end", "up")
        assert select.query_one(OptionList).size.width > select.size.width
        await pilot.press("enter")
        assert select.chosen == "999"
        assert bar.read().label == 999
        assert select.query_one("SelectCurrent #label").size.height == 1


async def test_the_lab_shows_an_rgb_image_in_colour_its_channels_and_its_luminance(rgb_root: Path) -> None:
    app = MinidiffApp(rgb_root, mode="lab", settings=Settings(reduced_motion=True))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, LabScreen)
        screen.open("convolution")
        await until(pilot, lambda: MODEL in screen.query_one("#model", CompactSelect).values, "the model is listed")
        screen.query_one("#model", CompactSelect).value = MODEL
        await until(pilot, lambda: screen.subject.model == MODEL and screen.subject.shape == (3, 12, 16), "it is read")
        image = LabImage(torch.rand((3, 12, 16), generator=torch.Generator().manual_seed(0)), 2)
        for name in ("convolution", "transposed", "corruption", "inside"):
            screen.open(name)
            await pilot.pause()
            assert screen.query_one("#channel").display == (name in ("convolution", "transposed"))
            load = partial(load_model, MODEL, "cpu", rgb_root)
            for reply in lab_replies(screen.bench.request(screen.subject), image, load, lambda *_: None):
                screen.post_message(LabReplied(reply))
            await until(pilot, lambda: screen.bench.shown is not None, "the reply is shown")
            await pilot.pause()
            assert screen.bench.panels()
            if name == "convolution":
                red, green, blue = image.pixels[:, 0, 0].tolist()
                luminance = 0.299 * red + 0.587 * green + 0.114 * blue
                assert screen.bench.shown.image.values[0] == pytest.approx(luminance, abs=1e-5)
                screen.query_one("#channel", CompactSelect).value = "green"
                (reply,) = lab_replies(screen.bench.request(screen.subject), image, load, lambda *_: None)
                assert reply.image.values[0] == pytest.approx(green)
                assert "image = pixels[1]" in screen.bench.script(screen.subject)
            if name == "transposed":
                assert screen.bench.shown.image.shape == (4, 6)  # of 12x16
            if name == "corruption":
                grid = screen.query_one("#back", ImageGrid)
                original = bytes(round(255 * value) for value in image.pixels.movedim(0, 2).flatten().tolist())
                assert grid._images[2] == original
                assert "original: ankle b…" in str(screen.query_one("#back-line").render())

        await pilot.press("w")
        assert notifications(app)[-1].startswith("a drawn digit is 28x28 and gray, but sprites takes 12x16 RGB images")
