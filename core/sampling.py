"""Sampling: walking back from noise to an image in small steps, each a record that can be watched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.config import IMAGE_SIZE
from core.errors import MinidiffError
from core.memory import within_memory

if TYPE_CHECKING:
    from core.checkpoint import LoadedModel


@dataclass(frozen=True, slots=True)
class SampleStep:
    """One record of a denoising."""

    index: int  # 0 is the start
    amount: float  # noise left in x: start_amount at the start, 0 at the end
    x: Tensor  # (n, 1, 28, 28), the state after this step
    prediction: Tensor | None  # (n, 1, 28, 28), the clean images the net saw in the record before; None in record 0


def sample(
    model: nn.Module | LoadedModel,
    n: int = 8,
    steps: int = 40,
    seed: int = 0,
    start: Tensor | None = None,
    start_amount: float = 1.0,
) -> Iterator[SampleStep]:
    """Denoise in `steps` equal steps: each predicts the clean image and moves part of the way towards it.

    Step i of `steps` moves 1 / (steps - i + 1) of the way, so that the last x is the last prediction. This is an Euler
    step of dx/da = (x - prediction) / a on the straight path from noise to image.

    Args:
        model: a bare net, which is taken to follow the document's recipe, or what `load_model` gives.
        n: how many images; ignored when `start` is given.
        steps: evaluations of the net.
        seed: of the starting noise, which is always drawn on the CPU: a seed means the same picture everywhere.
        start: images to denoise that are already corrupted, (n, 1, 28, 28); None starts from uniform noise in [0, 1).
        start_amount: how much noise `start` holds, in (0, 1].

    Returns:
        A generator of `steps` + 1 records; record 0 is the start.

    Raises:
        MinidiffError: n or steps below 1, an amount outside (0, 1], a start of another shape or type, or more images
            than fit into memory.

    Source: the teaching document's section 3.6.
    """
    if steps < 1:
        raise MinidiffError(f"steps must be at least 1, not {steps}")
    if n < 1:
        raise MinidiffError(f"n must be at least 1, not {n}")
    if not 0 < start_amount <= 1:
        raise MinidiffError(f"start_amount must lie in (0, 1], not {start_amount:g}")
    if start is None:
        if start_amount != 1:
            raise MinidiffError("start_amount says how noisy `start` is; give `start` too, or leave it at 1")
        generator = torch.Generator().manual_seed(seed % 2**63)
        with within_memory(_too_many(n)):
            start = torch.rand((n, 1, IMAGE_SIZE, IMAGE_SIZE), generator=generator)
    elif start.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE) or len(start) == 0:
        raise MinidiffError(f"start needs shape (n, 1, {IMAGE_SIZE}, {IMAGE_SIZE}), not {tuple(start.shape)}")
    elif not start.is_floating_point():
        raise MinidiffError(f"start needs floating-point values in [0, 1], not {start.dtype}; divide bytes by 255")
    net = model if isinstance(model, nn.Module) else model.net
    return _walk(net, start, steps, start_amount)


def _walk(net: nn.Module, x: Tensor, steps: int, start_amount: float) -> Iterator[SampleStep]:
    weight = next(net.parameters(), None)
    if weight is not None:
        x = x.to(weight.device, weight.dtype)
    yield SampleStep(0, start_amount, x, None)
    for index in range(1, steps + 1):
        # Closed before the yield, so that the caller's own mode is untouched.
        with torch.no_grad(), within_memory(_too_many(len(x))):
            prediction = predict(net, x)
            mix = 1 / (steps - index + 1)
            x = x * (1 - mix) + prediction * mix
        yield SampleStep(index, start_amount * (1 - index / steps), x, prediction)


def predict(net: nn.Module, x: Tensor) -> Tensor:
    """The clean images that a net of the document's recipe sees in `x`; it is always asked at timestep 0."""
    output = net(x, 0)
    return output if isinstance(output, Tensor) else output.sample  # a bare diffusers net wraps its result


def _too_many(n: int) -> MinidiffError:
    return MinidiffError(f"{n} images at once do not fit into memory; ask for a smaller n")
