"""The Runs screen: the table for runs of every status, and its actions."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from pipeline_folder import write_pipeline
from runlogs import append, held, started, training, window, write_run
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static
from waiting import until

import tui.io.run_list
import tui.io.run_watcher
from core.runs.directory import EVENTS, find_run
from core.runs.events import LIFECYCLE, Epoch, Evaluated, Failed, Paused, Resumed, Stopped
from core.runs.history import RunHistory
from core.runs.status import Status, run_status
from tui.io.run_watcher import LaunchedTrainer
from tui.messages import ModelChosen, RunChosen, RunsListed
from tui.screens.runs import FIRST_RUNS, RunsScreen
from tui.widgets.config_diff import ConfigDiff
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.dialogs import ConfirmDialog
from tui.widgets.image_grid import ImageGrid
from tui.widgets.run_columns import COLUMNS, REQUIRED
from tui.widgets.run_details import comparison_note
from tui.widgets.run_table import RunTable


class RunsApp(App[None]):
    """An app with only the Runs screen; records the messages to the app."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.runs = RunsScreen(root)
        self.requests: list[tuple[str, str | None]] = []
        self.listed: list[int] = []  # how many runs each list held

    def on_mount(self) -> None:
        self.push_screen(self.runs)

    def on_run_chosen(self, message: RunChosen) -> None:
        self.requests.append(("watch", message.run))

    def on_model_chosen(self, message: ModelChosen) -> None:
        self.requests.append(("sample", message.model))

    def on_runs_listed(self, message: RunsListed) -> None:
        self.listed.append(len(message.runs))

    @property
    def table(self) -> RunTable:
        return self.runs.query_one(RunTable)

    def rows(self) -> dict[str, list[str]]:
        """Cells of each row by run name."""
        cells = [[str(cell) for cell in self.table.get_row_at(row)] for row in range(self.table.row_count)]
        return {row[0]: row[1:] for row in cells}

    def cell(self, name: str, column: str) -> str:
        """Text of one cell."""
        row = list(self.rows()).index(name)
        return str(self.table.get_row_at(row)[self.columns().index(column)])

    def columns(self) -> list[str]:
        """Titles of the shown columns."""
        return [str(column.label) for column in self.table.ordered_columns]

    def about(self) -> str:
        return str(self.runs.query_one("#about", Static).render())

    def is_enabled(self, action: str, *parameters: str) -> bool:
        return bool(self.runs.check_action(action, parameters))


OUT_OF_MEMORY = "CUDA out of memory: 512 MB asked for [device 0]; use a smaller batch_size"


@pytest.fixture
def root(tmp_path: Path):
    """A root with a run of every status."""
    now = time.time()
    write_run(tmp_path, "running", training(3.4), weights=True)
    write_run(tmp_path, "starting")
    write_run(tmp_path, "paused", [*training(1.1, began=now - 300), Paused(step=515, time=now - 100)], weights=True)
    write_run(tmp_path, "finished", training(30, began=now - 9000), weights=True)
    write_run(
        tmp_path, "stopped", [*training(1.1, began=now - 5000), Stopped(step=515, reason="on request", time=now - 4000)]
    )
    write_run(tmp_path, "interrupted", training(1.1, began=now - 6000), weights=True)
    write_run(
        tmp_path, "failed", [*training(1.1, began=now - 7000), Failed(step=515, message=OUT_OF_MEMORY, time=now - 6500)]
    )
    write_run(tmp_path, "elsewhere", training(1.1, began=now - 60), host="bigbox")
    with ExitStack() as trainers:
        for name in ("running", "paused"):
            trainers.enter_context(held(tmp_path / name))
        yield tmp_path


def evaluated(frechet: float) -> Evaluated:
    return Evaluated(epoch=2, step=938, n=2_000, frechet=frechet, agreement=0.9, seconds=3.0)


async def choose(pilot: Pilot[None], app: RunsApp, name: str) -> None:
    await until(pilot, lambda: app.table.row_count > 0)
    app.table.move_cursor(row=list(app.rows()).index(name))
    await until(pilot, lambda: app.about().startswith(name))


