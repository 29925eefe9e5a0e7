"""Runs with a non-finite loss: resuming continues from the last good checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from trainer_pool import QUICK, TrainerPool, log_of, tensors

from core.config.training import TrainConfig
from core.errors import TrainingError
from core.runs.directory import MODEL
from core.runs.events import Checkpoint, DatasetLoaded, Finished, Warned
from core.runs.status import Status, run_status
from core.training import loss_window
from core.training.api import resume, train

LONG = {**QUICK, "batch_size": 1, "epochs": 3}  # 48 steps per epoch, with a checkpoint at its end


def test_a_run_that_failed_on_nan_losses_resumes_from_its_last_good_checkpoint(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    whole, path, listed = tmp_path / "whole", tmp_path / "a", tmp_path / "listed"
    assert trainer_pool.train(whole, LONG, each_step=False).code == 0
    points = trainer_pool.points(listed, {**LONG, "epochs": 1}, each_step=False)
    renames = [point for point in points if point.startswith("after-rename")]  # log writes vary with the throughput
    saved = next(place for place, point in enumerate(renames, 1) if MODEL in point)
    fault = {"trace": "", "kind": "kill", "only": "after-rename", "at": saved}
    killed = trainer_pool.train(path, LONG, each_step=False, fault=fault)
    assert killed.code == -9
    good = tensors(path)
    events, failed = resume(path), ""
    try:
        for event in events:
            if isinstance(event, DatasetLoaded):
                spoil(events)
    except TrainingError as error:
        failed = str(error)
    assert "the last checkpoint is intact" in failed
    assert run_status(path) is Status.FAILED
    kept = tensors(path)
    assert all(torch.equal(kept[name], good[name]) for name in good)
    assert trainer_pool.train(path, each_step=False).code == 0
    assert run_status(path) is Status.FINISHED
    actual, expected = tensors(path), tensors(whole)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


DIVERGING = {**QUICK, "batch_size": 4, "learning_rate": 1.0, "channels": (32, 64, 64)}  # 12 steps per epoch


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_diverging_run_never_finishes_even_if_short_or_resumed(
    trainer_pool: TrainerPool, tmp_path: Path, epochs: int
) -> None:
    path = tmp_path / "a"
    for _ in range(3):
        ended = trainer_pool.train(path, {**DIVERGING, "epochs": epochs})
        assert ended.code == 1, "it finished"
        assert "training diverged" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert run_status(path) is Status.FAILED
        assert not any(isinstance(event, Finished) for event in log_of(path))


def test_the_count_of_skipped_steps_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten skipped steps fail the run; seven of them come before a stop."""
    for name in ("MIN_SECONDS", "MIN_FRACTION"):
        monkeypatch.setattr(loss_window, name, 0.0)  # an event for each step
    config = TrainConfig(**{**QUICK, "epochs": 100}, max_skipped=10, root=tmp_path, name="a")
    events, skipped = train(config), 0
    for event in events:
        if isinstance(event, DatasetLoaded):
            spoil(events)
        skipped += isinstance(event, Warned)
        if skipped == 7:
            break
    events.close()
    events, skipped = resume(tmp_path / "a"), 0
    with pytest.raises(TrainingError, match="in the last 10 steps"):
        for event in events:
            if isinstance(event, DatasetLoaded):
                spoil(events)
            skipped += isinstance(event, Warned)
    assert skipped == 2, "the third ended it"


def test_a_checkpoint_from_before_a_divergence_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    config = TrainConfig(**{**QUICK, "epochs": 100}, max_skipped=10, root=tmp_path, name="a")
    events = train(config)
    good = 0
    with pytest.raises(TrainingError, match="the last checkpoint is intact"):
        for event in events:
            if isinstance(event, Checkpoint) and not good:
                good = event.step
                spoil(events)
    assert tensors(path)["step"] == good
    assert run_status(path) is Status.FAILED


def spoil(events: object) -> None:
    """Replace the training images in memory so every loss is NaN."""
    trainer = events.gi_frame.f_locals["loop"]._trainer  # type: ignore[attr-defined]
    trainer.images = torch.full(trainer.images.shape, math.nan)
