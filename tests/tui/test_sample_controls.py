"""The controls of the Sample screen: fields, the options that a model has, and what is requested."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sample_screen import choice, is_shown, notifications, sample_tiny, screen_of, text_of, typed
from selects import disabled_options
from textual.widgets import Input, Select
from waiting import until

from core.config.sampling import GUIDANCE, defaults_for
from core.config.training import TrainConfig
from core.runs.directory import MODEL
from tui.app import MinidiffApp
from tui.screens.sample import SampleScreen
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.sampling_controls import SamplingControls

if TYPE_CHECKING:
    pass


async def test_digits_typed_into_a_field_do_not_change_the_screen(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        field = app.screen.query_one("#seed", Input)
        field.focus()
        field.value = ""
        await pilot.press("2", "3")
        assert field.value == "23"
        assert app.current_mode == "sample"
        await pilot.press("escape", "3")
        assert app.current_mode == "runs"


async def test_a_value_out_of_range_shows_the_range_in_a_notification(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        select = app.screen.query_one(Select)
        await until(pilot, lambda: "tiny" in [value for _, value in select._options], "tiny is offered")
        for field, value in (("steps", "0"), ("images", ""), ("steps", "-3"), ("images", "65")):
            box = app.screen.query_one(f"#{field}", Input)
            before, box.value = box.value, value
            box.focus()
            await pilot.press("enter")
            await pilot.pause()
            assert notifications(app)[-1].startswith(f"{field} must be a whole number from 1 to")
            assert repr(value) in notifications(app)[-1]
            box.value = before


async def test_runs_with_weights_are_offered_beside_the_built_in_models(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        select = app.screen.query_one(Select)
        await until(pilot, lambda: "tiny" in [value for _, value in select._options], "tiny is offered")


async def test_digits_of_one_model_never_appear_under_the_name_of_another(model_root: Path) -> None:
    """While the engine is loading, and if the chosen model cannot be sampled."""
    app = MinidiffApp(model_root, mode="train", run="tiny")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.check_action("sample", ()) is True, "the run can be sampled from")  # type: ignore[attr-defined]
        await pilot.press("s")
        await until(
            pilot,
            lambda: isinstance(app.screen, SampleScreen) and app.screen.bar.model == "tiny",
            "the model is selected",
        )
        screen, stage = screen_of(app), app.screen.query_one(DenoisingView)
        while not is_shown(screen, "tiny", screen.timeline.steps):
            assert not stage.display or screen.denoising.model == "tiny"  # type: ignore[union-attr]
            await pilot.pause()
        assert stage.display
        (model_root / "tiny" / MODEL).rename(model_root / "tiny" / "kept")
        try:
            await screen.choose_model("classy")
            await until(pilot, lambda: is_shown(screen, "classy", screen.timeline.steps), "another is sampled")
            await screen.choose_model("tiny")
            await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
            assert stage.display
            assert screen.bar.model == screen.denoising.model == "classy"  # type: ignore[union-attr]
        finally:
            (model_root / "tiny" / "kept").rename(model_root / "tiny" / MODEL)


async def test_the_controls_follow_the_capabilities_and_defaults_of_the_model(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = screen_of(app)
        await screen.choose_model("tiny")
        assert (choice(app, "sampler").chosen, typed(app, "steps").value) == ("mix", "40")
        assert disabled_options(choice(app, "sampler")) == ["ddpm", "consistency"]
        assert choice(app, "class").disabled
        assert typed(app, "guidance").disabled
        await screen.choose_model("classy")
        own = defaults_for(TrainConfig())
        assert choice(app, "sampler").chosen == own.sampler
        assert (typed(app, "steps").value, typed(app, "guidance").value) == (str(own.steps), f"{own.guidance:g}")
        assert disabled_options(choice(app, "sampler")) == []
        assert choice(app, "class").values == ["in turn", *"0123456789", "any"]
        assert not choice(app, "class").disabled
        assert not typed(app, "guidance").disabled
        await until(pilot, lambda: is_shown(screen, "classy", own.steps), "it is sampled so")


async def test_typed_values_survive_a_change_of_model_if_supported(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)):
        screen = screen_of(app)
        await screen.choose_model("classy")
        choice(app, "sampler").value = "ddpm"
        typed(app, "steps").value = "5"
        typed(app, "guidance").value = "3"
        await screen.choose_model("tiny")
        assert choice(app, "sampler").chosen == "mix"  # ddpm is not for its path
        assert typed(app, "guidance").value == "1"
        assert typed(app, "steps").value == "5"


async def test_class_and_guidance_are_requested_and_shown(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot, steps=2, digits=4, model="classy")
        screen = screen_of(app)
        choice(app, "sampler").value = "heun"  # sampled at once
        await until(pilot, lambda: f"heun, guidance {GUIDANCE}, NFE 5" in text_of(app, "#predicted-caption"), "heun")
        typed(app, "guidance").focus()
        typed(app, "guidance").value = "2.5"
        await pilot.press("enter")
        words = "heun, guidance 2.5, NFE 5"
        await until(pilot, lambda: words in text_of(app, "#predicted-caption"), "guidance is on")
        assert text_of(app, "#noisy-caption") == "Noisy state" + " " * (
            screen.query_one("#noisy-caption").size.width - 11
        )
        choice(app, "class").value = "7"
        await until(pilot, lambda: "class 7" in text_of(app, "#noisy-caption"), "sevens are asked for")
        choice(app, "class").value = "any"
        await until(pilot, lambda: "class any" in text_of(app, "#noisy-caption"), "any class is asked for")
        await until(pilot, lambda: "heun, NFE 3" in text_of(app, "#predicted-caption"), "without guidance")


async def test_the_cost_follows_the_fields(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen_of(app).choose_model("classy")
        for steps, guidance, label, cost in (
            ("10", "1", "in turn", "NFE 10"),
            ("10", "2", "in turn", "NFE 14"),
            ("10", "2", "any", "NFE 10"),
            ("1", "1", "3", "NFE 1"),
            ("", "1", "3", ""),
        ):
            typed(app, "steps").value, typed(app, "guidance").value = steps, guidance
            choice(app, "class").value = label
            await pilot.pause()
            assert text_of(app, "#cost") == cost


async def test_invalid_guidance_shows_a_notification(model_root: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen_of(app).choose_model("classy")
        for value in ("", "-1"):
            typed(app, "guidance").value = value
            typed(app, "guidance").focus()
            await pilot.press("enter")
            await pilot.pause()
            assert notifications(app)[-1].startswith("guidance ")
            assert app.focused is typed(app, "guidance")


@pytest.mark.parametrize(("width", "lines"), [(200, 1), (120, 1), (118, 2), (80, 2), (72, 2), (60, 2)])
async def test_all_controls_are_visible_at_every_width(model_root: Path, width: int, lines: int) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(width, 40)) as pilot:
        await screen_of(app).choose_model("classy")
        typed(app, "guidance").value = "2.5"
        await pilot.pause()
        bar = app.screen.query_one(SamplingControls)
        assert bar.size.height == lines
        for name in ("model", "sampler", "steps", "guidance", "class", "images", "seed", "cost"):
            part = bar.query_one(f"#{name}")
            assert bar.region.contains_region(part.region)
            assert part.region.width >= {"model": 14, "sampler": 8, "class": 10, "cost": 6}.get(name, 4)


async def test_an_unreadable_config_shows_a_notification_and_keeps_the_controls_usable(
    model_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_root / "classy", tmp_path / "classy")
    (tmp_path / "classy" / "config.toml").write_text("path = 'sideways'")
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen_of(app).choose_model("classy")
        await pilot.pause()
        assert "config.toml: path" in notifications(app)[0]
        assert choice(app, "sampler").disabled
        assert screen_of(app).bar.read().sampler is None
