"""The Lab and its convolution bench: fields that take effect at once, the sliding kernel, errors, and the export."""

from __future__ import annotations

import pytest
import torch
from lab_app import Lab, lab, run_script
from PIL import Image
from textual.widgets import Input, Switch
from torch.nn import functional

from core.convolution import NAMED, kernel_text, named_kernel, parse_kernel, sizes_of
from core.engine.protocol import Array
from tui.grayscale import normalized
from tui.lab.convolution import ConvolutionBench
from tui.lab.kernel_fields import CUSTOM, LAYER
from tui.lab.number_text import number
from tui.lab.product_table import ProductTable
from tui.widgets.compact_select import CompactSelect
from tui.widgets.header import Header


def tensor(array: Array) -> torch.Tensor:
    return torch.tensor(list(array.values)).reshape(array.shape)


def numbers(on: Lab) -> str:
    return on.bench.query_one("#numbers", Input).value


async def test_the_bench_opens_on_a_digit_and_shows_the_sum(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        assert isinstance(on.bench, ConvolutionBench)
        assert "of glyphs" in on.screen.query_one(Header).note
        reply, at = on.bench.shown, on.screen.timeline.position
        products = tensor(reply.windows[at]) * tensor(reply.kernel)
        assert torch.allclose(tensor(reply.products[at]), products)
        assert float(products.sum()) == pytest.approx(reply.output.values[at], abs=1e-5)
        (said,) = (str(table.render()) for table in on.bench.query(ProductTable) if table.region.area)
        assert f"sum {number(reply.output.values[at])}" in said
        assert "× kernel" in said


async def test_stride_padding_dilation_and_size_change_the_map_as_torch_does(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        for field, value in (("stride", "2"), ("padding", "3"), ("dilation", "2"), ("size", "5")):
            await on.fill(field, value)
        reply = on.bench.shown
        digit, kernel = (tensor(array)[None, None] for array in (reply.image, reply.kernel))
        expected = functional.conv2d(digit, kernel, stride=2, padding=3, dilation=2)[0, 0]
        assert torch.allclose(tensor(reply.output), expected, atol=1e-5)
        assert on.screen.timeline.steps == expected.numel() - 1
        panel = on.bench.query_one("#map-panel")
        assert panel.shown_title == f"map {expected.shape[0]}x{expected.shape[1]}"
        assert panel.shown_note.endswith("= 13")


async def test_the_kernel_slides_and_the_map_fills(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        board = on.bench.query_one("#map")
        await on.pilot.press("home")
        assert board._known == 1
        await on.pilot.press("right", "right")
        assert board._known == 3
        assert board._frame.offset == (2, 0)
        await on.pilot.press("end")
        assert board._known == len(on.bench.shown.output.values)
        await on.pilot.press("space")
        await on.until(lambda: 1 < board._known < 600, "it slides by itself, from the start")
        left = on.screen.timeline
        await on.pilot.press("right_square_bracket")
        assert not left.playing


async def test_a_named_kernel_fills_in_its_values_and_typed_values_make_it_custom(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        names = on.bench.query_one("#kernel", CompactSelect)
        for name in NAMED:
            names.value = name
            await on.answered()
            assert parse_kernel(numbers(on)) == named_kernel(name, 3)
        names.value = "gaussian blur"
        await on.fill("size", "7")
        assert numbers(on) == kernel_text(named_kernel("gaussian blur", 7))
        assert 4 not in sizes_of("sobel x")
        names.value = "sobel x"
        await on.answered()
        await on.fill("size", "4")
        assert on.is_wrong
        assert "sobel x has sizes 3, 5, 7" in on.description
        await on.fill("size", "3")
        await on.fill("numbers", "1 0; 0 -1")
        assert names.chosen == CUSTOM
        assert on.bench.shown.kernel.shape == (2, 2)


async def test_invalid_numbers_are_explained_and_kept(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        before = on.bench.shown
        for text, said in (
            ("1 2; 3", "equal lengths"),
            ("__import__('os')", "is not a number"),
            ("1 " * 9, "up to 7"),
            ("", "needs at least one number"),
        ):
            await on.fill("numbers", text)
            assert on.is_wrong
            assert said in on.description
            assert numbers(on) == text
        await on.fill("numbers", "1")
        await on.fill("stride", "9")
        assert "stride takes a whole number from 1 to 4, not 9" in on.description
        assert on.bench.query_one("#stride", Input).value == "9"
        await on.fill("stride", "1")
        assert not on.is_wrong
        assert on.bench.shown is not before


async def test_true_convolution_is_shown_beside_cross_correlation(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        assert not on.bench.query_one("#other-panel").display
        on.bench.query_one("#flip", Switch).value = True
        await on.answered()
        reply = on.bench.shown
        digit, kernel = (tensor(array)[None, None] for array in (reply.image, reply.kernel))
        turned = functional.conv2d(digit, kernel.flip(2, 3))[0, 0]
        assert torch.allclose(tensor(reply.output), turned, atol=1e-5)
        assert torch.allclose(tensor(reply.flipped_output), functional.conv2d(digit, kernel)[0, 0], atol=1e-5)
        assert on.bench.query_one("#other-panel").display
        assert "conv2d" in on.description


async def test_a_kernel_of_a_layer_can_be_used_and_an_invalid_one_is_reported(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        on.bench.query_one("#kernel", CompactSelect).value = LAYER
        await on.answered()
        assert numbers(on) == "into 0 0"
        assert on.bench.shown.kernel.shape == (3, 3)
        on.bench.query_one("#numbers", Input).value = "nowhere 0 0"
        await on.until(lambda: on.is_wrong, "the engine refused")
        assert "no convolution 'nowhere'" in on.description
        assert numbers(on) == "nowhere 0 0"


async def test_keys_pick_a_random_digit_and_a_random_kernel(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        first = on.bench.shown.image
        await on.pilot.press("n")
        await on.answered()
        assert on.bench.shown.image != first
        await on.pilot.press("N")
        await on.answered()
        assert on.bench.query_one("#kernel", CompactSelect).chosen == "random"
        drawn = numbers(on)
        await on.pilot.press("N")
        await on.answered()
        assert numbers(on) != drawn
        await on.fill("image-index", "4000")
        assert "0 to 999, not 4000" in on.description


async def test_another_image_and_another_kernel_are_never_the_current_ones(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        monkeypatch.setattr("random.randrange", lambda start, stop=None: 0 if stop is None else start)
        image, kernel = on.screen.query_one("#image-index", Input).value, numbers(on)
        await on.pilot.press("N")
        assert numbers(on) != kernel
        kernel = numbers(on)
        await on.pilot.press("n", "N")
        assert on.screen.query_one("#image-index", Input).value != image
        assert numbers(on) != kernel


async def test_export_writes_an_image_and_a_script_that_computes_it(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        await on.fill("padding", "1")
        at = on.screen.timeline.position
        total = on.bench.shown.output.values[at]
        await on.pilot.press("e")
        await on.pilot.pause()
        await on.pilot.press("enter")
        await on.until(lambda: (tmp_path / "lab-convolution.py").is_file(), "both files are written")
        with Image.open(tmp_path / "lab-convolution.png") as picture:
            assert picture.width > 3 * 200
        printed = run_script((tmp_path / "lab-convolution.py").read_text().splitlines(), tmp_path)
        assert float(printed.partition("sum ")[2].split()[0]) == pytest.approx(total, abs=1e-5)
        assert "map (28, 28)" in printed


async def test_an_export_that_cannot_be_written_is_reported_in_one_line(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        (tmp_path / "file").touch()
        await on.pilot.press("e")
        await on.pilot.pause()
        on.app.screen.query_one(Input).value = str(tmp_path / "file" / "picture")
        await on.pilot.press("enter")
        await on.until(lambda: bool(on.app._notifications), "the user is notified")
        (notice,) = (notice.message for notice in on.app._notifications)
        assert notice.startswith("cannot write")
        assert "\n" not in notice


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 60)])
async def test_every_size_shows_the_fields_the_images_and_the_sum(size, tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch, size) as on:
        for widget in ("#image", "#map", "ProductTable", "Timeline", ".description", "#flip", "#numbers"):
            region = on.bench.query_one(widget).region
            assert region.area
            assert on.app.screen.region.contains_region(region), widget
        assert "sum" in str(on.bench.query_one(ProductTable).render())


def test_zero_is_middle_gray_only_if_a_value_is_negative():
    assert list(normalized([0.0, 0.5, 1.0])) == [0, 128, 255]
    assert list(normalized([-2.0, 0.0, 2.0])) == [0, 128, 255]
    assert list(normalized([0.0, 0.0])) == [0, 0]


def test_numbers_take_at_most_five_characters():
    for value, said in (
        (0, "0"),
        (0.25, ".25"),
        (-1, "-1"),
        (12.5, "12.5"),
        (-313.4, "-313"),
        (1e-9, "0"),
        (-0.5, "-.5"),
    ):
        assert number(value) == said
