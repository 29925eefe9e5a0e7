"""Titled grids of images, in the arrangement that makes the images largest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from tui.widgets.image_grid import ImageGrid

GAP = 4  # columns between panes
TITLE_LINES = 1


class Shape(NamedTuple):
    """The number of images of a pane, and the pixels of each."""

    n: int
    height: int
    width: int


class Arrangement(NamedTuple):
    """Panes in full rows.

    Attributes:
        columns: Panes in a row.
        lines: Of each pane, with its title and a blank line.
        rank: The size of the smallest images; see `Layout.rank`. 0 if some do not fit.
    """

    columns: int
    lines: int
    rank: float


class Pane(Vertical):
    """A line with a title and a note, above a grid of images; posts no messages."""

    DEFAULT_CSS = """
    Pane {
        height: 1fr;
        & Static { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        & ImageGrid { content-align-vertical: top; }
    }
    """

    def __init__(self, name: str) -> None:
        super().__init__(id=name)
        self._choices: Sequence[tuple[Content, Content]] = ()

    def compose(self) -> ComposeResult:
        yield Static(id=f"{self.id}-caption")
        yield ImageGrid(balanced=True, id=f"{self.id}-images")

    @property
    def grid(self) -> ImageGrid:
        """The images."""
        return self.query_one(ImageGrid)

    def set_title(self, *choices: tuple[Content, Content]) -> None:
        """Show text on the left and on the right of the line above the images.

        The first choice that fits is shown, else the last, with less of its left text.
        """
        self._choices = choices
        self._update_title()

    def on_resize(self) -> None:
        self._update_title()

    def _update_title(self) -> None:
        width = self.size.width
        if not self._choices or not width:
            return
        left, right = next(
            (pair for pair in self._choices if pair[0].cell_length + pair[1].cell_length < width), self._choices[-1]
        )
        if (room := width - right.cell_length - 1) < left.cell_length:
            left = left.truncate(max(0, room), ellipsis=True)
        space = " " * max(1, width - left.cell_length - right.cell_length)
        self.query_one(Static).update(Content.assemble(left, space, right))


class Panes(Container):
    """Arranges its panes; those with `display` off take no room. Posts no messages."""

    DEFAULT_CSS = """
    Panes { height: 1fr; layout: grid; grid-gutter: 0 4; align-vertical: middle; }
    """

    def __init__(self, *names: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names = names
        self._shapes: Sequence[Shape] = ()

    def compose(self) -> ComposeResult:
        for name in self._names:
            yield Pane(name)

    def pane(self, name: str) -> Pane:
        """The pane of this name."""
        return self.query_one(f"#{name}", Pane)

    def on_mount(self) -> None:
        if hasattr(self.app, "drawing"):  # the size of images depends on it
            self.watch(self.app, "drawing", self._drawing_changed, init=False)

    def _drawing_changed(self) -> None:
        self.call_after_refresh(self.arrange_panes)

    def on_resize(self) -> None:
        self.arrange_panes()

    def arrangement(self, shapes: Sequence[Shape]) -> Arrangement:
        """The arrangement in full rows in which the smallest images of panes with these shapes are largest."""
        grid = self.query(ImageGrid).first()
        count, (width, height) = len(shapes), self.size
        arrangements = []
        for columns in (columns for columns in range(1, count + 1) if count % columns == 0):
            lines = height // (count // columns)
            size = Size((width - GAP * (columns - 1)) // columns, lines - TITLE_LINES)
            used, rank = 0, math.inf
            for shape in set(shapes):
                layout = grid.layout_of(shape.n, size, shape.height, shape.width, captions=True)
                needed = layout.all_lines(shape.n)
                used = max(used, needed)
                rank = min(rank, layout.rank if needed <= size.height else 0)
            arrangements.append(Arrangement(columns, min(lines, TITLE_LINES + used + 1), rank))
        return max(arrangements, key=lambda arrangement: (arrangement.rank, arrangement.columns))

    def arrange_panes(self, shapes: Sequence[Shape] | None = None) -> None:
        """Arrange the visible panes; `shapes` are those of their images, None for the same ones as before."""
        if shapes is not None:
            self._shapes = shapes
        if not self._shapes or not self.size:
            return
        best = self.arrangement(self._shapes)
        self.styles.grid_size_columns = best.columns
        self.styles.grid_size_rows = len(self._shapes) // best.columns
        self.styles.grid_rows = (best.lines,)
