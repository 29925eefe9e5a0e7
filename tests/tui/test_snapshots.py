"""What screens and their parts look like, as pictures; `pytest --snapshot-update` after a change that was looked at."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from runlogs import digits, training
from scenes import DESCRIPTION, SCENES, enter, open_app, scenery
from textual.app import App, ComposeResult

from core.config.training import TrainConfig
from core.engine.protocol import SampleRequest
from core.runs.history import RunHistory
from tui.screens.train import TrainScreen
from tui.themes import DARK
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.image_grid import ImageGrid
from tui.widgets.run_form import RunForm
from tui.widgets.sampling_controls import SamplingControls
from tui.widgets.timeline import Timeline

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))
ONE_SIZE = {"plane": (120, 40), "ideal": (80, 24)}  # scenes that take long; tests of these benches check all sizes


class Gallery(App[None]):
    """One part of the app by itself, in the app's own colors."""

    HORIZONTAL_BREAKPOINTS = TrainScreen.HORIZONTAL_BREAKPOINTS
    VERTICAL_BREAKPOINTS = TrainScreen.VERTICAL_BREAKPOINTS

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        self.register_theme(DARK)
        self.theme = DARK.name

    def compose(self) -> ComposeResult:
        match self.part:
            case "digits":
                yield ImageGrid()
                yield Timeline()
            case "loss":
                yield CurvePlot()
            case "form":
                yield RunForm(Path("checkpoints"))
            case "bars":
                yield SamplingControls(["with-classes"])
                yield SamplingControls(["quick-mnist"])

    def on_mount(self) -> None:
        if self.part == "digits":
            self.query_one(ImageGrid).set_images(digits(8, 0.7, seed=3), 8)
            self.query_one(Timeline).load(40, [1 - step / 40 for step in range(41)])
            self.query_one(Timeline).seek(29)
        if self.part == "loss":
            history = RunHistory()
            history.extend(training(30))
            self.query_one(CurvePlot).set_history(history)
        if self.part == "form":  # a picture is not of how the recipe is tuned
            form = self.query_one(RunForm)
            form.describe(DESCRIPTION)
            form.set_values({"epochs": 8, "batch_size": 128, "learning_rate": 1e-3})
            if self.size.height > 50:  # everything is in sight
                form.set_values({"optimizer": "adamw", "warmup_steps": 100, "weight_decay": 0.01, "ema": 0.05})
        if self.part == "bars":
            for bar, config in zip(
                self.query(SamplingControls), (TrainConfig(), TrainConfig(preset="quick")), strict=True
            ):
                bar.set_request(SampleRequest(model=bar.model or "", steps=40))
                bar.set_config(config)


@pytest.mark.parametrize(
    ("part", "size"),
    [
        ("digits", (60, 20)),
        ("loss", (80, 24)),
        ("loss", (120, 40)),
        *(("form", size) for size in SIZES),
        *(("bars", (width, 6)) for width, _ in SIZES),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}x{value[1]}",
)
def test_part_looks_as_it_did(snap_compare, part: str, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    assert snap_compare(Gallery(part), terminal_size=size)


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, size) for name in SCENES for size in ((80, 24), (120, 40)) if ONE_SIZE.get(name, size) == size],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}x{value[1]}",
)
def test_screen_looks_as_it_did(snap_compare, tmp_path: Path, name: str, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    with scenery(tmp_path) as root:
        assert snap_compare(open_app(name, root), terminal_size=size, run_before=partial(enter, name))
