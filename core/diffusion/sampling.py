"""Generates images from noise, and yields every step of the denoising trajectory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor, nn

from core.compute.device_memory import within_memory
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
from core.diffusion.inputs import checked_images, checked_noise, normalized_start
from core.diffusion.loaded_model import LoadedModel, as_loaded
from core.diffusion.prob_paths import ProbPath
from core.diffusion.samplers import SAMPLERS, Sampler, SharedNoise, Steps, step_generators
from core.errors import MinidiffError, NotFinite

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

BATCH = 256  # images per forward pass, at most
BATCH_PIXELS = 256 * 32 * 32  # likewise, so that large images are sampled in smaller batches
POINTS_BATCH = 4096  # likewise, for points in the plane, which are images of one pixel


Edit = Callable[[Sampler, slice], Sampler]  # the sampler to use for images `slice` in place of the chosen one


@dataclass(frozen=True, slots=True)
class SampleStep:
    """One step of a denoising trajectory; images are scaled to [0, 1] on every path, but not clipped."""

    index: int  # 0 is the start
    t: float  # noise level of x: start_t at the start, 0 at the end
    x: Tensor  # (n, C, H, W), the state after this step
    prediction: Tensor | None  # (n, C, H, W), clean images predicted from the previous x; None at index 0


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
    """Generate images, or denoise corrupted ones.

    Options that are None take the model's defaults (`core.config.sampling.defaults_for`). The preset `tutorial` has 40
    steps of "mix": step i of k moves 1 / (k - i + 1) of the way to the predicted clean image, so the last x is the last
    prediction. This is an Euler step of dx/dt = (x - prediction) / t on the linear path.

    Args:
        model: A model from `load_model`, or a bare network trained with the preset `tutorial`.
        n: Number of images, 1 to 100,000; ignored if `start` or `noise` is given. Each step holds all images; for many,
            use `sample_batches`.
        steps: Number of steps, 1 to 100,000. The network runs once per step ("heun": twice, except in the last), and
            twice as often where guidance is applied.
        seed: Seed of all noise, which is generated on the CPU: the same seed gives the same images on every device.
        start: Corrupted images to denoise, (n, C, H, W), scaled as images in [0, 1], as returned by `noised` and
            `corrupt`; a tensor or a NumPy array. None: start from noise.
        start_t: Noise level of `start`, in (0, 1].
        noise: Initial noise, (n, C, H, W), as returned by `LoadedModel.noise`: standard normal, or uniform in [0, 1)
            on the path "mix". None: noise of `seed`.
        labels: Classes for a class-conditional model: one for all or n, as a sequence or an integer tensor, each from 0
            or -1 for unconditional. None: all classes in turn.
        options: sampler, guidance, shift and contrast; see `core.config.sampling.SamplingOptions`.

    Returns:
        An iterator over `steps` + 1 records; record 0 is the start.

    Raises:
        MinidiffError: An argument is out of range or has the wrong shape or type, the sampler does not support the
            model's path, an unconditional model is given a class or guidance, or memory runs out.
        NotFinite: In place of the last record, if the images are not finite.

    Source: the Hugging Face diffusion course, "Diffusion models from scratch".
    """
    start_t = _checked_start_t(start_t, start)
    if start is not None and noise is not None:
        raise MinidiffError("start and noise exclude each other; pass only one of them")
    loaded = as_loaded(model)
    path, initial = loaded.path, None
    if start is not None:
        initial = normalized_start(start, path, start_t, loaded.config.info.shape)
    elif noise is not None:
        initial = checked_noise(noise, path, loaded.config.info.shape)
    n = n if initial is None else len(initial)
    chosen, classes = _resolve(loaded, n, steps, labels, options)
    return merged(trajectories(loaded, chosen, n, classes, seed, initial=initial, start_t=start_t))


def sample_batches(
    model: nn.Module | LoadedModel,
    n: int,
    *,
    steps: int | None = None,
    seed: int = 0,
    labels: int | Iterable[int] | None = None,
    images: ArrayLike | None = None,
    start_t: float = 1.0,
    edit: Edit | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[Iterator[SampleStep]]:
    """Generate images, or variations of images, in batches of `batch_size`, with a bounded use of memory.

    The noise of each image is the same as in one call of `sample`; results differ only by rounding, since torch may
    sum in another order for another batch size. Each batch must be consumed before the next.

    Args:
        model, n, steps, seed, labels, options: As for `sample`.
        images: Images to start from, (n, C, H, W) or one for all, (1, C, H, W), in [0, 1]; noise of the seed is added
            at level `start_t` (SDEdit, Meng et al. 2022). None: start from noise.
        start_t: Noise level at which `images` are denoised, in (0, 1]: more noise leaves less of them.
        edit: Changes the sampler for some of the n images, as the functions of `core.diffusion.editing` do.

    Returns:
        An iterator over batches, each an iterator as returned by `sample`.

    Raises:
        MinidiffError: As for `sample`.
    """
    loaded, start_t = as_loaded(model), _checked_start_t(start_t, images)
    chosen, classes = _resolve(loaded, n, steps, labels, options)
    clean = None
    if images is not None:
        clean = checked_images(images, loaded.config.info.shape)
        if len(clean) not in (1, n):
            raise MinidiffError(f"{n} images need {n} start images, not {len(clean)}; or give one for all")
    return trajectories(loaded, chosen, n, classes, seed, images=clean, start_t=start_t, edit=edit)


def batch_size(shape: tuple[int, int, int]) -> int:
    """Images of shape (C, H, W) that are sampled at once."""
    pixels = shape[1] * shape[2]
    return max(1, min(BATCH if pixels > 1 else POINTS_BATCH, BATCH_PIXELS // pixels))


def _resolve(
    model: LoadedModel, n: int, steps: int | None, labels: int | Iterable[int] | None, options: SamplingOptions
) -> tuple[Sampling, tuple[int, ...] | None]:
    return resolve_sampling(model.config, image_count(n), steps=steps, labels=labels, **options)


def _checked_start_t(start_t: float, start: object) -> float:
    start_t = number(start_t, "start_t")
    if not MIN_NOISE_LEVEL <= start_t <= 1:
        raise MinidiffError(f"start_t must lie in [{MIN_NOISE_LEVEL:g}, 1], not {start_t:g}")
    if start is None and start_t != 1:
        raise MinidiffError("start_t is the noise level of `start`; pass `start` too, or leave start_t at 1")
    return start_t


def trajectories(
    loaded: LoadedModel,
    chosen: Sampling,
    n: int,
    classes: tuple[int, ...] | None,
    seed: int,
    *,
    initial: Tensor | None = None,
    images: Tensor | None = None,
    start_t: float = 1.0,
    edit: Edit | None = None,
) -> Iterator[Iterator[SampleStep]]:
    """One trajectory per batch, with options that are resolved already.

    Args:
        loaded: As returned by `load_model`.
        chosen, classes: As returned by `core.config.sampling.resolve_sampling` for n images.
        n, seed: As for `sample`.
        initial: x at noise level `start_t`, (n, C, H, W), in the path's value range; None: noise of the seed.
        images: Images in [0, 1], (n, C, H, W) or (1, C, H, W), to which the noise is added at level `start_t`.
        start_t, edit: As for `sample_batches`.
    """
    path = loaded.path
    seed, n = whole_number(seed, "seed") % 2**63, image_count(n)
    if chosen.shift == start_t == 1 and not chosen.sampler.startswith(DIFFUSERS):
        times = path.noise_levels(chosen.steps)
    else:
        times = noise_levels(chosen.steps, chosen.shift, start_t)
    sampler, info = _sampler(chosen.sampler), loaded.config.info
    batch = batch_size(info.shape)

    def generate() -> Iterator[Iterator[SampleStep]]:
        generator = torch.Generator().manual_seed(seed)
        per_step = step_generators(torch.Generator().manual_seed(seed))
        shared = SharedNoise(per_step) if n > batch else None
        for first in range(0, n, batch):
            part = slice(first, min(first + batch, n))
            size = part.stop - first
            with within_memory(out_of_memory(size)):
                x = initial[part] if initial is not None else path.sample_noise((size, *info.shape), generator)
                if images is not None:
                    x_0 = path.normalize(rows(images, part)).to(x)
                    x = path.interpolate(x_0.expand_as(x), x, x.new_full((size,), start_t))
                x = loaded.placed(x)
            batch_classes = None if classes is None else classes[part]
            denoiser = loaded.denoiser(class_tensor(batch_classes, info.null_class, x.device), chosen.guidance)
            if chosen.contrast:
                denoiser = replace(denoiser, contrast=chosen.contrast, mean_image=loaded.mean_image)
            run = sampler if edit is None else edit(sampler, part)
            yield _trajectory(run(denoiser, x, times, iter(shared) if shared else per_step), path, x, times, chosen)

    return generate()


def rows(x: Tensor, part: slice) -> Tensor:
    """The images of one batch: `x` itself if it is one image for all."""
    return x if len(x) == 1 else x[part]


def _trajectory(
    steps: Steps, path: ProbPath, x: Tensor, times: Sequence[float], chosen: Sampling
) -> Iterator[SampleStep]:
    yield SampleStep(0, times[0], path.denormalize(x), None)
    for index, t in enumerate(times[1:], start=1):
        # Left before the yield, to keep the caller's grad mode.
        with torch.no_grad(), within_memory(out_of_memory(len(x))):
            x, denoised = next(steps)
            image, prediction = path.denormalize(x), path.denormalize(denoised)
            # Only at the end, since this synchronizes with the device; values that are not finite stay so.
            if index == chosen.steps and not bool((image.isfinite() & prediction.isfinite()).all()):
                raise NotFinite(describe_sampling(chosen, path.name))
        yield SampleStep(index, t, image, prediction)


def merged(batches: Iterator[Iterator[SampleStep]]) -> Iterator[SampleStep]:
    """The trajectories of all batches as one."""
    trajectories = list(batches)
    return trajectories[0] if len(trajectories) == 1 else _concatenated(trajectories)


def _concatenated(trajectories: Sequence[Iterator[SampleStep]]) -> Iterator[SampleStep]:
    """Several trajectories of the same steps as one."""
    for parts in zip(*trajectories, strict=True):
        predictions = [part.prediction for part in parts if part.prediction is not None]
        x = torch.cat([part.x for part in parts])
        yield SampleStep(parts[0].index, parts[0].t, x, torch.cat(predictions) if predictions else None)


def _sampler(name: str) -> Sampler:
    if not name.startswith(DIFFUSERS):
        return SAMPLERS[name]
    from core.diffusion.diffusers_schedulers import scheduler_sampler  # importing diffusers takes seconds

    return scheduler_sampler(name.removeprefix(DIFFUSERS))


def noised(model: LoadedModel, images: ArrayLike, t: float, seed: int = 0) -> Tensor:
    """Corrupt images on the model's path, for `sample(model, start=..., start_t=t)`.

    Args:
        model: A model from `load_model`.
        images: (n, C, H, W) in [0, 1], a tensor or a NumPy array.
        t: Noise level in [0, 1].
        seed: Seed of the noise, as for `LoadedModel.noise`.

    Returns:
        (n, C, H, W), scaled as images in [0, 1]; Gaussian noise exceeds that range.

    Raises:
        MinidiffError: The images have the wrong shape, type or range, or `t` is outside [0, 1].
    """
    clean = checked_images(images, model.config.info.shape)
    t = number(t, "t")
    if not 0 <= t <= 1:
        raise MinidiffError(f"t must lie in [0, 1], not {t:g}")
    path = model.path
    noise = model.noise(len(clean), seed).to(clean.device)
    return path.denormalize(path.interpolate(path.normalize(clean), noise, clean.new_full((len(clean),), t)))


def class_tensor(classes: Sequence[int] | None, null_class: int, device: torch.device) -> Tensor | None:
    """Class labels for the network, (n,) int64: `null_class` in place of -1."""
    if classes is None:
        return None
    with torch.inference_mode(False):  # for guidance by a loss, whose gradient may need the labels
        return torch.tensor([null_class if label < 0 else label for label in classes], device=device)


def out_of_memory(n: int) -> MinidiffError:
    """The error for n images that do not fit into memory."""
    return MinidiffError(f"{n} images at once do not fit into memory; use a smaller n")
