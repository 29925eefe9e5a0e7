"""One app follows what another compares: marked runs, and the panes of the Compare screen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lesson import lesson, notifications, write_runs
from textual.app import App
from textual.pilot import Pilot
from waiting import until

from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from tui.io.engine_client import EngineClient
from tui.io.lead_file import CompareView, RunsView, SampleView, write_view
from tui.screens.compare import CompareScreen
from tui.screens.sample import SampleScreen
from tui.state import remember_comparison, remembered_comparison
from tui.widgets.run_details import RunDetails


async def test_marked_runs_follow_in_their_order(tmp_path: Path) -> None:
    write_runs(tmp_path, "newest", "older", "oldest")
    async with lesson(tmp_path, tmp_path) as both:
        await both.shows(lambda view: view == RunsView(run="newest"))
        await both.press("down", "space", "up", "up", "space")
        await both.shows(lambda view: view == RunsView(run="older", marked=("older", "newest")))
        details = both.student.app.screen.query_one(RunDetails)
        assert details.has_class("-marked")
        await both.press("space")
        await both.shows(lambda view: view == RunsView(run="oldest", marked=("newest",)))
        assert not details.has_class("-marked")
        write_view(both.file, RunsView(run="older", marked=("oldest", "secret")))
        await both.until(lambda: "there is no run secret in this list" in notifications(both.student), "it is named")
        assert both.shown == RunsView(run="older", marked=("oldest",))


@pytest.mark.usefixtures("builtin")
async def test_the_panes_and_the_way_back_follow(tmp_path: Path) -> None:
    async with lesson(tmp_path, tmp_path, mode="sample") as both:
        await both.press("c")
        await both.shows(lambda view: isinstance(view, CompareView) and len(view.panes) == 2)
        assert isinstance(both.student.app.screen, CompareScreen)
        await both.press("v", "down")
        await both.shows(lambda view: isinstance(view, CompareView) and view.states and view.panes[1].sampler == "heun")
        await both.press("left_square_bracket")
        await both.shows(lambda view: isinstance(view, CompareView) and view.selected == 0)
        await both.press("backspace")
        await both.shows(lambda view: isinstance(view, CompareView) and len(view.panes) == 1)
        await both.press("3")
        await both.shows(lambda view: isinstance(view, RunsView))
        await both.press("1", "escape")
        await both.shows(lambda view: isinstance(view, SampleView))
        assert isinstance(both.student.app.screen, SampleScreen)


PANE = SampleRequest(model="tiny", sampler="euler", steps=2, guidance=1.0, n=2, seed=3)


@asynccontextmanager
async def followed(root: Path) -> AsyncIterator[tuple[Pilot[None], CompareScreen]]:
    """The Compare screen of a follower by itself."""
    app: App[None] = App()
    engine = EngineClient(lambda _: None, root)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = CompareScreen(engine, root, PANE, ["tiny"], still=True, is_following=True)
        await app.push_screen(screen)
        yield pilot, screen
    await engine.stop()


async def test_panes_that_cannot_be_shown_are_an_error(model_root: Path) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"model": "secret"}, "there is no model secret here"),
        ({"steps": 10**30}, "invalid options"),
        ({"n": 10**9}, "invalid options"),
        ({"guidance": math.inf}, "invalid options"),
    ]
    async with followed(model_root) as (_, screen):
        for changes, problem in cases:
            panes = (PANE, dataclasses.replace(PANE, **changes))  # type: ignore[arg-type]
            with pytest.raises(MinidiffError, match=problem):
                await screen.follow(CompareView(panes=panes, selected=10**30, step=-1, states=False))
        assert not screen.sides


async def test_followed_panes_are_shown_as_far_as_they_can_and_not_remembered(model_root: Path) -> None:
    remember_comparison([PANE, PANE])
    async with followed(model_root) as (pilot, screen):
        panes = (dataclasses.replace(PANE, steps=7), dataclasses.replace(PANE, label=3))  # tiny has no classes
        with pytest.raises(MinidiffError, match="a model here differs from the leader's"):
            await screen.follow(CompareView(panes=panes, selected=0, step=0, states=False))
        assert [(side.steps, side.request.label) for side in screen.sides] == [(7, None), (2, None)]
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not screen, "Compare is closed")
    assert [request.steps for request in remembered_comparison()] == [2, 2]
