"""Tests every action of the table in a scene; an action without a scene fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from race_files import write_race
from runlogs import held, training, write_run
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import ContentSwitcher, Input, Switch
from waiting import until

from core.engine.protocol import DrawnImage
from core.errors import ConfigError
from core.runs.directory import CONTROL
from core.runs.events import Stopped
from tui.actions import ACTIONS, MEANINGS, bindings, check_keymap
from tui.app import MinidiffApp
from tui.io.lead_file import DevicesView, write_view
from tui.lab.bench import Bench
from tui.lab.inside import InsideBench
from tui.lab.pixel_picker import PixelPicker
from tui.lab.plane import PlaneBench
from tui.lab.tile_grid import TileGrid
from tui.lab.transposed import TransposedBench
from tui.screens.compare import CompareScreen
from tui.screens.devices import DevicesScreen
from tui.screens.draw import DrawingCanvas, DrawScreen, MaskScreen, SketchScreen
from tui.screens.export import ExportScreen
from tui.screens.help import HelpScreen
from tui.screens.lab import LabScreen
from tui.screens.nearest import NearestScreen
from tui.screens.race import RaceScreen
from tui.screens.runs import RunsScreen
from tui.screens.sample import SampleScreen
from tui.screens.settings import SettingsScreen
from tui.screens.train import TrainScreen
from tui.screens.training_history import TrainingHistoryScreen
from tui.screens.welcome import WelcomeScreen
from tui.screens.zoom import ZoomScreen
from tui.settings import Settings
from tui.widgets.choice_dialog import ChoiceDialog
from tui.widgets.compact_select import CompactSelect
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.dialogs import ConfirmDialog, InterpolationDialog, NameDialog, StartDialog
from tui.widgets.run_table import RunTable
from tui.widgets.timeline import Timeline


@dataclass
class AppDriver:
    """Drives a running app with keys."""

    app: MinidiffApp
    pilot: Pilot[None]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        await until(self.pilot, condition, what)

    @property
    def timeline(self) -> Timeline:
        return self.app.screen.query_one(Timeline)

    @property
    def plot(self) -> CurvePlot:
        return self.app.screen.query_one(CurvePlot)

    @property
    def table(self) -> RunTable:
        return self.app.screen.query_one(RunTable)

    @property
    def on_form(self) -> bool:
        return self.app.screen.query_one(ContentSwitcher).current == "form"

    async def to_run(self, name: str) -> None:
        """Move the cursor of the table to a run."""
        await self.until(lambda: self.table.row_count > 0, "the runs are listed")
        self.table.focus()
        for row in range(self.table.row_count):
            self.table.move_cursor(row=row)
            if self.table.highlighted is not None and self.table.highlighted.name == name:
                break
        await self.pilot.pause()


Scene = Callable[[AppDriver], Awaitable[None]]
SCENES: dict[str, dict[str, Scene]] = {}  # by setup, then by action


def scene(setup: str, *actions: str) -> Callable[[Scene], Scene]:
    """Register a scene that tests some actions; the scenes of one setup share an app."""

    def register(play: Scene) -> Scene:
        for action in actions:
            SCENES.setdefault(setup, {})[action] = play
        return play

    return register


# On the Sample screen, with the recording


@scene("sample", "app.sample", "app.train", "app.runs", "app.devices", "app.lab")
async def screens(driver: AppDriver) -> None:
    kinds = {"2": TrainScreen, "3": RunsScreen, "4": DevicesScreen, "5": LabScreen, "1": SampleScreen}
    for key, kind in kinds.items():
        await driver.press(key)
        assert isinstance(driver.app.screen, kind)


@scene("follow", "app.follow")
async def follow(driver: AppDriver) -> None:
    follower = driver.app.follower
    assert follower is not None
    write_view(FOLLOWED, DevicesView())
    await driver.until(lambda: isinstance(driver.app.screen, DevicesScreen), "the app follows")
    await driver.press("3")
    await driver.until(lambda: follower.paused, "the app is paused")
    await driver.press("F")
    await driver.until(lambda: isinstance(driver.app.screen, DevicesScreen), "the app follows again")


@scene("sample", "app.drawing")
async def drawing(driver: AppDriver) -> None:
    before = driver.app.drawing
    values = []
    for _ in range(7):
        await driver.press("b")
        values.append(driver.app.drawing)
    assert sorted(values) == ["ascii", "auto", "half", "octant", "quadrant", "sextant", "shade"]
    assert driver.app.drawing == before


@scene("sample", "app.color_map")
async def color_map(driver: AppDriver) -> None:
    names = []
    for _ in range(4):
        await driver.press("B")
        names.append(driver.app.color_map)
    assert names == ["viridis", "magma", "inferno", "grey"]


@scene("sample", "app.theme", "choice.close")
async def theme(driver: AppDriver) -> None:
    before = driver.app.theme
    await driver.press("ctrl+t", "down", "down")
    assert isinstance(driver.app.screen, ChoiceDialog)
    assert driver.app.theme != before
    await driver.press("escape")
    assert driver.app.theme == before


@scene("sample", "app.settings", *(action.id for action in ACTIONS if action.scope == "settings"))
async def settings(driver: AppDriver) -> None:
    await driver.press("f2", "down")
    assert isinstance(driver.app.screen, SettingsScreen)
    before = driver.app.drawing
    await driver.press("right")
    assert driver.app.drawing != before
    await driver.press("left")
    assert driver.app.drawing == before
    await driver.press("f2")
    assert isinstance(driver.app.screen, SampleScreen)


@scene("sample", "app.screenshot")
async def screenshot(driver: AppDriver) -> None:
    pictures = driver.app.root / "pictures"
    pictures.mkdir()
    with contextlib.chdir(pictures):
        await driver.press("f12")
        await driver.until(lambda: any(pictures.glob("*.svg")), "the screenshot is written")


@scene("sample", "app.help", "help.close")
async def help_(driver: AppDriver) -> None:
    await driver.press("question_mark")
    assert isinstance(driver.app.screen, HelpScreen)
    await driver.press("escape")
    assert isinstance(driver.app.screen, SampleScreen)


@scene("sample", "play.toggle")
async def play(driver: AppDriver) -> None:
    driver.timeline.seek(0)
    await driver.press("space")
    assert driver.timeline.playing
    await driver.press("space")
    assert not driver.timeline.playing


@scene("sample", "play.back", "play.forward", "play.first", "play.last")
async def steps(driver: AppDriver) -> None:
    await driver.until(lambda: driver.timeline.newest == driver.timeline.steps, "all steps are sampled")
    await driver.press("home", "right", "right", "left")
    assert driver.timeline.position == 1
    await driver.press("end")
    assert driver.timeline.position == driver.timeline.newest > 1


@scene("sample", "play.loop")
async def loop(driver: AppDriver) -> None:
    await driver.press("l")
    assert driver.timeline.looping
    await driver.press("l")
    assert not driver.timeline.looping


@scene("sample", "play.faster", "play.slower")
async def speed(driver: AppDriver) -> None:
    await driver.press("plus")
    assert driver.timeline.speed == 2
    await driver.press("minus", "minus")
    assert driver.timeline.speed == 0.5
    await driver.press("plus")


@scene("sample", "play.leave")
async def leave(driver: AppDriver) -> None:
    await driver.press("tab")
    assert driver.app.screen.focused is not None
    await driver.press("escape")
    assert driver.app.screen.focused is None


@scene("sample", "sample.change")
async def change(driver: AppDriver) -> None:
    await driver.press("home", "right", "v")
    assert driver.app.screen.query_one(DenoisingView).show_change
    await driver.press("v")
    assert not driver.app.screen.query_one(DenoisingView).show_change


@scene("sample", "sample.zoom", *(action.id for action in ACTIONS if action.scope == "zoom"))
async def zoom(driver: AppDriver) -> None:
    await driver.press("home", "right", "z")
    screen = driver.app.screen
    assert isinstance(screen, ZoomScreen)
    await driver.press("left", "up", "up", "right", "right", "down")
    assert screen._pixel == (15, 13)
    await driver.press("full_stop", "full_stop", "comma")
    assert "step 2 of" in str(screen.query_one("Vertical").border_title)
    await driver.press("tab", "tab", "shift+tab")
    assert "Image 2 of" in str(screen.query_one("Vertical").border_title)
    await driver.press("escape")
    assert isinstance(driver.app.screen, SampleScreen)


@scene("sample", "sample.export")
async def export(driver: AppDriver) -> None:
    await driver.press("e")
    assert isinstance(driver.app.screen, ExportScreen)
    await driver.press("escape")


@scene("sample", "sample.start")
async def start(driver: AppDriver) -> None:
    await driver.press("t")
    assert isinstance(driver.app.screen, StartDialog)
    await driver.press("escape")


@scene("sample", "sample.interpolate")
async def interpolate(driver: AppDriver) -> None:
    await driver.press("i")
    assert isinstance(driver.app.screen, InterpolationDialog)
    await driver.press("escape")


@scene("sample", "sample.draw")
async def sketch(driver: AppDriver) -> None:
    screen = driver.app.screen
    assert isinstance(screen, SampleScreen)
    await driver.until(lambda: screen.bar.image_shape is not None, "the model is known")
    await driver.press("w")
    assert isinstance(driver.app.screen, SketchScreen)
    await driver.press("escape")


@scene("sample", "sample.mask", "sample.nearest", "nearest.close")
async def mask_and_nearest(driver: AppDriver) -> None:
    screen = driver.app.screen
    assert isinstance(screen, SampleScreen)
    Image.new("L", (28, 28), 90).save(driver.app.root / "grey.png")
    await screen.choose_model("tiny")
    await driver.press("escape", "t")
    driver.app.screen.query_one("#image", Input).value = str(driver.app.root / "grey.png")
    await driver.press("enter")

    def is_done() -> bool:
        shown = screen.denoising
        return shown is not None and shown.complete and screen.start_image is not None and not screen.engine.busy

    await driver.until(is_done, "the image is the start")
    await driver.press("m")
    assert isinstance(driver.app.screen, MaskScreen)
    await driver.press("escape", "k")
    assert isinstance(driver.app.screen, NearestScreen)
    await driver.press("k")
    assert driver.app.screen is screen
    await driver.press("t")
    driver.app.screen.query_one("#image", Input).value = ""
    await driver.press("enter")


@scene("sample", "sample.sample", "sample.seed", "field.sample")
async def sample(driver: AppDriver) -> None:
    screen = driver.app.screen
    assert isinstance(screen, SampleScreen)
    await screen.choose_model("tiny")
    await driver.until(lambda: screen.denoising is not None and screen.denoising.model == "tiny", "tiny is sampled")
    seed = screen.bar.seed
    await driver.press("escape", "n")
    assert screen.bar.seed != seed
    wanted = int(screen.bar.seed)
    await driver.until(
        lambda: screen.denoising is not None and screen.denoising.seed == wanted, "the new seed is sampled"
    )
    screen.query_one("#seed", Input).value = "77"
    await driver.press("enter")
    await driver.until(lambda: screen.denoising is not None and screen.denoising.seed == 77, "seed 77 is sampled")
    screen.query_one("#seed", Input).focus()
    await driver.press("8", "enter")
    await driver.until(lambda: screen.denoising is not None and screen.denoising.seed == 8, "seed 8 is sampled")
    await driver.press("escape")


@scene("sample", "sample.compare", *(action.id for action in ACTIONS if action.scope == "compare"))
async def compare(driver: AppDriver) -> None:
    await driver.press("escape", "c")
    screen = driver.app.screen
    assert isinstance(screen, CompareScreen)

    def is_done(seed: int | None = None) -> bool:
        shown = [side.denoising for side in screen.sides if side.denoising is not None]
        return screen.ready and (seed is None or {denoising.seed for denoising in shown} == {seed})

    await driver.until(is_done, "both panes are sampled")
    first, second = (side.request for side in screen.sides)
    assert first.model == second.model
    assert first.sampler != second.sampler
    assert (first.n, first.seed) == (second.n, second.seed)
    await driver.press("down")
    assert screen.bar.read().sampler != second.sampler
    await driver.press("up")
    assert screen.bar.read().sampler == second.sampler
    await driver.press("left_square_bracket")
    assert screen.selected == 0
    await driver.press("right_square_bracket")
    assert screen.selected == 1
    await driver.press("backspace")
    assert len(screen.sides) == 1
    await driver.press("N")
    assert len(screen.sides) == 2
    await driver.press("n")
    await driver.until(lambda: is_done(int(screen.bar.seed)), "the new seed is sampled in both panes")
    await driver.press("home", "v")
    assert screen.view.show_states
    seed = int(screen.bar.seed)
    screen.bar.query_one("#seed", Input).value = str(seed + 1)
    await driver.press("enter")
    await driver.until(lambda: is_done(seed + 1), "enter samples")
    await driver.press("c")
    assert isinstance(driver.app.screen, SampleScreen)


@scene("quit", "app.quit")
async def quit_(driver: AppDriver) -> None:
    await driver.press("q")
    assert driver.app.return_code == 0


@scene("welcome", "welcome.close")
async def welcome(driver: AppDriver) -> None:
    assert isinstance(driver.app.screen, WelcomeScreen)
    await driver.press("enter")
    assert isinstance(driver.app.screen, SampleScreen)


# On the Train screen


@scene("form", "train.unfold", "train.leave")
async def form(driver: AppDriver) -> None:
    shown = len([row for row in driver.app.screen.query(".rest") if row.display])
    await driver.press("ctrl+o")
    assert len([row for row in driver.app.screen.query(".rest") if row.display]) != shown
    await driver.press("escape")
    assert driver.app.screen.focused is None


@scene("form", "train.start")
async def start_training(driver: AppDriver) -> None:
    driver.app.screen.query_one("#field-name", Input).value = "running"  # which is taken
    await driver.press("ctrl+s")
    assert "exists already" in str(driver.app.screen.query_one("#message").render())  # type: ignore[attr-defined]


@scene("train", "train.pause", "train.stop")
async def steer(driver: AppDriver) -> None:
    control = driver.app.root / "running" / CONTROL
    await driver.press("p")
    await driver.until(lambda: control.exists() and "pause" in control.read_text(), "pause is requested")
    await driver.press("x")
    await driver.until(lambda: "stop" in control.read_text(), "stop is requested")


@scene("train", "train.new", "train.back")
async def new(driver: AppDriver) -> None:
    await driver.press("n")
    assert driver.on_form
    await driver.press("escape", "escape")
    assert not driver.on_form


@scene("train", "train.earlier", "train.later")
async def previews(driver: AppDriver) -> None:
    label = driver.app.screen.query_one("#preview")
    driver.app.screen.query_one("#log").focus()
    await driver.press("left_square_bracket", "left_square_bracket")
    assert "epoch 1" in str(label.render())  # type: ignore[attr-defined]
    await driver.press("right_square_bracket", "right_square_bracket")
    assert "epoch 3" in str(label.render())  # type: ignore[attr-defined]


@scene("train", "plot.left", "plot.right", "plot.all")
async def cursor(driver: AppDriver) -> None:
    driver.plot.focus()
    await driver.press("left", "left", "right")
    end = driver.plot.extent[1]
    assert driver.plot.view.cursor == pytest.approx(end)
    await driver.press("0")
    assert driver.plot.view.cursor is None


@scene("train", "plot.closer", "plot.farther", "plot.earlier", "plot.later")
async def span(driver: AppDriver) -> None:
    driver.plot.focus()
    await driver.press("plus", "plus")
    span = driver.plot.view.span
    assert span is not None
    await driver.press("comma")
    assert driver.plot.view.span is not None
    assert driver.plot.view.span[0] < span[0]
    await driver.press("full_stop")
    assert driver.plot.view.span == pytest.approx(span)
    await driver.press("minus", "minus")
    assert driver.plot.view.span is None


@scene("train", "plot.log", "plot.unit", "plot.smoother", "plot.rougher", "plot.quantity")
async def look(driver: AppDriver) -> None:
    driver.plot.focus()
    await driver.press("y", "u", "a", "v")
    view = driver.plot.view
    assert (view.log, view.by_step, view.smoothing, view.quantity) == (False, True, 0.9, "images/s")
    await driver.press("y", "u", "A", "v", "v", "v", "v")
    assert driver.plot.view.quantity == "loss"
    assert driver.plot.view.smoothing == 0.6


@scene("train", "train.history")
async def history(driver: AppDriver) -> None:
    watched = driver.app.screen
    watched.query_one("#log").focus()
    await driver.press("H")
    assert isinstance(driver.app.screen, TrainingHistoryScreen)
    await driver.press("H")
    assert driver.app.screen is watched


@scene("train", "train.sample")
async def sample_run(driver: AppDriver) -> None:
    driver.app.screen.query_one("#log").focus()
    await driver.press("s")
    await driver.until(lambda: isinstance(driver.app.screen, SampleScreen), "the Sample screen is shown")


@scene("stopped", "train.resume")
async def resume(driver: AppDriver) -> None:
    started: list[Path] = []
    driver.app.screen.watch_path = started.append  # type: ignore[attr-defined,method-assign]
    await driver.until(lambda: bool(driver.app.screen.check_action("resume", ())), "the run is known to have stopped")
    await driver.press("r")
    await driver.until(lambda: started == [driver.app.root / "stopped"], "a trainer is started")


# On the Runs screen


@scene("runs", "runs.mark")
async def mark(driver: AppDriver) -> None:
    await driver.to_run("stopped")
    await driver.press("space")
    await driver.to_run("finished")
    await driver.press("space")
    assert [Path(path).name for path in driver.table.marked] == ["stopped", "finished"]
    await driver.until(lambda: len(driver.plot.curves) == 2, "both curves are drawn")
    await driver.to_run("stopped")
    await driver.press("space")
    await driver.to_run("finished")
    await driver.press("space")
    assert not driver.table.marked


@scene("runs", "runs.race", "race.close")
async def race(driver: AppDriver) -> None:
    await driver.to_run("stopped")
    await driver.press("c")
    assert isinstance(driver.app.screen, RunsScreen)  # it belongs to no race
    await driver.to_run("rates-1")
    await driver.press("c")
    screen = driver.app.screen
    assert isinstance(screen, RaceScreen)
    await driver.until(lambda: screen.result is not None, "the result is shown")
    await driver.press("c")
    assert isinstance(driver.app.screen, RunsScreen)


@scene("runs", "runs.filter", "runs.unfilter")
async def filter_(driver: AppDriver) -> None:
    await driver.to_run("stopped")
    await driver.press("slash", *"fin", "enter")
    assert driver.table.row_count == 1
    assert driver.app.screen.focused is driver.table
    await driver.press("escape")
    assert driver.table.row_count > 1


@scene("runs", "runs.sort")
async def sort(driver: AppDriver) -> None:
    await driver.to_run("stopped")
    await driver.press("o", "o")
    names = [str(driver.table.get_row_at(row)[0]).strip() for row in range(driver.table.row_count)]
    assert names == sorted(names)
    await driver.press("o", "o", "o")


@scene("runs", "runs.copy", "runs.command")
async def copy(driver: AppDriver) -> None:
    await driver.to_run("stopped")
    await driver.press("P")
    assert driver.app.clipboard == str((driver.app.root / "stopped").resolve())
    await driver.press("C")
    assert driver.app.clipboard == f"minidiff resume stopped --root {driver.app.root.resolve()}"


@scene("runs", "runs.rename")
async def rename(driver: AppDriver) -> None:
    await driver.to_run("stopped")
    await driver.press("R")
    assert isinstance(driver.app.screen, NameDialog)
    await driver.press(*"other", "enter")
    await driver.until(lambda: (driver.app.root / "other").is_dir(), "it has its new name")
    assert not (driver.app.root / "stopped").exists()


@scene("runs", "runs.delete")
async def delete(driver: AppDriver) -> None:
    await driver.to_run("finished")
    await driver.press("d")
    assert isinstance(driver.app.screen, ConfirmDialog)
    await driver.press("y")
    await driver.until(lambda: not (driver.app.root / "finished").exists(), "it is gone")


@scene("runs", "runs.pause", "runs.stop")
async def ask(driver: AppDriver) -> None:
    control = driver.app.root / "running" / CONTROL
    await driver.to_run("running")
    await driver.press("p")
    await driver.until(lambda: control.exists() and "pause" in control.read_text(), "pause is requested")
    await driver.press("x")
    await driver.until(lambda: "stop" in control.read_text(), "stop is requested")


@scene("runs", "runs.fork")
async def fork(driver: AppDriver) -> None:
    await driver.to_run("running")
    await driver.press("f")
    await driver.until(lambda: isinstance(driver.app.screen, TrainScreen), "the form is shown")
    assert driver.on_form
    assert driver.app.screen.query_one("#field-name", Input).value == "running-1"
    await driver.press("escape", "3")


@scene("runs", "runs.history", *(action.id for action in ACTIONS if action.scope == "history"))
async def history_from_table(driver: AppDriver) -> None:
    await driver.to_run("tiny")
    await driver.press("H")
    screen = driver.app.screen
    assert isinstance(screen, TrainingHistoryScreen)

    def is_sampled(seed: int) -> bool:
        return screen.series is not None and screen.series.complete and screen.series.seed == seed

    await driver.until(lambda: is_sampled(0), "all snapshots are sampled")
    await driver.press("n")
    await driver.until(lambda: is_sampled(int(screen.bar.seed)), "they are sampled with a new seed")
    screen.bar.seed = 0
    await driver.press("enter")
    await driver.until(lambda: is_sampled(0), "they are shown with the first seed again")
    await driver.press("e")
    assert isinstance(driver.app.screen, NameDialog)
    await driver.press("escape", "H")
    assert isinstance(driver.app.screen, RunsScreen)


@scene("runs", "runs.new", "table.watch", "runs.sample")
async def elsewhere(driver: AppDriver) -> None:
    await driver.to_run("running")
    await driver.press("n")
    await driver.until(lambda: isinstance(driver.app.screen, TrainScreen), "the form is shown")
    await driver.press("escape", "3")
    await driver.to_run("running")
    await driver.press("enter")
    await driver.until(lambda: isinstance(driver.app.screen, TrainScreen) and not driver.on_form, "the run is watched")
    await driver.press("3")
    await driver.to_run("running")
    await driver.press("s")
    await driver.until(lambda: isinstance(driver.app.screen, SampleScreen), "the Sample screen is shown")


@scene("stopped-runs", "runs.resume")
async def resume_from_table(driver: AppDriver) -> None:
    await driver.to_run("stopped")
    started: list[tuple[str, bool]] = []
    screen = driver.app.screen
    screen._resume = lambda run, force=False: started.append((run.name, force))  # type: ignore[attr-defined]
    await driver.press("r")
    assert started == [("stopped", False)]


# In the Lab


def bench_of(driver: AppDriver) -> Bench:
    assert isinstance(driver.app.screen, LabScreen)
    return driver.app.screen.bench


@scene("lab", "lab.next", "lab.previous")
async def benches(driver: AppDriver) -> None:
    assert isinstance(driver.app.screen, LabScreen)
    names = [bench.NAME for bench in driver.app.screen.query(Bench)]
    values = []
    for _ in names:
        values.append(bench_of(driver).NAME)
        await driver.press("right_square_bracket")
    assert values == names
    await driver.press("left_square_bracket")
    assert names[-1] == bench_of(driver).NAME
    await driver.press("right_square_bracket")


@scene("lab", "lab.noise", "lab.network")
async def another_noise(driver: AppDriver) -> None:
    screen = driver.app.screen
    assert isinstance(screen, LabScreen)
    bench = screen.bench
    assert isinstance(bench, PlaneBench)
    await driver.press("n", "N", "N")
    request = bench.request(screen.subject)
    assert (request.particle_seed, request.seed) == (1, 2)


@scene("lab", "lab.digit")
async def another_digit(driver: AppDriver) -> None:
    assert isinstance(driver.app.screen, LabScreen)
    driver.app.screen.open("convolution")
    await driver.press()
    field = driver.app.screen.query_one("#image-index", Input)
    values = set()
    for _ in range(5):
        await driver.press("n")
        values.add(field.value)
    assert len(values) > 1


@scene("lab", "lab.random")
async def another_kernel(driver: AppDriver) -> None:
    await driver.press("N")
    drawn = bench_of(driver).query_one("#numbers", Input).value
    await driver.press("N")
    assert bench_of(driver).query_one("#kernel", CompactSelect).chosen == "random"
    assert bench_of(driver).query_one("#numbers", Input).value != drawn


@scene("lab", "lab.tutorial", "lab.answer")
async def tutorial(driver: AppDriver) -> None:
    questions = []
    for key in ("T", "enter", "T"):
        await driver.press(key)
        questions.append(bench_of(driver).question)
    assert None not in questions[:2]
    assert questions[0] != questions[1]
    assert questions[2] is None


@scene("lab", "lab.export")
async def take_away(driver: AppDriver) -> None:
    await driver.press("e")
    assert isinstance(driver.app.screen, NameDialog)
    await driver.press("escape")
    assert isinstance(driver.app.screen, LabScreen)


@scene("lab", "lab.view")
async def view(driver: AppDriver) -> None:
    await driver.pilot.resize_terminal(80, 24)  # where not all views have room
    screen = driver.app.screen
    assert isinstance(screen, LabScreen)
    screen.open("transposed")
    await driver.press()
    bench = screen.bench
    assert isinstance(bench, TransposedBench)
    before = bench.views
    await driver.press("v")
    assert bench.views != before
    await driver.press("v")
    assert bench.views == before


@scene(
    "lab",
    "lab.skips",
    "lab.next_channel",
    "lab.previous_channel",
    "lab.range",
    *(action.id for action in ACTIONS if action.scope == "pixel"),
)
async def inside(driver: AppDriver) -> None:
    screen = driver.app.screen
    assert isinstance(screen, LabScreen)
    screen.open("inside")
    bench = screen.bench
    assert isinstance(bench, InsideBench)
    await driver.until(lambda: bench.shown is not None, "the network is shown")
    skips = bench.query_one("#skips", Switch)
    await driver.press("j")
    assert not skips.value
    await driver.press("j")
    assert skips.value
    await driver.press("full_stop", "full_stop", "comma")
    assert bench.query_one(TileGrid).chosen == 1
    await driver.press("g")
    assert bench.query_one("#common", Switch).value
    while bench.view != "prediction":  # where it has no room beside the tiles
        await driver.press("v")
    await driver.until(lambda: bench.query_one("#prediction").has_focus, "the arrows move the pixel")
    await driver.press("left", "left", "right", "up", "up", "down")
    assert bench.query_one("#prediction", PixelPicker).frame == Region(13, 13, 1, 1)


@scene("lab", "lab.draw", *(action.id for action in ACTIONS if action.scope in ("draw", "digit")))
async def draw(driver: AppDriver) -> None:
    lab = driver.app.screen
    assert isinstance(lab, LabScreen)
    await driver.press("escape", "w")
    screen = driver.app.screen
    assert isinstance(screen, DrawScreen)
    paper = screen.query_one(DrawingCanvas)
    await driver.press("left", "left", "up", "right", "down", "down")
    assert paper.pen == (13, 15)
    assert not any(paper.ink)
    await driver.press("space", "backspace")
    assert not any(paper.ink)
    await driver.press("space")
    drawn = paper.ink.hex()
    labels = []
    for key in ("minus", "h", *"0123456789"):
        await driver.press(key)
        labels.append(screen.label)
    assert labels == [-1, None, *range(10)]
    await driver.press("enter")
    assert driver.app.screen is lab
    assert lab.subject.drawing == DrawnImage(drawn, 9)
    await driver.press("w", "backspace", "escape")
    assert driver.app.screen is lab
    assert lab.subject.drawing == DrawnImage(drawn, 9)


@pytest.fixture
def root(model_root: Path, tmp_path: Path) -> Path:
    """A root with a model and runs of several statuses."""
    for name in ("tiny",):
        (tmp_path / name).symlink_to(model_root / name)
    now = time.time()
    write_run(tmp_path, "running", training(3.4, name="running"), weights=True)
    write_run(tmp_path, "finished", training(2, total=2, name="finished", began=now - 9000), weights=True)
    stopped = [
        *training(1.1, name="stopped", began=now - 5000),
        Stopped(step=515, reason="on request", time=now - 4000),
    ]
    write_run(tmp_path, "stopped", stopped)
    write_run(tmp_path, "rates-1", stopped)
    write_race(tmp_path / "rates")
    return tmp_path


FOLLOWED = Path("followed.json")
SETUPS = {
    "sample": {"mode": "sample"},
    "quit": {"mode": "sample"},
    "welcome": {"mode": "sample", "welcome": True},
    "form": {"mode": "train"},
    "train": {"mode": "train", "run": "running"},
    "stopped": {"mode": "train", "run": "stopped"},
    "runs": {"mode": "runs"},
    "stopped-runs": {"mode": "runs"},
    "lab": {"mode": "lab"},
    "follow": {"mode": "runs", "follow": FOLLOWED},
}


@pytest.mark.usefixtures("builtin")
@pytest.mark.parametrize("setup", SETUPS)
async def test_every_action_works(setup: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    app = MinidiffApp(root, **SETUPS[setup])  # type: ignore[arg-type]
    with held(root / "running"):
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            if setup == "form":  # a run is under way, and would be shown
                app.screen.action_new()  # type: ignore[attr-defined]
                await pilot.pause()
            driver = AppDriver(app, pilot)
            for play in dict.fromkeys(SCENES[setup].values()):
                try:
                    await play(driver)
                except BaseException as error:
                    error.add_note(f"in the scene {play.__name__!r}")
                    raise


def test_every_action_has_a_scene() -> None:
    tested = {action for scenes in SCENES.values() for action in scenes}
    assert {action.id for action in ACTIONS} == tested


def test_a_key_means_the_same_on_all_screens() -> None:
    """Its actions start with the same word: New seed, New run. Keys in `MEANINGS` are explained there."""
    meanings: dict[str, set[str]] = {}
    for action in ACTIONS:
        if action.id.endswith(".close"):  # with the key that opened it, escape and q
            continue
        for key in action.keys.split(","):
            if key not in MEANINGS:
                word = "Pause" if action.label == "Continue" else action.label.split()[0]  # two labels of one action
                meanings.setdefault(key, set()).add(word)
    assert {key: words for key, words in meanings.items() if len(words) > 1} == {}


def test_an_overlay_closes_with_the_key_that_opened_it_and_no_other_letter() -> None:
    openers = {action.id.partition(".")[2]: action.keys.split(",") for action in ACTIONS if action.scope != "play"}
    for action in ACTIONS:
        if action.id.endswith(".close"):
            opener = {"choice": "theme"}.get(action.scope, action.scope)
            allowed = {*openers.get(opener, ()), "escape", "q", "enter", "space"}
            assert set(action.keys.split(",")) <= allowed, action.id


def test_every_action_is_bound_somewhere() -> None:
    for action in ACTIONS:
        assert bindings(action.scope)


async def test_a_keymap_rebinds_an_action(root: Path) -> None:
    app = MinidiffApp(root, mode="runs", settings=Settings(keys={"app.help": "f1", "runs.sort": "f3"}))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f1")
        assert isinstance(app.screen, HelpScreen)
        text = "\n".join(str(static.render()) for static in app.screen.query("Static"))  # type: ignore[attr-defined]
        assert "f1" in text.lower()
        await pilot.press("escape", "question_mark")
        assert not isinstance(app.screen, HelpScreen)


def test_a_keymap_with_an_unknown_action_is_rejected() -> None:
    check_keymap(["app.help", "plot.log"])
    with pytest.raises(ConfigError, match=r"unknown action 'app.hlep'; did you mean app.help\?"):
        check_keymap(["app.hlep"])
