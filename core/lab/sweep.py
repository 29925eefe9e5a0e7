"""Corrupts an image at several noise levels, and denoises it in one step and by sampling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.compute.device_memory import within_memory
from core.config.numbers import number, whole_number
from core.config.sampling import MIN_NOISE_LEVEL, NO_CLASS, resolve_sampling
from core.diffusion.corruption import check_images
from core.diffusion.loaded_model import LoadedModel, as_loaded
from core.diffusion.prob_paths import PATHS
from core.diffusion.sampling import class_tensor, sample
from core.errors import MinidiffError, hint

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One noise level of a sweep; images are (C, H, W) on the CPU, scaled to [0, 1] on every path."""

    t: float  # noise level
    alpha: float  # coefficient of the image
    sigma: float  # coefficient of the noise
    x: Tensor  # the corrupted image
    prediction: Tensor | None  # predicted clean image; None on a path other than the model's
    error: float | None  # mean squared error of `prediction`
    sampled: Tensor | None  # result of sampling from x; None if `steps` is None
    sampled_error: float | None  # mean squared error of `sampled`


def corruption_sweep(
    model: nn.Module | LoadedModel,
    image: ArrayLike,
    noise_levels: Sequence[float],
    *,
    path: str | None = None,
    label: int | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> Iterator[SweepPoint]:
    """Corrupt an image at several noise levels, and denoise each.

    The noise is the same at all noise levels, as in `core.diffusion.sampling.noised`. Predictions are computed in one
    batch with the first record, samples one by one.

    Args:
        model: A model from `load_model`, or a bare network trained with the preset `tutorial`.
        image: (C, H, W), floating point, in [0, 1]; a tensor or a NumPy array.
        noise_levels: Noise levels in [0, 1], in any order.
        path: "mix" (uniform noise), "flow" or "vp" (Gaussian noise); None: the model's path. On
            another path there is no prediction.
        label: Class of a class-conditional model, from 0; -1 or None for unconditional.
        seed: Seed of the noise.
        steps: Sampling steps from each noise level to 0, with the model's defaults; None: no sampling.

    Returns:
        An iterator over one record per noise level.

    Raises:
        MinidiffError: An argument is out of range or has the wrong shape or type, `steps` is given for a path other
            than the model's, or memory runs out.

    Source: the Hugging Face diffusion course, "Diffusion models from scratch".
    """
    loaded = as_loaded(model)
    pixels = image_for(loaded, image)
    noise_levels, seed = tuple(number(t, "a noise level") for t in noise_levels), whole_number(seed, "seed")
    for t in noise_levels:
        if not 0 <= t <= 1:
            raise MinidiffError(f"noise levels must lie in [0, 1], found {t:g}")
    name = loaded.config.path if path is None else path
    if name not in PATHS:
        raise MinidiffError(f"there is no path {name!r}; {hint(name, PATHS, otherwise='paths are')}")
    if steps is not None and name != loaded.config.path:
        raise MinidiffError(f"the model samples on the path {loaded.config.path}, not {name}; leave steps or path out")
    label = resolve_label(loaded, label, steps)
    return _sweep(loaded, pixels, noise_levels, name, label, seed, steps)


def _sweep(
    loaded: LoadedModel,
    image: Tensor,
    noise_levels: tuple[float, ...],
    name: str,
    label: int | None,
    seed: int,
    steps: int | None,
) -> Iterator[SweepPoint]:
    path, n = PATHS[name], len(noise_levels)
    batch = image.expand(n, -1, -1, -1)
    noise = path.sample_noise((1, *image.shape), torch.Generator().manual_seed(seed % 2**63)).expand_as(batch)
    with torch.no_grad(), within_memory(MinidiffError(f"{n} noise levels do not fit into memory; use fewer")):
        times = torch.tensor(noise_levels, dtype=torch.float32, device="cpu")
        x = path.denormalize(path.interpolate(path.normalize(batch), noise, times))
        predictions = one_step(loaded, x, times, label) if n and name == loaded.config.path else None
    for index, t in enumerate(noise_levels):
        prediction = None if predictions is None else predictions[index]
        sampled = None if steps is None else _sample_from(loaded, x[index : index + 1], t, label, seed, steps)
        yield SweepPoint(
            t,
            *path.alpha_sigma(t),
            x[index],
            prediction,
            None if prediction is None else squared_error(prediction, image),
            sampled,
            None if sampled is None else squared_error(sampled, image),
        )


def one_step(model: nn.Module | LoadedModel, x: Tensor, t: Tensor | float, label: int | None = None) -> Tensor:
    """Predict clean images in one step, without guidance or contrast.

    Args:
        model: As for `corruption_sweep`.
        x: Noisy images, (B, C, H, W), scaled as images in [0, 1].
        t: Noise level in [0, 1], (B,) or one number for all.
        label: Class of a class-conditional model, from 0; -1 or None for unconditional.

    Returns:
        (B, C, H, W) on the CPU, scaled as images in [0, 1].

    Raises:
        MinidiffError: The model does not support the label.
    """
    loaded = as_loaded(model)
    path, placed = loaded.path, loaded.placed(x)
    times = torch.as_tensor(t, dtype=placed.dtype, device=placed.device).expand(len(x))
    label = resolve_label(loaded, label)
    classes = class_tensor(None if label is None else (label,) * len(x), loaded.config.info.null_class, placed.device)
    with torch.no_grad():
        predicted = loaded.denoiser(classes).predict(path.normalize(placed), times)
        return path.denormalize(predicted.denoised).float().cpu()


def image_for(loaded: LoadedModel, image: ArrayLike) -> Tensor:
    """An image for a model, (C, H, W) float32 on the CPU.

    Raises:
        MinidiffError: The image has another shape than the model's, or is not floating point in [0, 1].
    """
    image = as_tensor(image, "image")
    shape = loaded.config.info.shape
    if image.shape != shape or not image.is_floating_point():
        raise MinidiffError(
            f"one image of shape {shape} with floating-point values in [0, 1] is needed, "
            f"not {tuple(image.shape)} of {image.dtype}"
        )
    check_images(image, "image")
    return image.detach().float().cpu()


def resolve_label(loaded: LoadedModel, label: int | None, steps: int | None = None) -> int | None:
    """The label for `sample`: -1 for unconditional, None for an unconditional model.

    Raises:
        MinidiffError: The model does not support the label, or `steps` is out of range.
    """
    labels = NO_CLASS if label is None and loaded.config.class_conditional else label
    _, classes = resolve_sampling(loaded.config, 1, steps=steps, labels=labels)
    return None if classes is None else classes[0]


def _sample_from(loaded: LoadedModel, x: Tensor, t: float, label: int | None, seed: int, steps: int) -> Tensor:
    if t < MIN_NOISE_LEVEL:  # no noise to remove
        return x[0]
    *_, last = sample(loaded, steps=steps, seed=seed, start=x, start_t=t, labels=label)
    return last.x[0].float().cpu()


def squared_error(result: Tensor, image: Tensor) -> float:
    """Mean squared error of an image, (C, H, W)."""
    return (result - image).square().mean().item()
