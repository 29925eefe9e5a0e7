"""Frames of uint8 images from the steps of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from core.diffusion.sampling import SampleStep
from core.errors import MinidiffError, NotFinite
from core.runs.trajectory import Denoising, Frame

# Maps (B, 1, H, W) uint8 images to the class of each and its probability in percent, as
# `core.evaluation.feature_classifiers.readings` does.
Reader = Callable[[Tensor], tuple[tuple[int, int], ...]]


def quantized(images: Tensor) -> Tensor:
    """Images around [0, 1] as uint8 on the CPU, of the same shape; values outside [0, 1] are clipped.

    Raises:
        NotFinite: a value is NaN or infinite, which uint8 cannot show.
    """
    values = images.detach()
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    # Both in one transfer, so that a GPU is waited for once.
    both = torch.cat((pixels.reshape(-1), values.isfinite().all().to(torch.uint8).view(1))).cpu()
    if not both[-1]:
        raise NotFinite
    return both[:-1].view(images.shape)


def to_uint8(images: Tensor) -> bytes:
    """Images, (B, 1, H, W) around [0, 1], as B * H * W bytes."""
    return bytes(quantized(images).contiguous().numpy().tobytes())


def to_frame(step: SampleStep, reader: Reader | None = None) -> Frame:
    """A sampler's record as uint8; with what `reader` takes each prediction for, if one is given."""
    if step.prediction is None:
        return Frame(step.index, step.t, to_uint8(step.x), None)
    prediction = quantized(step.prediction)
    read = None if reader is None else reader(prediction)
    return Frame(step.index, step.t, to_uint8(step.x), bytes(prediction.contiguous().numpy().tobytes()), read)


def record(steps: Iterable[SampleStep], *, model: str, seed: int, reader: Reader | None = None) -> Denoising:
    """Run a sampler to its end and keep every record as uint8; with what `reader` reads, if one is given."""
    frames, shape = [], None
    for step in steps:  # each as it comes, so that not all of their tensors are held
        frames.append(to_frame(step, reader))
        shape = step.x.shape
    if shape is None:
        raise MinidiffError("there is nothing to record: the sampler gave no step")
    n, _, height, width = shape
    return Denoising(model, seed, len(frames) - 1, n, height, width, tuple(frames))
