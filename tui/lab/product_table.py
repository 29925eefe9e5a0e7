"""Small tables of numbers, such as an image patch, a kernel and their products, and a total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual.content import Content
from textual.widget import Widget

Rows = Sequence[Sequence[float]]


class NumberTable(NamedTuple):
    """A table of numbers under a title."""

    title: str
    rows: Rows


class ProductTable(Widget):
    """Displays tables one below another and a total; if not all fit, the last ones."""

    DEFAULT_CSS = """
    ProductTable { width: auto; height: 1fr; min-width: 20; padding: 0 1; text-wrap: nowrap; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tables: Sequence[NumberTable] = ()
        self._total = ""

    def show(self, tables: Sequence[NumberTable], total: str) -> None:
        """Show tables and a total."""
        wider = self._width(tables) != self._width(self._tables)
        self._tables, self._total = tables, total
        self.refresh(layout=wider)

    @staticmethod
    def _width(tables: Sequence[NumberTable]) -> int:
        return max((len(table.rows[0]) for table in tables if table.rows), default=3)

    def get_content_width(self, container: object, viewport: object) -> int:
        return max(18, self._width(self._tables) * self._cell)

    @property
    def _cell(self) -> int:
        return 6 if self._width(self._tables) <= 3 else 5

    def render(self) -> Content:
        """The tables that fit."""
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

    def _line(self, row: Sequence[float]) -> Content:
        parts = []
        for value in row:
            color = "$foreground 35%" if abs(value) < 5e-4 else "$foreground" if value > 0 else "$accent"
            parts.append((number(value).rjust(self._cell), color))
        return Content.assemble(*parts)


def number(value: float) -> str:
    """A number in at most five characters: 0, .25, -1, 12.5, -313."""
    if abs(value) < 5e-4:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
    return text if text not in ("", "-", "-0") else "0"
