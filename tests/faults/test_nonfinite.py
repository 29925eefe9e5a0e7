"""A run whose loss is no number any more: its last good checkpoint is what resuming goes on from."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from nursery import QUICK, Nursery, tensors

from core.errors import TrainingError
from core.events import Dataset
from core.runs import MODEL, Status, run_status
from core.training import resume

LONG = {**QUICK, "batch_size": 1, "epochs": 3}  # 48 steps an epoch, at whose end there is a checkpoint


def test_a_run_failed_by_losses_that_are_no_numbers_goes_on_from_its_last_good_checkpoint(
    nursery: Nursery, tmp_path: Path
) -> None:
    whole, path, listed = tmp_path / "whole", tmp_path / "a", tmp_path / "listed"
    assert nursery.train(whole, LONG, each_step=False).code == 0
    points = nursery.points(listed, {**LONG, "epochs": 1}, each_step=False)
    renames = [point for point in points if point.startswith("after-rename")]  # writes to the log vary with the pace
    saved = next(place for place, point in enumerate(renames, 1) if MODEL in point)
    fault = {"trace": "", "kind": "kill", "only": "after-rename", "at": saved}
    killed = nursery.train(path, LONG, each_step=False, fault=fault)
    assert killed.code == -9
    good = tensors(path)
    events, failed = resume(path), ""
    try:
        for event in events:
            if isinstance(event, Dataset):
                spoil(events)
    except TrainingError as error:
        failed = str(error)
    assert "the last checkpoint is intact" in failed
    assert run_status(path) is Status.FAILED
    kept = tensors(path)
    assert all(torch.equal(kept[name], good[name]) for name in good)
    assert nursery.train(path, each_step=False).code == 0
    assert run_status(path) is Status.FINISHED
    found, wanted = tensors(path), tensors(whole)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def spoil(events: object) -> None:
    """Put values into the training images, in memory, of which no loss is a number."""
    trainer = events.gi_frame.f_locals["sitting"]._trainer  # type: ignore[attr-defined]
    trainer.images = torch.full(trainer.images.shape, math.nan)
