"""What the drawn parts look like, held as pictures; `pytest --snapshot-update` after a change that was looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from runlogs import digits, training
from textual.app import App, ComposeResult

from core.history import RunHistory
from tui.app import DARK
from tui.widgets.digits import DigitGrid
from tui.widgets.loss_plot import LossPlot
from tui.widgets.run_form import RunForm
from tui.widgets.timeline import Timeline


class Gallery(App[None]):
    """One part of the app by itself, in the app's own colours."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        self.register_theme(DARK)
        self.theme = DARK.name

    def compose(self) -> ComposeResult:
        match self.part:
            case "digits":
                yield DigitGrid()
                yield Timeline()
            case "loss":
                yield LossPlot()
            case "form":
                yield RunForm(Path("checkpoints"))

    def on_mount(self) -> None:
        if self.part == "digits":
            self.query_one(DigitGrid).show(digits(8, 0.7, seed=3), 8)
            self.query_one(Timeline).load(40, [1 - step / 40 for step in range(41)])
            self.query_one(Timeline).seek(29)
        if self.part == "loss":
            history = RunHistory()
            history.extend(training(30))
            self.query_one(LossPlot).show(history)


@pytest.mark.parametrize(
    ("part", "size"),
    [("digits", (60, 20)), ("loss", (80, 24)), ("loss", (120, 40)), ("form", (80, 24)), ("form", (120, 40))],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}x{value[1]}",
)
def test_part_looks_as_it_did(snap_compare, part: str, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    assert snap_compare(Gallery(part), terminal_size=size)
