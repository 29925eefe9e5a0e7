"""The loss plot: what it keeps of long series, and what it does with losses that are no numbers."""

from __future__ import annotations

import math
import random

import pytest
from runlogs import STEPS_PER_EPOCH, dataset, started, training, window
from textual.app import App, ComposeResult

from core.events import Epoch, Event, Resumed
from core.history import RunHistory
from tui.widgets.loss_plot import LossPlot, decimate, loss_ticks, round_ticks


class PlotApp(App[None]):
    def compose(self) -> ComposeResult:
        yield LossPlot()


def history_of(events: list[Event]) -> RunHistory:
    history = RunHistory()
    history.extend(events)
    return history


def drawn(app: App[None]) -> str:
    plot = app.query_one(LossPlot)
    return "\n".join(plot.render_line(y).text for y in range(plot.size.height))


def has_curve(text: str) -> bool:
    return any(0x2801 <= ord(character) <= 0x28FF for character in text)


def test_decimation_keeps_the_least_and_greatest_of_every_column_and_of_the_whole():
    rng = random.Random(1)
    xs = [float(x) for x in range(10_000)]
    ys = [rng.random() for _ in xs]
    kept_x, kept_y = decimate(xs, ys, 50)
    assert len(kept_x) <= 100
    assert kept_x == sorted(kept_x)
    for column in range(50):
        inside = [(x, y) for x, y in zip(xs, ys, strict=True) if column == min(49, int(x * 50 / 9_999))]
        kept = [y for x, y in zip(kept_x, kept_y, strict=True) if column == min(49, int(x * 50 / 9_999))]
        assert min(kept) == min(y for _, y in inside)
        assert max(kept) == max(y for _, y in inside)


def test_short_series_are_drawn_as_they_are():
    assert decimate([1.0, 2.0], [3.0, 4.0], 40) == ([1.0, 2.0], [3.0, 4.0])


def test_losses_that_are_not_numbers_are_left_out_of_the_curve():
    assert decimate([1.0, 2.0, 3.0], [0.5, math.nan, math.inf], 40) == ([1.0], [0.5])


@pytest.mark.parametrize(("low", "high"), [(0.017, 0.13), (0.0172, 0.0181), (0.5, 900.0), (1e-6, 1.0)])
def test_loss_ticks_lie_within_the_axis_and_are_neither_too_few_nor_too_many(low: float, high: float):
    ticks = loss_ticks(low, high, 5)
    assert 2 <= len(ticks) <= 6
    assert all(low <= tick <= high * 1.0001 for tick in ticks)


@pytest.mark.parametrize("high", [2, 7, 30, 470, 14_070])
def test_ticks_across_are_few_whole_numbers(high: float):
    ticks = round_ticks(high, 6)
    assert 2 <= len(ticks) <= 7
    assert all(tick == int(tick) <= high for tick in ticks)


async def test_a_resumed_run_does_not_double_back():
    events = [*training(3, began=0.0)]
    events.append(Resumed(name="a", device="cpu", threads=2, parameters=1, epochs=30, step=STEPS_PER_EPOCH, time=100.0))
    events += [window(STEPS_PER_EPOCH + 12 * step, 0.02, 100.0 + step) for step in range(1, 60)]
    async with PlotApp().run_test() as pilot:
        plot = pilot.app.query_one(LossPlot)
        plot.show(history_of(events))
        for xs, _ in plot.series(60).values():
            assert xs == sorted(xs)
        assert plot.series(60)["epoch average"][0] == [1.0]
        assert len([x for x in plot.series(10_000)["window"][0] if x > 1]) == 59


async def test_the_plot_draws_curves_against_epochs_and_survives_every_size():
    async with PlotApp().run_test(size=(80, 12)) as pilot:
        pilot.app.query_one(LossPlot).show(history_of(training(6)))
        for size in ((80, 12), (20, 4), (3, 2), (1, 1), (200, 60)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        text = drawn(pilot.app)
        assert ".02" in text
        assert has_curve(text)


async def test_a_loss_that_became_nan_leaves_the_rest_of_the_curve():
    events = [
        *training(1),
        window(481, math.nan, 99.0),
        Epoch(epoch=2, step=938, loss=math.nan, held_out=math.nan, seconds=1.0),
    ]
    async with PlotApp().run_test(size=(80, 12)) as pilot:
        pilot.app.query_one(LossPlot).show(history_of(events))
        await pilot.pause()
        assert has_curve(drawn(pilot.app))


async def test_a_run_with_nothing_but_nan_says_so_and_an_empty_one_says_what_it_waits_for():
    async with PlotApp().run_test(size=(80, 12)) as pilot:
        plot = pilot.app.query_one(LossPlot)
        plot.show(RunHistory(), "warming up")
        await pilot.pause()
        assert "warming up" in drawn(pilot.app)
        plot.show(history_of([started(0.0), dataset(1.0), window(1, math.nan, 2.0)]))
        await pilot.pause()
        assert "not a number" in drawn(pilot.app)
