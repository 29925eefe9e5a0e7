"""Interpolation between two seeds or two images, and the inversion of images to noise.

Notation as in `core.diffusion.prob_paths`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.compute.device_memory import within_memory
from core.config.numbers import whole_number
from core.config.sampling import Sampling, SamplingOptions, noise_levels, resolve_sampling
from core.diffusion.editing import unlabelled
from core.diffusion.inputs import checked_images
from core.diffusion.loaded_model import LoadedModel, as_loaded
from core.diffusion.samplers import Denoiser, ddim, step_generators
from core.diffusion.sampling import SampleStep, batch_size, class_tensor, merged, out_of_memory, trajectories
from core.errors import MinidiffError
from core.generators import WithResult, result_of

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

INVERSION_STEPS = 50
ITERATIONS = 3  # of the fixed-point iteration in each step; more change little on the built-in model


def interpolate_seeds(
    model: nn.Module | LoadedModel,
    seed_a: int,
    seed_b: int,
    n: int = 8,
    steps: int | None = None,
    *,
    labels: int | Iterable[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[SampleStep]:
    """Generate n images on the way from the first image of one seed to that of another.

    Args:
        model, steps, options: As for `sample`. Stochastic samplers add other noise to each image.
        seed_a, seed_b: Seeds of the first and the last image.
        n: Number of images, both ends included, 2 or more.
        labels: As for `sample`, but None is no class, since the images should differ in nothing but their noise.

    Raises:
        MinidiffError: As for `sample`.

    Source: Song et al. 2021 (DDIM), section 5.3.
    """
    loaded, n = as_loaded(model), _checked_count(n)
    noise = slerp(loaded.noise(1, seed_a), loaded.noise(1, seed_b), n, loaded.path.noise_mean)
    chosen, classes = resolve_sampling(loaded.config, n, steps=steps, labels=unlabelled(loaded, labels), **options)
    return merged(trajectories(loaded, chosen, n, classes, seed_a, initial=noise))


def interpolate_images(
    model: nn.Module | LoadedModel,
    image_a: ArrayLike,
    image_b: ArrayLike,
    n: int = 8,
    steps: int = INVERSION_STEPS,
    *,
    labels: int | Iterable[int] | None = None,
) -> Iterator[SampleStep]:
    """Generate n images on the way from one image to another, by interpolating the noise that `invert` finds.

    The first and the last image reproduce the given ones up to the error of the inversion.

    Args:
        model: As for `sample`; not on the path mix.
        image_a, image_b: (1, C, H, W) or (C, H, W), in [0, 1].
        n: Number of images, both ends included, 2 or more.
        steps: Steps of DDIM in each direction.
        labels: One class for all images; None: no class.

    Raises:
        MinidiffError: As for `invert`.

    Source: Song et al. 2021 (DDIM), sections 4.3 and 5.3.
    """
    records = invert_and_interpolate(model, image_a, image_b, n, steps, labels=labels)
    return (record for record in records if isinstance(record, SampleStep))


@dataclass(frozen=True, slots=True)
class InversionStep:
    """One step of an inversion: the number of steps that are done, and of all."""

    done: int
    steps: int


def invert_and_interpolate(
    model: nn.Module | LoadedModel,
    image_a: ArrayLike,
    image_b: ArrayLike,
    n: int,
    steps: int,
    *,
    labels: int | Iterable[int] | None = None,
) -> Iterator[InversionStep | SampleStep]:
    """As `interpolate_images`, which has the same arguments, with the progress of the inversion."""
    loaded, n = as_loaded(model), _checked_count(n)
    both = torch.cat([_one_image(image, name, loaded) for image, name in ((image_a, "image_a"), (image_b, "image_b"))])
    chosen, classes = ddim_options(loaded, n, steps, labels)

    def interpolated() -> Iterator[InversionStep | SampleStep]:
        ends = None if classes is None else [classes[0], classes[-1]]
        with WithResult(_inversion(loaded, both, steps, ends)) as inversion:
            yield from inversion
        noise = inversion.result
        yield from merged(trajectories(loaded, chosen, n, classes, 0, initial=slerp(noise[:1], noise[1:], n)))

    return interpolated()


def invert(
    model: nn.Module | LoadedModel,
    images: ArrayLike,
    steps: int = INVERSION_STEPS,
    *,
    labels: int | Iterable[int] | None = None,
) -> Tensor:
    """The noise from which DDIM generates the images: the probability flow ODE from t = 0 to 1.

    `sample(model, noise=..., sampler="ddim", steps=steps, guidance=1, contrast=0, labels=...)` generates the images
    again. For the built-in default model and 50 steps the root mean square error is below 0.001.

    Args:
        model: As for `sample`; not on the path mix, where the noise of images is far from uniform.
        images: (n, C, H, W) in [0, 1].
        steps: Steps of DDIM.
        labels: Classes of the images, one for all or n; None: no class.

    Returns:
        The noise, (n, C, H, W) float32 on the CPU.

    Raises:
        MinidiffError: The images have the wrong shape, type or range; a class is out of range; the model is on the path
            mix.

    Source: Song et al. 2021 (DDIM), section 4.3; fixed-point iteration by Pan et al. 2023.
    """
    loaded = as_loaded(model)
    return result_of(_inversion(loaded, checked_images(images, loaded.config.info.shape), steps, labels))


def _inversion(
    model: LoadedModel, images: Tensor, steps: int, labels: int | Iterable[int] | None
) -> Generator[InversionStep, None, Tensor]:
    """Invert images of the model's shape, as `invert` does."""
    path, info = model.path, model.config.info
    x_0 = path.normalize(images)
    n, batch = len(x_0), batch_size(info.shape)
    _, classes = ddim_options(model, n, steps, labels)
    times, noise = list(pairwise(reversed(noise_levels(steps)))), []
    for number, first in enumerate(range(0, n, batch)):
        part = slice(first, first + batch)
        with within_memory(out_of_memory(min(n, batch))):
            x = model.placed(x_0[part])
        batch_classes = None if classes is None else classes[part]
        denoiser = model.denoiser(class_tensor(batch_classes, info.null_class, x.device))
        for done, (s, t) in enumerate(times, start=number * len(times) + 1):
            # Left before the yield, to keep the caller's grad mode.
            with torch.no_grad(), within_memory(out_of_memory(len(x))):
                x = ddim_inverse(denoiser, x, s, t)
            yield InversionStep(done, len(times) * -(-n // batch))
        noise.append(x.float().cpu())
    return torch.cat(noise)


def ddim_inverse(denoiser: Denoiser, x_s: Tensor, s: float, t: float) -> Tensor:
    """The x_t from which a DDIM step from t to s leads to `x_s`.

    It solves ddim(x_t, t -> s) = x_s for x_t by fixed-point iteration. With one iteration this is the usual DDIM
    inversion, which takes the noise at x_s for that at x_t.
    """
    generators = step_generators(torch.Generator())  # not used: DDIM is deterministic
    x_t = x_s
    for _ in range(ITERATIONS):
        ((back, _denoised),) = ddim(denoiser, x_t, (t, s), generators)
        x_t = x_t + (x_s - back)
    return x_t


def slerp(a: Tensor, b: Tensor, n: int, mean: float = 0.0) -> Tensor:
    """Spherical interpolation: n points on the arc from a to b, around the mean of their distribution.

    It keeps the norm, and with it the noise level; on a straight line noise would lose up to half of its variance.

    Args:
        a, b: (1, C, H, W).
        n: Number of points, both ends included.
        mean: Mean of each value of the noise.

    Returns:
        (n, C, H, W), of the dtype of `a`.

    Source: Shoemake 1985; Song et al. 2021 (DDIM), section 5.3.
    """
    x, y = a.double() - mean, b.double() - mean
    weight = torch.linspace(0, 1, n, dtype=torch.float64, device=a.device).view(-1, 1, 1, 1)
    theta = torch.acos(((x * y).sum() / (x.norm() * y.norm())).clamp(-1, 1))
    if not theta.sin() > 1e-6:  # parallel, or one is 0
        return (mean + (1 - weight) * x + weight * y).to(a)
    return (mean + (((1 - weight) * theta).sin() * x + (weight * theta).sin() * y) / theta.sin()).to(a)


def ddim_options(
    model: LoadedModel, n: int, steps: int, labels: int | Iterable[int] | None
) -> tuple[Sampling, tuple[int, ...] | None]:
    """The options and classes with which `invert` and `interpolate_images` sample, as `resolve_sampling` returns them.

    Raises:
        MinidiffError: As for `invert`.
    """
    if not model.path.gaussian:
        raise MinidiffError(
            f"images cannot be inverted on the path {model.config.path}, whose noise is uniform; "
            "use a model of the path flow or vp, or interpolate between seeds"
        )
    options: SamplingOptions = {"sampler": "ddim", "guidance": 1.0, "shift": 1.0, "contrast": 0.0}
    return resolve_sampling(model.config, n, steps=steps, labels=unlabelled(model, labels), **options)


def _one_image(image: ArrayLike, name: str, model: LoadedModel) -> Tensor:
    tensor = as_tensor(image, name)
    images = checked_images(tensor[None] if tensor.dim() == 3 else tensor, model.config.info.shape)
    if len(images) != 1:
        raise MinidiffError(f"{name} must be one image, not {len(images)}")
    return images


def _checked_count(n: int) -> int:
    n = whole_number(n, "n")
    if n < 2:
        raise MinidiffError(f"n must be at least 2, for both ends of the interpolation, not {n}")
    return n
