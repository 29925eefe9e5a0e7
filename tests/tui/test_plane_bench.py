"""The 2-D bench: fields, training, the timeline, samples by the number of steps; with replies of the engine's code."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lab_app import Lab
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Static

from core.config.sampling import NO_CLASS
from core.engine.plane import PlaneSession
from core.engine.plane_messages import PlaneComparison, PlaneParticles, PlaneProgress, PlaneReply, PlaneRequest
from core.engine.protocol import Array, DrawnImage, EngineRequest
from core.errors import MinidiffError
from core.lab.plane import compare_steps, particle_steps, plane_points, train_plane
from tui.app import MinidiffApp
from tui.lab.lab_input import LabInput
from tui.lab.picture_panel import PicturePanel
from tui.lab.plane import PlaneBench
from tui.lab.plane_canvas import PlaneCanvas, class_color
from tui.lab.plane_panels import PlaneLossPlot, StepsPanel
from tui.lab.plane_picture import SIDE
from tui.lab.plane_raster import ARROWS
from tui.lab.subject import SubjectFields
from tui.messages import EngineRefused
from tui.screens.draw import DrawScreen
from tui.settings import Settings
from tui.themes import DARK
from tui.widgets.compact_select import CompactSelect
from tui.widgets.header import Header

SUBJECT = LabInput("glyphs", 0, "default-mnist")
SMALL = {"training": "50", "steps": "4"}
CALM = Settings(reduced_motion=True)


class Alone(App[None]):
    """The bench by itself; requests that it describes are answered on demand."""

    HORIZONTAL_BREAKPOINTS = MinidiffApp.HORIZONTAL_BREAKPOINTS

    def __init__(self, *, still: bool = True) -> None:
        super().__init__()
        self.bench = PlaneBench(still=still)
        self._engine = PlaneSession(lambda points: plane_points(str(points), n=200))

    def compose(self) -> ComposeResult:
        yield self.bench

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name

    @property
    def request(self) -> PlaneRequest:
        return self.bench.request(SUBJECT)

    def answer(self, **changes: object) -> list[PlaneReply]:
        """Show the replies to the request that the fields describe, or to one with other values."""
        replies = []
        for reply in self._engine.replies(replace(self.request, **changes)):  # type: ignore[arg-type]
            assert isinstance(reply, PlaneReply)
            self.bench.show_reply(reply)
            replies.append(reply)
        return replies


@asynccontextmanager
async def alone(size: tuple[int, int] = (120, 37), *, still: bool = True) -> AsyncIterator[tuple[Alone, Pilot[None]]]:
    app = Alone(still=still)
    async with app.run_test(size=size) as pilot:
        enter(app.bench, **SMALL)
        await pilot.pause()
        yield app, pilot


def tensor(array: Array) -> torch.Tensor:
    return torch.tensor(list(array.values)).reshape(array.shape)


def choose(bench: PlaneBench, **fields: str) -> None:
    for name, value in fields.items():
        bench.query_one(f"#{name}", CompactSelect).value = value


def enter(bench: PlaneBench, **fields: str) -> None:
    for name, value in fields.items():
        bench.query_one(f"#{name}", Input).value = value


def title(bench: PlaneBench, panel: str) -> str:
    return bench.query_one(f"#{panel}", PicturePanel).shown_title


def flow(bench: PlaneBench) -> PlaneCanvas:
    return bench.query_one("#flow PlaneCanvas", PlaneCanvas)


def text_of(canvas: PlaneCanvas) -> str:
    return "\n".join(canvas.render_line(y).text for y in range(canvas.size.height))


def compared(bench: PlaneBench) -> list[str]:
    """The visible captions below the samples of each number of steps."""
    panel = bench.query_one(StepsPanel)
    return [str(caption.render()) for caption in panel.query("Vertical > Static").results(Static) if caption.region]


async def test_it_opens_first_and_the_engine_trains_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(120, 40)) as pilot:
        on = Lab(app, pilot)
        bench = on.bench
        assert isinstance(bench, PlaneBench)
        enter(bench, **SMALL)
        await on.until(lambda: bench.is_trained and len(bench.query_one(StepsPanel).results) == 3, "all is shown")
        assert on.screen.query_one(Header).note == "engine ready"
        data = plane_points("two moons")
        *_, last = records = list(train_plane(data, steps=50, every=25))
        assert title(bench, "training-panel").startswith("training: step 50 of 50, loss ")
        assert bench.query_one(PlaneLossPlot).losses == pytest.approx([record.loss for record in records[1:]], rel=1e-3)
        expected = torch.stack([step.points for step in particle_steps(last.model, 400, 4)])
        assert bench.particles is not None
        assert torch.allclose(tensor(bench.particles.points), expected, atol=1e-3)
        distances = {result.steps: result.distance for result in compare_steps(last.model, data, (1, 2, 4), 400)}
        shown = bench.query_one(StepsPanel).results
        assert {result.steps: result.distance for result, _ in shown} == pytest.approx(distances, rel=1e-2)

        await pilot.press("e")
        await pilot.pause()
        await pilot.press("enter")
        await on.until((tmp_path / "lab-plane.py").is_file, "both files are written")
        assert (tmp_path / "lab-plane.png").is_file()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec((tmp_path / "lab-plane.py").read_text(), {})
        assert f"loss {last.loss}" in printed.getvalue()
        found = float(printed.getvalue().partition("steps 1 energy distance ")[2].split()[0])
        assert found == pytest.approx(distances[1], rel=1e-2)


async def test_the_points_can_be_a_drawing_or_digits_and_the_image_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[EngineRequest] = []

    async def show_lab(engine: object, request: EngineRequest) -> None:
        sent.append(request)

    monkeypatch.setattr("tui.io.engine_client.EngineClient.show_lab", show_lab)
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(80, 24)) as pilot:
        on = Lab(app, pilot)
        bench = on.bench
        assert isinstance(bench, PlaneBench)
        await pilot.pause()
        assert not on.screen.query_one(SubjectFields).region
        on.screen.query_one("#image-index", Input).value = "x"  # which this bench does not need
        await pilot.pause()
        assert not on.is_wrong

        choose(bench, points="drawing")
        await pilot.pause()
        assert on.description == "nothing is drawn yet: press w to draw a shape"
        await pilot.press("w")
        assert isinstance(app.screen, DrawScreen)
        await pilot.press("space", *["right"] * 8, "enter")
        await pilot.pause()
        assert isinstance(sent[-1], PlaneRequest)
        assert isinstance(sent[-1].points, DrawnImage)
        assert not on.is_wrong
        assert "data = drawn_points(image)" in bench.script(on.screen.subject)

        choose(bench, points="digits")
        await pilot.pause()
        assert sent[-1].points == "mnist"
        on.screen.post_message(EngineRefused("mnist is not on this machine"))
        await pilot.pause()
        assert sent[-1].points == "glyphs"
        assert "principal_points" in "\n".join(bench.script(on.screen.subject))
        assert bench.query_one("#class", CompactSelect).values == ["in turn", "any", *"0123456789"]
        on.screen.post_message(EngineRefused("something is wrong"))
        await pilot.pause()
        assert on.description == "something is wrong"

        await pilot.press("right_square_bracket")
        await on.until(lambda: bool(on.screen.query_one(SubjectFields).region), "the image is shown")
        with pytest.raises(MinidiffError, match="image takes the index of a test image"):
            _ = on.screen.subject
        assert {type(request) for request in sent} == {PlaneRequest}


async def test_the_fields_describe_the_request_and_are_filled_in_from_it() -> None:
    async with alone() as (app, pilot):
        bench = app.bench
        assert app.request.compare == (1, 2, 4)
        choose(bench, points="rings", path="vp")
        await pilot.pause()
        assert app.request.prediction == "v"  # which takes the place of the velocity
        choose(bench, **{"class": "2"}, away="0", arrows="score", sampler="ddpm")
        enter(bench, guidance="2.5", steps="30")
        bench.change_noise()
        bench.change_network()
        await pilot.pause()
        request = app.request
        expected = {"points": "rings", "path": "vp", "kind": "score", "sampler": "ddpm", "steps": 30}
        expected |= {"label": 2, "against": 0, "guidance": 2.5, "compare": (), "seed": 1, "particle_seed": 1}
        assert {name: getattr(request, name) for name in expected} == expected
        choose(bench, path="mix")  # without score, and without ddpm
        await pilot.pause()
        assert (app.request.kind, app.request.sampler, app.request.prediction) == ("velocity", "euler", "velocity")
        mix = app.request
        drawing = replace(mix, points=DrawnImage("00" * 784), label=NO_CLASS, against=None, compare=(1, 2, 4, 8, 30))
        for other in (request, drawing, mix):
            bench.fill(other)
            assert app.request == other
        choose(bench, **{"class": "any"})
        await pilot.pause()
        assert (app.request.label, app.request.against) == (NO_CLASS, None)  # guidance needs two classes
        assert bench.query_one("#guidance", Input).disabled
        choose(bench, **{"class": "in turn"})
        await pilot.pause()
        assert not bench.query_one("#guidance", Input).disabled


async def test_an_invalid_field_is_explained() -> None:
    async with alone() as (app, _):
        for field, text, says in (
            ("steps", "0", "steps takes a whole number from 1 to 100, not 0"),
            ("training", "", "training takes a whole number from 0 to 20000, not nothing"),
            ("guidance", "nan", "guidance takes a number from 0 to 20, not nan"),
        ):
            before = app.bench.query_one(f"#{field}", Input).value
            enter(app.bench, **{field: text})
            with pytest.raises(MinidiffError, match=says):
                _ = app.request
            enter(app.bench, **{field: before})


async def test_the_timeline_moves_particles_field_and_density() -> None:
    async with alone() as (app, pilot):
        bench = app.bench
        assert bench.timeline is not None
        particles = [reply for reply in app.answer() if isinstance(reply, PlaneParticles)][-1]
        assert bench.timeline.steps == 4
        assert bench.timeline.position == 2  # between noise and data, since it does not play
        drawn, canvas = [], flow(bench)
        for position, t in ((0, 1.0), (1, 0.75), (4, 0.0)):
            bench.timeline.seek(position)
            await pilot.pause()
            assert title(bench, "flow") == f"from noise to data: t = {t:.2f}"
            places = tensor(particles.points[position])
            assert canvas._points.values == particles.points[position].values
            assert canvas._points.colors == [class_color(0), class_color(1)] * 200  # the classes take turns
            assert canvas._density == bench._density.density[position]  # type: ignore[union-attr]
            vectors = bench._vectors.vectors[position]  # type: ignore[union-attr]
            assert canvas._field is not None
            assert list(canvas._field.values) == [-value for value in vectors.values]  # particles move toward t = 0
            drawn.append(text_of(canvas))
            ends = {trail.values[-2:] for trail in map(_as_tuple, canvas._trails)}
            assert ends == {tuple(place) for place in places[: len(canvas._trails)].tolist()}
            assert {len(trail.values) for trail in canvas._trails} == {2 if position == 0 else 4}
        assert len(set(drawn)) == 3
        assert set(drawn[0]) & set(ARROWS)
        choose(bench, arrows="none")
        await pilot.pause()
        assert not set(text_of(canvas)) & set(ARROWS)
        assert [panel.title.split(",")[0] for panel in bench.panels()] == [
            "data", "t = 0.00", "1 step", "2 steps", "4 steps",
        ]  # fmt: skip
        assert {len(panel.image) for panel in bench.panels()} == {3 * SIDE * SIDE}


def _as_tuple(trail):  # type: ignore[no-untyped-def]
    return trail._replace(values=tuple(trail.values))


async def test_while_it_trains_the_loss_is_shown_and_the_trajectory_plays_in_a_loop() -> None:
    async with alone(still=False) as (app, pilot):
        bench, timeline = app.bench, app.bench.timeline
        assert timeline is not None
        replies = app.answer(training_steps=0)
        assert timeline.playing
        assert not timeline.looping
        first = next(reply for reply in replies if isinstance(reply, PlaneProgress))
        losses = []
        for step, loss in ((0, None), (25, 2.0), (50, 1.0), (50, 1.0)):
            bench.show_reply(replace(first, step=step, steps=100, loss=loss))
            losses.append(list(bench.query_one(PlaneLossPlot).losses))
            assert timeline.looping
        assert losses == [[], [2.0], [2.0, 1.0], [2.0, 1.0]]
        await pilot.pause()
        assert title(bench, "training-panel") == "training: step 50 of 100, loss 1.000"
        assert bench.query_one(PlaneLossPlot).render()
        assert not bench.is_trained
        bench.show_reply(replace(first, step=100, steps=100, loss=0.5))
        bench.show_reply(next(reply for reply in replies if isinstance(reply, PlaneParticles)))
        assert not timeline.looping
        assert bench.is_trained


async def test_few_steps_are_compared_with_many() -> None:
    async with alone() as (app, pilot):
        bench = app.bench
        enter(bench, steps="12")
        found = {reply.steps: reply.distance for reply in app.answer() if isinstance(reply, PlaneComparison)}
        await pilot.pause()
        assert list(found) == [1, 2, 4, 8, 12]
        assert [int(caption.split()[0]) for caption in compared(bench)] == [1, 4, 12]
        assert compared(bench)[0] == f"1 step {found[1]:.3f}".replace(" 0.", " .")
        choose(bench, **{"class": "0"}, away="1")
        await pilot.pause()
        app.answer()
        await pilot.pause()
        assert compared(bench) == []
        assert "Guidance between two classes" in str(bench.query_one("#steps-panel .message", Static).render())
        assert set(flow(bench)._points.colors) == {class_color(0)}


async def test_every_size_shows_the_plane_as_a_square_and_a_view() -> None:
    async with alone((60, 17)) as (app, pilot):
        bench = app.bench
        app.answer()
        for width, height in ((60, 17), (80, 21), (120, 37), (200, 57)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            canvas = flow(bench)
            assert canvas.size.height >= 10
            assert canvas.size.width == 2 * canvas.size.height
            large = height >= 37
            assert bench.has_more_views is not large
            for _ in range(2):
                for name in bench.views:
                    region = bench.query_one(f"#{name}-panel").region
                    assert region.width >= 30
                    assert app.screen.region.contains_region(region)
                assert len(compared(bench)) == (0 if bench.views == ("training",) else min(3, max(2, width // 40)))
                if not large:
                    seen = bench.views
                    bench.next_view()
                    await pilot.pause()
                    assert bench.views != seen
            shown = [field for field in (*bench.query(CompactSelect), *bench.query(Input)) if field.display]
            assert all(app.screen.region.contains_region(field.region) for field in shown), (width, height)
            assert len(shown) == 7 + 2 * (width >= 80) + (width >= 104)
            legend = bench.query_one("#legend", Static)
            assert str(legend.render()).split() == ["●", "upper", "●", "lower"]
            assert app.screen.region.contains_region(bench.query_one(".description").region)
