"""The loss by noise level that a run logs: when, beside the same computation afterwards, and without any effect."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from core import TrainConfig, load_dataset, load_model, loss_floor, train
from core.evaluation.loss_by_level import LEVELS, MIN_N, compare_training_losses
from core.generators import result_of
from core.runs.events import Epoch, Event, LossByLevel, Warned
from core.training import level_losses as measured_floor
from core.training.level_losses import is_due
from core.training.trainer import Trainer


def events_of(**changes: object) -> list[Event]:
    options = {
        "preset": "tutorial",
        "dataset": "glyphs",
        "limit": 64,
        "batch_size": 32,
        "model": "basic_unet",
        "channels": (4, 4),
        "path": "flow",
        "prediction": "velocity",
        "device": "cpu",
        "threads": 1,
        "epochs": 5,
        **changes,
    }
    return list(train(TrainConfig(**options)))  # type: ignore[arg-type]


def measured(events: list[Event]) -> list[LossByLevel]:
    return [event for event in events if isinstance(event, LossByLevel)]


def test_it_is_due_after_epochs_that_are_powers_of_four_and_after_the_last_one() -> None:
    assert [epoch for epoch in range(1, 101) if is_due(epoch, last=False)] == [1, 4, 16, 64]
    assert is_due(7, last=True)


def test_a_run_logs_the_floor_of_its_training_images_and_what_its_weights_lose(tmp_path: Path) -> None:
    events = events_of(root=tmp_path, name="a")
    assert [event.epoch for event in measured(events)] == [1, 4, 5]
    first, *_, last = measured(events)
    training = load_dataset("glyphs", limit=64)
    model = load_model(tmp_path / "a", device="cpu")
    expected = loss_floor(model.config, *training, n=MIN_N)
    for event in (first, last):
        assert event.n == MIN_N
        assert len(event.levels) == LEVELS
        assert event.levels == pytest.approx(expected.levels, rel=1e-6)
        assert event.floors == pytest.approx(expected.values, rel=1e-5, abs=1e-9)
        assert event.floor == pytest.approx(expected.mean, rel=1e-5)
    found = result_of(compare_training_losses(model, training, n=MIN_N))
    assert last.losses == pytest.approx(found.network.values, rel=1e-3)
    assert last.loss == pytest.approx(found.network.mean, rel=1e-3)
    assert all(loss >= floor for loss, floor in zip(last.losses, last.floors, strict=True))
    assert last.loss < first.loss


def test_measuring_changes_no_weights(tmp_path: Path) -> None:
    """Against steps that are taken without the loop."""
    measured_run = events_of(root=tmp_path, name="a", epochs=2)
    assert measured(measured_run)
    model = load_model(tmp_path / "a", device="cpu")
    trainer = Trainer(model.config, torch.device("cpu"))
    trainer.set_data(*load_dataset("glyphs", limit=64))
    for _ in range(model.step):
        trainer.train_step()
    expected = trainer.ema_net.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.net.state_dict().items())


@pytest.mark.parametrize("changes", [{"path": "mix", "prediction": "clean"}, {"augment_shift": 1}])
def test_without_a_floor_nothing_is_logged(changes: dict[str, object]) -> None:
    assert not measured(events_of(epochs=1, **changes))


def test_a_training_set_that_takes_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_floor, "OPERATIONS", 1e3)
    assert not measured(events_of(epochs=1))


def test_a_failed_measurement_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the memory ran out in the middle of it."""

    def fails(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no memory left\nfor this")

    monkeypatch.setattr(torch.Tensor, "topk", fails)  # which the ideal denoiser uses
    events = events_of(epochs=1)
    messages = [event.message for event in events if isinstance(event, Warned)]
    assert messages == ["the loss by noise level was not measured: no memory left"]
    assert events[-1].kind == "finished"
    assert math.isfinite(next(event.validation_loss for event in events if isinstance(event, Epoch)))
