"""The layers of a network as an indented list with as many columns as fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from core.engine.lab_messages import LayerInfo

BAR = 1  # columns of the scrollbar
MIN_NAME = 11  # columns for names
NUMBER = 5  # columns for a number in short units
KINDS = 17  # columns for a layer's class, at most


def _part(layer: LayerInfo) -> str:
    """Its name within its parent; for the network itself its class."""
    return layer.name.rpartition(".")[2] or layer.kind


def _size(layer: LayerInfo) -> str:
    """The shape of its output, such as 48x14x14; empty if it was not called by itself."""
    return "x".join(map(str, layer.shape or ()))


def short(number: int) -> str:
    """A number in at most five characters: 832, 51.3k, 1.02M; empty for 0."""
    if number < 1000:
        return str(number or "")
    for unit in ("k", "M", "G"):
        number_ = number / 1000
        if number_ < 999.5 or unit == "G":
            break
        number = round(number_)
    return f"{number_:.{max(0, 3 - len(str(round(number_))))}f}{unit}"


class LayerList(OptionList, inherit_bindings=False):
    """An option list that leaves enter to the screen: highlighting a layer already chooses it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding for binding in OptionList.BINDINGS if isinstance(binding, Binding) and binding.key != "enter"
    ]


class Layers(Vertical):
    """A list of layers. Posts `Chosen` when the user moves the cursor."""

    DEFAULT_CSS = """
    Layers OptionList { height: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    """

    @dataclass
    class Chosen(Message):
        """The cursor moved to another layer."""

        name: str

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: list[LayerInfo] = []
        self._columns: tuple[int, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(classes="caption", markup=False)
        yield LayerList(markup=False, compact=True)

    @property
    def list(self) -> LayerList:
        """The list widget."""
        return self.query_one(LayerList)

    def set_layers(self, layers: Sequence[LayerInfo]) -> None:
        """List these layers; does nothing if they are listed already."""
        if list(layers) != self.rows:
            self.rows, self._columns = list(layers), ()
            self._update_list()

    def select(self, name: str) -> None:
        """Move the cursor to a layer without posting `Chosen`."""
        at = next((index for index, layer in enumerate(self.rows) if layer.name == name), None)
        with self.list.prevent(OptionList.OptionHighlighted):
            self.list.highlighted = at

    def on_resize(self) -> None:
        self._update_list()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self.post_message(self.Chosen(self.rows[event.option_index].name))

    def _update_list(self) -> None:
        """Rebuild the list if its columns changed."""
        columns = self._fit(self.size.width - BAR)
        if not self.rows or columns == self._columns:
            return
        self._columns = columns
        at = self.list.highlighted
        with self.list.prevent(OptionList.OptionHighlighted):
            self.list.set_options(self._line(layer) for layer in self.rows)
            self.list.highlighted = at
        heads = ("layer", "kind", "shape", "weights", "FLOPs")
        self.query_one(".caption", Static).update(self._row(heads, ("",) * len(heads)), layout=False)

    def _fit(self, width: int) -> tuple[int, ...]:
        """The widths of name, kind, shape, parameters and operations; 0 for columns that do not fit."""
        widest = max((len(_part(layer)) + layer.depth for layer in self.rows), default=0)
        shape = max((len(_size(layer)) for layer in self.rows), default=0) + 1
        left = width - min(widest, MIN_NAME)
        given = [0, 0, 0, 0]
        kinds = min(KINDS, max((len(layer.kind) for layer in self.rows), default=0)) + 1
        for place, needed in ((1, shape), (2, NUMBER + 3), (3, NUMBER + 1), (0, kinds)):
            if needed > left - (max(0, widest - MIN_NAME) if place == 0 else 0):
                break
            given[place] = needed
            left -= needed
        return (width - sum(given), *given)

    def _line(self, layer: LayerInfo) -> Content:
        part = _part(layer)
        if part.isdecimal() and not self._columns[1]:
            part = f"{part} {layer.kind}"
        kind = layer.kind if layer.name else ""
        texts = (" " * layer.depth + part, kind, _size(layer), short(layer.parameters), short(layer.operations))
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
