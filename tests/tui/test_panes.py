"""The arrangement of grids beside and below each other."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Size

from tui.widgets.panes import GAP, Panes, Shape

NAMES = ("a", "b", "c", "d")


class PanesApp(App[None]):
    """Four panes by themselves."""

    def compose(self) -> ComposeResult:
        yield Panes(*NAMES)


@pytest.mark.parametrize("size", [(58, 14), (78, 18), (118, 31), (198, 51)])
@pytest.mark.parametrize("n", [1, 2, 4, 6, 8, 9])
async def test_no_other_arrangement_in_full_rows_makes_images_larger(size: tuple[int, int], n: int) -> None:
    """In every case in which all images fit at all."""
    app = PanesApp()
    async with app.run_test(size=size):
        panes, shape = app.query_one(Panes), Shape(n, 28, 28)
        for count in range(1, 5):
            ranks = []
            for columns in [columns for columns in (1, 2, 3, 4) if count % columns == 0]:
                width, height = (size[0] - GAP * (columns - 1)) // columns, size[1] // (count // columns) - 1
                layout = panes.pane("a").grid.layout_of(n, Size(width, height), 28, 28, captions=True)
                ranks.append(layout.rank if layout.all_lines(n) <= height else 0)
            best = panes.arrangement([shape] * count)
            assert best.rank == max(ranks)
            assert count % best.columns == 0


async def test_panes_have_the_computed_places_and_are_centred() -> None:
    app = PanesApp()
    async with app.run_test(size=(118, 31)) as pilot:
        panes, shapes = app.query_one(Panes), [Shape(8, 28, 28)] * 4
        for count, places in ((2, [(0, 0), (1, 0)]), (4, [(0, 0), (1, 0), (2, 0), (3, 0)])):
            for number, name in enumerate(NAMES):
                panes.pane(name).display = number < count
            best = panes.arrangement(shapes[:count])
            panes.arrange_panes(shapes[:count])
            await pilot.pause()
            regions = [panes.pane(name).region for name in NAMES[:count]]
            xs, ys = (sorted({region[i] for region in regions}) for i in (0, 1))
            assert [(xs.index(region.x), ys.index(region.y)) for region in regions] == places
            assert {region.height for region in regions} == {best.lines}
            above, below = regions[0].y, 31 - max(region.bottom for region in regions)
            assert 0 <= below - above <= 1
