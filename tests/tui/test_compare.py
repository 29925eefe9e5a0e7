"""Compare: what each pane shows, and the engine that it shares with the Sample screen."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from textual.app import App
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input, Static
from waiting import until

from core.engine.codec import encode
from core.engine.protocol import Done, SampleRequest
from core.runs.directory import MODEL
from tui.app import MinidiffApp
from tui.io.engine_client import EngineClient
from tui.screens.compare import CompareScreen
from tui.screens.sample import SampleScreen
from tui.state import remember_comparison
from tui.widgets.compact_select import CompactSelect
from tui.widgets.image_grid import ImageGrid
from tui.widgets.sampling_controls import SamplingControls

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = ["tiny", "classy", "sprites"]
REQUEST = SampleRequest(model="tiny", n=2, steps=3, seed=4)
LONG = dataclasses.replace(REQUEST, n=64, steps=1000)  # takes longer than the assertions


@pytest.fixture(scope="module")
def root(model_root: Path, rgb_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with gray and with RGB images."""
    root = tmp_path_factory.mktemp("compared")
    for runs in (model_root, rgb_root):
        shutil.copytree(runs, root, dirs_exist_ok=True)
    return root


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(root: Path) -> AsyncIterator[EngineClient]:
    """One engine for all tests here, because starting it takes seconds."""
    client = EngineClient(lambda _: None, root)
    yield client
    await client.stop()


class CompareApp(App[None]):
    """The screen by itself."""

    def __init__(self, engine: EngineClient, root: Path, request: SampleRequest = REQUEST) -> None:
        super().__init__()
        self.compare = CompareScreen(engine, root, request, MODELS, still=True)

    async def on_mount(self) -> None:
        await self.push_screen(self.compare)

    def title_of(self, index: int) -> str:
        """The title of a pane, without repeated spaces."""
        return " ".join(str(self.compare.view.pane_of(index).query_one(Static).render()).split())

    def grid(self, index: int) -> ImageGrid:
        return self.compare.view.pane_of(index).grid

    @property
    def samplers(self) -> list[str | None]:
        return [side.request.sampler for side in self.compare.sides]

    @property
    def notes(self) -> list[str]:
        return [notification.message for notification in self._notifications]

    async def until_ready(self, pilot: Pilot[None], condition: Callable[[], bool] = lambda: True) -> None:
        await until(pilot, lambda: self.compare.ready and condition(), "all panes are sampled")


def write(bar: SamplingControls, field: str, value: int) -> None:
    bar.query_one(f"#{field}", Input).value = str(value)


async def test_replies_to_one_screen_are_not_delivered_to_the_next(root: Path, engine: EngineClient) -> None:
    messages: list[Message] = []
    before = engine.redirect(messages.append)
    await engine.sample(dataclasses.replace(REQUEST, device="cpu"))
    assert engine.busy
    newest = engine._id
    engine.redirect(before)
    assert not engine.busy
    late = asyncio.StreamReader()
    late.feed_data(encode(Done(id=newest, seconds=1)))
    late.feed_eof()
    await engine.read_replies(late)
    assert messages == []


async def test_two_samplers_start_from_the_same_noise_and_their_titles_say_what_differs(
    root: Path, engine: EngineClient
) -> None:
    app = CompareApp(engine, root)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.until_ready(pilot)
        first, second = app.compare.sides
        assert first.frames[0].x == second.frames[0].x
        assert app.title_of(0).startswith("mix NFE 3, ")
        assert app.title_of(1).startswith("▸ euler NFE 3, ")
        assert app.title_of(1).endswith(" s")
        assert [len(app.grid(index)._images) for index in range(2)] == [2, 2]


