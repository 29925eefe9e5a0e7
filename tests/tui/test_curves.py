"""Curves: what is kept of long series, what is left of broken ones, and how they are looked at."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from runlogs import STEPS_PER_EPOCH, training, window

from core.runs.history import RunHistory
from tui.widgets.curves import (
    SMOOTHINGS,
    Curve,
    MovingAverage,
    View,
    build_curves,
    downsample,
    envelope,
    loss_ticks,
    round_ticks,
    tick_label,
)

ALL = (0.0, 9_999.0)


def test_thinning_keeps_minimum_and_maximum_of_every_column():
    rng = random.Random(1)
    xs = [float(x) for x in range(10_000)]
    ys = [rng.random() for _ in xs]
    kept_x, kept_y = downsample(Curve("", "", xs, ys), ALL, 50)
    assert len(kept_x) <= 102
    assert kept_x == sorted(kept_x)
    for column in range(50):
        inside = [y for x, y in zip(xs, ys, strict=True) if int(x * 50 / 9_999) == column]
        kept = [y for x, y in zip(kept_x, kept_y, strict=True) if int(x * 50 / 9_999) == column]
        assert (min(kept), max(kept)) == (min(inside), max(inside))


def test_an_envelope_spans_the_neighbours_minimum_and_maximum():
    xs = [float(x) for x in range(8)]
    lows, highs = [4.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0], [6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 9.0]
    curve = Curve("", "", xs, [5.5] * 8, lows=lows, highs=highs)
    assert envelope(curve, (0.0, 7.0), 40) == (xs, [4.0] * 3 + [5.0] * 5, [6.0] * 5 + [9.0] * 3)


def test_a_thinned_envelope_has_one_point_per_column_and_keeps_the_extremes():
    rng = random.Random(2)
    ys = [rng.random() for _ in range(10_000)]
    curve = Curve("", "", [float(x) for x in range(10_000)], ys, lows=ys, highs=[y + 1 for y in ys])
    xs, lows, highs = envelope(curve, ALL, 50)
    assert len(xs) <= 52
    assert (min(lows), max(highs)) == (min(ys), max(ys) + 1)


def test_a_marked_curve_keeps_its_last_value_until_the_next_point():
    curve = Curve("", "", [1.0, 2.0, 3.0], [0.5, 0.4, math.nan], marked=True)
    assert [curve.at(x) for x in (0.9, 1.0 - 1e-12, 1.9, 2.0, 3.5)] == [None, 0.5, 0.5, 0.4, 0.4]
    assert Curve("", "", [1.0, 2.0], [0.5, 0.4]).at(1.6) == 0.4


def test_the_mean_of_an_epoch_lies_at_its_middle_and_validation_at_its_end():
    history = RunHistory()
    history.extend(training(3))
    for view, unit in ((View(), 1), (View(by_step=True), STEPS_PER_EPOCH)):
        curves = {curve.name: curve for curve in build_curves(history, view)}
        assert curves["epoch"].xs == pytest.approx([0.5 * unit, 1.5 * unit, 2.5 * unit])
        assert curves["validation"].xs == pytest.approx([1.0 * unit, 2.0 * unit, 3.0 * unit])


def test_short_series_are_drawn_as_they_are():
    assert downsample(Curve("", "", [1.0, 2.0], [3.0, 4.0]), (0.0, 2.0), 40) == ([1.0, 2.0], [3.0, 4.0])


def test_non_finite_values_are_skipped():
    assert downsample(Curve("", "", [1.0, 2.0, 3.0], [0.5, math.nan, math.inf]), (0.0, 3.0), 40) == ([1.0], [0.5])


def test_a_span_keeps_one_point_beyond_either_edge():
    curve = Curve("", "", [float(x) for x in range(10)], [1.0] * 10)
    assert downsample(curve, (3.5, 5.5), 40)[0] == [3.0, 4.0, 5.0, 6.0]
    assert downsample(curve, (20.0, 30.0), 40) == ([], [])


def smoothed(losses: list[float], weight: float) -> Sequence[float]:
    return MovingAverage("loss", weight).of([window(step, loss, 0.0) for step, loss in enumerate(losses)])


@pytest.mark.parametrize("weight", SMOOTHINGS)
def test_smoothing_a_constant_curve_is_unbiased(weight: float):
    assert smoothed([2.0] * 50, weight) == pytest.approx([2.0] * 50)


def test_smoothing_is_a_weighted_mean_of_earlier_values():
    ys = [1.0, 5.0, 2.0]
    weights = [0.9**2, 0.9, 1.0]
    expected = sum(w * y for w, y in zip(weights, ys, strict=True)) / sum(weights)
    assert smoothed(ys, 0.9)[-1] == pytest.approx(expected)


def test_smoothing_skips_nan():
    found = smoothed([1.0, math.nan, 3.0], 0.9)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx((0.9 * 1 + 3) / 1.9)


def test_smoothing_restarts_where_a_resumed_run_dropped_windows():
    windows = [window(step, float(step), 0.0) for step in range(10)]
    average = MovingAverage("loss", 0.9)
    average.of(windows)
    shorter = [*windows[:5], window(5, 100.0, 0.0)]
    assert average.of(shorter) == pytest.approx(MovingAverage("loss", 0.9).of(shorter))


@pytest.mark.parametrize("count", [2_047, 2_049, 7_001])
def test_smoothing_does_not_depend_on_zoom(count: int):
    rng = random.Random(1)
    history = RunHistory()
    history.extend(window(step, rng.gauss(1, 0.3), 0.0) for step in range(1, count + 1))
    whole = next(curve for curve in build_curves(history, View(smoothing=0.97)) if curve.name == "smoothed")
    assert len(whole.xs) <= 2_048
    for middle in (count // 3, count - 50):
        near = View(smoothing=0.97, span=(middle - 20.0, middle + 20.0))
        zoomed = next(curve for curve in build_curves(history, near) if curve.name == "smoothed")
        values = dict(zip(zoomed.xs, zoomed.ys, strict=True))
        common = [(x, y) for x, y in zip(whole.xs, whole.ys, strict=True) if x in values]
        assert len(common) >= 10
        assert all(y == values[x] for x, y in common)


def test_zooming_in_and_out_restores_the_full_view():
    view = View()
    for _ in range(5):
        view = view.zoomed((0.0, 100.0), 1)
    assert view.span == pytest.approx((48.4375, 51.5625))
    for _ in range(5):
        view = view.zoomed((0.0, 100.0), -1)
    assert view.span is None


def test_zooming_is_centred_on_the_cursor_and_has_a_limit():
    view = View(cursor=10.0).zoomed((0.0, 100.0), 1)
    assert view.span == pytest.approx((5.0, 55.0))
    for _ in range(100):
        view = view.zoomed((0.0, 100.0), 1)
    assert view.span is not None
    assert view.span[1] > view.span[0]


def test_panning_stays_within_the_run():
    view = View(span=(80.0, 100.0)).panned((0.0, 100.0), 1)
    assert view.span == (80.0, 100.0)
    assert view.panned((0.0, 100.0), -1).span == (75.0, 95.0)


@pytest.mark.parametrize(("low", "high"), [(0.017, 0.13), (0.0172, 0.0181), (0.5, 900.0), (1e-6, 1.0)])
def test_loss_ticks_lie_within_the_axis_and_are_neither_too_few_nor_too_many(low: float, high: float):
    ticks = loss_ticks(low, high, 5)
    assert 2 <= len(ticks) <= 6
    assert all(low * 0.9999 <= tick <= high * 1.0001 for tick in ticks)


@pytest.mark.parametrize(("low", "high"), [(0, 2), (0, 7), (3, 5), (0, 470), (0, 14_070), (0.1, 0.25), (980.0, 1010.0)])
def test_ticks_are_few_round_numbers_within_the_axis(low: float, high: float):
    ticks = round_ticks(low, high, 6)
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert all(len(f"{tick:.10g}".replace(".", "").strip("0")) <= 4 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0183, ".0183"),
        (1.5, "1.5"),
        (1200, "1,200"),
        (25_000, "25,000"),
        (0.0, "0"),
        (2e-5, "2e-5"),
        (1e32, "1e32"),
        (-3e38, "-3e38"),
    ],
)
def test_labels_are_short(value: float, text: str):
    assert tick_label(value) == text
