"""Small tables of numbers, such as an image patch, a kernel and their products, and a total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual.content import Content
from textual.widget import Widget

from tui.lab.number_text import number

TOTAL = 9  # columns of the total
Rows = Sequence[Sequence[float]]


class NumberTable(NamedTuple):
    """A table of numbers under a title."""

    title: str
    rows: Rows


class ProductTable(Widget):
    """Displays tables one below another and a total; if not all fit, the last ones.

    Args:
        across: Whether tables are side by side instead, with the total at the end.
    """

    DEFAULT_CSS = """
    ProductTable { width: auto; height: 1fr; min-width: 18; text-wrap: nowrap; }
    """

    def __init__(self, *, across: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._across = across
        if across:
            self.styles.height = "auto"
        self._tables: Sequence[NumberTable] = ()
        self._total = ""

    def show(self, tables: Sequence[NumberTable], total: str) -> None:
        """Show tables and a total."""
        wider = self._width(tables) != self._width(self._tables) or self._across
        self._tables, self._total = tables, total
        self.refresh(layout=wider)

    @staticmethod
    def _width(tables: Sequence[NumberTable]) -> int:
        return max((len(table.rows[0]) for table in tables if table.rows), default=3)

    def get_content_width(self, container: object, viewport: object) -> int:
        if self._across:
            lines = self._lines_across()
            return lines[0].cell_length if lines else 0
        return self.columns_of(self._width(self._tables))

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._lines_across())

    @classmethod
    def columns_of(cls, width: int) -> int:
        """Columns of tables that are `width` numbers wide."""
        return max(18, width * (6 if width <= 3 else 5))

    @property
    def _cell(self) -> int:
        return 6 if self._width(self._tables) <= 3 else 5

    def render(self) -> Content:
        """The tables that fit."""
        if self._across:
            return Content("\n").join(self._lines_across())
        room = self.size.height - 1
        shown: list[NumberTable] = []
        for table in reversed(self._tables):
            needed = len(table.rows) + 1
            if needed <= room:
                shown.insert(0, table)
                room -= needed
        lines = []
        for table in shown:
            lines.append(Content.styled(table.title, "$foreground 50%"))
            lines += [self._line(row) for row in table.rows]
        lines.append(Content.styled(self._total, "bold"))
        spare = max(0, room // 2)
        return Content("\n").join([Content("")] * spare + lines)

    def _lines_across(self) -> list[Content]:
        """Titles and numbers of all tables, side by side."""
        height = max((len(table.rows) for table in self._tables), default=0)
        lines = []
        for index in range(height + 1):
            parts = []
            for table in self._tables:
                width = max(len(table.title), len(table.rows[0]) * self._cell) + 2
                if not index:
                    part = Content.styled(table.title, "$foreground 50%")
                elif index <= len(table.rows):
                    part = self._line(table.rows[index - 1])
                else:
                    part = Content()
                parts.append(part.pad_right(width - part.cell_length))
            total = self._total if index == (height + 1) // 2 else ""
            parts.append(Content.styled(total.ljust(TOTAL), "bold"))
            lines.append(Content("").join(parts))
        return lines

    def _line(self, row: Sequence[float]) -> Content:
        parts = []
        for value in row:
            color = "$foreground 35%" if abs(value) < 5e-4 else "$foreground" if value > 0 else "$accent"
            parts.append((number(value).rjust(self._cell), color))
        return Content.assemble(*parts)
