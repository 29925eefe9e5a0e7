"""The loss at each noise level beside the least possible one, measured a few times during training."""

from __future__ import annotations

import time
from collections.abc import Generator

from core.data.datasets import LabeledImages
from core.errors import MinidiffError
from core.evaluation.loss_by_level import (
    LEVELS,
    MIN_N,
    OPERATIONS,
    N,
    compare_training_losses,
    floor_operations,
    loss_unavailable,
)
from core.generators import WithResult
from core.runs.events import LossByLevel, Warned
from core.training.trainer import Trainer

EVERY = 4  # measured after epochs 1, 4, 16, 64 and so on, and the last one
SHARE = 50  # training images of an epoch for each noisy image: the network takes less than 1% of the epoch's time


def is_due(epoch: int, *, last: bool) -> bool:
    """Whether to measure after an epoch, from 1."""
    due = 1
    while due < epoch:
        due *= EVERY
    return last or due == epoch


def measure_loss_by_level(trainer: Trainer, epoch: int) -> Generator[int, None, LossByLevel | Warned | None]:
    """Compare the loss of the EMA weights with the least possible one, on training images.

    Yields:
        Noisy images done.

    Returns:
        The event, or why the measurement failed; None without a floor, or if the training set is so large that the
        floor would take much longer than a second on two cores.
    """
    began, model = time.monotonic(), trainer.ema_model()
    if loss_unavailable(model):
        return None
    training = LabeledImages(trainer.images, trainer.labels.to(trainer.images.device))
    affordable = int(OPERATIONS / 2 / floor_operations(model.config, training, 1))
    n = min(affordable, max(MIN_N, min(N, len(training.images) // (LEVELS * SHARE))))
    if n < MIN_N:
        return None
    was_training = model.net.training
    model.net.eval()
    try:
        with WithResult(compare_training_losses(model, training, n=n, batch=model.config.batch_size)) as comparison:
            yield from comparison
    except (MinidiffError, RuntimeError) as error:  # no reason to end the training
        return Warned(message=f"the loss by noise level was not measured: {str(error).splitlines()[0]}")
    finally:
        model.net.train(was_training)
    network, ideal = comparison.result.network, comparison.result.ideal
    return LossByLevel(
        epoch=epoch,
        step=trainer.step,
        n=n,
        levels=ideal.levels,
        losses=network.values,
        floors=ideal.values,
        loss=network.mean,
        floor=ideal.mean,
        seconds=time.monotonic() - began,
    )
