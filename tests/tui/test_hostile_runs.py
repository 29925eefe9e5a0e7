"""Runs that others wrote: markup, escape sequences and absurd numbers in their files, on the screens that show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from runlogs import append, held, write_run
from waiting import until

from core.events import GREATEST, Dataset, Download, Epoch, Evaluated, Event, Failed, Preview, Progress, Started, Warned
from tui.app import MinidiffApp
from tui.widgets.run_log import RunLog
from tui.widgets.run_monitor import RunMonitor
from tui.widgets.run_table import RunTable

MARKUP = "[@click=app.quit]x[/] [/red] [bold"
ESCAPES = "\x1b]0;title\x07\x1b[2J\u202e"


def hostile(greatest: int, largest: float, said: str) -> list[Event]:
    """A log whose texts are `said` and whose numbers are as large as an event may hold."""
    largest_time = 253_402_300_799.0
    events: list[Event] = [
        Started(name=said, device=said, threads=greatest, parameters=greatest, epochs=greatest, torch=said, time=1.0),
        Download(name=said, file=said, received=greatest, total=0, time=0.0),
        Dataset(name=said, source=said, train=0, test=greatest, sha256=said, steps_per_epoch=greatest, time=2.0),
        Warned(message=said, time=2.5),
    ]
    for number, (step, loss) in enumerate([(0, largest), (1, -largest), (greatest - 1, 0.0), (greatest, -1e-300)]):
        events.append(
            Progress(
                step=step, epoch=greatest, loss=loss, loss_min=-largest, loss_max=largest, images_per_second=largest,
                learning_rate=-largest, memory=greatest, time=largest_time - number,
            )
        )  # fmt: skip
    pixels = bytes(range(256)) * 256
    return [
        *events,
        Epoch(epoch=0, step=0, loss=largest, held_out=-largest, seconds=largest, time=3.0),
        Epoch(epoch=greatest, step=greatest, loss=-largest, held_out=largest, seconds=-largest, time=4.0),
        Evaluated(
            epoch=greatest, step=greatest, n=0, frechet=largest, agreement=-largest, seconds=largest, time=largest_time
        ),
        Preview(epoch=0, step=0, count=1, height=65_536, width=1, images=pixels, time=5.0),
        Preview(epoch=1, step=0, count=65_536, height=1, width=1, images=pixels, time=5.0),
        Preview(epoch=greatest, step=greatest, count=1, height=1, width=65_536, images=pixels, time=5.0),
    ]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with runs of texts and numbers that nobody means well."""
    for name, said in (("marked", MARKUP), ("steered", ESCAPES)):
        run = write_run(tmp_path, name, hostile(GREATEST, 3e38, said), host=said, preset=said, dataset=said, seed=said)
        append(run, Failed(step=GREATEST, message=said, time=6.0))
    return tmp_path


@pytest.mark.parametrize("size", [(60, 20), (120, 40), (200, 60)])
@pytest.mark.parametrize("name", ["marked", "steered"])
async def test_a_hostile_run_is_shown_as_it_is_written(root: Path, name: str, size: tuple[int, int]) -> None:
    app = MinidiffApp(root, mode="train", run=name)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.screen.query_one(RunLog).lines != [], "the log is shown")
        await pilot.pause()
        monitor = app.screen.query_one(RunMonitor)
        title = str(monitor.query_one("#title").render())  # type: ignore[attr-defined]
        assert (MARKUP in title) if name == "marked" else ("\ufffd]0;title" in title)
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert all(sign.isprintable() or sign == "\n" for sign in shown)
        await pilot.press("3")
        await until(pilot, lambda: app.screen.query_one(RunTable).row_count == 2, "the runs are listed")
        for _ in range(2):
            await pilot.press("m", "down")
            await pilot.pause()
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert all(sign.isprintable() or sign == "\n" for sign in shown)


async def test_a_running_hostile_run_and_one_that_fetches_data_are_shown(tmp_path: Path) -> None:
    path = write_run(tmp_path, "a", hostile(GREATEST, 3e38, MARKUP)[:2])
    with held(path):
        app = MinidiffApp(tmp_path, mode="train", run="a")
        async with app.run_test(size=(120, 40)) as pilot:
            stats = app.screen.query_one("#stats")
            await until(pilot, lambda: MARKUP in str(stats.render()), "the download is told")  # type: ignore[attr-defined]
            append(path, *hostile(GREATEST, 3e38, MARKUP)[2:])
            await until(pilot, lambda: "step 9,007" in str(stats.render()), "it trains")  # type: ignore[attr-defined]


async def test_a_notice_shows_markup_as_it_is_written(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="runs")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        app.screen.notify(MARKUP, severity="error")
        await pilot.pause()
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "[@click=app.quit]x[/]" in shown


@pytest.mark.parametrize("name", ["events.jsonl", "lock", "trainer.log", "model.safetensors"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
async def test_a_run_whose_files_are_pipes_or_links_is_listed_and_marked_without_waiting(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = write_run(tmp_path, "a")
    (path / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path / name)
    else:
        (path / name).symlink_to(tmp_path / "a" / "config.toml")
    app = MinidiffApp(tmp_path, mode="runs")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen.query_one(RunTable).row_count == 1, "the run is listed")
        await pilot.press("m")
        await pilot.press("2")
        await pilot.pause()
