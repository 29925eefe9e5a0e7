"""The view of a denoising trajectory: labels below predictions, and the frame before the first step."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from core.runs.trajectory import Denoising, Frame
from tui.widgets.denoising_view import NO_PREDICTION, DenoisingView
from tui.widgets.image_grid import ImageGrid
from tui.widgets.panes import Pane

N, SIDE = 8, 28


class ViewApp(App[None]):
    """The view by itself."""

    def compose(self) -> ComposeResult:
        yield DenoisingView()


def trajectory() -> Denoising:
    """Noise, then a step whose fifth image is recognized as a nine."""
    pixels = bytes([200]) * (N * SIDE * SIDE)
    read = tuple((9, 87) if label == 4 else (label, 100) for label in range(N))
    frames = (Frame(0, 1.0, pixels, None), Frame(1, 0.0, pixels, pixels, read=read))
    return Denoising("m", 0, 1, N, SIDE, SIDE, frames)


def text_of(grid: ImageGrid) -> list[str]:
    return [grid.render_line(y).text for y in range(grid.size.height)]


@pytest.mark.parametrize("size", [(78, 18), (118, 32), (198, 52)])
async def test_a_requested_and_another_recognised_class_are_both_shown(size: tuple[int, int]) -> None:
    app = ViewApp()
    async with app.run_test(size=size) as pilot:
        view, denoising = app.query_one(DenoisingView), trajectory()
        view.set_labels(range(N), ())
        view.set_frame(denoising, denoising.frames[1], denoising.frames[0])
        await pilot.pause()
        grid = app.query_one("#predicted-images", ImageGrid)
        text = " ".join(text_of(grid))
        assert "4 → 9 87%" in text
        assert "3 100%" in text
        assert text.count("→") == 1


async def test_nothing_moves_when_the_first_prediction_replaces_a_message() -> None:
    app = ViewApp()
    async with app.run_test(size=(118, 32)) as pilot:
        view, denoising = app.query_one(DenoisingView), trajectory()
        view.set_frame(denoising, denoising.frames[0])
        await pilot.pause()
        predicted, noisy = (app.query_one(f"#{name}-images", ImageGrid) for name in ("predicted", "noisy"))
        assert [line.strip() for line in text_of(predicted) if line.strip()] == [NO_PREDICTION]
        regions, lines = [grid.region for grid in (predicted, noisy)], text_of(noisy)
        view.set_frame(denoising, denoising.frames[1], denoising.frames[0])
        await pilot.pause()
        assert NO_PREDICTION not in " ".join(text_of(predicted))
        assert [grid.region for grid in (predicted, noisy)] == regions
        assert text_of(noisy) == lines


@pytest.mark.parametrize("count", [1, N])
async def test_the_images_to_start_from_stay_visible_if_there_is_room(count: int) -> None:
    app = ViewApp()
    async with app.run_test(size=(118, 32)) as pilot:
        view, denoising = app.query_one(DenoisingView), trajectory()
        view.set_start(bytes([90]) * (count * SIDE * SIDE), "from a.png")
        for number, prediction in ((0, []), (1, [bytes([200]) * (SIDE * SIDE)] * N)):
            view.set_frame(denoising, denoising.frames[number], denoising.frames[0])
            await pilot.pause()
            caption = str(app.query_one("#start-caption", Static).render())
            assert caption.split() == ["Start", "image", "from", "a.png"]
            assert app.query_one("#start-images", ImageGrid)._images == [bytes([90]) * (SIDE * SIDE)] * count
            assert app.query_one("#predicted-images", ImageGrid)._images == prediction
        view.set_start(None)
        view.set_frame(denoising, denoising.frames[1], denoising.frames[0])
        assert not app.query_one("#start").display


@pytest.mark.parametrize("count", [1, N])
async def test_without_room_the_images_to_start_from_are_shown_before_the_first_prediction(count: int) -> None:
    app = ViewApp()
    async with app.run_test(size=(78, 18)) as pilot:
        view, denoising = app.query_one(DenoisingView), trajectory()
        view.set_start(bytes([90]) * (count * SIDE * SIDE))
        view.set_frame(denoising, denoising.frames[0])
        await pilot.pause()
        assert "Start image" in str(app.query_one("#predicted-caption", Static).render())
        assert app.query_one("#predicted-images", ImageGrid)._images == [bytes([90]) * (SIDE * SIDE)] * N
        view.set_frame(denoising, denoising.frames[1], denoising.frames[0])
        await pilot.pause()
        assert "Model prediction" in str(app.query_one("#predicted-caption", Static).render())


@pytest.mark.parametrize(
    ("size", "visible"), [((118, 32), ["noisy", "change", "predicted"]), ((78, 18), ["change", "predicted"])]
)
async def test_the_change_replaces_the_state_only_without_room_for_both(
    size: tuple[int, int], visible: list[str]
) -> None:
    app = ViewApp()
    async with app.run_test(size=size) as pilot:
        view, denoising = app.query_one(DenoisingView), trajectory()
        view.set_frame(denoising, denoising.frames[1], denoising.frames[0])
        view.show_change = True
        await pilot.pause()
        assert [pane.id for pane in view.query(Pane) if pane.display] == visible
        assert all(len(pane.grid._images) == N for pane in view.query(Pane) if pane.display)
