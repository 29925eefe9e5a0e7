"""The panel of feature maps, kernels or attention maps, with the range of each."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult

from core.engine.protocol import Array
from tui.lab.number_text import number
from tui.lab.picture_panel import PicturePanel
from tui.lab.tile_grid import TileGrid, count_fitting, scaled


@dataclass(frozen=True)
class Tiles:
    """What the panel shows."""

    view: str  # maps, kernels or attention
    source: str  # the layer, or the position that attends
    unit: str  # what one tile is: a channel, a kernel or a head
    total: int  # that there are, of which `array` holds the first
    array: Array  # (N, h, w)


class TilePanel(PicturePanel):
    """Tiles with the range of the chosen one, or the range of all of them."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: Tiles | None = None
        self._common = False
        self._scaled: tuple[Array, bool, int, bytes] | None = None  # the last result of `scaled`

    def compose(self) -> ComposeResult:
        yield TileGrid(id="tiles")

    @property
    def grid(self) -> TileGrid:
        """The grid of tiles."""
        return self.query_one(TileGrid)

    def show_reason(self, view: str, reason: str) -> None:
        """Show why there are no tiles."""
        self._shown = None
        self.grid.clear()
        self.set_titles(f"{view}: {reason}", reason, view, key="v")

    def show(self, tiles: Tiles, *, common: bool) -> None:
        """Show tiles, scaled together or each by its own range."""
        if self._shown is None or (self._shown.view, self._shown.source) != (tiles.view, tiles.source):
            self.grid.chosen = 0
        self._shown, self._common = tiles, common
        self._draw_tiles()

    def choose(self, by: int) -> None:
        """Choose a tile further on, or back."""
        if self._shown is not None:
            grid = self.grid
            grid.chosen = (grid.chosen + by) % max(1, self._fitting(self._shown))
            self._draw_tiles()

    def on_tile_grid_chosen(self, message: TileGrid.Chosen) -> None:
        message.stop()
        self.choose(message.index - self.grid.chosen)

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._draw_tiles)

    def _fitting(self, tiles: Tiles) -> int:
        return count_fitting(tiles.array.shape, *self.grid.size)

    def _draw_tiles(self) -> None:
        tiles = self._shown
        if tiles is None:
            return
        n, (height, width) = self._fitting(tiles), tiles.array.shape[1:]
        grid = self.grid
        grid.chosen = min(grid.chosen, n - 1)
        known = self._scaled
        if known is None or known[0] is not tiles.array or known[1:3] != (self._common, n):
            known = self._scaled = tiles.array, self._common, n, scaled(tiles.array, n, common=self._common)
        grid.set_images(known[3], n, height, width)
        count = f"{n} of {tiles.total} {tiles.unit}s, {height}x{width}"
        titles = [f"{tiles.view} of {tiles.source}: {count}", f"{tiles.view}: {count}", tiles.view]
        if tiles.view == "attention":
            titles = [f"attention from {tiles.source}: {count}", f"attention: {count}", tiles.view]
        if self._common:
            low, high = _range(tiles.array)
            notes = [f"g one range for all {tiles.unit}s: {low} to {high}", f"one range: {low} to {high}"]
        else:
            low, high = _range(tiles.array[grid.chosen])
            notes = [
                f"{tiles.unit} {grid.chosen}: {low} to {high}, g each its own range",
                f"{tiles.unit} {grid.chosen}: {low} to {high}, own range",
                f"{grid.chosen}: {low} to {high}, own range",
            ]
        self.set_titles(*titles, notes=notes, key="v")


def _range(array: Array) -> tuple[str, str]:
    """The smallest and the largest value, as text."""
    return number(min(array.values)), number(max(array.values))
