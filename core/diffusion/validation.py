"""The loss of a trained model on given images, as training measures it."""

from __future__ import annotations

import torch
from torch import Tensor

from core.compute.precision import in_precision
from core.compute.seeding import VALIDATION, VALIDATION_SEED, generator_for
from core.diffusion.inputs import check_shape
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import sample_times, squared_errors
from core.diffusion.samplers import call_network
from core.errors import MinidiffError


def image_losses(
    model: LoadedModel, x_0: Tensor, noise: Tensor, t: Tensor, labels: Tensor, *, weighting: str | None = None
) -> Tensor:
    """The weighted squared error of the prediction for each image, the mean over its values: (B,) float64 on the CPU.

    Args:
        model: A model from `load_model`, or one in training.
        x_0: Images, (B, C, H, W) float32 in the value range of the model's path.
        noise: Like x_0.
        t: Noise levels in [0, 1], (B,).
        labels: (B,) int64; used by class-conditional models.
        weighting: Quantity whose squared error is the loss; None: that of the model's config.
    """
    config, path = model.config, model.path
    x_0, noise, t = (model.placed(tensor) for tensor in (x_0, noise, t))
    classes = labels.to(x_0.device) if config.class_conditional else None
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    with torch.no_grad():
        x_t = path.interpolate(x_0, noise, t).contiguous(memory_format=layout)
        with in_precision(config.precision, x_t.device):
            output = call_network(model.net, x_t, t, classes, time_conditioning=config.time_conditioning)
        errors = squared_errors(path, config.prediction, weighting or config.weighting, output, x_0, noise, t)
    return errors.flatten(1).mean(1).double().cpu()


def validation_loss(model: LoadedModel, images: Tensor, labels: Tensor) -> float:
    """The mean weighted squared error of the prediction, with the noise and noise levels of training's own validation.

    On the whole validation split it is what the run's log has for the end of an epoch, except for rounding.

    Args:
        model: A model from `load_model`.
        images: (N, C, H, W) uint8, as returned by `load_dataset`.
        labels: (N,) int64; used by class-conditional models.

    Raises:
        MinidiffError: The images have another shape than the model's, or the model has no such loss: it is a distilled
            model or a folder of diffusers.
    """
    config, path = model.config, model.path
    if config.objective != "diffusion" or model.schedule is not None:
        raise MinidiffError(f"{model.name} was not trained on a denoising loss by minidiff; it has no validation loss")
    check_shape(images, "images", config.info.shape)
    total, size = 0.0, config.batch_size
    for position in range(0, len(images), size):
        generator = generator_for(VALIDATION_SEED, VALIDATION, position)
        x_0 = path.normalize(images[position : position + size].float() / 255)
        t = sample_times(config.time_sampling, len(x_0), generator)
        noise = path.sample_noise(x_0.shape, generator)
        total += float(image_losses(model, x_0, noise, t, labels[position : position + size]).sum())
    return total / len(images)
