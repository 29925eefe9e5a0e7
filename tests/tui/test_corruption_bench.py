"""The corruption bench: the digit on every path, predictions and samples, and their errors."""

from __future__ import annotations

import pytest
import torch
from lab_app import Lab, lab, run_script
from textual.widgets import Static

from core.diffusion.prob_paths import PATHS
from tui.grayscale import from_unit
from tui.lab.corruption import CorruptionBench
from tui.lab.small_plot import SmallPlot
from tui.widgets.compact_select import CompactSelect
from tui.widgets.image_grid import ImageGrid


async def opened(on: Lab) -> CorruptionBench:
    """The bench with its first reply."""
    on.screen.open("corruption")
    await on.answered()
    assert isinstance(on.bench, CorruptionBench)
    return on.bench


def line(on: Lab, name: str) -> str:
    return str(on.bench.query_one(f"#{name}-line", Static).render())


def drawn(on: Lab, name: str) -> list[bytes]:
    return on.bench.query_one(f"#{name}", ImageGrid)._images


async def test_the_slider_goes_from_the_clean_digit_to_pure_noise_on_every_path(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        bench = await opened(on)
        assert on.screen.timeline.position == 24
        digit = from_unit(bench.shown.image.values)
        await on.pilot.press("home")
        assert drawn(on, "noisy") == [digit] * 3
        shares = "100% image + 0% noise"
        assert " ".join(line(on, "noisy").split()) == f"mix {shares} ▸flow {shares} vp 1 image + .00 noise"
        await on.pilot.press("end")
        assert all(image != digit for image in drawn(on, "noisy"))
        assert "mix 0% image + 100% noise" in line(on, "noisy")
        assert "vp .01 image + 1 noise" in line(on, "noisy")
        await on.pilot.press("left", "left")
        assert bench.query_one("#errors SmallPlot", SmallPlot).cursor == pytest.approx(0.95)


async def test_the_displayed_fractions_match_the_paths(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        bench = await opened(on)
        for name, path in PATHS.items():
            for t, shares in zip(bench.shown.noise_levels, bench.shown.coefficients[name].rows, strict=True):
                assert list(shares) == pytest.approx(path.alpha_sigma(t), abs=1e-6)
        curves = bench.query_one("#coefficients SmallPlot", SmallPlot).curves
        assert list(curves) == [
            "mix, flow",
            "_mix, flow",
            "vp",
            "_vp",
        ]
        signal, noise = PATHS["vp"].alpha_sigma(0.6)
        assert f"vp {signal:.2f} image + {noise:.2f} noise".replace("0.", ".") in line(on, "noisy")


async def test_samples_arrive_from_the_slider_outwards_and_their_errors_fill_the_curve(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        bench = await opened(on)
        await on.until(lambda: bool(bench._samples), "a sample is there")
        assert next(iter(bench._samples)) == 24  # from where the slider opens
        assert "sampled ." in line(on, "back")
        await on.fill("steps", "4")
        await on.until(lambda: len(bench._samples) == 41, "all are there")
        curves = bench.query_one("#errors SmallPlot", SmallPlot).curves
        one, sampled = curves["one step"], curves["sampled"]
        assert list(sampled[1]) == list(bench.shown.noise_levels) == list(one[1])
        truth = torch.tensor(list(bench.shown.image.values))
        for at in (0, 24, 40):
            seen = torch.tensor(list(bench.shown.predictions[at].values))
            assert one[2][at] == pytest.approx(float((seen - truth).square().mean()), abs=1e-5)
            ended = torch.tensor(list(bench._samples[at].sampled.values))
            assert sampled[2][at] == pytest.approx(float((ended - truth).square().mean()), abs=1e-5)
        assert one[2][40] < sampled[2][40]  # the mean of many digits is nearer to each than another digit is


async def test_changed_class_and_steps_are_requested_and_invalid_ones_are_reported(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        bench = await opened(on)
        before = bench.shown.errors[40]
        bench.query_one("#class", CompactSelect).value = "any"
        await on.answered()
        assert bench.shown.condition == -1
        assert bench.shown.errors[40] != before
        await on.fill("steps", "0")
        assert "steps takes a whole number from 1 to 100, not 0" in on.description
        await on.pilot.press("right")  # and what is there can be looked at
        assert bench.query_one("#errors SmallPlot", SmallPlot).cursor == pytest.approx(0.625)
        await on.fill("steps", "3")
        assert not on.is_wrong


async def test_unconditional_models_and_other_paths_work_too(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch, (80, 24)) as on:
        bench = await opened(on)
        on.screen.query_one("#model", CompactSelect).value = "quick-mnist"
        await on.answered()
        assert bench.shown.path == "mix"
        assert bench.shown.condition is None
        assert "▸mix .40 + .60" in line(on, "noisy")
        assert bench.query_one("#class", CompactSelect).disabled


async def test_views_without_room_can_be_reached_by_key(tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch, (80, 24)) as on:
        bench = await opened(on)

        def in_sight() -> list[str]:
            return [
                name for name in ("noisy", "back", "errors", "coefficients") if bench.query_one(f"#{name}").region.area
            ]

        assert in_sight() == ["noisy", "back", "errors"]
        await on.pilot.press("v")
        assert in_sight() == ["noisy", "back", "coefficients"]
        await on.pilot.resize_terminal(60, 20)
        await on.pilot.press("v", "v", "v")
        assert in_sight() == ["back"]
        assert "▸flow .40 + .60" in line(on, "back")  # in place of the true digit
        for name in ("noisy", "errors", "coefficients", "back"):
            await on.pilot.press("v")
            await on.pilot.pause()
            assert in_sight() == [name]
        await on.pilot.resize_terminal(120, 40)
        await on.pilot.pause()
        assert in_sight() == ["noisy", "back", "errors", "coefficients"]
        assert not bench.has_more_views


@pytest.mark.parametrize("model", ["default-mnist", "quick-mnist"])
async def test_the_exported_script_computes_the_same_errors(model, tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch) as on:
        bench = await opened(on)
        on.screen.query_one("#model", CompactSelect).value = model
        await on.fill("steps", "2")
        await on.until(lambda: 24 in bench._samples, "the sample from here is there")
        printed = run_script(bench.script(on.screen.subject), tmp_path).split()
        one, sampled = (float(printed[printed.index(name) + 1]) for name in ("step", "sampled"))
        assert one == pytest.approx(bench.shown.errors[24], rel=0.02)  # another batch, in bfloat16
        assert sampled == pytest.approx(bench._samples[24].error, rel=0.02)
        assert [panel.title for panel in bench.panels()] == ["image", "mix", "flow", "vp", "one step", "sampled"]


@pytest.mark.parametrize("size", [(60, 20), (120, 40)])
async def test_digits_are_legible_and_nothing_is_cut_at_any_size(size, tmp_path, monkeypatch):
    async with lab(tmp_path, monkeypatch, size) as on:
        bench = await opened(on)
        await on.until(lambda: 24 in bench._samples, "the sample from here is there")
        for widget in ("#back", "Timeline", ".description", "#steps"):
            region = bench.query_one(widget).region
            assert region.area
            assert on.app.screen.region.contains_region(region), widget
        _, digit, _ = bench._columns("back")
        assert digit >= 14
        for name in bench.views:
            shown = bench.query_one(f"#{name}-line" if name in ("noisy", "back") else f"#{name} .legend", Static)
            assert shown.visual.get_optimal_width({}, shown.size.width) <= shown.size.width, name
