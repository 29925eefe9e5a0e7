"""A transposed convolution value by value: each spreads a kernel over the output, and where they meet they add up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from core.convolution import Kernel, grown_size
from core.errors import MinidiffError
from core.lab.convolution import checked_image, kernel_tensor

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

SCALES = (1, 4)  # the least and the greatest of `upsample_convolve`


@dataclass(frozen=True, slots=True)
class TransposedStep:
    """One value of the image that is spread; values are in the image's own range and type."""

    position: tuple[int, int]  # row and column of the image
    value: float  # the pixel there
    spread: Tensor  # (kh, kw), the kernel times this value
    origin: tuple[int, int]  # where the spread's first number lands, in the output before `padding` is cut off
    output: Tensor  # (H', W'), the sums so far
    overlaps: Tensor  # (H', W') int64, how many kernels have reached each pixel so far


def transposed_convolve_steps(
    image: ArrayLike, kernel: ArrayLike | Kernel, *, stride: int = 2, padding: int = 0, dilation: int = 1
) -> Iterator[TransposedStep]:
    """Spread an image's values over a larger output one after another, as `conv_transpose2d` does all at once.

    The last record's output is that of `torch.nn.functional.conv_transpose2d` but for the order of its sums. It has the
    size of what a convolution of the same kernel, stride, padding and dilation would have shrunk to the image; it is
    not its inverse.

    Args:
        image: (H, W), floating point, of any range.
        kernel: (kh, kw), from 1 to 7 of either, values from -1000 to 1000.
        stride: pixels of the output from one kernel to the next, 1 to 4.
        padding: pixels cut off each side of the output, 0 to 6.
        dilation: from one number of a kernel to the next, 1 to 3.

    Returns:
        A generator of H W records; H' and W' are as `core.convolution.grown_size` tells.

    Raises:
        MinidiffError: the image or the kernel is none, an option lies outside its range, or nothing would be left.

    Source: Dumoulin and Visin 2016, chapter 4; the tutorial's section 2.1.
    """
    image = checked_image(image)
    weight = kernel_tensor(kernel, image)
    height, width = _grown(image.shape, weight.shape, stride, padding, dilation)
    whole = image.new_zeros(height + 2 * padding, width + 2 * padding)
    spreads = image.reshape(-1, 1, 1) * weight  # (H W, kh, kw)
    return _spread(image, spreads, whole, stride, padding, dilation)


def _spread(
    image: Tensor, spreads: Tensor, whole: Tensor, stride: int, padding: int, dilation: int
) -> Iterator[TransposedStep]:
    counts = torch.zeros_like(whole, dtype=torch.int64)
    tall, wide = (dilation * (side - 1) + 1 for side in spreads.shape[1:])
    inner = tuple(slice(padding, side - padding) for side in whole.shape)
    columns = image.shape[1]
    for index, (value, spread) in enumerate(zip(image.flatten().tolist(), spreads, strict=True)):
        row, column = divmod(index, columns)
        top, left = row * stride, column * stride
        landing = slice(top, top + tall, dilation), slice(left, left + wide, dilation)
        whole[landing] += spread
        counts[landing] += 1
        yield TransposedStep((row, column), value, spread, (top, left), whole[inner].clone(), counts[inner].clone())


def overlap_counts(
    size: tuple[int, int], kernel: tuple[int, int], *, stride: int = 2, padding: int = 0, dilation: int = 1
) -> Tensor:
    """How many kernels of a transposed convolution reach each pixel of its output, (H', W') int64.

    Where the kernel's side is no multiple of the stride the counts alternate: the checkerboard of Odena et al. 2016,
    unless the kernel's numbers balance it, as those of gaussian blur do with stride 2.

    Args:
        size: height and width of the image.
        kernel: height and width of the kernel.
        stride, padding, dilation: as for `transposed_convolve_steps`.

    Raises:
        MinidiffError: a value lies outside its range, or nothing would be left.
    """
    _grown(size, kernel, stride, padding, dilation)
    image, weight = (torch.ones(1, 1, *sides, dtype=torch.float64, device="cpu") for sides in (size, kernel))
    counts = functional.conv_transpose2d(image, weight, stride=stride, padding=padding, dilation=dilation)
    return counts[0, 0].round().long()


def upsample_convolve(image: ArrayLike, kernel: ArrayLike | Kernel, scale: int = 2) -> Tensor:
    """The image enlarged by repeating pixels and then convolved, (scale H, scale W): no checkerboard.

    BasicUNet and UNet2D grow their maps in this way. Zeros are padded, so that the size stays; with a kernel of even
    size one more below and to the right.

    Args:
        image: (H, W), floating point.
        kernel: (kh, kw), as for `transposed_convolve_steps`.
        scale: how often a pixel is repeated along each side, 1 to 4.

    Raises:
        MinidiffError: the image or the kernel is none, or the scale lies outside its range.

    Source: Odena et al. 2016.
    """
    image = checked_image(image)
    weight = kernel_tensor(kernel, image)
    least, most = SCALES
    if not isinstance(scale, int) or not least <= scale <= most:
        raise MinidiffError(f"scale is a whole number from {least} to {most}, not {scale!r}")
    large = functional.interpolate(image[None, None], scale_factor=scale, mode="nearest")
    tall, wide = weight.shape
    padded = functional.pad(large, ((wide - 1) // 2, wide // 2, (tall - 1) // 2, tall // 2))
    with torch.autocast(image.device.type, enabled=False):
        return functional.conv2d(padded, weight[None, None])[0, 0]


def _grown(size: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: int, dilation: int) -> tuple[int, int]:
    height, width = (grown_size(*sides, stride, padding, dilation) for sides in zip(size, kernel, strict=True))
    return height, width
