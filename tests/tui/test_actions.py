"""Every action of the table does what it says: each has a scene here, and one without a scene fails."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from runlogs import held, training, write_run
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import ContentSwitcher, Input, Switch
from waiting import until

from core.errors import ConfigError
from core.runs.directory import CONTROL
from core.runs.events import Stopped
from tui.actions import ACTIONS, bindings, check_keymap
from tui.app import MinidiffApp
from tui.lab.bench import Bench
from tui.lab.inside import InsideBench
from tui.lab.pixel_picker import PixelPicker
from tui.lab.transposed import TransposedBench
from tui.screens.compare import CompareScreen
from tui.screens.devices import DevicesScreen
from tui.screens.draw import DrawingCanvas, DrawScreen
from tui.screens.export import ExportScreen
from tui.screens.help import HelpScreen
from tui.screens.lab import LabScreen
from tui.screens.runs import RunsScreen
from tui.screens.sample import SampleScreen
from tui.screens.train import TrainScreen
from tui.screens.welcome import WelcomeScreen
from tui.screens.zoom import ZoomScreen
from tui.settings import Settings
from tui.widgets.compact_select import CompactSelect
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.denoising_view import DenoisingView
from tui.widgets.dialogs import ConfirmDialog, NameDialog, StartDialog
from tui.widgets.run_table import RunTable
from tui.widgets.timeline import Timeline


@dataclass
class Stagehand:
    """An app on its screen, and the keys to it."""

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
        """Put the table's cursor on a run."""
        await self.until(lambda: self.table.row_count > 0, "the runs are listed")
        self.table.focus()
        for row in range(self.table.row_count):
            self.table.move_cursor(row=row)
            if self.table.highlighted is not None and self.table.highlighted.name == name:
                break
        await self.pilot.pause()


Scene = Callable[[Stagehand], Awaitable[None]]
SCENES: dict[str, dict[str, Scene]] = {}  # by stage, then by action


def scene(stage: str, *actions: str) -> Callable[[Scene], Scene]:
    """The scene of some actions, played on a stage together with that stage's other scenes."""

    def register(play: Scene) -> Scene:
        for action in actions:
            SCENES.setdefault(stage, {})[action] = play
        return play

    return register


# On the Sample screen, with the recording


@scene("sample", "app.sample", "app.train", "app.runs", "app.devices", "app.lab")
async def screens(on: Stagehand) -> None:
    kinds = {"2": TrainScreen, "3": RunsScreen, "4": DevicesScreen, "5": LabScreen, "1": SampleScreen}
    for key, kind in kinds.items():
        await on.press(key)
        assert isinstance(on.app.screen, kind)


@scene("sample", "app.drawing")
async def drawing(on: Stagehand) -> None:
    before = on.app.drawing
    seen = []
    for _ in range(5):
        await on.press("b")
        seen.append(on.app.drawing)
    assert sorted(seen) == ["ascii", "auto", "half", "quadrant", "shade"]
    assert on.app.drawing == before


@scene("sample", "app.theme")
async def theme(on: Stagehand) -> None:
    await on.press("ctrl+t")
    assert on.app.screen is not on.app.screen_stack[0]
    await on.press("escape")


@scene("sample", "app.help", "help.close")
async def help_(on: Stagehand) -> None:
    await on.press("question_mark")
    assert isinstance(on.app.screen, HelpScreen)
    await on.press("escape")
    assert isinstance(on.app.screen, SampleScreen)


@scene("sample", "play.toggle")
async def play(on: Stagehand) -> None:
    on.timeline.seek(0)
    await on.press("space")
    assert on.timeline.playing
    await on.press("space")
    assert not on.timeline.playing


@scene("sample", "play.back", "play.forward", "play.first", "play.last")
async def steps(on: Stagehand) -> None:
    await on.until(lambda: on.timeline.newest == on.timeline.steps, "every step is there")
    await on.press("home", "right", "right", "left")
    assert on.timeline.position == 1
    await on.press("end")
    assert on.timeline.position == on.timeline.newest > 1


@scene("sample", "play.loop")
async def loop(on: Stagehand) -> None:
    await on.press("l")
    assert on.timeline.looping
    await on.press("l")
    assert not on.timeline.looping


@scene("sample", "play.faster", "play.slower")
async def speed(on: Stagehand) -> None:
    await on.press("plus")
    assert on.timeline.speed == 2
    await on.press("minus", "minus")
    assert on.timeline.speed == 0.5
    await on.press("plus")


