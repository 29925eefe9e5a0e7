"""Sampling: denoising from noise to an image in small steps, each a record that can be watched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.compute.device_memory import within_memory
from core.config.datasets import IMAGE_SIZE, NULL_CLASS
from core.config.numbers import number, whole_number
from core.config.sampling import (
    DIFFUSERS,
    MIN_NOISE_LEVEL,
    Sampling,
    SamplingOptions,
    describe_sampling,
    image_count,
    noise_levels,
    resolve_sampling,
)
from core.diffusion.corruption import check_images
from core.diffusion.loaded_model import LoadedModel, as_loaded
from core.diffusion.prob_paths import PATHS, ProbPath
from core.diffusion.samplers import SAMPLERS, Sampler, SharedNoise, Steps, step_generators
from core.errors import MinidiffError, NotFinite

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

BATCH = 256  # images that are computed at once
PIXELS = IMAGE_SIZE**2
SIGMAS = 8  # by which the mean and deviation of an image's noise may differ from what is expected


@dataclass(frozen=True, slots=True)
class SampleStep:
    """One record of a denoising; images lie around [0, 1], whatever the path's own range."""

    index: int  # 0 is the start
    t: float  # noise left in x: start_t at the start, 0 at the end
    x: Tensor  # (n, 1, 28, 28), the state after this step
    prediction: Tensor | None  # (n, 1, 28, 28), the clean images the net saw in the record before; None in record 0


