"""Compares the ideal denoiser with a network: predictions for a noisy image, and samples from the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.config.sampling import NO_CLASS, SamplingOptions
from core.diffusion.ideal_denoiser import IdealDenoiser
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import SampleStep, class_tensor, sample
from core.errors import MinidiffError
from core.lab.sweep import corruption_sweep, one_step, squared_error

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

BATCH = 8  # noise levels in a batch
# The probability flow ODE of each denoiser: guidance and contrast would change its predictions.
SAMPLING: SamplingOptions = {"sampler": "euler", "guidance": 1.0, "shift": 1.0, "contrast": 0.0}


@dataclass(frozen=True, slots=True)
class IdealPoint:
    """One noise level of an image; images are (C, H, W) on the CPU, scaled to [0, 1]."""

    t: float  # noise level
    x: Tensor  # the noisy image
    ideal: Tensor  # prediction of the ideal denoiser
    network: Tensor  # prediction of the network
    local: Tensor | None  # prediction of the ideal denoiser with local patches; None without one
    ideal_error: float  # mean squared error of `ideal`
    network_error: float  # of `network`
    local_error: float | None  # of `local`
    indices: Tensor  # (k,) int64: the training images of largest weight, in descending order of the weights
    weights: Tensor  # (k,) float32: their weights in the mean that the ideal denoiser predicts
    effective: float  # effective number of training images in that mean, exp(entropy of the weights), from 1


def ideal_sweep(
    model: LoadedModel,
    ideal: LoadedModel,
    image: ArrayLike,
    noise_levels: Sequence[float],
    *,
    local: LoadedModel | None = None,
    label: int | None = None,
    seed: int = 0,
    k: int = 8,
) -> Iterator[IdealPoint]:
    """Corrupt an image at several noise levels, and predict it with the ideal denoiser and with a network.

    The noise is that of `corruption_sweep`.

    Args:
        model: A model from `load_model`, on a path with Gaussian noise.
        ideal: The ideal denoiser of training images, from `core.ideal_model(model.config, ...)`.
        image: (C, H, W), floating point, in [0, 1]; a tensor or a NumPy array.
        noise_levels: Noise levels in [0, 1], in any order.
        local: The ideal denoiser with local patches, from `core.ideal_model(..., patch=...)`; None: no such prediction.
        label: Class given to all, from 0; -1 or None for unconditional.
        seed: Seed of the noise.
        k: Number of training images in a record, at most as many as there are of the class.

    Returns:
        An iterator over one record per noise level, computed in batches of `BATCH`.

    Raises:
        MinidiffError: As for `corruption_sweep`, `ideal` is not an ideal denoiser, or `k` is out of range.
    """
    net = ideal.net
    if not isinstance(net, IdealDenoiser):
        raise MinidiffError("ideal must be a model from ideal_model, not a network; pass the network as model")
    for first in range(0, len(noise_levels), BATCH):
        points = list(corruption_sweep(model, image, noise_levels[first : first + BATCH], label=label, seed=seed))
        x = torch.stack([point.x for point in points])
        t = torch.tensor([point.t for point in points], dtype=torch.float32, device="cpu")
        labels = None
        if model.config.class_conditional:
            given = NO_CLASS if label is None else label
            labels = class_tensor((given,) * len(points), model.config.info.null_class, x.device)
        predicted = net.predict(model.path.normalize(x), t, labels, k=k)
        denoised = model.path.denormalize(predicted.denoised)
        denoised_locally = None if local is None else one_step(local, x, t, label)
        clean = torch.as_tensor(image).float()
        for index, point in enumerate(points):
            assert point.prediction is not None
            assert point.error is not None
            local_prediction = None if denoised_locally is None else denoised_locally[index]
            yield IdealPoint(
                t=point.t,
                x=point.x,
                ideal=denoised[index],
                network=point.prediction,
                local=local_prediction,
                ideal_error=squared_error(denoised[index], clean),
                network_error=point.error,
                local_error=None if local_prediction is None else squared_error(local_prediction, clean),
                indices=predicted.indices[index],
                weights=predicted.weights[index],
                effective=float(predicted.effective[index]),
            )


def sample_together(
    models: Sequence[LoadedModel], steps: int, *, label: int | None = None, seed: int = 0
) -> Iterator[tuple[SampleStep, ...]]:
    """Sample one image with each of several models from the same noise, with Euler's method and without guidance.

    Args:
        models: Models of the same path and shape, such as an ideal denoiser and a network.
        steps: Number of steps, at least 1.
        label: Class of class-conditional models, from 0; -1 for unconditional.
        seed: Seed of the noise.

    Returns:
        An iterator over `steps` + 1 tuples with one record of `core.sample` for each model.

    Raises:
        MinidiffError: As for `core.sample`.
    """
    trajectories = [sample(model, n=1, steps=steps, seed=seed, labels=label, **SAMPLING) for model in models]
    return zip(*trajectories, strict=True)
