"""Recipes beyond the tutorial: every path and prediction trains, resumes exactly, and skips non-finite steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core import load_dataset, load_model, sample
from core.config.training import PREDICTIONS, TrainConfig
from core.errors import TrainingError
from core.runs.events import Epoch, Evaluated, Finished, Preview, Progress, Warned
from core.training.api import resume, train
from core.training.trainer import Trainer

PAIRS = [(path, prediction) for path, predictions in PREDICTIONS.items() for prediction in predictions]
CPU = torch.device("cpu")


@pytest.fixture
def small(tiny: Callable[..., TrainConfig]) -> Callable[..., TrainConfig]:
    """The default recipe on a tiny network and 64 glyphs, in float32 for the same result on every CPU."""
    return lambda **changes: tiny(
        **{"preset": "default", "channels": (16, 16), "precision": "float32", "batch_size": 24, **changes}
    )


def trainer_of(config: TrainConfig) -> Trainer:
    trainer = Trainer(config, CPU)
    trainer.set_data(*load_dataset("glyphs", limit=64))
    return trainer


@pytest.mark.parametrize(("path", "prediction"), PAIRS)
def test_every_pair_of_path_and_prediction_trains_and_samples(
    small: Callable[..., TrainConfig], tmp_path: Path, path: str, prediction: str
) -> None:
    events = list(train(small(path=path, prediction=prediction, epochs=1, root=tmp_path, name="a")))
    epoch = next(event for event in events if isinstance(event, Epoch))
    assert math.isfinite(epoch.loss)
    assert math.isfinite(epoch.validation_loss)
    *_, last = sample(load_model(tmp_path / "a", device="cpu"), n=2, steps=3)
    assert bool(last.x.isfinite().all())


@pytest.mark.parametrize("weighting", ["clean", "noise", "velocity"])
def test_another_weighting_changes_the_loss_but_not_its_target(
    small: Callable[..., TrainConfig], weighting: str
) -> None:
    plain, counted = (trainer_of(small(weighting=name)).train_step()[0] for name in ("prediction", weighting))
    assert bool(counted.isfinite())
    if weighting == "velocity":  # what the network predicts
        assert float(counted) == pytest.approx(float(plain), rel=1e-5)
    else:
        assert float(counted) != pytest.approx(float(plain), rel=0.1)


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adamw"}, {"ema": 0.0}, {"precision": "bfloat16"}, {"path": "mix"}, {"augment_shift": 2}],
)
def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(
    small: Callable[..., TrainConfig], tmp_path: Path, options: dict[str, Any]
) -> None:
    list(train(small(root=tmp_path, name="whole", epochs=3, **options)))
    events = train(small(root=tmp_path, name="parts", epochs=3, **options))
    next(event for event in events if isinstance(event, Progress))
    events.close()
    again = resume(tmp_path / "parts")
    next(event for event in again if isinstance(event, Epoch))
    again.close()
    assert isinstance(list(resume(tmp_path / "parts"))[-1], Finished)
    whole, parts = (load_model(tmp_path / name, device="cpu").net.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_ema_weights_are_the_average_of_the_last_steps(small: Callable[..., TrainConfig]) -> None:
    """With ema = 1 the weight of a step is 1 / (step + 1): the plain mean of the weights after every step."""
    trainer = trainer_of(small(ema=1.0, epochs=2))
    total = torch.zeros_like(trainer.net.into.weight)  # type: ignore[arg-type, union-attr]
    for _ in range(4):
        trainer.train_step()
        total += trainer.net.into.weight.detach()  # type: ignore[operator, union-attr]
    torch.testing.assert_close(trainer.ema_net.into.weight, total / 4, rtol=0, atol=1e-6)  # type: ignore[union-attr]


def test_shifted_images_are_the_same_images_at_an_offset(small: Callable[..., TrainConfig]) -> None:
    still, moved = trainer_of(small()).batch(0)[0], trainer_of(small(augment_shift=2)).batch(0)[0]
    assert moved.shape == still.shape
    offsets = set()
    for before, after in zip(still[:, 0], moved[:, 0], strict=True):
        around = nn.functional.pad(before, (2,) * 4)
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(around[y : y + 28, x : x + 28], after)]
        assert places
        offsets.add(places[0])
    assert len(offsets) > 5  # each image has its own shift


def breaking_at(trainer: Trainer, steps: set[int]) -> None:
    """Make the gradients of these steps NaN."""
    weight = next(trainer.net.parameters())
    weight.register_hook(lambda gradient: gradient * (math.nan if trainer.step in steps else 1))


def test_a_non_finite_step_changes_neither_online_nor_ema_weights(small: Callable[..., TrainConfig]) -> None:
    trainer = trainer_of(small(epochs=2))
    breaking_at(trainer, {2})
    losses = []
    for step in range(4):
        before = [parameter.detach().clone() for parameter in trainer.net.parameters()]
        losses.append(float(trainer.train_step()[0]))
        same = all(torch.equal(a, b) for a, b in zip(before, trainer.net.parameters(), strict=True))
        assert same == (step == 2)
    assert [math.isnan(loss) for loss in losses] == [False, False, True, False]
    assert trainer.is_finite()


def broken_events(small: Callable[..., TrainConfig], steps: set[int], epochs: int, **options: Any) -> list[Any]:
    """The events of a run without a root whose gradients are NaN at these steps."""
    events, collected = train(small(epochs=epochs, batch_size=8, **options)), []
    for event in events:
        collected.append(event)
        if event.kind == "dataset":
            breaking_at(events.gi_frame.f_locals["loop"]._trainer, steps)
    return collected


def test_skipped_steps_are_reported_and_excluded_from_the_loss(small: Callable[..., TrainConfig]) -> None:
    found = broken_events(small, {1, 2}, epochs=1)
    assert any(isinstance(event, Warned) and "not finite" in event.message for event in found)
    epoch = next(event for event in found if isinstance(event, Epoch))
    assert math.isfinite(epoch.loss)
    assert isinstance(found[-1], Finished)


def test_many_consecutive_non_finite_steps_fail_the_run_with_a_fix(small: Callable[..., TrainConfig]) -> None:
    with pytest.raises(TrainingError, match=r"not finite in the last 2\d steps.*--learning-rate"):
        broken_events(small, set(range(2, 100)), epochs=20)


def test_the_limit_of_non_finite_steps_can_be_set(small: Callable[..., TrainConfig]) -> None:
    assert isinstance(broken_events(small, set(range(2, 27)), epochs=8, max_skipped=60)[-1], Finished)
    with pytest.raises(TrainingError, match=r"not finite in the last [234] steps"):
        broken_events(small, set(range(2, 6)), epochs=1, max_skipped=2)


def test_evaluations_run_when_requested(small: Callable[..., TrainConfig], tmp_path: Path) -> None:
    found = list(train(small(limit=96, epochs=4, eval_every=2, root=tmp_path, name="a")))
    evaluated = [event for event in found if isinstance(event, Evaluated)]
    assert [event.epoch for event in evaluated] == [2, 4]
    for event in evaluated:
        assert event.n == 16  # a sixth of the images are for validation of the classifiers
        assert event.frechet > 0
        assert 0 <= event.agreement <= 1


def test_a_class_conditional_model_samples_the_requested_class(
    small: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    list(train(small(root=tmp_path, name="a", epochs=4)))
    model = load_model(tmp_path / "a", device="cpu")
    drawn = {}
    for label in (3, 8, -1):
        *_, last = sample(model, n=1, steps=4, labels=label)
        drawn[label] = last.x
    assert not torch.equal(drawn[3], drawn[8])
    assert not torch.equal(drawn[3], drawn[-1])


def test_previews_of_a_class_conditional_model_show_different_classes(small: Callable[..., TrainConfig]) -> None:
    assert any(isinstance(event, Preview) and event.count == 8 for event in train(small(epochs=1)))


def test_a_compiled_network_is_called_only_for_full_batches(small: Callable[..., TrainConfig]) -> None:
    """A short last batch would be recompiled; 64 images in batches of 24 end with one of 16."""
    trainer = trainer_of(small(epochs=1))
    batch_sizes: list[int] = []

    class Watched(nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            batch_sizes.append(len(x))
            output: torch.Tensor = trainer.net(x, t, labels)
            return output

    trainer._compiled = Watched()
    for _ in range(3):
        trainer.train_step()
    assert batch_sizes == [24, 24]
