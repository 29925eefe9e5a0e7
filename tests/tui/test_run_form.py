"""The form of a new run: presets, what is folded away, what is grayed out, and what it makes of what is typed."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from runlogs import training, write_run
from scenes import DESCRIPTION
from selects import disabled_options
from test_train_screen import TrainApp, field, on_form, text_of
from textual.widgets import Input, Select, Static, Switch
from waiting import until

from benchmarks.pseudo_terminal import PseudoTerminal
from core.config.training import PREDICTIONS, PRESETS, TrainConfig, option_fields
from core.runs.directory import run_directories
from tui.messages import RunDescribed
from tui.widgets.collapsible import CollapsibleOptions
from tui.widgets.compact_select import CompactSelect
from tui.widgets.description import DescriptionView
from tui.widgets.run_form import FIRST, RunForm


def form_of(app: TrainApp) -> RunForm:
    return app.train.query_one(RunForm)


def choice(app: TrainApp, name: str) -> CompactSelect:
    return app.train.query_one(f"#field-{name}", CompactSelect)


def help_of(app: TrainApp, name: str) -> str:
    row = app.train.query_one(f"#field-{name}").parent
    assert row is not None
    return str(row.query_one(".help", Static).render())


def folds(app: TrainApp) -> list[CollapsibleOptions]:
    return list(app.train.query(CollapsibleOptions))


async def test_every_option_has_an_entry_with_help(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(120, 40)):
        for name, option in option_fields().items():
            entry = app.train.query_one(f"#field-{name}")
            assert isinstance(entry, Input | Select | Switch)
            assert entry.disabled or help_of(app, name).startswith(option.description or "")
        assert isinstance(app.train.query_one("#field-model"), Select)
        assert isinstance(app.train.query_one("#field-deterministic"), Switch)


async def test_an_unchanged_form_is_the_default_config(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test():
        assert form_of(app).config() == TrainConfig(root=tmp_path)


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_preset_gives_its_config_regardless_of_the_previous_one(tmp_path: Path, preset: str) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test() as pilot:
        for chosen in ("tutorial", "default", "quick", preset):
            choice(app, "preset").value = chosen
            await pilot.pause()
        assert form_of(app).config() == TrainConfig(preset=preset, root=tmp_path)


async def test_choosing_a_preset_changes_only_the_options_of_presets(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test() as pilot:
        field(app, "seed").value = "7"
        field(app, "epochs").value = "3"
        choice(app, "preset").value = "tutorial"
        await pilot.pause()
        assert choice(app, "model").value == "unet2d"
        assert field(app, "epochs").value == "30"
        assert field(app, "seed").value == "7"


async def test_unset_options_stay_unset_and_set_options_are_read_back(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    given = {"size": "tiny", "channels": (16, 32), "compile": False, "threads": 2, "limit": 512, "name": "mine"}
    async with app.run_test():
        form = form_of(app)
        assert all(form.values()[name] is None for name in given)
        form.set_values(given)
        assert {name: form.values()[name] for name in given} == given
        form.set_values({"compile": True})
        assert form.values()["compile"] is True
        form.set_values(dict.fromkeys(given))
        assert form.config() == TrainConfig(root=tmp_path)


# What is folded away


async def test_common_options_are_visible_and_the_others_are_named_in_collapsed_groups(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        drawn = [name for name in option_fields() if app.train.query_one(f"#field-{name}").region.area]
        assert set(drawn) == set(FIRST)
        assert {name for fold in folds(app) for name in fold.names} == set(option_fields()) - set(FIRST)


async def test_groups_expand_by_key_by_mouse_and_all_at_once(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        recipe, data = folds(app)[:2]
        await pilot.press("down", "down")
        assert app.focused is recipe
        assert "enter shows path, prediction" in text_of(app, "#message")
        await pilot.press("enter", "down")
        assert app.focused is choice(app, "path")
        await pilot.press("up", "space")
        assert not recipe.expanded
        await pilot.click(data)
        await pilot.pause()
        assert field(app, "limit").region.area
        await pilot.press("ctrl+o")
        assert all(fold.expanded for fold in folds(app))
        await pilot.press("ctrl+o")
        assert not any(fold.expanded for fold in folds(app))


async def test_collapsing_moves_the_focus_out_of_hidden_fields(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+o")
        field(app, "limit").focus()
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert app.focused is folds(app)[1]


async def test_the_arrow_keys_reach_the_last_row_of_a_scrolling_form(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("ctrl+o")
        for _ in range(len(option_fields()) + len(folds(app))):
            if app.focused is not field(app, "root"):
                await pilot.press("down")
        await pilot.pause()
        assert app.focused is field(app, "root")
        assert 0 < field(app, "root").region.bottom <= app.train.query_one("#start").region.y


async def test_a_form_with_enough_room_shows_all_options(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(200, 72)) as pilot:
        await pilot.pause()
        rows = [app.train.query_one(f"#field-{name}").region for name in option_fields()]
        assert all(row.area for row in rows)
        assert max(row.bottom for row in rows) <= app.train.query_one("#start").region.y
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert not any(fold.expanded for fold in folds(app))


async def test_a_collapsed_group_lists_changed_options(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        fold = folds(app)[0]
        assert "label dropout 0.2" not in str(fold.render())
        field(app, "label_dropout").value = "0.2"
        await pilot.pause()
        assert "label dropout 0.2" in str(fold.render())
        choice(app, "preset").value = "tutorial"  # its own values are no changes
        await pilot.pause()
        assert "mix" not in str(fold.render())


# What is grayed out


async def test_predictions_that_the_path_does_not_support_are_disabled(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        for path, predictions in PREDICTIONS.items():
            choice(app, "path").value = path
            await pilot.pause()
            for name, fit in (("prediction", set(predictions)), ("weighting", {"prediction", *predictions})):
                greyed = set(choice(app, name).values) - fit
                assert set(disabled_options(choice(app, name))) == greyed
                reason = "".join(f"; path {path} does not support {value}" for value in greyed)
                assert help_of(app, name) == f"{option_fields()[name].description}{reason}"


async def test_an_unsupported_prediction_is_replaced_and_reported(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+o", "down", "down", "down", "enter", "down", "enter")  # the path: from flow to vp
        await pilot.pause()
        assert choice(app, "path").value == "vp"
        assert choice(app, "prediction").value == PREDICTIONS["vp"][0]
        assert "prediction is now clean: path vp does not support velocity" in text_of(app, "#message")
        assert form_of(app).config().prediction == "clean"
        await pilot.press("down")
        assert text_of(app, "#message").startswith("prediction: what the network predicts")


async def test_a_disabled_prediction_cannot_be_chosen(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+o")
        choice(app, "path").value = "vp"
        await pilot.pause()
        choice(app, "prediction").focus()
        await pilot.press("enter", *"velocity", "enter")  # the list goes to what is typed
        await pilot.pause()
        assert choice(app, "prediction").expanded
        assert choice(app, "prediction").value == "clean"


FOR_PATHS = {"image_mode", "image_size", "resize", "strict"}


@pytest.mark.parametrize(
    ("model", "idle"),
    [
        ("patch_unet", {"layers_per_block"}),
        ("basic_unet", {"size", "layers_per_block", "time_conditioning", "class_conditional", "label_dropout"}),
        ("unet2d", {"size"}),
    ],
)
async def test_options_that_do_not_apply_are_disabled_and_omitted(tmp_path: Path, model: str, idle: set[str]) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        choice(app, "size").value = "base"
        choice(app, "model").value = model
        await pilot.pause()
        assert {
            name for name in option_fields() if app.train.query_one(f"#field-{name}").disabled
        } == idle | FOR_PATHS | {"flip"}
        app.train.query_one("#field-dataset", Input).value = "./pictures"
        await pilot.pause()
        assert {name for name in option_fields() if app.train.query_one(f"#field-{name}").disabled} == idle
        app.train.query_one("#field-dataset", Input).value = "auto"
        config = form_of(app).config()
        assert config.size == ("base" if model == "patch_unet" else None)
        assert config.class_conditional is (model != "basic_unet")
        if model == "basic_unet":
            assert "basic_unet is unconditional" in text_of(app, "#message")
            assert help_of(app, "class_conditional") == "basic_unet is unconditional"
        choice(app, "model").value = "patch_unet"  # and back: nothing was lost
        await pilot.pause()
        assert form_of(app).config() == TrainConfig(size="base", root=tmp_path)


# What is typed


async def test_an_invalid_value_is_explained_and_stays_in_its_field(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        field(app, "name").value = "mine"
        field(app, "batch_size").focus()
        await pilot.press("end", "backspace", "backspace", "backspace", "0", "enter")
        await pilot.pause()
        assert text_of(app, "#message").startswith("batch_size:")
        assert field(app, "batch_size").value == "0"
        assert field(app, "name").value == "mine"
        assert app.focused is field(app, "batch_size")
        assert on_form(app)
        assert run_directories(tmp_path) == []
        await pilot.press("backspace", "8")
        await pilot.pause()
        assert text_of(app, "#message") == ""


@pytest.mark.parametrize(
    ("option", "typed"),
    [
        ("epochs", "many"),
        ("learning_rate", ""),
        ("channels", "32, x"),
        ("device", "tpu"),
        ("name", "../up"),
        ("limit", "-3"),
    ],
)
async def test_an_invalid_option_is_named_and_its_group_expanded(tmp_path: Path, option: str, typed: str) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test() as pilot:
        field(app, option).value = typed
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert option in text_of(app, "#message")
        assert field(app, option).value == typed
        assert app.focused is field(app, option)
        assert field(app, option).region.area


async def test_digits_are_typed_into_fields_and_the_arrows_move_between_them(tmp_path: Path) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test() as pilot:
        field(app, "epochs").value, field(app, "batch_size").value = "8", "128"
        field(app, "epochs").focus()
        await pilot.press("end", "1", "down", "end", "2", "up", "end", "3")
        assert field(app, "epochs").value == "813"
        assert field(app, "batch_size").value == "1282"


# What typing into the form and going on to the next row can come to on a busy machine: the rows scroll, a place is
# asked for, and the layout changes, all before anything is drawn.
SCROLLS = """
from textual.app import App
from textual.widgets import Label
from tui.widgets.form_rows import FormRows