@scene("sample", "play.leave")
async def leave(on: Stagehand) -> None:
    await on.press("tab")
    assert on.app.screen.focused is not None
    await on.press("escape")
    assert on.app.screen.focused is None


@scene("sample", "sample.change")
async def change(on: Stagehand) -> None:
    await on.press("home", "right", "d")
    assert on.app.screen.query_one(DenoisingView).show_change
    await on.press("d")
    assert not on.app.screen.query_one(DenoisingView).show_change


@scene("sample", "sample.zoom", *(action.id for action in ACTIONS if action.scope == "zoom"))
async def zoom(on: Stagehand) -> None:
    await on.press("home", "right", "z")
    screen = on.app.screen
    assert isinstance(screen, ZoomScreen)
    await on.press("left", "up", "up", "right", "right", "down")
    assert screen._pixel == (15, 13)
    await on.press("full_stop", "full_stop", "comma")
    assert "step 2 of" in str(screen.query_one("Vertical").border_title)
    await on.press("tab", "tab", "shift+tab")
    assert "Digit 2 of" in str(screen.query_one("Vertical").border_title)
    await on.press("escape")
    assert isinstance(on.app.screen, SampleScreen)


@scene("sample", "sample.export")
async def export(on: Stagehand) -> None:
    await on.press("e")
    assert isinstance(on.app.screen, ExportScreen)
    await on.press("escape")


@scene("sample", "sample.start")
async def start(on: Stagehand) -> None:
    await on.press("t")
    assert isinstance(on.app.screen, StartDialog)
    await on.press("escape")


@scene("sample", "sample.sample", "sample.seed")
async def sample(on: Stagehand) -> None:
    screen = on.app.screen
    assert isinstance(screen, SampleScreen)
    await screen.choose_model("tiny")
    await on.until(lambda: screen.denoising is not None and screen.denoising.model == "tiny", "tiny is sampled")
    seed = screen.bar.seed
    await on.press("escape", "n")
    assert screen.bar.seed != seed
    wanted = int(screen.bar.seed)
    await on.until(lambda: screen.denoising is not None and screen.denoising.seed == wanted, "the new seed is sampled")
    screen.query_one("#seed", Input).value = "77"
    await on.press("enter")
    await on.until(lambda: screen.denoising is not None and screen.denoising.seed == 77, "seed 77 is sampled")


@scene("sample", "sample.compare", *(action.id for action in ACTIONS if action.scope == "compare"))
async def compare(on: Stagehand) -> None:
    await on.press("escape", "c")
    screen = on.app.screen
    assert isinstance(screen, CompareScreen)

    def is_done(seed: int | None = None) -> bool:
        shown = list(screen.shown.values())
        whole = len(shown) == 2 and all(denoising.complete for denoising in shown) and not screen._pending
        return whole and (seed is None or {denoising.seed for denoising in shown} == {seed})

    await on.until(is_done, "both sides are sampled")
    first, second = (screen.shown[side] for side in ("left", "right"))
    assert first.model != second.model
    assert (first.n, first.seed) == (second.n, second.seed)
    await on.press("n")
    await on.until(lambda: is_done(int(screen.bar("left").seed)), "the new seed is sampled on both sides")
    await on.press("home", "d")
    assert screen._show_states
    seed = int(screen.bar("left").seed)
    screen.query_one("#left-bar #seed", Input).value = str(seed + 1)
    await on.press("enter")
    await on.until(lambda: is_done(seed + 1), "enter samples what the bar says")
    await on.press("c")
    assert isinstance(on.app.screen, SampleScreen)


@scene("quit", "app.quit")
async def quit_(on: Stagehand) -> None:
    await on.press("q")
    assert on.app.return_code == 0


@scene("welcome", "welcome.close")
async def welcome(on: Stagehand) -> None:
    assert isinstance(on.app.screen, WelcomeScreen)
    await on.press("enter")
    assert isinstance(on.app.screen, SampleScreen)


# On the Train screen


@scene("form", "train.unfold", "train.leave")
async def form(on: Stagehand) -> None:
    shown = len([row for row in on.app.screen.query(".rest") if row.display])
    await on.press("ctrl+o")
    assert len([row for row in on.app.screen.query(".rest") if row.display]) != shown
    await on.press("escape")
    assert on.app.screen.focused is None


@scene("form", "train.start")
async def start_training(on: Stagehand) -> None:
    on.app.screen.query_one("#field-name", Input).value = "running"  # which is taken
    await on.press("ctrl+s")
    assert "exists already" in str(on.app.screen.query_one("#message").render())  # type: ignore[attr-defined]