async def test_every_status_is_shown(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.table.row_count == 8)
        status = {name: cells[0].removeprefix("● ") for name, cells in app.rows().items()}
        expected = {name: name for name in status} | {"elsewhere": "on bigbox"}
        assert status == expected
        assert [app.cell("finished", column) for column in ("model", "data", "epoch", "params", "lr", "time")] == [
            "basic_unet", "mnist", "30/30", "309k", "0.001", "16 min",
        ]  # fmt: skip
        assert app.cell("running", "loss").startswith(".0")
        assert app.cell("finished", "when").endswith("ago")


async def test_columns_are_shown_in_the_order_of_importance_and_never_cut(root: Path):
    write_run(root, "measured", [*training(2, total=2), evaluated(13.4)])
    app = RunsApp(root)
    async with app.run_test(size=(60, 20)) as pilot:
        await until(pilot, lambda: app.table.row_count == 9)
        shown: set[str] = set()
        for width in (60, 80, 100, 120, 140, 200, 300):
            await pilot.resize_terminal(width, 30)
            await pilot.pause()
            assert set(REQUIRED) <= set(app.columns())
            assert app.table.virtual_size.width <= app.table.container_size.width
            if width != 200:  # where the details are beside the table
                assert shown <= set(app.columns())
                shown = set(app.columns())
        assert shown == set(COLUMNS)
        assert app.cell("measured", "distance") == "13.4"


async def test_the_plot_stays_empty_until_the_log_is_read(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.table.row_count == 8)
        plot = app.runs.query_one(CurvePlot)
        seen = set()
        for name in ("finished", "starting"):
            await choose(pilot, app, name)
            seen.add(plot._empty_message())
            await until(pilot, lambda: app.runs._is_read)
        assert seen == {""}
        assert plot._empty_message() == "no steps logged yet"


async def test_marked_runs_show_the_options_in_which_they_differ(tmp_path: Path):
    changes = {"a": {}, "b": {"learning_rate": 0.0003}, "c": {"channels": [64, 64], "limit": 500}}
    for number, (name, options) in enumerate(changes.items()):
        write_run(tmp_path, name, training(1.1, began=1e9 - number), **options)
    app = RunsApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "a")
        await pilot.press("space")
        diff = app.runs.query_one(ConfigDiff)
        assert not diff.display
        await pilot.press("space", "space")
        await pilot.pause()
        assert [line.split("  ") for line in map(compact, diff.render().plain.splitlines())] == [
            ["option", "a", "b", "c"],
            ["channels", "32-64-64", "32-64-64", "64-64"],
            ["learning rate", "0.001", "0.0003", "0.001"],
            ["limit", "not set", "not set", "500"],
        ]
        assert diff.size.height == 4
        await pilot.press("space")  # unmarks the last one
        await pilot.pause()
        assert [compact(line) for line in diff.render().plain.splitlines()] == [
            "option  a  b",
            "learning rate  0.001  0.0003",
        ]


def compact(line: str) -> str:
    """`line` with two spaces between columns."""
    return re.sub("  +", "  ", line).strip()


async def test_details_show_the_error_of_a_failed_run_and_the_host_of_a_remote_one(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "failed")
        assert OUT_OF_MEMORY in app.about()
        await choose(pilot, app, "elsewhere")
        assert "on bigbox, last update" in app.about()
        await choose(pilot, app, "interrupted")
        assert "r resumes from the last checkpoint" in app.about()


async def test_actions_are_enabled_by_status(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "running")
        assert app.is_enabled("request", "pause")
        assert app.is_enabled("request", "stop")
        assert app.is_enabled("sample")
        assert not app.is_enabled("request", "continue")
        assert not app.is_enabled("delete")
        assert not app.is_enabled("resume")
        await choose(pilot, app, "paused")
        assert app.is_enabled("request", "continue")
        assert not app.is_enabled("request", "pause")
        await choose(pilot, app, "failed")
        assert app.is_enabled("resume")
        assert app.is_enabled("delete")
        assert not app.is_enabled("sample")  # it has no weights
        await choose(pilot, app, "elsewhere")
        assert not app.is_enabled("request", "stop")
        assert not app.is_enabled("delete")


async def test_enter_watches_s_samples_and_n_opens_the_form(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "finished")
        await pilot.press("enter", "s", "n")
        await until(pilot, lambda: len(app.requests) == 3)
        assert app.requests == [("watch", "finished"), ("sample", "finished"), ("watch", None)]


