"""The screen of a race: table and plot at several sizes, while it trains, and with damaged files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from race_files import race_result, write_race
from textual.app import App
from textual.widgets import Static
from waiting import until

import tui.screens.race
from core.race.result_file import race_of, read_result
from tui.screens.race import RaceScreen
from tui.themes import DARK
from tui.widgets.race_view import DifferencePlot, RaceTable


class RaceApp(App[None]):
    """An app with only the screen of a race."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.race = RaceScreen(folder)

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name
        self.push_screen(self.race)

    def text(self, selector: str) -> str:
        return str(self.race.query_one(selector, Static).content)

    @property
    def rows(self) -> list[str]:
        return self.race.query_one(RaceTable).render().plain.split("\n")


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    for result in (race_result(), race_result(comparisons=5)):
        write_race(tmp_path / "rates", result)
        assert read_result(tmp_path / "rates") == result


def test_a_damaged_result_is_none(tmp_path: Path) -> None:
    assert read_result(tmp_path / "missing") is None
    (tmp_path / "rates").mkdir()
    for content in ("", "[]", "{}", '{"candidates": [1]}', "[" * 5000):
        (tmp_path / "rates" / "result.json").write_text(content)
        assert read_result(tmp_path / "rates") is None


def test_a_run_belongs_to_the_race_of_its_name(tmp_path: Path) -> None:
    write_race(tmp_path / "rates")
    for name in ("rates-1", "rates-12", "rates-3-seed7"):
        assert race_of(tmp_path / name) == tmp_path / "rates"
    for name in ("rates", "rates-a", "other-1"):
        assert race_of(tmp_path / name) is None


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_the_screen_shows_the_differences_and_the_verdict(width: int, height: int, tmp_path: Path) -> None:
    write_race(tmp_path / "rates")
    app = RaceApp(tmp_path / "rates")
    async with app.run_test(size=(width, height)) as pilot:
        await until(pilot, lambda: app.race.result is not None, "the result is read")
        await pilot.pause()
        assert app.text("#state").startswith("winner: optimizer=muon learning_rate=0.002")
        heading, *rows = app.rows
        assert len(rows) == 4
        assert all(len(row) <= width for row in (heading, *rows))
        assert "difference" in heading
        assert "+5.2%" in rows[1]
        assert ("Frechet" in heading) == (width >= 120)
        plot = str(app.race.query_one(DifferencePlot).render())
        assert "seconds" in plot
        assert re.search(r"\+\d+%", plot)


async def test_a_race_that_trains_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui.screens.race, "READ_SECONDS", 0.05)
    write_race(tmp_path / "rates", race_result(comparisons=4))
    app = RaceApp(tmp_path / "rates")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "best so far" in app.text("#state"), "it is shown")
        assert "of 120 s, compared at 40 s" in app.text("#state")
        write_race(tmp_path / "rates")
        await until(pilot, lambda: "winner" in app.text("#state"), "the end is shown")
