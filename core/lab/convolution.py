"""A convolution one window at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from core.compute.arrays import as_tensor
from core.convolution import Geometry, Kernel, check_kernel, output_size
from core.errors import MinidiffError

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

_DEFAULT = Geometry()


@dataclass(frozen=True, slots=True)
class ConvolutionStep:
    """One position of the kernel; tensors have the image's dtype."""

    position: tuple[int, int]  # row and column in the output
    origin: tuple[int, int]  # row and column of the window's first pixel in the padded image
    window: Tensor  # (kh, kw), pixels under the kernel, `dilation` apart
    products: Tensor  # (kh, kw), window * kernel
    total: float  # their sum, as conv2d computes it
    output: Tensor  # (H', W'), the output so far; NaN where not computed yet


def convolve_steps(
    image: ArrayLike, kernel: ArrayLike | Kernel, geometry: Geometry = _DEFAULT, *, flip: bool = False
) -> Iterator[ConvolutionStep]:
    """Convolve an image with a kernel, one window at a time in row-major order.

    Like `torch.nn.functional.conv2d`, which computes the values, this is cross-correlation: the kernel is not flipped.

    Args:
        image: (H, W), floating point; a tensor or a NumPy array.
        kernel: (kh, kw), 1 to 7 each, values from -1000 to 1000; a tensor, an array or nested sequences.
        geometry: Stride, padding and dilation.
        flip: Rotate the kernel by 180 degrees first, as in the mathematical definition of convolution.

    Returns:
        An iterator over H' * W' records, with H' and W' from `core.convolution.output_size`.

    Raises:
        MinidiffError: The image or the kernel is invalid, or the window does not fit into the padded image.
    """
    image = checked_image(image)
    weight = kernel_tensor(kernel, image)
    if flip:
        weight = weight.flip(0, 1)
    height, width = (output_size(*sides, geometry) for sides in zip(image.shape, weight.shape, strict=True))
    stride, dilation = geometry.stride, geometry.dilation
    padded_image = padded(image, geometry)[None, None]
    with torch.autocast(image.device.type, enabled=False):
        whole = functional.conv2d(padded_image, weight[None, None], stride=stride, dilation=dilation)[0, 0]  # (H', W')
    columns = functional.unfold(padded_image, weight.shape, dilation, stride=stride)[0]  # (kh kw, H' W')
    windows = columns.T.reshape(height * width, *weight.shape)
    return _slide(windows, windows * weight, whole, stride)


def _slide(windows: Tensor, products: Tensor, whole: Tensor, stride: int) -> Iterator[ConvolutionStep]:
    output = torch.full_like(whole, torch.nan)
    height, width = whole.shape
    positions = ((row, column) for row in range(height) for column in range(width))
    for position, window, terms, total in zip(positions, windows, products, whole.flatten().tolist(), strict=True):
        row, column = position
        output[row, column] = total
        yield ConvolutionStep(position, (row * stride, column * stride), window, terms, total, output.clone())


def padded(image: Tensor, geometry: Geometry) -> Tensor:
    """The padded image, (H + 2 padding, W + 2 padding)."""
    mode = "constant" if geometry.padding_mode == "zeros" else "reflect"
    return functional.pad(image[None, None], (geometry.padding,) * 4, mode)[0, 0]


def checked_image(image: ArrayLike) -> Tensor:
    """Validate an image, and return it as a detached tensor.

    Raises:
        MinidiffError: It does not have shape (H, W) and a floating-point dtype.
    """
    image = as_tensor(image, "an image")
    if image.dim() != 2 or image.numel() == 0 or not image.is_floating_point():
        raise MinidiffError(
            f"an image needs shape (H, W) and floating-point values, not {tuple(image.shape)} of {image.dtype}"
        )
    return image.detach()


def kernel_tensor(kernel: ArrayLike | Kernel, image: Tensor) -> Tensor:
    """Validate a kernel, and return it as a tensor, (kh, kw), with the image's dtype and device.

    Raises:
        MinidiffError: It has the wrong shape or size, or a number is too large.
    """
    if not isinstance(kernel, list | tuple):
        weights = as_tensor(kernel, "a kernel")
        if weights.dim() != 2:
            raise MinidiffError(f"a kernel needs shape (kh, kw), not {tuple(weights.shape)}; select one channel")
        kernel = tuple(map(tuple, weights.tolist()))
    return torch.tensor(check_kernel(kernel), dtype=image.dtype, device=image.device)