async def test_keys_add_a_copy_change_its_sampler_and_remove_it_and_only_what_changed_is_sampled(
    root: Path, engine: EngineClient
) -> None:
    app = CompareApp(engine, root)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.until_ready(pilot)
        compare = app.compare
        before = [side.denoising for side in compare.sides]
        await pilot.press("N")
        assert compare.selected == 2
        assert [side.denoising for side in compare.sides] == [*before, before[1]]
        await pilot.press("down")
        await app.until_ready(pilot, lambda: app.samplers == ["mix", "euler", "heun"])
        assert [side.denoising for side in compare.sides[:2]] == before
        assert compare.sides[2].denoising is not before[1]
        await pilot.press("left_square_bracket", "up")
        await app.until_ready(pilot, lambda: app.samplers == ["mix", "mix", "heun"])
        write(compare.bar, "steps", 2)
        await pilot.press("N")  # what was typed applies to the pane that it was typed for
        await app.until_ready(pilot, lambda: len(compare.sides) == 4)
        assert [side.steps for side in compare.sides] == [3, 2, 2, 3]
        assert app.title_of(2).startswith("▸ mix, 2 steps NFE 2")
        await pilot.press("N")
        assert "remove one first" in app.notes[-1]
        await pilot.press("n")
        seed = int(compare.bar.seed)
        await app.until_ready(pilot, lambda: all(s.denoising and s.denoising.seed == seed for s in compare.sides))
        await pilot.press(*["backspace"] * 5)
        assert len(compare.sides) == 1
        assert app.title_of(0).startswith("tiny, heun NFE 5")


async def test_a_followed_view_samples_only_the_panes_that_differ(root: Path, engine: EngineClient) -> None:
    app = CompareApp(engine, root)
    async with app.run_test(size=(80, 24)) as pilot:
        await app.until_ready(pilot)
        compare, view = app.compare, app.compare.shared_view
        first, second = (side.denoising for side in compare.sides)
        changed = dataclasses.replace(view.panes[0], sampler="heun")
        view = dataclasses.replace(view, panes=(*view.panes, changed), selected=0, step=2, states=True)
        await compare.follow(view)
        await app.until_ready(pilot)
        await compare.follow(view)
        assert compare.shared_view == view
        assert [side.denoising for side in compare.sides[:2]] == [first, second]
        assert compare.sides[0].denoising is first
        assert compare.bar.query_one("#sampler", CompactSelect).chosen == "mix"
        await compare.follow(dataclasses.replace(view, panes=view.panes[2:]))
        assert app.samplers == ["heun"]
        assert compare.ready


async def test_the_pane_being_sampled_shows_its_first_steps_and_the_others_wait(
    root: Path, engine: EngineClient
) -> None:
    app = CompareApp(engine, root, LONG)
    async with app.run_test(size=(120, 40)) as pilot:
        compare = app.compare
        await until(pilot, lambda: bool(app.grid(0)._images), "predictions are shown")
        assert not compare.sides[0].complete
        assert app.title_of(0).startswith("mix sampling, step ")
        assert app.title_of(1) == "▸ euler waiting"
        await pilot.resize_terminal(60, 20)
        await pilot.resize_terminal(200, 60)
        await pilot.press("left_square_bracket", "backspace")  # the other is sampled instead
        await until(pilot, lambda: bool(app.grid(0)._images) and len(compare.sides) == 1, "euler is shown")
        assert app.title_of(0).startswith("tiny, euler sampling, step ")


async def test_a_small_terminal_shows_two_panes_at_a_time(root: Path, engine: EngineClient) -> None:
    remember_comparison([REQUEST, *(dataclasses.replace(REQUEST, steps=steps) for steps in (3, 2, 1, 4))])
    app = CompareApp(engine, root, dataclasses.replace(REQUEST, sampler="mix"))
    async with app.run_test(size=(80, 24)) as pilot:
        await app.until_ready(pilot)
        compare = app.compare
        assert list(compare.view.in_view) == [2, 3]
        await pilot.press("right_square_bracket")
        assert [compare.view.pane_of(index).display for index in range(4)] == [True, True, False, False]
        assert all(app.grid(index)._images for index in range(2))
        await pilot.press("N")
        assert "enlarge the terminal" in app.notes[-1] or "remove one" in app.notes[-1]
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: all(app.grid(index)._images for index in range(4)), "all are drawn")
        regions = [compare.view.pane_of(index).region for index in range(4)]
        assert len({(region.x, region.y) for region in regions}) == 4
        assert all(compare.view.region.contains_region(region) for region in regions)


