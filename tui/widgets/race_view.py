"""The candidates of a race: their differences to the winner as a plot with intervals, and a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual_plotext import PlotextPlot

from core.race.differences import relative_curves, shown_range
from core.race.records import NOT_SIGNIFICANT, CandidateResult, RaceResult, brief
from core.runs.history import loss_text
from tui.themes import theme_color
from tui.widgets.axes import Axes, Band, Line, draw_plot
from tui.widgets.curve_plot import RUN_COLORS
from tui.widgets.curves import round_ticks, tick_label
from tui.widgets.text_line import shortened

MIN_SIZE = (24, 5)  # columns and rows; smaller plots stay empty
GAP = 2  # cells between columns
NAME_WIDTH = 13  # cells of the name of a setting above its values
MIN_LABEL = 20  # cells of a candidate's settings; further columns are left out before it gets narrower
# Columns from the most to the least important, and their place in a row.
COLUMNS = ("difference", "interval", "verdict", "loss", "Frechet", "steps", "time")
PLACES = ("loss", "difference", "interval", "Frechet", "steps", "time", "verdict")


def candidate_color(candidate: int) -> str:
    """The theme variable with the color of a candidate, from 1."""
    return RUN_COLORS[(candidate - 1) % len(RUN_COLORS)]


class DifferencePlot(PlotextPlot):
    """Plots each candidate's difference to the winner, in percent of the winner's loss."""

    DEFAULT_CSS = """
    DifferencePlot { width: 1fr; height: 1fr; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._result: RaceResult | None = None

    def show(self, result: RaceResult) -> None:
        """Plot the curves of a race."""
        self._result = result
        self.refresh()

    def render(self) -> RenderResult:
        width, height = self.size
        curves = {} if self._result is None else relative_curves(self._result)
        end = max((x for curve in curves.values() for x, _ in curve), default=0.0)
        if self._result is None or not end or width < MIN_SIZE[0] or height < MIN_SIZE[1]:
            return Text("")
        low, high = shown_range(curves)
        lines, bands = [], []
        for candidate, curve in reversed(curves.items()):  # the first on top
            if not curve:
                continue
            color = theme_color(self.app.theme_variables, candidate_color(candidate))
            background = self.background_colors[1]
            shade = color if background.ansi is not None else background.blend(color, 0.25)
            if candidate != self._result.winner and background.ansi is None:
                lows, highs = (
                    [min(max(value, low), high) for value in values]
                    for values in zip(*((part.low, part.high) for _, part in curve), strict=True)
                )
                bands.append(Band([x for x, _ in curve], lows, highs, shade.rgb))
            inside = [(x, part.mean) for x, part in curve if low <= part.mean <= high]
            lines.append(Line([x for x, _ in inside], [mean for _, mean in inside], color.rgb))
        y_ticks = round_ticks(low, high, max(2, height // 3))
        x_ticks = round_ticks(0.0, end, max(2, width // 12))
        axes = Axes(
            (0.0, end),
            (low, high),
            {tick: tick_label(tick) if tick else "0" for tick in x_ticks},
            {tick: _percent(tick, y_ticks) for tick in y_ticks},
            "step" if self._result.rules.clock == "steps" else "seconds",
        )
        return draw_plot(self, lines, axes, theme_color(self.app.theme_variables, "plot-axes").rgb, bands)


def _percent(tick: float, ticks: Sequence[float]) -> str:
    """A label of the y axis, with decimals only if a tick needs them."""
    decimals = 0 if all(abs(100 * each - round(100 * each)) < 1e-6 for each in ticks) else 1
    return f"{tick:+.{decimals}%}" if abs(tick) > 1e-9 else "0"


class RaceTable(Widget):
    """One row per candidate, in the color of its curve, with as many columns as fit."""

    DEFAULT_CSS = """
    RaceTable { height: auto; max-height: 50%; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._result: RaceResult | None = None

    def show(self, result: RaceResult) -> None:
        """Show the candidates of a race."""
        self._result = result
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line per candidate below the headings."""
        return 1 + (len(self._result.candidates) if self._result is not None else 0)

    def render(self) -> Content:
        """Render what fits, and count the rows that do not."""
        result = self._result
        if result is None:
            return Content("")
        width, height = self.content_size
        shown = result.candidates if len(result.candidates) < height else result.candidates[: max(0, height - 2)]
        rows = [_cells(candidate, result) for candidate in result.candidates]
        columns = _fitting(rows, width)
        sizes = [max(cell_len(name), *(cell_len(row[name]) for row in rows)) for name in columns]
        room = max(1, width - sum(size + GAP for size in sizes) - 4)
        settings, names = _settings([candidate.label for candidate in result.candidates])
        label = min(room, max(map(cell_len, [settings, *names])))
        first = [shortened(name, label).ljust(label) for name in [settings, *names]]
        lines = [Content.styled(_row(f"no. {first[0]}", columns, columns, sizes), "$foreground 60%")]
        for candidate, row, name in zip(shown, rows, first[1:], strict=False):
            sign = Content.styled(f"━ {candidate.candidate} ", f"${candidate_color(candidate.candidate)}")
            text = _row(name, [row[column] for column in columns], columns, sizes)
            lines.append(sign + Content.styled(text, "bold" if candidate.candidate == result.winner else ""))
        if len(shown) < len(result.candidates):
            lines.append(Content.styled(f"and {len(result.candidates) - len(shown)} more", "$foreground 60%"))
        return Content("\n").join(lines)


def _settings(labels: Sequence[str]) -> tuple[str, list[str]]:
    """A heading with the names of the settings, and a line with the values of each candidate; else whole labels."""
    table = [[part.partition("=") for part in label.split(" ")] for label in labels]
    names = [name for name, _, _ in table[0]]
    if any([name for name, _, _ in parts] != names for parts in table):  # a value with a space
        return "candidate", list(labels)
    columns = [
        [shortened(name.replace("_", " "), NAME_WIDTH), *(parts[index][2] for parts in table)]
        for index, name in enumerate(names)
    ]
    sizes = [max(map(cell_len, column)) for column in columns]
    lines = [
        (" " * GAP).join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return lines[0], lines[1:]


def _row(first: str, cells: Sequence[str], columns: Sequence[str], sizes: Sequence[int]) -> str:
    """A line: numbers to the right of their columns, the verdict to the left."""
    padded = [
        cell.ljust(size) if column == "verdict" else cell.rjust(size)
        for cell, column, size in zip(cells, columns, sizes, strict=True)
    ]
    return (" " * GAP).join([first, *padded]).rstrip()


def _fitting(rows: Sequence[dict[str, str]], width: int) -> list[str]:
    """The columns that fit beside the candidates' settings, in the order of a row."""
    chosen: list[str] = []
    for name in COLUMNS:
        if not any(row[name] for row in rows):
            continue
        sizes = [max(cell_len(column), *(cell_len(row[column]) for row in rows)) for column in [*chosen, name]]
        if sum(sizes) + GAP * len(sizes) + 4 + MIN_LABEL <= width:
            chosen.append(name)
    return [name for name in PLACES if name in chosen]


def _cells(candidate: CandidateResult, result: RaceResult) -> dict[str, str]:
    """The texts of a row, by column; "" for what is not known."""
    difference, interval = "", ""
    best = result.candidates[result.winner - 1].loss
    if candidate.difference is not None and best and candidate.candidate != result.winner:
        relative = candidate.difference.scaled(1 / best)
        difference, interval = f"{relative.mean:+.1%}", f"{relative.low:+.1%} to {relative.high:+.1%}"
    return {
        "loss": "" if candidate.loss is None else loss_text(candidate.loss),
        "difference": difference,
        "interval": interval,
        "Frechet": "" if candidate.frechet is None else f"{candidate.frechet:.3f}",
        "steps": "" if candidate.step is None else f"{candidate.step:,.0f}",
        "time": "" if candidate.seconds is None else f"{candidate.seconds:,.0f} s",
        "verdict": "not significant" if candidate.verdict == NOT_SIGNIFICANT else brief(candidate.verdict),
    }