@scene("train", "train.pause", "train.stop")
async def steer(on: Stagehand) -> None:
    control = on.app.root / "running" / CONTROL
    await on.press("p")
    await on.until(lambda: control.exists() and "pause" in control.read_text(), "the trainer is asked to pause")
    await on.press("x")
    await on.until(lambda: "stop" in control.read_text(), "the trainer is asked to stop")


@scene("train", "train.new", "train.back")
async def new(on: Stagehand) -> None:
    await on.press("n")
    assert on.on_form
    await on.press("escape", "escape")
    assert not on.on_form


@scene("train", "train.earlier", "train.later")
async def previews(on: Stagehand) -> None:
    label = on.app.screen.query_one("#preview")
    on.app.screen.query_one("#log").focus()
    await on.press("left_square_bracket", "left_square_bracket")
    assert "epoch 1" in str(label.render())  # type: ignore[attr-defined]
    await on.press("right_square_bracket", "right_square_bracket")
    assert "epoch 3" in str(label.render())  # type: ignore[attr-defined]


@scene("train", "plot.left", "plot.right", "plot.all")
async def cursor(on: Stagehand) -> None:
    on.plot.focus()
    await on.press("left", "left", "right")
    end = on.plot.extent[1]
    assert on.plot.view.cursor == pytest.approx(end)
    await on.press("0")
    assert on.plot.view.cursor is None


@scene("train", "plot.closer", "plot.farther", "plot.earlier", "plot.later")
async def span(on: Stagehand) -> None:
    on.plot.focus()
    await on.press("plus", "plus")
    span = on.plot.view.span
    assert span is not None
    await on.press("comma")
    assert on.plot.view.span is not None
    assert on.plot.view.span[0] < span[0]
    await on.press("full_stop")
    assert on.plot.view.span == pytest.approx(span)
    await on.press("minus", "minus")
    assert on.plot.view.span is None


@scene("train", "plot.log", "plot.unit", "plot.smoother", "plot.rougher", "plot.quantity")
async def look(on: Stagehand) -> None:
    on.plot.focus()
    await on.press("y", "u", "m", "v")
    view = on.plot.view
    assert (view.log, view.by_step, view.smoothing, view.quantity) == (False, True, 0.9, "images/s")
    await on.press("y", "u", "M", "v", "v", "v")
    assert on.plot.view.quantity == "loss"
    assert on.plot.view.smoothing == 0.6


@scene("train", "train.sample")
async def sample_run(on: Stagehand) -> None:
    on.app.screen.query_one("#log").focus()
    await on.press("s")
    await on.until(lambda: isinstance(on.app.screen, SampleScreen), "the Sample screen is there")


@scene("stopped", "train.resume")
async def resume(on: Stagehand) -> None:
    started: list[Path] = []
    on.app.screen.watch_path = started.append  # type: ignore[attr-defined,method-assign]
    await on.until(lambda: bool(on.app.screen.check_action("resume", ())), "the run is known to have stopped")
    await on.press("r")
    await on.until(lambda: started == [on.app.root / "stopped"], "a trainer is started")


# On the Runs screen


@scene("runs", "runs.mark")
async def mark(on: Stagehand) -> None:
    await on.to_run("stopped")
    await on.press("space")
    await on.to_run("finished")
    await on.press("m")
    assert [Path(path).name for path in on.table.marked] == ["stopped", "finished"]
    await on.until(lambda: len(on.plot.curves) == 2, "both curves are drawn")
    await on.to_run("stopped")
    await on.press("m")
    await on.to_run("finished")
    await on.press("m")
    assert not on.table.marked


@scene("runs", "runs.filter", "runs.unfilter")
async def filter_(on: Stagehand) -> None:
    await on.to_run("stopped")
    await on.press("slash", *"fin", "enter")
    assert on.table.row_count == 1
    assert on.app.screen.focused is on.table
    await on.press("escape")
    assert on.table.row_count > 1


@scene("runs", "runs.sort")
async def sort(on: Stagehand) -> None:
    await on.to_run("stopped")
    await on.press("o")
    names = [str(on.table.get_row_at(row)[0]).strip() for row in range(on.table.row_count)]
    assert names == sorted(names)
    await on.press("o", "o", "o")


@scene("runs", "runs.copy", "runs.command")
async def copy(on: Stagehand) -> None:
    await on.to_run("stopped")
    await on.press("c")
    assert on.app.clipboard == str((on.app.root / "stopped").resolve())
    await on.press("C")
    assert on.app.clipboard == f"minidiff resume stopped --root {on.app.root.resolve()}"


