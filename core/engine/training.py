"""Replies to the requests of the training bench."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from core.compute.torch_settings import one_thread
from core.diffusion.loaded_model import LoadedModel
from core.engine.lab import ClassifyFor, LabImage, channels_last, condition_of, read_drawing, to_array
from core.engine.protocol import Array
from core.engine.training_messages import MAX_BATCH, MAX_STEPS, TrainingReply, TrainingRequest
from core.errors import MinidiffError
from core.lab.training_step import LossBin, training_steps


def training_replies(
    request: TrainingRequest, image: LabImage, model: LoadedModel, classify: ClassifyFor
) -> Iterator[TrainingReply]:
    """The replies to a request, one for each step.

    Raises:
        MinidiffError: A value of the request is out of its range, the model cannot be trained, or its loss is not
            finite.
    """
    if not (request.steps <= MAX_STEPS and request.batch_size <= MAX_BATCH):
        raise MinidiffError(
            f"steps must be at most {MAX_STEPS} and the batch {MAX_BATCH}, not {request.steps} and {request.batch_size}"
        )
    image, drawing_read = read_drawing(image, model, classify)
    records = training_steps(
        model,
        image.pixels,
        request.steps,
        batch_size=request.batch_size,
        t=request.t,
        label=condition_of(model, image, None),
        seed=request.seed,
        learning_rate=request.learning_rate,
    )
    with one_thread():
        for record in records:
            gradients = [(layer.norm, layer.weight_norm) for layer in record.gradients]
            yield TrainingReply(
                label=image.label,
                step=record.step,
                steps=request.steps,
                condition=record.label,
                drawing_read=drawing_read,
                prediction=model.config.prediction,
                value_range=(model.path.low, model.path.high),
                keeps_noise=request.t is not None,
                batch_size=request.batch_size,
                t=record.t,
                alpha=record.alpha,
                sigma=record.sigma,
                weight=record.weight,
                loss=record.loss,
                batch_loss=record.batch_loss,
                gradient_norm=record.gradient_norm,
                image=channels_last(record.image),
                noise=channels_last(record.noise),
                noisy=channels_last(record.noisy),
                target=channels_last(record.target),
                output=channels_last(record.output),
                errors=to_array(record.errors.mean(dim=0)),
                layers=tuple(layer.name for layer in record.gradients),
                gradients=to_array(torch.tensor(gradients, dtype=torch.float32, device="cpu")),
                bins=_bins(record.bins),
                first_bins=_bins(record.first_bins),
            )


def _bins(bins: Sequence[LossBin]) -> Array:
    """The middle, the mean and the standard deviation of each bin, (K, 3)."""
    rows = [((part.low + part.high) / 2, part.mean, part.std) for part in bins]
    return to_array(torch.tensor(rows, dtype=torch.float32, device="cpu").reshape(-1, 3))
