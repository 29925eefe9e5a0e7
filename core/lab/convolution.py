"""A convolution window by window: what lies under the kernel, what it is multiplied by, and the map as it fills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from core.compute.arrays import as_tensor
from core.convolution import Geometry, Kernel, checked, output_size
from core.errors import MinidiffError

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

_PLAIN = Geometry()


@dataclass(frozen=True, slots=True)
class ConvolutionStep:
    """One position of the kernel; values are in the image's own range and type."""

    position: tuple[int, int]  # row and column of the output
    origin: tuple[int, int]  # of the window's first pixel, in the padded image
    window: Tensor  # (kh, kw), what lies under the kernel, `dilation` pixels apart
    products: Tensor  # (kh, kw), window times kernel
    total: float  # their sum, as conv2d computes it
    output: Tensor  # (H', W'), the map so far; NaN where nothing was computed yet


def convolve_steps(
    image: ArrayLike, kernel: ArrayLike | Kernel, geometry: Geometry = _PLAIN, *, flip: bool = False
) -> Iterator[ConvolutionStep]:
    """Lay a kernel on every window of an image, row by row.

    As in `torch.nn.functional.conv2d`, which does the arithmetic, this is cross-correlation: the kernel is laid on as
    it is written. A mathematician's convolution turns it by 180 degrees first, which makes no difference to a net that
    learns its kernels.

    Args:
        image: (H, W), floating point, of any range; a tensor or a NumPy array, as the kernel.
        kernel: (kh, kw), from 1 to 7 of either, values from -1000 to 1000.
        geometry: stride, padding and dilation.
        flip: turn the kernel first, as the tutorial's section 1.1 defines convolution.

    Returns:
        A generator of H' W' records, H' and W' as `core.convolution.output_size` tells.

    Raises:
        MinidiffError: the image or the kernel is none, or the window does not fit into the padded image.
    """
    image = checked_image(image)
    weight = kernel_tensor(kernel, image)
    if flip:
        weight = weight.flip(0, 1)
    height, width = (output_size(*sides, geometry) for sides in zip(image.shape, weight.shape, strict=True))
    stride, dilation = geometry.stride, geometry.dilation
    whole_image = padded(image, geometry)[None, None]
    with torch.autocast(image.device.type, enabled=False):
        whole = functional.conv2d(whole_image, weight[None, None], stride=stride, dilation=dilation)[0, 0]  # (H', W')
    columns = functional.unfold(whole_image, weight.shape, dilation, stride=stride)[0]  # (kh kw, H' W')
    windows = columns.T.reshape(height * width, *weight.shape)
    return _slide(windows, windows * weight, whole, stride)


def _slide(windows: Tensor, products: Tensor, whole: Tensor, stride: int) -> Iterator[ConvolutionStep]:
    so_far = torch.full_like(whole, torch.nan)
    height, width = whole.shape
    positions = ((row, column) for row in range(height) for column in range(width))
    for position, window, terms, total in zip(positions, windows, products, whole.flatten().tolist(), strict=True):
        row, column = position
        so_far[row, column] = total
        yield ConvolutionStep(position, (row * stride, column * stride), window, terms, total, so_far.clone())


def padded(image: Tensor, geometry: Geometry) -> Tensor:
    """The image with what is added to its sides, (H + 2 padding, W + 2 padding)."""
    mode = "constant" if geometry.padding_mode == "zeros" else "reflect"
    return functional.pad(image[None, None], (geometry.padding,) * 4, mode)[0, 0]


def checked_image(image: ArrayLike) -> Tensor:
    """The image as a tensor, without its history, if it has shape (H, W) and floating-point values.

    Raises:
        MinidiffError: it is something else.
    """
    image = as_tensor(image, "an image")
    if image.dim() != 2 or image.numel() == 0 or not image.is_floating_point():
        raise MinidiffError(
            f"an image needs shape (H, W) and floating-point values, not {tuple(image.shape)} of {image.dtype}"
        )
    return image.detach()


def kernel_tensor(kernel: ArrayLike | Kernel, image: Tensor) -> Tensor:
    """The kernel as a tensor, (kh, kw), of the image's type and where the image is.

    Raises:
        MinidiffError: it has another shape or size, or numbers that are too large.
    """
    if not isinstance(kernel, list | tuple):
        weights = as_tensor(kernel, "a kernel")
        if weights.dim() != 2:
            raise MinidiffError(f"a kernel needs shape (kh, kw), not {tuple(weights.shape)}; take one channel of it")
        kernel = tuple(map(tuple, weights.tolist()))
    return torch.tensor(checked(kernel), dtype=image.dtype, device=image.device)
