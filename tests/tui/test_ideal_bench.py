"""The ideal denoiser's bench: predictions, training images with their weights, samples, views and the script."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Static

from core import TrainConfig, load_dataset, load_model
from core.data.datasets import LabeledImages
from core.engine.ideal import IdealComparison
from core.engine.ideal_messages import (
    IDEAL,
    LOCAL,
    NETWORK,
    IdealEnd,
    IdealPredictions,
    IdealReply,
    IdealRequest,
    IdealStep,
)
from core.engine.lab import LabImage
from core.engine.protocol import DatasetImage, LabReply
from core.errors import DatasetError, MinidiffError
from tui.lab.ideal import INITIAL_POSITION, SEED, IdealBench
from tui.lab.lab_input import LabInput
from tui.lab.picture_panel import PicturePanel
from tui.widgets.compact_select import CompactSelect
from tui.widgets.image_grid import ImageGrid

TRAINING = 200  # images
SUBJECT = LabInput("glyphs", 0, "default-mnist")
REQUEST = IdealRequest(
    image=DatasetImage("glyphs", 0), model="default-mnist", label=-1, patch=5, first=INITIAL_POSITION
)


def load_training(config: TrainConfig) -> LabeledImages:
    if config.dataset != "glyphs":
        raise DatasetError(f"{config.dataset} is not on this machine")
    return load_dataset("glyphs", limit=TRAINING)


@pytest.fixture(scope="module")
def replies() -> list[LabReply]:
    """What the engine replies for drawn digits and the built-in model."""
    test = load_dataset("glyphs", split="test", limit=1)
    comparison = IdealComparison(load_training, lambda *_: None)
    image = LabImage(test.images[0] / 255, int(test.labels[0]))
    return list(comparison.replies(REQUEST, image, load_model("default-mnist", "cpu")))


class BenchApp(App[None]):
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-normal"), (120, "-wide")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        yield IdealBench(still=True)


@asynccontextmanager
async def bench(
    replies: list[LabReply], size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[IdealBench, Pilot[None]]]:
    """The bench with these replies on display."""
    app = BenchApp()
    async with app.run_test(size=size) as pilot:
        found = app.query_one(IdealBench)
        for reply in replies:
            found.show_reply(reply)
        await pilot.pause()
        yield found, pilot


def drawn(on: IdealBench, name: str) -> list[bytes]:
    return on.query_one(f"#{name}", ImageGrid)._images


def captions(on: IdealBench, name: str) -> list[str]:
    return [caption.text + caption.end for caption in on.query_one(f"#{name}", ImageGrid)._captions]


def predictions_at(replies: list[LabReply], index: int) -> IdealPredictions:
    return next(reply for reply in replies if isinstance(reply, IdealPredictions) and reply.index == index)


async def test_it_shows_the_predictions_at_a_noise_level_and_the_training_images_in_the_mean(replies):
    async with bench(replies) as (on, pilot):
        for position in (INITIAL_POSITION, 38):
            on.timeline.seek(position)
            await pilot.pause()
            predicted = predictions_at(replies, position)
            predictions = [predicted.denoised[name] for name in (IDEAL, LOCAL, NETWORK)]
            assert drawn(on, "predictions") == [predicted.noisy, *predictions, replies[0].image]
            shown = captions(on, "predictions")
            assert shown[0] == f"noisy, t {1 - position / 40:.2f}".replace(" 0.", " .")
            assert shown[1] == f"ideal denoiser {predicted.errors[IDEAL]:.3f}".replace(" 0.", " .")
            assert shown[2] == f"5x5 patches {predicted.errors[LOCAL]:.3f}".replace(" 0.", " .")
            assert shown[3] == f"network {predicted.errors[NETWORK]:.3f}".replace(" 0.", " .")
            assert drawn(on, "training")[0] == predicted.images[:784]  # the one of largest weight is not darker
            title = on.query_one("#training-panel", PicturePanel).shown_title
            assert f"averages {predicted.effective:.1f} of {TRAINING} images".replace(" 1.0 ", " 1 ") in title
        assert predicted.weights[0] == 1  # at t = 0.05 only one is left
        assert captions(on, "training")[0].startswith("100%: ")
        assert drawn(on, "training")[1:] == [bytes(784)] * 7


async def test_the_ideal_denoiser_ends_in_a_training_image_and_the_network_in_a_new_one(replies):
    async with bench(replies) as (on, pilot):
        on.timeline.seek(0)
        await pilot.pause()
        start = drawn(on, "sampling")
        assert start[0] == start[2] == start[4]  # the same noise
        on.timeline.seek(40)
        await pilot.pause()
        end = drawn(on, "sampling")
        (nearest,) = (reply.nearest for reply in replies if isinstance(reply, IdealEnd))
        assert end[0] == end[1] == nearest[IDEAL].image
        assert end[1::2] == [nearest[name].image for name in (IDEAL, LOCAL, NETWORK)]
        assert captions(on, "sampling")[1] == "distance 0: a copy"
        assert captions(on, "sampling")[5] == f"distance {nearest[NETWORK].distance:.3f}".replace(" 0.", " .")
        assert nearest[NETWORK].distance > 0.05


async def test_what_has_not_arrived_yet_is_blank(replies):
    first = [reply for reply in replies if isinstance(reply, IdealReply)] + [predictions_at(replies, INITIAL_POSITION)]
    async with bench(first) as (on, pilot):
        assert drawn(on, "predictions")[1] == predictions_at(replies, INITIAL_POSITION).denoised[IDEAL]
        assert drawn(on, "sampling") == [bytes(784)] * 6
        on.timeline.seek(20)
        await pilot.pause()
        assert drawn(on, "predictions") == [bytes(784)] * 4 + [replies[0].image]
        assert drawn(on, "training") == []
        for kind in (IdealPredictions, IdealStep):
            on.show_reply(next(reply for reply in replies if isinstance(reply, kind) and reply.index == 20))
        assert drawn(on, "predictions")[0] == predictions_at(replies, 20).noisy
        assert any(drawn(on, "sampling")[0])


async def test_the_description_says_when_other_images_replace_the_model_s_own_training_images(replies):
    for is_own in (False, True):
        async with bench([replace(replies[0], is_own=is_own), *replies[1:]], (80, 24)) as (on, _):
            text = str(on.query_one(".description", Static).render())
            assert text.startswith("The model's training images are not here; these are glyphs.") is not is_own


async def test_fields_become_a_request_and_a_request_fills_the_fields(replies):
    async with bench(replies) as (on, pilot):
        on.timeline.seek(7)
        assert on.request(SUBJECT) == replace(REQUEST, label=None, patch=None, first=7, seed=SEED)
        on.query_one("#class", CompactSelect).value = "any"
        on.query_one("#patch", CompactSelect).value = "9"
        on.query_one("#seed", Input).value = "12"
        await pilot.pause()
        changed = on.request(SUBJECT)
        assert changed == replace(REQUEST, patch=9, seed=12, first=7)
        on.fill(replace(REQUEST, seed=3))
        assert on.request(SUBJECT) == replace(REQUEST, seed=3, first=7)
        on.query_one("#seed", Input).value = "many"
        with pytest.raises(MinidiffError, match="seed takes a whole number from 0 to 9999, not many"):
            on.request(SUBJECT)


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 24), (120, 40), (200, 60)])
async def test_all_views_can_be_reached_and_nothing_is_cut_at_any_size(size, replies):
    async with bench(replies, size) as (on, pilot):
        seen = set()
        for _ in range(3):
            for name in on.views:
                panel = on.query_one(f"#{name}-panel", PicturePanel)
                assert on.screen.region.contains_region(panel.region)
                assert panel.shown_title
                grid = on.query_one(f"#{name}", ImageGrid)
                layout = grid.layout_of(len(grid._images), grid.size, 28, 28, captions=True)
                assert layout.captioned
                assert layout.all_lines(len(grid._images)) <= grid.size.height
                assert layout.width // layout.density[0] >= 8
                seen.add(name)
            for widget in ("Timeline", ".description", "#patch"):
                region = on.query_one(widget).region
                assert region.area
                assert on.screen.region.contains_region(region), widget
            on.next_view()
            await pilot.pause()
        assert seen == {"predictions", "training", "sampling"}


async def test_the_exported_script_computes_what_is_shown(replies):
    async with bench(replies) as (on, pilot):
        on.fill(REQUEST)
        on.timeline.seek(INITIAL_POSITION)
        await pilot.pause()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec("\n".join(on.script(SUBJECT)), {})
        lines = printed.getvalue().splitlines()
        predicted = predictions_at(replies, INITIAL_POSITION)
        assert float(lines[0].split()[-1]) == pytest.approx(predicted.effective, rel=1e-3)
        assert float(lines[1].split()[1]) == pytest.approx(predicted.errors[IDEAL], rel=1e-3)
        assert float(lines[1].split()[3]) == pytest.approx(predicted.errors[NETWORK], rel=0.02)  # in bfloat16
        assert float(lines[2].split()[-1]) == pytest.approx(predicted.errors[LOCAL], rel=1e-3)
        shown = [(int(line.split()[2]), float(line.split()[4])) for line in lines[3:11]]
        assert [index for index, _ in shown] == list(predicted.indices)
        assert [weight for _, weight in shown] == pytest.approx(list(predicted.weights), abs=1e-4)
        (nearest,) = (reply.nearest for reply in replies if isinstance(reply, IdealEnd))
        ideal, network, local = (line.split() for line in lines[11:])
        assert (int(ideal[-3]), float(ideal[-1])) == (nearest[IDEAL].index, 0)
        assert float(network[-1]) == pytest.approx(nearest[NETWORK].distance, rel=0.1)
        assert float(local[-1]) == pytest.approx(nearest[LOCAL].distance, rel=0.05)
        titles = [panel.title for panel in on.panels()]
        assert titles[:5] == ["image", "noisy", IDEAL, LOCAL, NETWORK]
        assert titles[-2:] == [f"{NETWORK} sample", f"nearest: {nearest[NETWORK].distance:.3f}".replace(" 0.", " .")]
