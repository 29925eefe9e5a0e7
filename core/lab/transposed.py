"""A transposed convolution one input value at a time."""

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

SCALES = (1, 4)  # minimum and maximum scale of `upsample_convolve`


@dataclass(frozen=True, slots=True)
class TransposedStep:
    """One input value; tensors have the image's dtype."""

    position: tuple[int, int]  # row and column in the image
    value: float  # of the pixel
    spread: Tensor  # (kh, kw), value * kernel
    origin: tuple[int, int]  # row and column of `spread` in the output before cropping `padding`
    output: Tensor  # (H', W'), the sum so far
    overlaps: Tensor  # (H', W') int64, number of values added to each pixel so far


def transposed_convolve_steps(
    image: ArrayLike, kernel: ArrayLike | Kernel, *, stride: int = 2, padding: int = 0, dilation: int = 1
) -> Iterator[TransposedStep]:
    """Transposed convolution, adding one input value times the kernel at a time, in row-major order.

    The last record's output equals `torch.nn.functional.conv_transpose2d` up to the order of summation. Its size is
    the one that a convolution with the same kernel and options maps to the image's; it is not the inverse.

    Args:
        image: (H, W), floating point; a tensor or a NumPy array.
        kernel: (kh, kw), 1 to 7 each, values from -1000 to 1000; a tensor, an array or nested sequences.
        stride: 1 to 4.
        padding: Pixels cropped from each side of the output, 0 to 6.
        dilation: 1 to 3.

    Returns:
        An iterator over H * W records, with H' and W' from `core.convolution.grown_size`.

    Raises:
        MinidiffError: The image or the kernel is invalid, an option is out of range, or the output would be empty.

    Source: Dumoulin and Visin 2016, chapter 4.
    """
    image = checked_image(image)
    weight = kernel_tensor(kernel, image)
    height, width = _output_size(image.shape, weight.shape, stride, padding, dilation)
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
        target = slice(top, top + tall, dilation), slice(left, left + wide, dilation)
        whole[target] += spread
        counts[target] += 1
        yield TransposedStep((row, column), value, spread, (top, left), whole[inner].clone(), counts[inner].clone())


def overlap_counts(
    size: tuple[int, int], kernel: tuple[int, int], *, stride: int = 2, padding: int = 0, dilation: int = 1
) -> Tensor:
    """Number of input values that contribute to each output pixel of a transposed convolution.

    If the kernel size is not a multiple of the stride, counts alternate and cause checkerboard artifacts (Odena et al.
    2016), unless the kernel's values compensate, as gaussian blur does for stride 2.

    Args:
        size: Height and width of the image.
        kernel: Height and width of the kernel.
        stride, padding, dilation: As for `transposed_convolve_steps`.

    Returns:
        (H', W') int64.

    Raises:
        MinidiffError: A value is out of range, or the output would be empty.
    """
    _output_size(size, kernel, stride, padding, dilation)
    image, weight = (torch.ones(1, 1, *sides, dtype=torch.float64, device="cpu") for sides in (size, kernel))
    counts = functional.conv_transpose2d(image, weight, stride=stride, padding=padding, dilation=dilation)
    return counts[0, 0].round().long()


def upsample_convolve(image: ArrayLike, kernel: ArrayLike | Kernel, scale: int = 2) -> Tensor:
    """Nearest-neighbor upsampling followed by a convolution, which avoids checkerboard artifacts.

    BasicUNet and UNet2D upsample in this way. Zero padding keeps the size; for kernels of even size there is one more
    row or column at the bottom and right.

    Args:
        image: (H, W), floating point; a tensor or a NumPy array.
        kernel: (kh, kw), as for `transposed_convolve_steps`.
        scale: Upsampling factor, 1 to 4.

    Returns:
        (scale * H, scale * W).

    Raises:
        MinidiffError: The image or the kernel is invalid, or the scale is out of range.

    Source: Odena et al. 2016.
    """
    image = checked_image(image)
    weight = kernel_tensor(kernel, image)
    low, high = SCALES
    if not isinstance(scale, int) or not low <= scale <= high:
        raise MinidiffError(f"scale must be a whole number from {low} to {high}, not {scale!r}")
    upsampled = functional.interpolate(image[None, None], scale_factor=scale, mode="nearest")
    tall, wide = weight.shape
    padded = functional.pad(upsampled, ((wide - 1) // 2, wide // 2, (tall - 1) // 2, tall // 2))
    with torch.autocast(image.device.type, enabled=False):
        return functional.conv2d(padded, weight[None, None])[0, 0]


def _output_size(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: int, dilation: int
) -> tuple[int, int]:
    height, width = (grown_size(*sides, stride, padding, dilation) for sides in zip(size, kernel, strict=True))
    return height, width
