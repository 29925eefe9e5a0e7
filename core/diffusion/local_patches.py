"""The posterior mean of each pixel, given only the patch of the noisy image around it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def patch_means(z: Tensor, alpha: Tensor, sigma: Tensor, images: Tensor, patch: int, values: int) -> Tensor:
    """Weighted means of training images with weights per pixel, from the distances of patches at the same position.

    Each pixel's weights are softmax(-|z - alpha y|^2 / (2 sigma^2)) over the training images y, where the squared
    difference is summed over the patch around the pixel, as far as it is inside the image, and over channels. They are
    accumulated over the training images with a running maximum, so that memory is bounded.

    Source: Kamb and Ganguli 2024, the local score (LS) machine.

    Args:
        z: Noisy images, (m, C, H, W) float32: z = alpha image + sigma noise.
        alpha, sigma: (m, 1).
        images: Training images, (N, C, H, W), uint8 or floating point, in the units of z.
        patch: Side of the patches in pixels, odd.
        values: Values per tensor, about, which bounds memory.

    Returns:
        (m, C * H * W).
    """
    highest = torch.full_like(z[:, :1], torch.finfo(z.dtype).min)  # (m, 1, H, W), of the logits so far
    total, mean = torch.zeros_like(z[:, :1]), torch.zeros_like(z)
    for part in torch.split(images, max(1, values // z.numel())):
        y = part.to(z.dtype)
        squares = (z[:, None] - alpha.view(-1, 1, 1, 1, 1) * y).square_().sum(2)  # (m, part, H, W)
        logits = _patch_sums(squares, patch).div_(-2 * sigma.square().view(-1, 1, 1, 1))
        new = torch.maximum(highest, logits.amax(1, keepdim=True))
        kept, weights = (highest - new).exp(), (logits - new).exp_()
        total = total * kept + weights.sum(1, keepdim=True)
        mean = mean * kept + torch.stack([(weights * y[:, channel]).sum(1) for channel in range(z.shape[1])], 1)
        highest = new
    return (mean / total).flatten(1)


def _patch_sums(squares: Tensor, patch: int) -> Tensor:
    """Sums over the patch around each pixel, (m, n, H, W): first of columns, then of rows."""
    for kernel, padding in (((patch, 1), (patch // 2, 0)), ((1, patch), (0, patch // 2))):
        squares = functional.avg_pool2d(squares, kernel, stride=1, padding=padding, divisor_override=1)
    return squares
