"""The training history: the same noise with every snapshot of a run, sampled by a real engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from runlogs import append, dataset, started, window
from textual.widgets import Input, Static
from waiting import until

from core import sample_snapshots
from core.diffusion.snapshots import to_snapshot_frame
from core.runs.directory import SNAPSHOTS
from core.runs.events import Epoch
from tui.app import MinidiffApp
from tui.messages import TrainingHistoryChosen
from tui.screens.training_history import TrainingHistoryScreen
from tui.widgets.image_grid import ImageGrid


def title_of(screen: TrainingHistoryScreen) -> str:
    return " ".join(str(screen.query_one("#snapshot-caption", Static).render()).split())


async def test_scrubbing_shows_the_samples_and_losses_of_each_snapshot(
    model_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(model_root / "tiny", tmp_path / "runs" / "tiny"))
    append(run, started(1.0, name="tiny", epochs=2), dataset(2.0), window(1, 0.5, 3.0), window(40, 0.25, 4.0))
    append(run, Epoch(epoch=1, step=30, loss=0.4, validation_loss=0.125, seconds=1.0))
    app = MinidiffApp(run.parent, mode="devices")
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(TrainingHistoryChosen("tiny"))
        await until(pilot, lambda: isinstance(app.screen, TrainingHistoryScreen), "the screen is open")
        screen = app.screen
        assert isinstance(screen, TrainingHistoryScreen)
        screen.timeline.still = True

        def is_sampled(steps: int) -> bool:
            series = screen.series
            return series is not None and series.complete and screen._shown.request.steps == steps  # type: ignore[union-attr]

        await until(pilot, lambda: is_sampled(40), "all snapshots are sampled")
        series = screen.series
        assert series is not None
        assert series.steps == (0, 1, 40)
        expected = [to_snapshot_frame(record).images for record in sample_snapshots(run, seed=0, device="cpu")]
        assert [frame.images for frame in series.frames] == expected

        grid, titles, shown = screen.query_one(ImageGrid), [], []
        for position in range(3):
            screen.timeline.seek(position)
            await pilot.pause()
            titles.append(title_of(screen))
            shown.append(b"".join(grid._images))
        assert shown == expected
        assert titles == [
            "step 0, before training",
            "step 1 of 938 training loss 0.5000",
            "step 40 of 938 training loss 0.2500 validation loss 0.1250 after step 30",
        ]

        await pilot.press("e")
        await pilot.press("enter")
        await until(pilot, lambda: (tmp_path / "tiny-history-seed0.gif").exists(), "the GIF is written")
        with Image.open(tmp_path / "tiny-history-seed0.gif") as picture:
            assert picture.n_frames == 3

        screen.query_one("#steps", Input).value = "3"
        await screen.action_sample()
        await until(pilot, lambda: is_sampled(3), "all snapshots are sampled with other settings")
        assert screen.series != series
        screen.query_one("#steps", Input).value = "40"
        screen.timeline.seek(1)
        await screen.action_sample()
        assert not screen.engine.busy, "the earlier samples are kept"
        await pilot.pause()
        assert screen.series == series
        assert screen.timeline.position == 1

        shutil.copy(run / SNAPSHOTS / "000040.safetensors", run / SNAPSHOTS / "000041.safetensors")
        await screen.action_sample()
        await until(pilot, lambda: is_sampled(40), "only the new snapshot is sampled")
        assert screen.series is not None
        assert screen.series.steps == (0, 1, 40, 41)

        shutil.rmtree(run / SNAPSHOTS)
        await screen.action_sample()
        notices = app._notifications
        await until(pilot, lambda: any("tiny has no snapshots" in notice.message for notice in notices), "it says so")
        await pilot.press("escape")
        await until(pilot, lambda: not screen.engine.running, "the engine is stopped")
        assert not isinstance(app.screen, TrainingHistoryScreen)
