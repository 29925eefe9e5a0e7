"""The presets against the tutorial's recipe, transcribed plainly in benchmarks/plain_recipe.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.plain_recipe import STEPS, plain_losses, plain_twin
from core import TrainConfig, load_dataset
from core.compute.seeding import epoch_order
from core.training.trainer import Trainer

TOLERANCE = 1e-4  # relative


@pytest.mark.parametrize(("preset", "batch", "images"), [("quick", 128, 600), ("tutorial", 8, 40)])
def test_presets_match_the_plain_loop_for_twenty_steps(preset: str, batch: int, images: int) -> None:
    """600 and 40 images are not multiples of the batch size or run out before 20 steps, to cover short batches and
    new epochs; the tutorial preset uses batch size 8, since a step of 128 takes seconds on a CPU."""
    data = load_dataset("glyphs", split="train", limit=images)
    trainer = Trainer(TrainConfig(preset=preset, batch_size=batch, seed=3), torch.device("cpu"))
    trainer.set_data(*data)
    plain = plain_losses(plain_twin(trainer), data.images, seed=3, batch=batch)

    expected = [next(plain) for _ in range(STEPS)]
    found = [trainer.train_step()[0].item() for _ in range(STEPS)]

    assert found == pytest.approx(expected, rel=TOLERANCE)


def test_presets_match_the_tutorial_settings() -> None:
    tutorial, quick = TrainConfig(preset="tutorial"), TrainConfig(preset="quick")
    assert (tutorial.model, quick.model) == ("unet2d", "basic_unet")
    for config in (tutorial, quick):
        assert (config.epochs, config.batch_size, config.learning_rate) == (30, 128, 1e-3)
        assert config.model_options["channels"] == (32, 64, 64)


def test_an_epoch_of_60000_images_is_468_whole_batches_and_one_of_96() -> None:
    trainer = Trainer(TrainConfig(preset="quick", channels=(4,)), torch.device("cpu"))
    trainer.set_data(torch.zeros((60_000, 1, 28, 28), dtype=torch.uint8), torch.zeros(60_000, dtype=torch.int64))
    assert trainer.steps_per_epoch == 469
    assert [len(trainer.batch(step)[0]) for step in (0, 467, 468, 469)] == [128, 128, 96, 128]


def test_every_epoch_uses_every_image_once_in_a_new_order() -> None:
    first, second = (epoch_order(7, epoch, 1000) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(1000))
    assert not torch.equal(first, second)
    assert torch.equal(first, epoch_order(7, 0, 1000))


@pytest.mark.slow
def test_three_epochs_of_quick_reach_the_published_losses(genuine_mnist: Path) -> None:
    """One seed against the published run, within 10%; docs/benchmarks-history.md has the medians of three seeds."""
    from core import train
    from core.runs.events import Epoch

    config = TrainConfig(preset="quick", dataset="mnist", data_root=genuine_mnist, epochs=3, device="cpu")
    losses = [event.loss for event in train(config) if isinstance(event, Epoch)]
    assert losses == pytest.approx([0.0267, 0.0207, 0.0189], rel=0.10)
