"""An image under more and more of the same noise: what a net makes of each in one step, and where a whole walk ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.compute.device_memory import within_memory
from core.config.datasets import IMAGE_SIZE
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
    """The image at one noise level; images are (1, 28, 28) on the CPU, around [0, 1], whatever the path's range."""

    t: float  # 0 is the image, 1 is noise
    signal: float  # the image's share of x, in the path's range
    noise: float  # the noise's
    x: Tensor
    prediction: Tensor | None  # the clean image that the net sees in x; None on another path than its own
    error: float | None  # its mean squared difference to the image
    walked: Tensor | None  # where sampling from x ends; None unless steps are given
    walked_error: float | None  # its mean squared difference to the image


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
    """Corrupt one image by each of the noise levels, and look at what a net makes of it.

    The noise is the same at every noise level, and that of `core.diffusion.sampling.noised`. One batch predicts for all
    noise levels, when the first record is asked for; each walk is taken when its record is.

    Args:
        model: a bare net, which is taken to follow the tutorial's recipe, or what `load_model` gives.
        image: (1, 28, 28), floating point, in [0, 1]; a tensor or a NumPy array.
        noise_levels: in [0, 1], in any order.
        path: "mix" (uniform noise, the tutorial's), "flow" or "vp" (Gaussian noise); None is the model's own. On
            another one there is nothing to predict.
        label: for a model with classes: 0 to 9, or -1 or None for any.
        seed: of the noise.
        steps: sampling steps from each noise level to 0, with the model's defaults; None skips sampling.

    Returns:
        A generator of one record for each noise level.

    Raises:
        MinidiffError: an image of another shape or type, a noise level outside [0, 1], an unknown path, steps below 1
            or along another path than the model's, a class that the model does not know, or too little memory.

    Source: the tutorial's sections 2.2 and 3.3.
    """
    loaded = as_loaded(model)
    image = as_tensor(image, "image")
    if image.shape != (1, IMAGE_SIZE, IMAGE_SIZE) or not image.is_floating_point():
        raise MinidiffError(
            f"a sweep needs one image of shape (1, {IMAGE_SIZE}, {IMAGE_SIZE}) with floating-point values in [0, 1], "
            f"not {tuple(image.shape)} of {image.dtype}"
        )
    check_images(image, "image")
    noise_levels, seed = tuple(number(t, "a noise level") for t in noise_levels), whole_number(seed, "seed")
    for t in noise_levels:
        if not 0 <= t <= 1:
            raise MinidiffError(f"noise levels must lie in [0, 1], found {t:g}")
    name = loaded.config.path if path is None else path
    if name not in PATHS:
        raise MinidiffError(f"there is no path {name!r}; {hint(name, PATHS, otherwise='paths are')}")
    if steps is not None and name != loaded.config.path:
        raise MinidiffError(f"the model walks back along {loaded.config.path}, not {name}; leave steps or path out")
    label = _settled(loaded, label, steps)
    return _sweep(loaded, image.detach().float().cpu(), noise_levels, name, label, seed, steps)


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
    with torch.no_grad(), within_memory(MinidiffError(f"{n} noise levels do not fit into memory; ask for fewer")):
        told = torch.tensor(noise_levels, dtype=torch.float32, device="cpu")
        x = path.denormalize(path.interpolate(path.normalize(batch), noise, told))
        predictions = one_step(loaded, x, told, label) if n and name == loaded.config.path else None
    for index, t in enumerate(noise_levels):
        prediction = None if predictions is None else predictions[index]
        walked = None if steps is None else _walked(loaded, x[index : index + 1], t, label, seed, steps)
        yield SweepPoint(
            t,
            *path.alpha_sigma(t),
            x[index],
            prediction,
            _error(prediction, image),
            walked,
            _error(walked, image),
        )


def one_step(model: nn.Module | LoadedModel, x: Tensor, t: Tensor | float, label: int | None = None) -> Tensor:
    """The clean images that a net sees in noisy ones, asked once, without guidance or contrast.

    Args:
        model: as for `corruption_sweep`.
        x: (B, 1, 28, 28), around [0, 1].
        t: the noise level of each, (B,), or one number for all, in [0, 1].
        label: for a model with classes: 0 to 9, or -1 or None for any.

    Returns:
        (B, 1, 28, 28) on the CPU, around [0, 1].

    Raises:
        MinidiffError: a class that the model does not know.
    """
    loaded = as_loaded(model)
    path, placed = PATHS[loaded.config.path], loaded.placed(x)
    told = torch.as_tensor(t, dtype=placed.dtype, device=placed.device).expand(len(x))
    label = _settled(loaded, label, None)
    classes = class_tensor(None if label is None else (label,) * len(x), placed.device)
    with torch.no_grad():
        found = loaded.denoiser(classes).predict(path.normalize(placed), told)
        return path.denormalize(found.denoised).float().cpu()


def _settled(loaded: LoadedModel, label: int | None, steps: int | None) -> int | None:
    """The label as `sample` takes it: -1 for any class, None for a model that knows none.

    Raises:
        MinidiffError: the model has no such class, or steps are below 1.
    """
    labels = NO_CLASS if label is None and loaded.config.class_conditional else label
    _, classes = resolve_sampling(loaded.config, 1, steps=steps, labels=labels)
    return None if classes is None else classes[0]


def _walked(loaded: LoadedModel, x: Tensor, t: float, label: int | None, seed: int, steps: int) -> Tensor:
    if t < MIN_NOISE_LEVEL:  # there is nothing to remove
        return x[0]
    *_, last = sample(loaded, steps=steps, seed=seed, start=x, start_t=t, labels=label)
    return last.x[0].float().cpu()


def _error(found: Tensor | None, image: Tensor) -> float | None:
    return None if found is None else (found - image).square().mean().item()