class Lines(App):
    def compose(self):
        with FormRows():
            for number in range(40):
                yield Label(f"line {number}.", id=f"line-{number}")

    def on_key(self, event):
        rows = self.query_one(FormRows)
        rows.scroll_relative(y=1, animate=False, force=True, immediate=True)
        if event.key == "l":
            assert self.query_one("#line-20").region
            rows.refresh(repaint=False, layout=True)

Lines().run()
"""


def test_rows_that_scroll_during_a_layout_change_are_redrawn(tmp_path: Path) -> None:
    program = tmp_path / "scrolls.py"
    program.write_text(SCROLLS)
    with PseudoTerminal(command=[sys.executable, str(program)], columns=40, lines=10) as terminal:
        terminal.wait_for("line 9.")
        for last in (10, 11, 12):
            terminal.press("s")
            terminal.wait_for(f"line {last}.")
        terminal.press("l")
        terminal.wait_for("line 13.")
        shown = [line.split()[:2] for line in terminal.text.splitlines()]
    assert shown == [["line", f"{number}."] for number in range(4, 14)]


# The description of the run


def described(app: TrainApp) -> str:
    return str(app.train.query_one(DescriptionView).render())


async def test_the_form_describes_the_run_and_why_it_cannot_start(tmp_path: Path) -> None:
    app = TrainApp(tmp_path / "runs", describe=True)
    async with app.run_test(size=(80, 24)) as pilot:
        form_of(app).set_values({"dataset": "sprites", "device": "cpu", "threads": 1, "size": "tiny"})
        await until(pilot, lambda: "about" in described(app), "the time is measured")
        data, network, _ = described(app).splitlines()
        assert data == "sprites · 16x16 RGB · 12 classes · 30,000 + 6,000 images"
        assert re.match(r"[\d,]+ parameters · about \d+ \w+ on cpu", network)
        engine = app.train.engine.pid
        field(app, "name").value = "mine"  # which changes nothing of that
        field(app, "epochs").value = "0"
        await until(pilot, lambda: described(app).startswith("epochs: "), "the invalid value is explained")
        app.train.post_message(RunDescribed(DESCRIPTION))  # outdated, since that value is no longer there
        await pilot.pause()
        assert described(app).startswith("epochs: ")
        form_of(app).set_values({"epochs": 1, "dataset": str(tmp_path / "nothing")})
        await until(pilot, lambda: described(app).startswith("there is no"), "the missing folder is reported")
        assert app.train.engine.pid == engine
        write_run(tmp_path / "runs", "a", training(1.1))
        app.train.show_run("a")  # the engine's memory is free again
        await until(pilot, lambda: not app.train.engine.running, "the engine has ended")


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_description_fits_beside_the_button(tmp_path: Path, size: tuple[int, int]) -> None:
    app = TrainApp(tmp_path)
    async with app.run_test(size=size) as pilot:
        form_of(app).describe(replace(DESCRIPTION, seconds=None, pending="measuring time"))
        await pilot.press("tab")
        await pilot.pause()
        assert "measuring time…" in described(app)
        form_of(app).describe(DESCRIPTION)
        await pilot.pause()
        lines = described(app).splitlines()
        assert lines[0].startswith("mnist · 28x28 gray")
        assert "606,276 parameters" in lines[1]
        assert "2 min" in lines[1]
        assert "320 MiB" in lines[1]
        view, button = app.train.query_one(DescriptionView).region, app.train.query_one("#start").region
        assert max(map(len, lines)) <= view.width
        if button.height == 1:  # it covers the beginning of the last row
            assert lines[1][: button.right - view.x].strip() == ""
            assert app.train.query_one("#footer").region.height == 3
        assert app.train.get_widget_at(*button.offset)[0].id == "start"