@scene("runs", "runs.rename")
async def rename(on: Stagehand) -> None:
    await on.to_run("stopped")
    await on.press("e")
    assert isinstance(on.app.screen, NameDialog)
    await on.press(*"other", "enter")
    await on.until(lambda: (on.app.root / "other").is_dir(), "it has its new name")
    assert not (on.app.root / "stopped").exists()


@scene("runs", "runs.delete")
async def delete(on: Stagehand) -> None:
    await on.to_run("finished")
    await on.press("d")
    assert isinstance(on.app.screen, ConfirmDialog)
    await on.press("y")
    await on.until(lambda: not (on.app.root / "finished").exists(), "it is gone")


@scene("runs", "runs.pause", "runs.stop")
async def ask(on: Stagehand) -> None:
    control = on.app.root / "running" / CONTROL
    await on.to_run("running")
    await on.press("p")
    await on.until(lambda: control.exists() and "pause" in control.read_text(), "the trainer is asked to pause")
    await on.press("x")
    await on.until(lambda: "stop" in control.read_text(), "the trainer is asked to stop")


@scene("runs", "runs.fork")
async def fork(on: Stagehand) -> None:
    await on.to_run("running")
    await on.press("f")
    await on.until(lambda: isinstance(on.app.screen, TrainScreen), "the form is there")
    assert on.on_form
    assert on.app.screen.query_one("#field-name", Input).value == "running-1"
    await on.press("escape", "3")


@scene("runs", "runs.new", "table.watch", "runs.sample")
async def elsewhere(on: Stagehand) -> None:
    await on.to_run("running")
    await on.press("n")
    await on.until(lambda: isinstance(on.app.screen, TrainScreen), "the form is there")
    await on.press("escape", "3")
    await on.to_run("running")
    await on.press("enter")
    await on.until(lambda: isinstance(on.app.screen, TrainScreen) and not on.on_form, "the run is watched")
    await on.press("3")
    await on.to_run("running")
    await on.press("s")
    await on.until(lambda: isinstance(on.app.screen, SampleScreen), "the Sample screen is there")


@scene("stopped-runs", "runs.resume")
async def resume_from_table(on: Stagehand) -> None:
    await on.to_run("stopped")
    started: list[tuple[str, bool]] = []
    screen = on.app.screen
    screen._resume = lambda run, force=False: started.append((run.name, force))  # type: ignore[attr-defined]
    await on.press("r")
    assert started == [("stopped", False)]


# In the Lab


def bench_of(on: Stagehand) -> Bench:
    assert isinstance(on.app.screen, LabScreen)
    return on.app.screen.bench


@scene("lab", "lab.next", "lab.previous")
async def benches(on: Stagehand) -> None:
    assert isinstance(on.app.screen, LabScreen)
    names = [bench.NAME for bench in on.app.screen.query(Bench)]
    seen = []
    for _ in names:
        seen.append(bench_of(on).NAME)
        await on.press("right_square_bracket")
    assert seen == names
    await on.press("left_square_bracket")
    assert names[-1] == bench_of(on).NAME
    await on.press("right_square_bracket")


@scene("lab", "lab.digit")
async def another_digit(on: Stagehand) -> None:
    field = on.app.screen.query_one("#digit", Input)
    seen = set()
    for _ in range(5):
        await on.press("n")
        seen.add(field.value)
    assert len(seen) > 1


@scene("lab", "lab.random")
async def another_kernel(on: Stagehand) -> None:
    await on.press("r")
    drawn = bench_of(on).query_one("#numbers", Input).value
    await on.press("r")
    assert bench_of(on).query_one("#kernel", CompactSelect).chosen == "random"
    assert bench_of(on).query_one("#numbers", Input).value != drawn


@scene("lab", "lab.export")
async def take_away(on: Stagehand) -> None:
    await on.press("e")
    assert isinstance(on.app.screen, NameDialog)
    await on.press("escape")
    assert isinstance(on.app.screen, LabScreen)


@scene("lab", "lab.view")
async def view(on: Stagehand) -> None:
    await on.pilot.resize_terminal(80, 24)  # where not all views have room
    screen = on.app.screen
    assert isinstance(screen, LabScreen)
    screen.open("transposed")
    await on.press()
    bench = screen.bench
    assert isinstance(bench, TransposedBench)
    before = bench.views
    await on.press("v")
    assert bench.views != before
    await on.press("v")
    assert bench.views == before


