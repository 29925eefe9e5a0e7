"""Checks images and noise passed to samplers: shape, type and value range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from core.compute.arrays import as_tensor
from core.diffusion.corruption import check_images
from core.diffusion.prob_paths import ProbPath
from core.errors import MinidiffError

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

SIGMAS = 8  # tolerance on mean and standard deviation of an image's noise, in standard errors


def normalized_start(start: ArrayLike, path: ProbPath, t: float, shape: tuple[int, int, int]) -> Tensor:
    """`start` in the path's value range.

    Raises:
        MinidiffError: Its values are not plausible for noise level t.
    """
    images = as_tensor(start, "start")
    check_shape(images, "start", shape)
    if not images.is_floating_point():
        raise MinidiffError(
            f"start needs floating-point values in [0, 1], not {images.dtype} from {images.min()} to {images.max()}; "
            "divide bytes by 255"
        )
    x = path.normalize(images)
    if not _is_plausible(x, path, *path.alpha_sigma(t)):
        raise MinidiffError(
            f"start has values from {images.min().item():g} to {images.max().item():g}, which are not images in [0, 1] "
            f"at noise level start_t = {t:g}; create it with core.diffusion.sampling.noised, or pass noise"
        )
    return x


def checked_noise(noise: ArrayLike, path: ProbPath, shape: tuple[int, int, int]) -> Tensor:
    """`noise` as a tensor.

    Raises:
        MinidiffError: It has the wrong shape or type, or its values are not plausible for the path.
    """
    x = as_tensor(noise, "noise")
    check_shape(x, "noise", shape)
    kind = "standard normal, as from torch.randn" if path.gaussian else "uniform in [0, 1), as from torch.rand"
    if not x.is_floating_point():
        raise MinidiffError(f"noise needs floating-point values, not {x.dtype}; this model needs noise that is {kind}")
    if not _is_plausible(x, path, 0.0, 1.0):
        raise MinidiffError(
            f"noise has values from {x.min().item():g} to {x.max().item():g}; this model needs noise that is {kind}"
        )
    return x


def checked_images(images: ArrayLike, shape: tuple[int, int, int]) -> Tensor:
    """Clean images as a tensor, (n, C, H, W) in [0, 1].

    Raises:
        MinidiffError: They have the wrong shape, type or range.
    """
    clean = as_tensor(images, "images")
    check_shape(clean, "images", shape)
    check_images(clean, "images")
    return clean


def check_shape(images: Tensor, name: str, shape: tuple[int, int, int]) -> None:
    """Raise MinidiffError unless `images` has the shape (n, *shape) with n at least 1."""
    if images.shape[1:] == shape and len(images):
        return
    expected, found, advice = ", ".join(map(str, shape)), tuple(images.shape), ""
    if len(found) == 4 and found[1:] == (*shape[1:], shape[0]):
        advice = "; move the channels with permute(0, 3, 1, 2)"
    elif len(found) == 4 and found[2:] == shape[1:] and found[1] != shape[0]:
        kind = "gray" if shape[0] == 1 else "RGB"
        advice = f"; the model's images are {kind}, with {shape[0]} channel{'s' * (shape[0] > 1)}"
    raise MinidiffError(f"{name} needs shape (n, {expected}), not {found}{advice}")


def _is_plausible(x: Tensor, path: ProbPath, alpha: float, sigma: float) -> bool:
    """Whether x, (n, C, H, W), can be alpha x_0 + sigma eps with x_0 in the path's value range.

    Uniform noise: checks the range; Gaussian noise: checks each image's mean and standard deviation.
    """
    x = x.detach().float().flatten(1)
    if not path.gaussian:
        return bool(((x >= path.low - 0.01) & (x <= path.high + 0.01)).all())
    mean, std, pixels = x.mean(1).abs(), x.std(1), x.shape[1]
    max_mean = alpha + sigma * SIGMAS / math.sqrt(pixels) + 0.01
    max_std = alpha + sigma * (1 + SIGMAS / math.sqrt(2 * pixels)) + 0.01
    return bool(((mean <= max_mean) & (std <= max_std)).all())  # False for NaN