async def test_p_and_x_send_requests_to_the_trainer(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "paused")
        await pilot.press("p", "x")
        requests = (root / "paused" / "control.jsonl").read_text()
        assert requests.index('"continue"') < requests.index('"stop"')


async def test_stop_is_obeyed_if_it_is_requested_right_after_resume(finished_run: Path, tmp_path: Path):
    path = tmp_path / "a"
    shutil.copytree(finished_run, path)
    (path / "config.toml").write_text((path / "config.toml").read_text().replace("epochs = 2", "epochs = 100_000"))
    append(path, Stopped(step=4, reason="on request"))
    app = RunsApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "a")
        await pilot.press("r", "x")
        assert '"stop"' in (path / "control.jsonl").read_text()
        async with asyncio.timeout(180):  # a real process, which has to load torch
            while run_status(path).alive:
                await pilot.pause(0.05)
    assert run_status(path) is Status.STOPPED
    resumed, stopped = [event for event in RunHistory.of(path / EVENTS).notes if isinstance(event, LIFECYCLE)][-2:]
    assert isinstance(resumed, Resumed)
    assert isinstance(stopped, Stopped)
    assert resumed.time <= (path / "state.safetensors").stat().st_mtime <= stopped.time  # saved once more
    assert stopped.step == resumed.step == 4


async def test_delete_requires_confirmation(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "stopped")
        for answer in ("escape", "n", "enter"):  # what keeps the run has the focus
            await pilot.press("d")
            assert isinstance(app.screen, ConfirmDialog)
            await pilot.press(answer)
            assert app.screen is app.runs
            assert (root / "stopped").is_dir()
        await pilot.press("d", "y")
        await until(pilot, lambda: "stopped" not in app.rows())
        assert not (root / "stopped").exists()
        assert len(app.rows()) == 7


