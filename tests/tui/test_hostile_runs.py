"""Runs that others wrote: markup, escape sequences and absurd numbers in their files, on the screens that show them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from counts import count
from mutations import altered, as_json, mutated
from runlogs import append, held, training, write_run
from waiting import until

from core.runs.directory import EVENTS
from core.runs.events import (
    MAX_COUNT,
    DatasetLoaded,
    Download,
    Epoch,
    Evaluated,
    Event,
    Failed,
    LossByLevel,
    Preview,
    Progress,
    Started,
    Warned,
    to_line,
)
from core.runs.history import LogTail
from tui.app import MinidiffApp
from tui.widgets.run_log import RunLog
from tui.widgets.run_monitor import RunMonitor
from tui.widgets.run_table import RunTable

MARKUP = "[@click=app.quit]x[/] [/red] [bold"
ESCAPES = "\x1b]0;title\x07\x1b[2J\u202e"


ABSURD = (0, 1, 2, 5, 0.0, -1.0, 1e-300, 1e300, 3e38, -3e38, 1e12, None, MAX_COUNT, 2**31, 1e-45, 253_402_300_799)


def hostile(greatest: int, largest: float, said: str) -> list[Event]:
    """A log whose texts are `said` and whose numbers are as large as an event may hold."""
    largest_time = 253_402_300_799.0
    events: list[Event] = [
        Started(name=said, device=said, threads=greatest, parameters=greatest, epochs=greatest, torch=said, time=1.0),
        Download(name=said, file=said, received=greatest, total=0, time=0.0),
        DatasetLoaded(name=said, source=said, train=0, test=greatest, sha256=said, steps_per_epoch=greatest, time=2.0),
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
        Epoch(epoch=0, step=0, loss=largest, validation_loss=-largest, seconds=largest, time=3.0),
        Epoch(epoch=greatest, step=greatest, loss=-largest, validation_loss=largest, seconds=largest, time=4.0),
        Evaluated(
            epoch=greatest, step=greatest, n=0, frechet=largest, agreement=-largest, seconds=largest, time=largest_time
        ),
        LossByLevel(
            epoch=greatest, step=greatest, n=0, levels=(0.0, 1.0), losses=(largest, -largest), floors=(-largest, 0.0),
            loss=largest, floor=-largest, seconds=largest, time=largest_time
        ),
        Preview(epoch=0, step=0, count=1, height=65_536, width=1, images=pixels, time=5.0),
        Preview(epoch=1, step=0, count=65_536, height=1, width=1, images=pixels, time=5.0),
        Preview(epoch=greatest, step=greatest, count=1, height=1, width=65_536, images=pixels, time=5.0),
    ]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with runs of texts and numbers that nobody means well."""
    for name, said in (("marked", MARKUP), ("steered", ESCAPES)):
        run = write_run(tmp_path, name, hostile(MAX_COUNT, 3e38, said), host=said, preset=said, dataset=said, seed=said)
        append(run, Failed(step=MAX_COUNT, message=said, time=6.0))
    return tmp_path


@pytest.mark.parametrize("size", [(60, 20), (120, 40), (200, 60)])
@pytest.mark.parametrize("name", ["marked", "steered"])
async def test_a_hostile_run_is_shown_verbatim(root: Path, name: str, size: tuple[int, int]) -> None:
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
            await pilot.press("space", "down")
            await pilot.pause()
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert all(sign.isprintable() or sign == "\n" for sign in shown)


async def test_active_hostile_runs_are_shown(tmp_path: Path) -> None:
    path = write_run(tmp_path, "a", hostile(MAX_COUNT, 3e38, MARKUP)[:2])
    with held(path):
        app = MinidiffApp(tmp_path, mode="train", run="a")
        async with app.run_test(size=(120, 40)) as pilot:
            stats = app.screen.query_one("#stats")
            await until(pilot, lambda: MARKUP in str(stats.render()), "the download is shown")  # type: ignore[attr-defined]
            append(path, *hostile(MAX_COUNT, 3e38, MARKUP)[2:])
            await until(pilot, lambda: "step 9,007" in str(stats.render()), "it trains")  # type: ignore[attr-defined]


async def test_notifications_show_markup_verbatim(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="runs")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        app.screen.notify(MARKUP, severity="error")
        await pilot.pause()
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "[@click=app.quit]x[/]" in shown


@pytest.mark.parametrize("name", ["events.jsonl", "lock", "trainer.log", "model.safetensors"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
async def test_a_run_whose_files_are_pipes_or_links_is_listed_and_marked_without_blocking(
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
        await pilot.press("space")
        await pilot.press("2")
        await pilot.pause()


def damaged_log(rng: random.Random) -> bytes:
    """A log whose records, or bytes, are changed; numbers that an event may hold among them."""
    lines = list(map(to_line, training(3, total=rng.choice((3, 30)), began=1.7e9, every=rng.choice((12, 60)))))
    if rng.random() < 0.3:
        return mutated("".join(lines).encode(), rng)
    records = [json.loads(line) for line in lines]
    for _ in range(rng.randint(1, 30)):
        at = rng.choice([at for at, record in enumerate(records) if isinstance(record, dict)])
        numbers = [name for name, value in records[at].items() if isinstance(value, int | float)]
        if rng.random() < 0.3 or not numbers:
            records[at] = altered(records[at], rng)
        else:
            records[at] = {**records[at], rng.choice(numbers): rng.choice(ABSURD)}
    return b"\n".join(map(as_json, records)) + b"\n"


async def test_every_screen_draws_runs_whose_logs_are_damaged(tmp_path: Path) -> None:
    """The app lives, and nothing that it draws steers the terminal."""
    rng = random.Random(7)
    run, other = (write_run(tmp_path, name, training(2)) for name in ("a", "b"))
    app = MinidiffApp(tmp_path, mode="train", run="a")
    async with app.run_test(size=(120, 40)) as pilot:
        for number in range(count(5, 200)):
            for path in (run, other):
                (path / "new").write_bytes(damaged_log(rng))
                os.replace(path / "new", path / EVENTS)  # another file: it is read from its start
            last = LogTail(run / EVENTS).read()[0]
            await pilot.press("2")
            screen = app.screen
            await until(pilot, lambda: screen.history.last == (last[-1] if last else None), f"log {number} is read")  # type: ignore[attr-defined] # noqa: B023
            for key in ("tab", "y", "v", "u", "plus", "v", "0", "v", "y", "v", "u", "left", "0", "left_square_bracket"):
                await pilot.press(key)
            await pilot.press("3")
            await until(pilot, lambda: app.screen.query_one(RunTable).row_count == 2, "the runs are listed")
            for key in ("home", "m", "down", "m", "y", "m", "up", "m"):
                await pilot.press(key)
            shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
            assert all(sign.isprintable() or sign == "\n" for sign in shown)
        assert app.return_code is None
