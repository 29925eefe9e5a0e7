"""The layers of a net as an indented list, with as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

BAR = 1  # columns of the scrollbar
LEAST = 11  # columns for names
NUMBER = 5  # columns for a number in short units
KINDS = 17  # columns for what kind a layer is, at most


class Layer(NamedTuple):
    """A row of the engine's table."""

    name: str
    depth: int
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    operations: int

    @property
    def part(self) -> str:
        """What it is called within what holds it; the net itself by its kind."""
        return self.name.rpartition(".")[2] or self.kind

    @property
    def size(self) -> str:
        """What it puts out, as 48x14x14; empty where it never ran by itself."""
        return "x".join(map(str, self.shape or ()))


def short(number: int) -> str:
    """A number in at most five places: 832, 51.3k, 1.02M; nothing for 0."""
    if number < 1000:
        return str(number or "")
    for unit in ("k", "M", "G"):
        number_ = number / 1000
        if number_ < 999.5 or unit == "G":
            break
        number = round(number_)
    return f"{number_:.{max(0, 3 - len(str(round(number_))))}f}{unit}"


class Layers(Vertical):
    """A list with a cursor; posts `Chosen` when a person moves it."""

    DEFAULT_CSS = """
    Layers OptionList { height: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    """

    @dataclass
    class Chosen(Message):
        """Another layer is under the cursor."""

        name: str

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: list[Layer] = []
        self._columns: tuple[int, ...] = ()

    def compose(self) -> ComposeResult:
        """The columns' names, the list."""
        yield Static(classes="caption", markup=False)
        yield OptionList(markup=False, compact=True)

    @property
    def list(self) -> OptionList:
        """The list itself."""
        return self.query_one(OptionList)

    def fill(self, table: Iterable[Sequence[Any]]) -> None:
        """List the rows of a table; nothing happens where they are the same as before."""
        rows = [
            Layer(name, depth, kind, None if shape is None else tuple(shape), parameters, operations)
            for name, depth, kind, shape, parameters, operations in table
        ]
        if rows != self.rows:
            self.rows, self._columns = rows, ()
            self._write()

    def point(self, name: str) -> None:
        """Put the cursor on a layer; nobody is told."""
        at = next((index for index, layer in enumerate(self.rows) if layer.name == name), None)
        with self.list.prevent(OptionList.OptionHighlighted):
            self.list.highlighted = at

    def on_resize(self) -> None:
        """Show more columns, or fewer."""
        self._write()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Tell which layer it is."""
        event.stop()
        self.post_message(self.Chosen(self.rows[event.option_index].name))

    def _write(self) -> None:
        """Write the lines anew, if their columns are others."""
        columns = self._fit(self.size.width - BAR)
        if not self.rows or columns == self._columns:
            return
        self._columns = columns
        at = self.list.highlighted
        with self.list.prevent(OptionList.OptionHighlighted):
            self.list.set_options(self._line(layer) for layer in self.rows)
            self.list.highlighted = at
        heads = ("layer", "kind", "shape", "weights", "ops")
        self.query_one(".caption", Static).update(self._row(heads, ("",) * len(heads)), layout=False)

    def _fit(self, width: int) -> tuple[int, ...]:
        """The widths of name, kind, shape, parameters and operations; 0 for what there is no room for."""
        widest = max((len(layer.part) + layer.depth for layer in self.rows), default=0)
        shape = max((len(layer.size) for layer in self.rows), default=0) + 1
        left = width - min(widest, LEAST)
        given = [0, 0, 0, 0]
        kinds = min(KINDS, max((len(layer.kind) for layer in self.rows), default=0)) + 1
        for place, needed in ((1, shape), (2, NUMBER + 3), (3, NUMBER + 1), (0, kinds)):
            if needed > left - (max(0, widest - LEAST) if place == 0 else 0):
                break
            given[place] = needed
            left -= needed
        return (width - sum(given), *given)

    def _line(self, layer: Layer) -> Content:
        part = layer.part
        if part.isdecimal() and not self._columns[1]:
            part = f"{part} {layer.kind}"
        kind = layer.kind if layer.name else ""
        texts = (" " * layer.depth + part, kind, layer.size, short(layer.parameters), short(layer.operations))
        faint = "$foreground 60%"
        return self._row(texts, ("" if layer.shape is not None else faint, faint, "", faint, faint))

    def _row(self, texts: Sequence[str], styles: Sequence[str]) -> Content:
        parts = []
        for index, (text, width, style) in enumerate(zip(texts, self._columns, styles, strict=True)):
            if index > 1:
                parts.append((f"{text:>{width}.{max(0, width - 1)}}" if width else "", style))
            else:
                cut = text if len(text) < width or not index else text[: width - 2] + "…"
                parts.append((f"{cut[:width]:<{width}}" if width else "", style))
        return Content.assemble(*parts)