async def test_resuming_a_run_of_another_host_requires_confirmation(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await choose(pilot, app, "elsewhere")
        await pilot.press("r")
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("n")
        assert app.screen is app.runs
        assert app.requests == []
        assert not (root / "elsewhere" / "trainer.log").exists()


async def test_the_table_updates_and_keeps_its_cursor(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose(pilot, app, "finished")
        write_run(root, "newest", training(1.2))
        append(root / "running", window(1700, 0.5, time.time() + 5))
        await until(pilot, lambda: "newest" in app.rows())
        assert app.table.highlighted.name == "finished"
        assert next(iter(app.rows())) == "starting"  # the last one to be created


async def test_rows_keep_their_order_while_several_runs_log(root: Path):
    write_run(root, "other", training(1.2))
    app = RunsApp(root)
    with held(root / "other"):
        async with app.run_test(size=(120, 40)) as pilot:
            await choose(pilot, app, "other")
            order, now = list(app.rows()), time.time()
            for turn in range(4):
                name = ("running", "other")[turn % 2]
                before = app.rows()[name]
                ends = {"loss": 0.5 + turn / 100, "validation_loss": 0.5, "seconds": 1.0, "time": now + turn}
                append(root / name, Epoch(epoch=10 + turn, step=5_000 + turn, **ends))
                await until(pilot, lambda name=name, before=before: app.rows()[name] != before)
                assert list(app.rows()) == order
            assert app.table.highlighted.name == "other"
            await pilot.press("o")
            assert app.table.order == "last update"
            assert next(iter(app.rows())) == "other"  # which logged last


async def test_copied_commands_are_quoted_for_a_shell(root: Path, tmp_path_factory: pytest.TempPathFactory):
    awkward = tmp_path_factory.mktemp("my runs; touch pwned; ") / "a 'root'"
    root.rename(awkward)
    hostile = awkward.parent / "x;touch pwned;"
    (awkward / "stopped").rename(hostile)
    (awkward / "linked").symlink_to(hostile)
    app = RunsApp(awkward)
    async with app.run_test(size=(200, 60)) as pilot:
        await choose(pilot, app, "linked")
        await pilot.press("P")
        assert arguments_of(f"cd {app.clipboard} && pwd -L", awkward) == [str(awkward / "linked")]
        await pilot.press("C")
    arguments = arguments_of(app.clipboard, awkward)
    assert arguments == ["resume", "linked", "--root", str(awkward)]
    assert find_run(arguments[1], Path(arguments[3])) == awkward / "linked"
    assert not list(awkward.rglob("pwned"))


def arguments_of(command: str, folder: Path) -> list[str]:
    """Arguments that a shell passes to `minidiff`, or its output, if `command` is pasted."""
    script = f'minidiff() {{ printf "%s\\n" "$@"; }}\n{command}'
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


async def test_the_newest_of_many_runs_are_shown_first_and_then_all(tmp_path: Path):
    now = time.time()
    for number in range(FIRST_RUNS + 20):
        path = write_run(tmp_path, f"run-{number:03}", [started(now - 1000 + number)])
        os.utime(path / "events.jsonl", (now + number, now + number))
    app = RunsApp(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.table.row_count == FIRST_RUNS + 20)
        assert app.listed[:2] == [FIRST_RUNS, FIRST_RUNS + 20]
        newest = f"run-{FIRST_RUNS + 19:03}"
        assert (next(iter(app.rows())), app.table.highlighted.name) == (newest, newest)


async def test_a_slow_root_does_not_accumulate_threads(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.table.row_count == 8)
        await pilot.press("space")
        with tui.io.run_list._list(root)._lock:  # as a disk that does not answer
            for _ in range(20):
                app.runs._poll()
                await pilot.pause()
            busy = [worker for worker in app.workers if worker.is_running and worker.group == "list"]
            assert len(busy) == 1
            write_run(root, "new", training(1.2))
            app.runs.list_now()
        await until(pilot, lambda: app.table.row_count == 9)


async def test_details_show_the_curves_and_digits_of_the_highlighted_run(root: Path):
    app = RunsApp(root)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose(pilot, app, "running")
        plot = app.runs.query_one(CurvePlot)
        await until(pilot, lambda: len(plot.series(60)["epoch"][0]) == 3)
        assert len(app.runs.query_one(ImageGrid)._images) == 8
        assert "batch size 128" in app.about()
        await choose(pilot, app, "starting")
        await until(pilot, lambda: plot.series(60)["epoch"][0] == [])


def test_runs_whose_losses_do_not_compare_are_named_by_the_options_that_differ(tmp_path: Path):
    old = write_run(tmp_path, "old", path="mix", prediction="clean")
    same = write_run(tmp_path, "same", path="mix", prediction="clean", weighting="prediction", objective="diffusion")
    flow = write_run(tmp_path, "flow", path="flow", prediction="velocity")
    assert comparison_note([old, same]) == ""
    assert comparison_note([old, same, flow]) == "losses do not compare: different path, prediction"


async def test_a_trainer_that_never_took_its_run_is_shown_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_run(tmp_path, "a")
    (path / "trainer.log").write_text("error: no device cuda here; try --device cpu\n")
    ended = subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])
    ended.wait()
    monkeypatch.setitem(tui.io.run_watcher._started, path, LaunchedTrainer(ended, 0, 0))
    app = RunsApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.table.row_count == 1)
        assert app.rows()["a"][0] == "● failed"
        assert "no device cuda here; try --device cpu" in app.about()


async def test_an_empty_root_explains_how_to_train(tmp_path: Path):
    app = RunsApp(tmp_path / "none")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "No runs" in str(app.runs.query_one("#empty", Static).render()))
        assert "Press n" in str(app.runs.query_one("#empty", Static).render())
        await pilot.press("n", "enter", "d", "r", "x", "p", "s")
        assert app.requests == [("watch", None)]


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60), (30, 8)])
async def test_every_size_shows_the_table_without_a_scrollbar_below(root: Path, size: tuple[int, int]):
    app = RunsApp(root)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.table.row_count == 8)
        await pilot.pause()
        if size[0] >= 60:
            assert not app.table.show_horizontal_scrollbar
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert app.table.row_count == 8


async def test_a_folder_of_diffusers_is_shown_like_a_run_and_only_sampled(root: Path):
    write_pipeline(root / "faces")
    app = RunsApp(root)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose(pilot, app, "faces")
        assert app.rows()["faces"][0] == "● diffusers"
        assert "pipeline of diffusers; s generates samples" in app.about()
        assert app.is_enabled("sample")
        assert not any(app.is_enabled(action) for action in ("resume", "fork"))
        assert not any(app.is_enabled("request", name) for name in ("pause", "continue", "stop"))
        await pilot.press("enter", "s")
        await until(pilot, lambda: len(app.requests) == 2)
        assert app.requests == [("sample", "faces")] * 2