async def test_models_of_different_sizes_and_a_deleted_one_are_compared(root: Path, engine: EngineClient) -> None:
    models = ["sprites", "tiny", "classy"]
    remember_comparison([SampleRequest(model="sprites"), *(SampleRequest(model=name, steps=2) for name in models)])
    weights = root / "classy" / MODEL
    weights.rename(root / "kept")
    app = CompareApp(engine, root, SampleRequest(model="sprites", n=2, steps=2))
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            compare = app.compare
            await until(pilot, lambda: any(side.error for side in compare.sides), "one fails")
            await until(pilot, lambda: compare._sampled is None, "the others are sampled")
            assert [side.complete for side in compare.sides] == [True, True, False]
            assert app.title_of(2) == "▸ classy, dpm2m failed"
            assert [len(app.grid(index)._images[0]) for index in range(2)] == [12 * 16 * 3, 28 * 28]
            (root / "kept").rename(weights)
            await pilot.press("enter")
            await app.until_ready(pilot)
            assert "correct" not in app.title_of(2)  # untrained, and without a classifier
    finally:
        if not weights.exists():
            (root / "kept").rename(weights)


async def test_panes_are_remembered_until_the_sample_screen_has_another_model(root: Path, engine: EngineClient) -> None:
    async def open_and_close(request: SampleRequest, *keys: str) -> list[tuple[str, int, str | None]]:
        app = CompareApp(engine, root, request)
        async with app.run_test(size=(120, 40)) as pilot:
            await app.until_ready(pilot)
            await pilot.press(*keys)
            await app.until_ready(pilot)
            panes = [(side.request.model, side.steps, side.request.sampler) for side in app.compare.sides]
            await pilot.press("escape")
        return panes

    first = await open_and_close(REQUEST, "N", "down")
    assert first == [("tiny", 3, "mix"), ("tiny", 3, "euler"), ("tiny", 3, "heun")]
    assert await open_and_close(REQUEST, "left_square_bracket", "left_square_bracket", "down") == [
        ("tiny", 3, "euler"),
        *first[1:],
    ]
    assert (await open_and_close(REQUEST))[0] == ("tiny", 3, "euler")
    changed = dataclasses.replace(REQUEST, steps=2)
    assert await open_and_close(changed) == [("tiny", 2, "mix"), *first[1:]]
    other = dataclasses.replace(REQUEST, model="classy")
    assert [(model, sampler) for model, _, sampler in await open_and_close(other)][1] == ("classy", "euler")


async def test_invalid_controls_show_a_notification_and_a_click_selects_a_pane(
    root: Path, engine: EngineClient
) -> None:
    app = CompareApp(engine, root)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.until_ready(pilot)
        write(app.compare.bar, "steps", 0)
        await pilot.press("enter")
        assert app.notes[-1].startswith("steps must be")
        assert app.compare.ready
        write(app.compare.bar, "steps", 2)
        await pilot.press("escape")
        await pilot.click(app.grid(0))
        await app.until_ready(pilot, lambda: app.compare.selected == 0)
        assert [side.steps for side in app.compare.sides] == [3, 2]
        assert app.compare.bar.query_one("#sampler", CompactSelect).chosen == "mix"


async def test_compare_opened_while_sampling_shows_its_own_result_and_the_first_request_resumes_afterwards(
    model_root: Path,
) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(100, 30)) as pilot:
        sample = app.screen
        assert isinstance(sample, SampleScreen)
        await sample.choose_model("tiny")
        await until(pilot, lambda: sample.denoising is not None and sample.denoising.model == "tiny", "tiny is shown")
        engine = psutil.Process(sample.engine.pid)
        engine.suspend()  # so that this is not answered before Compare opens
        write(sample.bar, "steps", 200)
        write(sample.bar, "images", 2)
        await pilot.press("n")
        seed = int(sample.bar.seed)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "Compare is open")
        engine.resume()
        compare = app.screen
        assert isinstance(compare, CompareScreen)
        await until(pilot, lambda: bool(compare.sides) and bool(compare.sides[0].frames), "its first pane is sampled")
        write(compare.bar, "steps", 5)
        await pilot.press("enter", "left_square_bracket")
        write(compare.bar, "steps", 5)
        await pilot.press("enter")
        await until(pilot, lambda: compare.ready, "both panes are sampled")
        assert [side.steps for side in compare.sides] == [5, 5]
        assert [[frame.index for frame in side.frames] for side in compare.sides] == [list(range(6))] * 2
        write(compare.bar, "steps", 300)
        await pilot.press("enter", "escape")
        await until(pilot, lambda: app.screen is sample, "Compare is closed")
        await until(
            pilot,
            lambda: sample.denoising is not None and sample.denoising.seed == seed and sample.denoising.complete,
            "the first request is sampled",
        )
        assert sample.denoising is not None
        assert sample.denoising.steps == 200
        assert [frame.index for frame in sample.denoising.frames] == list(range(201))
