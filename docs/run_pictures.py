"""Pictures of a race and of a training history for `make_pictures.py`."""

from __future__ import annotations

from pathlib import Path

from lab_pictures import Shoot, Until
from textual.pilot import Pilot

from core import RaceRules, TrainConfig, run_race
from tui.messages import TrainingHistoryChosen
from tui.screens.race import RaceScreen
from tui.screens.training_history import TrainingHistoryScreen

SIZES = ((80, 24), (120, 40))
RACE = "rates"
SEEDS = (0, 1, 2)
STEPS = 160  # of each run of the race: one pass over the images, so that the learning rate decays to 0
RATES = (1.5e-3, 2e-3, 3e-3, 4e-3)  # close enough that some of them reach the end
PART = 0.8  # of the snapshots, at which digits can be read and are still to improve


def make_race(root: Path) -> None:
    """Race four learning rates in a folder of their own."""
    batch = 32
    config = TrainConfig(
        dataset="glyphs",
        limit=batch * STEPS,
        batch_size=batch,
        size="tiny",
        epochs=1,
        snapshots=0,
        device="cpu",
        name=RACE,
        root=root,
    )
    rules = RaceRules(steps=STEPS, images=300, samples=0)
    for _ in run_race(config, {"learning_rate": RATES}, rules, seeds=SEEDS):
        pass


async def take_race(pilot: Pilot[None], root: Path, shoot: Shoot, until: Until) -> None:
    """The differences of the race, above the current screen."""
    screen = RaceScreen(root / RACE)
    await pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.result is not None, "the race is shown")
    await shoot(pilot, "race", SIZES)
    await pilot.press("escape")


async def take_history(pilot: Pilot[None], run: str, shoot: Shoot, until: Until) -> None:
    """The samples of a late snapshot of a run, above the current screen."""
    app = pilot.app
    app.post_message(TrainingHistoryChosen(run))
    await until(pilot, lambda: isinstance(app.screen, TrainingHistoryScreen), "the history is open")
    screen = app.screen
    assert isinstance(screen, TrainingHistoryScreen)
    await until(pilot, lambda: screen.series is not None and screen.series.complete, "all snapshots are sampled")
    screen.timeline.seek(round(PART * screen.timeline.steps))
    await shoot(pilot, "history", SIZES)
    await pilot.press("escape")
