"""Sampling: walking back from noise to an image in small steps, each a record that can be watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from torch import Tensor, nn

from core.checkpoint import LoadedModel, as_loaded
from core.config import IMAGE_SIZE
from core.errors import MinidiffError
from core.memory import within_memory
from core.paths import PATHS, Path
from core.published import NULL
from core.samplers import SAMPLERS, Steps
from core.sampling_options import DIFFUSERS, SamplingOptions, amounts, settle


@dataclass(frozen=True, slots=True)
class SampleStep:
    """One record of a denoising; images lie around [0, 1], whatever the path's own range."""

    index: int  # 0 is the start
    amount: float  # noise left in x: start_amount at the start, 0 at the end
    x: Tensor  # (n, 1, 28, 28), the state after this step
    prediction: Tensor | None  # (n, 1, 28, 28), the clean images the net saw in the record before; None in record 0


def sample(
    model: nn.Module | LoadedModel,
    n: int = 8,
    steps: int | None = None,
    seed: int = 0,
    start: Tensor | None = None,
    start_amount: float = 1.0,
    *,
    labels: int | Iterable[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[SampleStep]:
    """Denoise in `steps` steps, each of which asks the net for the clean image and moves towards it.

    Options that are None are the model's own, which `core.sampling_options.defaults_for` tells. The document's recipe
    has 40 steps of "mix": step i of k moves 1 / (k - i + 1) of the way to the prediction, so that the last x is the
    last prediction. This is an Euler step of dx/da = (x - prediction) / a on the straight path from noise to image.

    Args:
        model: a bare net, which is taken to follow the document's recipe, or what `load_model` gives.
        n: how many images; ignored when `start` is given.
        steps: 1 to 100,000; each asks the net once ("heun" twice, but for the last), and once more under guidance.
        seed: of all noise, which is always drawn on the CPU: a seed means the same picture everywhere.
        start: images to denoise that are already corrupted, (n, 1, 28, 28), around [0, 1]; None starts from noise.
        start_amount: how much noise `start` holds, in (0, 1].
        labels: for a model with classes: one class for all, from 0 to 9, or -1 for any; or n of these, as a sequence
            or an integer tensor; None takes the classes in turn.
        options: sampler, guidance, spacing and contrast, as `core.sampling_options.SamplingOptions` tells.

    Returns:
        A generator of `steps` + 1 records; record 0 is the start.

    Raises:
        MinidiffError: n or steps out of their range, an amount outside (0, 1], a start of another shape or type, more
            images than fit into memory, a sampler that does not fit the model's path, or a class or guidance asked of
            a model without classes.

    Source: the teaching document's section 3.6.
    """
    loaded = as_loaded(model)
    config = loaded.config
    if start is not None:
        _check_start(start)
        n = len(start)
    if n < 1:
        raise MinidiffError(f"n must be at least 1, not {n}")
    if not 0 < start_amount <= 1:
        raise MinidiffError(f"start_amount must lie in (0, 1], not {start_amount:g}")
    if start is None and start_amount != 1:
        raise MinidiffError("start_amount says how noisy `start` is; give `start` too, or leave it at 1")
    path = PATHS[config.path]
    with within_memory(_too_many(n)):  # before labels are counted out: this is where far too many images are refused
        if start is None:
            x = path.source((n, 1, IMAGE_SIZE, IMAGE_SIZE), torch.Generator().manual_seed(seed % 2**63))
        else:
            x = path.inward(start)
        x = loaded.placed(x)
    chosen, classes = settle(config, n, steps=steps, labels=labels, **options)
    denoiser = loaded.denoiser(class_tensor(classes, x.device), chosen.guidance)
    if chosen.contrast:
        denoiser = replace(denoiser, contrast=chosen.contrast, average=loaded.average)
    falling = amounts(chosen.steps, chosen.spacing, start_amount)
    if chosen.sampler.startswith(DIFFUSERS):
        from core.scheduled import scheduled  # it loads diffusers, which takes seconds

        step = scheduled(chosen.sampler.removeprefix(DIFFUSERS))
    else:
        step = SAMPLERS[chosen.sampler]
    return _walk(step(denoiser, x, falling, torch.Generator().manual_seed(seed % 2**63)), path, x, falling)


def noised(model: LoadedModel, images: Tensor, amount: float, seed: int = 0) -> Tensor:
    """Images with so much noise as the model's path has at `amount`: what `sample` takes as its `start`.

    Args:
        model: what `load_model` gives.
        images: (n, 1, 28, 28) in [0, 1].
        amount: in (0, 1]; 1 is noise alone.
        seed: of the noise, which is the same as that of a sampling that starts from noise.

    Returns:
        (n, 1, 28, 28), on the scale of images; outside [0, 1] where the noise is Gaussian.
    """
    _check_start(images)
    path = PATHS[model.config.path]
    noise = path.source(images.shape, torch.Generator().manual_seed(seed % 2**63))
    return path.outward(path.mix(path.inward(images), noise, images.new_full((len(images),), amount)))


def class_tensor(classes: Sequence[int] | None, device: torch.device) -> Tensor | None:
    """Classes as a net takes them, (n,) int64: `settle` writes -1 for an image of any class, and nets learn NULL."""
    return None if classes is None else torch.tensor([NULL if label < 0 else label for label in classes], device=device)


def _check_start(start: Tensor) -> None:
    if start.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE) or len(start) == 0:
        raise MinidiffError(f"start needs shape (n, 1, {IMAGE_SIZE}, {IMAGE_SIZE}), not {tuple(start.shape)}")
    if not start.is_floating_point():
        raise MinidiffError(f"start needs floating-point values in [0, 1], not {start.dtype}; divide bytes by 255")


def _walk(steps: Steps, path: Path, x: Tensor, falling: Sequence[float]) -> Iterator[SampleStep]:
    yield SampleStep(0, falling[0], path.outward(x), None)
    for index, amount in enumerate(falling[1:], start=1):
        # Closed before the yield, so that the caller's own mode is untouched.
        with torch.no_grad(), within_memory(_too_many(len(x))):
            x, prediction = next(steps)
            seen, expected = path.outward(x), path.outward(prediction)
        yield SampleStep(index, amount, seen, expected)


def _too_many(n: int) -> MinidiffError:
    return MinidiffError(f"{n} images at once do not fit into memory; ask for a smaller n")
