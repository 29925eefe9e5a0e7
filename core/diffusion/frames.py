"""Converts sampling steps to frames of uint8 images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from core.diffusion.sampling import SampleStep
from core.errors import MinidiffError, NotFinite
from core.runs.trajectory import Denoising, Frame

# Maps (B, C, H, W) uint8 images to (class, probability in percent) of each, as
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


def shrunk(images: Tensor, longest: int) -> Tensor:
    """Images, (B, C, H, W), with their longer side at most `longest`, by averaging."""
    height, width = images.shape[2:]
    if max(height, width) <= longest:
        return images
    scale = longest / max(height, width)
    return functional.adaptive_avg_pool2d(images, (max(1, round(height * scale)), max(1, round(width * scale))))


def to_uint8(images: Tensor) -> bytes:
    """Convert images, (B, C, H, W) in [0, 1], to bytes of shape (B, H, W, C), with values clipped."""
    return to_bytes(quantized(images))


def to_bytes(pixels: Tensor) -> bytes:
    """Bytes of uint8 images, (B, C, H, W), in the shape (B, H, W, C)."""
    return pixels.permute(0, 2, 3, 1).contiguous().numpy().tobytes()


def to_frame(step: SampleStep, classify: Classify | None = None) -> Frame:
    """Convert a sampling step to uint8; `classify`, if given, adds the class of each prediction."""
    if step.prediction is None:
        return Frame(step.index, step.t, to_uint8(step.x), None)
    prediction = quantized(step.prediction)
    classes = None if classify is None else classify(prediction)
    return Frame(step.index, step.t, to_uint8(step.x), to_bytes(prediction), classes)


def record(
    steps: Iterable[SampleStep], *, model: str, seed: int, classify: Classify | None = None, characters: bool = True
) -> Denoising:
    """Run a sampler to its end and keep all steps as uint8.

    Args:
        steps: As returned by `sample`.
        model: Name of the model, to be stored.
        seed: Seed of the sampling, to be stored.
        classify: If given, adds the class of each prediction.
        characters: Whether gray images are light characters on black, which exports show as dark on white.

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
    n, channels, height, width = shape
    return Denoising(model, seed, len(frames) - 1, n, height, width, tuple(frames), channels, characters)
