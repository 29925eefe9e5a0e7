"""Charts of an export, checked pixel by pixel."""

from __future__ import annotations

from core.export.charts import (
    BAR_WIDTH,
    HEIGHT,
    LINE,
    PLOT_WIDTH,
    SPACE,
    Bar,
    Chart,
    ChartBand,
    ChartCurve,
    bar_chart,
    line_chart,
)

RED, BLUE, PALE = (200, 0, 0), (0, 0, 200), (220, 220, 240)


def places(chart: Chart, color: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Row and column of each pixel of a color."""
    (_, width), pixels = chart
    found = (at // 3 for at in range(0, len(pixels), 3) if pixels[at : at + 3] == bytes(color))
    return [divmod(index, width) for index in found]


def test_the_length_of_a_bar_is_its_value_relative_to_the_largest() -> None:
    chart = bar_chart([Bar("a", 2.0, "2"), Bar("a longer name", 0.5, ".5"), Bar("none", 0.0, "0")], RED)
    assert chart.shape[0] == 3 * LINE
    assert len(chart.pixels) == 3 * chart.shape[0] * chart.shape[1]
    by_line: dict[int, set[int]] = {}
    for row, column in places(chart, RED):
        by_line.setdefault(row // LINE, set()).add(column)
    assert {line: len(columns) for line, columns in by_line.items()} == {0: BAR_WIDTH, 1: round(BAR_WIDTH / 4)}
    assert min(by_line[0]) == min(by_line[1])


def test_a_curve_goes_through_its_points_and_its_range_is_behind_it() -> None:
    curve, point = ChartCurve("curve", RED, [0.0, 0.5, 1.0], [0.0, 4.0, 0.0]), ChartCurve("", BLUE, [0.25], [1.0])
    band = ChartBand([0.0, 1.0], [1.0, 1.0], [3.0, 3.0], PALE)
    chart = line_chart([curve, point], 4.0, "t", band=band)
    top, bottom = LINE + SPACE, HEIGHT - LINE - SPACE
    left = chart.shape[1] - SPACE - PLOT_WIDTH
    drawn = {place for place in places(chart, RED) if place[0] >= top - 1}  # without the legend
    highest = min(drawn)
    assert abs(highest[0] - top) <= 1
    assert abs(highest[1] - (left + PLOT_WIDTH / 2)) <= 2
    rows, columns = zip(*places(chart, BLUE), strict=True)
    assert abs((min(rows) + max(rows)) / 2 - (bottom - (bottom - top) / 4)) <= 1
    assert abs((min(columns) + max(columns)) / 2 - (left + PLOT_WIDTH / 4)) <= 1
    rows, columns = zip(*places(chart, PALE), strict=True)
    assert (max(rows) - min(rows)) / (bottom - top) == 0.5
    assert abs(max(columns) - min(columns) - PLOT_WIDTH) <= 2


def test_charts_without_any_loss_or_gradient_can_be_drawn() -> None:
    assert places(bar_chart([Bar("none", 0.0, "")], RED), RED) == []
    chart = line_chart([ChartCurve("", RED, [], [])], 1.0, "t", band=ChartBand([], [], [], PALE))
    assert places(chart, RED) == places(chart, PALE) == []
