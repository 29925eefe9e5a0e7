"""Converts sampling steps to frames of uint8 images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from core.diffusion.sampling import SampleStep
from core.errors import MinidiffError, NotFinite
from core.runs.trajectory import Denoising, Frame

# Maps (B, 1, H, W) uint8 images to (class, probability in percent) of each, as
# `core.evaluation.feature_classifiers.classify` does.
Classify = Callable[[Tensor], tuple[tuple[int, int], ...]]


def quantized(images: Tensor) -> Tensor:
    """Convert images in [0, 1] to uint8 on the CPU, with values clipped.

    Raises:
        NotFinite: A value is NaN or infinite.
    """
    values = images.detach()
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    # One transfer for both, to synchronize with a GPU only once.
    both = torch.cat((pixels.reshape(-1), values.isfinite().all().to(torch.uint8).view(1))).cpu()
    if not both[-1]:
        raise NotFinite
    return both[:-1].view(images.shape)


def to_uint8(images: Tensor) -> bytes:
    """Convert images, (B, 1, H, W) in [0, 1], to B * H * W bytes, with values clipped."""
    return bytes(quantized(images).contiguous().numpy().tobytes())


def to_frame(step: SampleStep, classify: Classify | None = None) -> Frame:
    """Convert a sampling step to uint8; `classify`, if given, adds the class of each prediction."""
    if step.prediction is None:
        return Frame(step.index, step.t, to_uint8(step.x), None)
    prediction = quantized(step.prediction)
    classes = None if classify is None else classify(prediction)
    return Frame(step.index, step.t, to_uint8(step.x), bytes(prediction.contiguous().numpy().tobytes()), classes)


def record(steps: Iterable[SampleStep], *, model: str, seed: int, classify: Classify | None = None) -> Denoising:
    """Run a sampler to its end and keep all steps as uint8.

    Args:
        steps: As returned by `sample`.
        model: Name of the model, to be stored.
        seed: Seed of the sampling, to be stored.
        classify: If given, adds the class of each prediction.

    Raises:
        MinidiffError: There is no step.
        NotFinite: A value is NaN or infinite.
    """
    frames, shape = [], None
    for step in steps:  # converted one by one, to free their tensors
        frames.append(to_frame(step, classify))
        shape = step.x.shape
    if shape is None:
        raise MinidiffError("there is nothing to record: the sampler yielded no step")
    n, _, height, width = shape
    return Denoising(model, seed, len(frames) - 1, n, height, width, tuple(frames))