@scene("lab", "lab.skips", *(action.id for action in ACTIONS if action.scope == "pixel"))
async def inside(on: Stagehand) -> None:
    screen = on.app.screen
    assert isinstance(screen, LabScreen)
    screen.open("inside")
    bench = screen.bench
    assert isinstance(bench, InsideBench)
    await on.until(lambda: bench.shown is not None, "the net's inside is shown")
    skips = bench.query_one("#skips", Switch)
    await on.press("k")
    assert not skips.value
    await on.press("k")
    assert skips.value
    while bench.view != "answer":  # where it has no room beside the tiles
        await on.press("v")
    await on.until(lambda: bench.query_one("#answer").has_focus, "the arrows move the pixel")
    await on.press("left", "left", "right", "up", "up", "down")
    assert bench.query_one("#answer", PixelPicker).frame == Region(13, 13, 1, 1)


@scene("lab", "lab.draw", *(action.id for action in ACTIONS if action.scope == "draw"))
async def draw(on: Stagehand) -> None:
    lab = on.app.screen
    assert isinstance(lab, LabScreen)
    await on.press("escape", "d")
    screen = on.app.screen
    assert isinstance(screen, DrawScreen)
    paper = screen.query_one(DrawingCanvas)
    await on.press("left", "left", "up", "right", "down", "down")
    assert paper.pen == (13, 15)
    assert not any(paper.ink)
    await on.press("space", "backspace")
    assert not any(paper.ink)
    await on.press("space")
    drawn = paper.ink.hex()
    await on.press("enter")
    assert on.app.screen is lab
    assert lab.subject.pixels == drawn
    await on.press("d", "backspace", "escape")
    assert on.app.screen is lab
    assert lab.subject.pixels == drawn


@pytest.fixture
def root(model_root: Path, tmp_path: Path) -> Path:
    """A root with runs in several states, and a model."""
    for name in ("tiny",):
        (tmp_path / name).symlink_to(model_root / name)
    now = time.time()
    write_run(tmp_path, "running", training(3.4, name="running"), weights=True)
    write_run(tmp_path, "finished", training(2, total=2, name="finished", began=now - 9000), weights=True)
    stopped = [*training(1.1, name="stopped", began=now - 5000), Stopped(step=515, reason="asked", time=now - 4000)]
    write_run(tmp_path, "stopped", stopped)
    return tmp_path


STAGES = {
    "sample": {"mode": "sample"},
    "quit": {"mode": "sample"},
    "welcome": {"mode": "sample", "welcome": True},
    "form": {"mode": "train"},
    "train": {"mode": "train", "run": "running"},
    "stopped": {"mode": "train", "run": "stopped"},
    "runs": {"mode": "runs"},
    "stopped-runs": {"mode": "runs"},
    "lab": {"mode": "lab"},
}


@pytest.mark.usefixtures("builtin")
@pytest.mark.parametrize("stage", STAGES)
async def test_every_action_does_what_it_says(stage: str, root: Path) -> None:
    app = MinidiffApp(root, **STAGES[stage])  # type: ignore[arg-type]
    with held(root / "running"):
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            if stage == "form":  # a run is under way, and would be shown
                app.screen.action_new()  # type: ignore[attr-defined]
                await pilot.pause()
            on = Stagehand(app, pilot)
            for play in dict.fromkeys(SCENES[stage].values()):
                try:
                    await play(on)
                except BaseException as error:
                    error.add_note(f"in the scene {play.__name__!r}")
                    raise


def test_every_action_has_a_scene() -> None:
    played = {action for scenes in SCENES.values() for action in scenes}
    assert {action.id for action in ACTIONS} == played


def test_every_action_is_bound_somewhere() -> None:
    for action in ACTIONS:
        assert bindings(action.scope)


async def test_a_keymap_moves_an_action_to_another_key(root: Path) -> None:
    app = MinidiffApp(root, mode="runs", settings=Settings(keys={"app.help": "f1", "runs.sort": "f2"}))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f1")
        assert isinstance(app.screen, HelpScreen)
        text = "\n".join(str(static.render()) for static in app.screen.query("Static"))  # type: ignore[attr-defined]
        assert "f1" in text.lower()
        await pilot.press("escape", "question_mark")
        assert not isinstance(app.screen, HelpScreen)


def test_a_keymap_of_an_action_that_does_not_exist_is_refused() -> None:
    check_keymap(["app.help", "plot.log"])
    with pytest.raises(ConfigError, match=r"unknown action 'app.hlep'; did you mean app.help\?"):
        check_keymap(["app.hlep"])