def sample(
    model: nn.Module | LoadedModel,
    n: int = 8,
    steps: int | None = None,
    seed: int = 0,
    start: ArrayLike | None = None,
    start_t: float = 1.0,
    *,
    noise: ArrayLike | None = None,
    labels: int | Iterable[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[SampleStep]:
    """Denoise in `steps` steps, each of which asks the net for the clean image and moves towards it.

    Options that are None are the model's own, which `core.config.sampling.defaults_for` tells. The tutorial's recipe
    has 40 steps of "mix": step i of k moves 1 / (k - i + 1) of the way to the prediction, so that the last x is the
    last prediction. This is an Euler step of dx/da = (x - prediction) / a on the straight path from noise to image.

    Args:
        model: a bare net, which is taken to follow the tutorial's recipe, or what `load_model` gives.
        n: how many images, 1 to 100,000; ignored when `start` or `noise` is given. At most `BATCH` are computed at
            once, but a record holds all of them: for many, use `sample_batches`.
        steps: 1 to 100,000; each asks the net once ("heun" twice, but for the last), and once more under guidance.
        seed: of all noise, which is always drawn on the CPU: a seed means the same picture everywhere.
        start: images to denoise that are already corrupted, (n, 1, 28, 28), on the scale of images in [0, 1], as
            `noised` and `corrupt` make them; a tensor or a NumPy array. None starts from noise.
        start_t: how much noise `start` holds, in (0, 1].
        noise: the noise to start from instead of the seed's, (n, 1, 28, 28), as the model's `noise(n, seed)` makes it:
            standard normal, `torch.randn(n, 1, 28, 28)`; for the path "mix" uniform in [0, 1).
        labels: for a model with classes: one class for all, from 0 to 9, or -1 for any; or n of these, as a sequence
            or an integer tensor; None takes the classes in turn.
        options: sampler, guidance, shift and contrast, as `core.config.sampling.SamplingOptions` tells.

    Returns:
        A generator of `steps` + 1 records; record 0 is the start.

    Raises:
        MinidiffError: n or steps out of their range, a noise level outside (0, 1], a start or noise of another shape,
            type or range, more images than fit into memory, a sampler that does not fit the model's path, or a class or
            guidance asked of a model without classes.
        NotFinite: in place of the last record, if the images are not finite.

    Source: the tutorial's section 3.6.
    """
    start_t = number(start_t, "start_t")
    if not MIN_NOISE_LEVEL <= start_t <= 1:
        raise MinidiffError(f"start_t must lie in [{MIN_NOISE_LEVEL:g}, 1], not {start_t:g}")
    if start is None and start_t != 1:
        raise MinidiffError("start_t says how noisy `start` is; give `start` too, or leave it at 1")
    if start is not None and noise is not None:
        raise MinidiffError("start and noise both say where to start; give one of them")
    path, given = PATHS[as_loaded(model).config.path], None
    if start is not None:
        given = _given_start(start, path, start_t)
    elif noise is not None:
        given = _given_noise(noise, path)
    walks = list(_walks(model, n if given is None else len(given), steps, seed, given, start_t, labels, options))
    return walks[0] if len(walks) == 1 else _joined(walks)


def sample_batches(
    model: nn.Module | LoadedModel,
    n: int,
    *,
    steps: int | None = None,
    seed: int = 0,
    labels: int | Iterable[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[Iterator[SampleStep]]:
    """The images that `sample` gives, `BATCH` at a time: an iterator of what `sample` returns for each batch.

    Each image starts from the noise that it has in one call of `sample`, and so do the steps that add noise; what
    differs are last digits, where torch sums in another order for another number of images. A batch must be taken to
    its end before the next.

    Args:
        model, n, steps, seed, labels, options: as for `sample`.

    Raises:
        MinidiffError: as `sample`.
    """
    return _walks(model, n, steps, seed, None, 1.0, labels, options)


def _walks(
    model: nn.Module | LoadedModel,
    n: int,
    steps: int | None,
    seed: int,
    given: Tensor | None,
    start_t: float,
    labels: int | Iterable[int] | None,
    options: SamplingOptions,
) -> Iterator[Iterator[SampleStep]]:
    """Check what was asked; a walk for each batch, from `given`, (n, 1, 28, 28) in the path's range, or from noise."""
    loaded = as_loaded(model)
    path = PATHS[loaded.config.path]
    seed = whole_number(seed, "seed") % 2**63
    n = image_count(n)
    chosen, classes = resolve_sampling(loaded.config, n, steps=steps, labels=labels, **options)
    falling = noise_levels(chosen.steps, chosen.shift, start_t)
    sampler = _sampler(chosen.sampler)

    def walks() -> Iterator[Iterator[SampleStep]]:
        source = torch.Generator().manual_seed(seed)
        added = step_generators(torch.Generator().manual_seed(seed))
        shared = SharedNoise(added) if n > BATCH else None
        for first in range(0, n, BATCH):
            size = min(BATCH, n - first)
            with within_memory(_too_many(size)):
                x = (
                    path.sample_noise((size, 1, IMAGE_SIZE, IMAGE_SIZE), source)
                    if given is None
                    else given[first:][:size]
                )
                x = loaded.placed(x)
            asked = None if classes is None else classes[first : first + size]
            denoiser = loaded.denoiser(class_tensor(asked, x.device), chosen.guidance)
            if chosen.contrast:
                denoiser = replace(denoiser, contrast=chosen.contrast, mean_image=loaded.mean_image)
            moves = sampler(denoiser, x, falling, iter(shared) if shared else added)
            yield _walk(moves, path, x, falling, chosen)

    return walks()


def _walk(steps: Steps, path: ProbPath, x: Tensor, falling: Sequence[float], chosen: Sampling) -> Iterator[SampleStep]:
    yield SampleStep(0, falling[0], path.denormalize(x), None)
    for index, t in enumerate(falling[1:], start=1):
        # Closed before the yield, so that the caller's own mode is untouched.
        with torch.no_grad(), within_memory(_too_many(len(x))):
            x, prediction = next(steps)
            seen, expected = path.denormalize(x), path.denormalize(prediction)
            # Only at the end, since this waits for the device; what is not finite stays so.
            if index == chosen.steps and not bool((seen.isfinite() & expected.isfinite()).all()):
                raise NotFinite(describe_sampling(chosen, path.name))
        yield SampleStep(index, t, seen, expected)


def _joined(walks: Sequence[Iterator[SampleStep]]) -> Iterator[SampleStep]:
    """Several walks of the same steps as one."""
    for parts in zip(*walks, strict=True):
        predictions = [part.prediction for part in parts if part.prediction is not None]
        x = torch.cat([part.x for part in parts])
        yield SampleStep(parts[0].index, parts[0].t, x, torch.cat(predictions) if predictions else None)


def _sampler(name: str) -> Sampler:
    if not name.startswith(DIFFUSERS):
        return SAMPLERS[name]
    from core.diffusion.diffusers_schedulers import scheduled  # it loads diffusers, which takes seconds

    return scheduled(name.removeprefix(DIFFUSERS))


def noised(model: LoadedModel, images: ArrayLike, t: float, seed: int = 0) -> Tensor:
    """Images with so much noise as the model's path has at noise level `t`: what `sample` takes as its `start`.

    Args:
        model: what `load_model` gives.
        images: (n, 1, 28, 28) in [0, 1], a tensor or a NumPy array.
        t: noise level in [0, 1]; 1 is noise alone.
        seed: of the noise, which is the same as that of a sampling that starts from noise.

    Returns:
        (n, 1, 28, 28), on the scale of images; outside [0, 1] where the noise is Gaussian.

    Raises:
        MinidiffError: images of another shape, type or range, or a noise level outside [0, 1].
    """
    clean = as_tensor(images, "images")
    _check_shape(clean, "images")
    check_images(clean, "images")
    t = number(t, "t")
    if not 0 <= t <= 1:
        raise MinidiffError(f"t must lie in [0, 1], not {t:g}")
    path = PATHS[model.config.path]
    noise = model.noise(len(clean), seed).to(clean.device)
    return path.denormalize(path.interpolate(path.normalize(clean), noise, clean.new_full((len(clean),), t)))


def class_tensor(classes: Sequence[int] | None, device: torch.device) -> Tensor | None:
    """Class labels for the network, (n,) int64: NULL_CLASS in place of -1."""
    if classes is None:
        return None
    return torch.tensor([NULL_CLASS if label < 0 else label for label in classes], device=device)


def _given_start(start: ArrayLike, path: ProbPath, t: float) -> Tensor:
    """`start` in the path's range.

    Raises:
        MinidiffError: it cannot be images with so much noise.
    """
    images = as_tensor(start, "start")
    _check_shape(images, "start")
    if not images.is_floating_point():
        raise MinidiffError(f"start needs floating-point values in [0, 1], not {images.dtype}; divide bytes by 255")
    x = path.normalize(images)
    if not _fits(x, path, *path.alpha_sigma(t)):
        raise MinidiffError(
            f"start has values from {images.min().item():g} to {images.max().item():g}, which are no images in [0, 1] "
            f"with the noise of start_t {t:g}; make it with core.diffusion.sampling.noised, or give noise"
        )
    return x


def _given_noise(noise: ArrayLike, path: ProbPath) -> Tensor:
    """`noise` in the path's range, which is that of its own noise.

    Raises:
        MinidiffError: it is not such noise.
    """
    x = as_tensor(noise, "noise")
    _check_shape(x, "noise")
    kind = "standard normal, as of torch.randn" if path.gaussian else "uniform in [0, 1), as of torch.rand"
    if not x.is_floating_point():
        raise MinidiffError(f"noise needs floating-point values, not {x.dtype}; for this model it is {kind}")
    if not _fits(x, path, 0.0, 1.0):
        raise MinidiffError(
            f"noise has values from {x.min().item():g} to {x.max().item():g}; for this model it is {kind}"
        )
    return x


def _check_shape(images: Tensor, name: str) -> None:
    if images.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE) or len(images) == 0:
        raise MinidiffError(f"{name} needs shape (n, 1, {IMAGE_SIZE}, {IMAGE_SIZE}), not {tuple(images.shape)}")


def _fits(x: Tensor, path: ProbPath, signal: float, noise: float) -> bool:
    """Whether x, (n, 1, 28, 28), can hold images in the path's range and noise in these shares.

    Seen by its range where the noise is uniform, and by each image's mean and deviation where it is Gaussian.
    """
    x = x.detach().float().flatten(1)
    if not path.gaussian:
        return bool(((x >= path.low - 0.01) & (x <= path.high + 0.01)).all())
    mean, deviation = x.mean(1).abs(), x.std(1)
    most_mean = signal + noise * SIGMAS / math.sqrt(PIXELS) + 0.01
    most_deviation = signal + noise * (1 + SIGMAS / math.sqrt(2 * PIXELS)) + 0.01
    return bool(((mean <= most_mean) & (deviation <= most_deviation)).all())  # False for NaN, too


def _too_many(n: int) -> MinidiffError:
    return MinidiffError(f"{n} images at once do not fit into memory; ask for a smaller n")
