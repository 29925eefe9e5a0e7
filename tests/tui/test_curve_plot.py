"""The plot: what it draws of a run, how it is zoomed, panned and read, and losses that are no numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from rich.color import Color
from runlogs import STEPS_PER_EPOCH, dataset, started, training, window
from textual.app import App, ComposeResult
from textual.widgets import Static

from core.runs.events import Epoch, Evaluated, Event, LossByLevel, Resumed
from core.runs.history import RunHistory
from tui.terminal.blocks import QUADRANTS
from tui.widgets.axes import band_color
from tui.widgets.curve_panel import CurvePanel
from tui.widgets.curve_plot import CurvePlot


class PlotApp(App[None]):
    def compose(self) -> ComposeResult:
        yield CurvePanel()


def history_of(events: list[Event]) -> RunHistory:
    history = RunHistory()
    history.extend(events)
    return history


def drawn(app: App[None]) -> str:
    plot = app.query_one(CurvePlot)
    return "\n".join(plot.render_line(y).text for y in range(plot.size.height))


def legend(app: App[None]) -> str:
    return str(app.query_one("#legend", Static).render())


def has_curve(text: str) -> bool:
    return any(character in QUADRANTS.replace(" ", "") for character in text)


async def test_a_resumed_run_does_not_go_back_in_time():
    events = [*training(3, began=0.0)]
    events.append(Resumed(name="a", device="cpu", threads=2, parameters=1, epochs=30, step=STEPS_PER_EPOCH, time=100.0))
    events += [window(STEPS_PER_EPOCH + 12 * step, 0.02, 100.0 + step) for step in range(1, 60)]
    async with PlotApp().run_test() as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(history_of(events))
        for xs, _ in plot.series(60).values():
            assert xs == sorted(xs)
        assert plot.series(60)["epoch"][0] == [0.5]
        assert len({x for x in plot.series(10_000)["loss"][0] if x > 1}) == 59


async def test_the_plot_draws_curves_against_epochs_and_survives_every_size():
    async with PlotApp().run_test(size=(80, 12)) as pilot:
        pilot.app.query_one(CurvePlot).set_history(history_of(training(6)))
        for size in ((80, 12), (20, 4), (3, 2), (1, 1), (200, 60)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        text = drawn(pilot.app)
        assert ".02" in text
        assert has_curve(text)


async def test_a_nan_loss_keeps_the_rest_of_the_curve():
    events = [
        *training(1),
        window(481, math.nan, 99.0),
        Epoch(epoch=2, step=938, loss=math.nan, validation_loss=math.nan, seconds=1.0),
    ]
    async with PlotApp().run_test(size=(80, 12)) as pilot:
        pilot.app.query_one(CurvePlot).set_history(history_of(events))
        await pilot.pause()
        assert has_curve(drawn(pilot.app))


async def test_a_plot_without_finite_values_explains_why_it_is_empty():
    async with PlotApp().run_test(size=(80, 12)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(RunHistory(), "starting")
        await pilot.pause()
        assert "starting" in drawn(pilot.app)
        plot.set_history(history_of([started(0.0), dataset(1.0), window(1, math.nan, 2.0)]))
        await pilot.pause()
        assert "NaN" in drawn(pilot.app)


async def test_keys_zoom_pan_and_reset_the_view():
    async with PlotApp().run_test(size=(80, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(history_of(training(8)))
        plot.focus()
        await pilot.press("plus", "plus")
        assert plot.view.span == (3.0, 5.0)
        await pilot.press("full_stop", "full_stop")
        assert plot.view.span == (4.0, 6.0)
        assert "zoomed" in legend(pilot.app)
        inside = [x for x in plot.series(500)["loss"][0] if 4 <= x <= 6]
        assert len(plot.series(500)["loss"][0]) <= len(inside) + 4  # a point beyond either edge
        await pilot.press("comma", *["comma"] * 30)
        assert plot.view.span == (0.0, 2.0)
        await pilot.press("0")
        assert plot.view.span is None


async def test_the_cursor_reads_values():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        history = history_of(training(8))
        plot.set_history(history)
        plot.focus()
        await pilot.press("left", *["left"] * 50)
        assert plot.view.cursor == pytest.approx(4.0)
        await pilot.pause()
        said = legend(pilot.app)
        assert said.startswith("loss (log)  epoch 4")
        assert f"epoch {history.epochs[3].loss:.4f}".replace(" 0.", " .") in said
        assert f"validation {history.epochs[3].validation_loss:.4f}".replace(" 0.", " .") in said


async def test_keys_change_unit_smoothing_and_axis():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(history_of(training(4)))
        plot.focus()
        await pilot.press("u", "a", "y")
        await pilot.pause()
        assert plot.extent[1] >= 4 * STEPS_PER_EPOCH
        assert {"loss", "smoothed", "epoch", "validation"} == set(plot.series(60))
        assert "smoothed 0.9 · linear" in legend(pilot.app)
        assert drawn(pilot.app).splitlines()[-1].split()[-1] == "step"
        await pilot.press("A", "A")
        assert "smoothed" not in plot.series(60)


async def test_other_quantities_are_drawn_and_a_missing_one_explains_how_to_get_it():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        history = history_of(training(4))
        plot.set_history(history)
        plot.focus()
        for quantity in ("images/s", "learning rate"):
            await pilot.press("v")
            await pilot.pause()
            assert plot.view.quantity == quantity
            assert has_curve(drawn(pilot.app))
        await pilot.press("v")
        await pilot.pause()
        assert "--eval-every" in drawn(pilot.app)
        measured = Evaluated(epoch=2, step=2 * STEPS_PER_EPOCH, n=2_000, frechet=0.31, agreement=0.97, seconds=20.0)
        history.add(measured)
        plot.set_history(history)
        await pilot.pause()
        assert "distance .3100" in legend(pilot.app)


async def test_several_runs_are_distinguished_by_name_and_colour():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_histories({"first": history_of(training(3)), "second": history_of(training(5))})
        await pilot.pause()
        assert [curve.name for curve in plot.curves] == ["first", "second"]
        assert len({plot.color(curve.color) for curve in plot.curves}) == 2
        assert "first" in legend(pilot.app)
        assert "second" in legend(pilot.app)


async def test_the_wheel_zooms_around_the_pointer():
    async with PlotApp().run_test(size=(90, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(history_of(training(8)))
        await pilot.click(CurvePlot, offset=(48, 5))
        assert plot.view.cursor == pytest.approx(4.0, abs=0.2)


async def test_curves_reach_both_ends_of_the_axis_at_every_size():
    async with PlotApp().run_test(size=(80, 14)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(history_of(training(4)))
        for columns, lines in ((60, 10), (80, 14), (97, 21), (160, 40)):
            await pilot.resize_terminal(columns, lines)
            await pilot.pause()
            rows = drawn(pilot.app).splitlines()
            axis = next(row for row in rows if "└" in row or "┬" in row)
            left = next(at for at, sign in enumerate(rows[0]) if sign in "│┤")
            inked = [at for row in rows for at, sign in enumerate(row) if has_curve(sign) or sign == "●"]
            assert left < min(inked) <= left + 3
            assert max(inked) == len(axis.rstrip()) - 1 == columns - 1


async def test_losses_of_zero_or_less_are_not_called_nan_on_a_logarithmic_axis():
    async with PlotApp().run_test(size=(80, 12)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(
            history_of([started(0.0), dataset(1.0), *(window(step, -1.0, 2.0 + step) for step in range(1, 20))])
        )
        await pilot.pause()
        assert "is 0 or negative" in drawn(pilot.app)
        plot.action_log()
        await pilot.pause()
        assert has_curve(drawn(pilot.app))


@pytest.mark.parametrize("cursor", [None, 2.3])
async def test_the_legend_drops_whole_entries_and_keeps_validation(cursor: float | None):
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        history = history_of(training(4))
        plot.set_history(history)
        plot.view = replace(plot.view, cursor=cursor)
        whole = plot.legend(200).plain
        position = [] if cursor is None else ["epoch 2.3", "2.3"]
        entries = {*whole.split("  "), *position, "loss"}
        assert {"loss (log)", *position[:1]} < set(whole.split("  "))
        for width in range(24, 101):
            shown = plot.legend(width).plain
            assert len(shown) <= width
            assert set(shown.split("  ")) <= entries
            assert width < 44 or "validation ." in shown
            assert width < 44 or "smoothed ." in shown
        await pilot.resize_terminal(44, 16)
        await pilot.pause()
        assert len(legend(pilot.app)) <= 44


async def test_axes_have_titles():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(history_of(training(4)))
        plot.focus()
        await pilot.pause()
        for title in ("loss (log)", "images/s", "learning rate"):
            assert title in legend(pilot.app)
            assert "epoch" in drawn(pilot.app).splitlines()[-1]
            await pilot.press("v")
            await pilot.pause()


def by_level(step: int, floor: float, **changes: object) -> LossByLevel:
    values = {"levels": (0.1, 0.5, 0.9), "losses": (0.4, 0.2, 0.3), "floors": (0.0, 0.05, 0.25), "loss": 0.3}
    return LossByLevel(**{"epoch": 1, "step": step, "n": 4, "seconds": 1.0, "floor": floor, **values, **changes})  # type: ignore[arg-type]


async def test_the_loss_by_noise_level_is_drawn_over_its_floor_with_the_excess_between_them():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        history = history_of(training(4))
        plot.set_history(history)
        plot.focus()
        await pilot.press("0", "v", "v", "v", "v")
        await pilot.pause()
        assert plot.view.quantity == "loss by noise level"
        assert "needs the path flow or vp" in drawn(pilot.app)
        history.add(by_level(STEPS_PER_EPOCH, 0.12))
        plot.set_history(history)
        await pilot.pause()
        assert "loss .3000" in legend(pilot.app)  # the means, without a cursor
        assert "floor .1200" in legend(pilot.app)
        assert "excess .1800" in legend(pilot.app)
        assert "noise level t" in drawn(pilot.app)
        assert has_curve(drawn(pilot.app))
        await pilot.press("right")  # the cursor starts on the right
        plot.action_cursor(-50)
        await pilot.pause()
        assert "t 0.5" in legend(pilot.app)
        assert "floor .0500" in legend(pilot.app)
        assert "excess .1500" in legend(pilot.app)
        await pilot.press("plus", "v")
        assert (plot.view.quantity, plot.view.span, plot.view.cursor) == ("loss", None, None)  # over another axis


async def test_the_newest_floor_is_a_line_below_the_loss_that_does_not_squeeze_the_curves():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        history = history_of(training(4))

        async def ticks() -> list[str]:
            plot.set_history(history)
            await pilot.pause()
            return [line.split()[0] for line in drawn(pilot.app).splitlines() if line[:1] in " ." and line.split()]

        without = await ticks()
        history.add(by_level(STEPS_PER_EPOCH, 0.015))
        history.add(by_level(2 * STEPS_PER_EPOCH, 0.012))
        assert await ticks() != without  # there is room for the line
        assert "floor .0120" in legend(pilot.app)
        xs, ys = plot.series(60)["floor"]
        assert xs[0] == 0.0
        assert ys == [math.log10(0.012)] * 2
        history.add(by_level(3 * STEPS_PER_EPOCH, 1e-9))
        assert await ticks() == without
        assert "floor .0000" in legend(pilot.app)
        history.add(Resumed(name="a", device="cpu", threads=2, parameters=1, epochs=30, step=STEPS_PER_EPOCH, time=1e9))
        await ticks()
        assert "floor .0150" in legend(pilot.app)  # the later ones are of steps that are taken again


async def test_a_note_is_shown_above_losses_only():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        runs = {"first": history_of(training(3)), "second": history_of(training(5))}
        plot.set_histories(runs, "losses do not compare")
        await pilot.pause()
        note = pilot.app.query_one("#note", Static)
        assert (note.display, str(note.render())) == (True, "losses do not compare")
        plot.action_quantity()
        await pilot.pause()
        assert not note.display


async def test_the_band_is_dimmer_than_its_theme_colour_and_has_no_holes_under_lines():
    async with PlotApp().run_test(size=(100, 16)) as pilot:
        plot = pilot.app.query_one(CurvePlot)
        plot.set_history(history_of(training(4)))
        await pilot.pause()
        band = Color.from_rgb(*band_color(plot))
        crossed = 0
        for y in range(plot.size.height):
            segments = [segment for segment in plot.render_line(y) if segment.style is not None]
            crossed += sum(len(s.text) for s in segments if s.style.bgcolor == band and s.style.color != band)
        assert crossed > 20
