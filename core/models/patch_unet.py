"""PatchUNet: a residual UNet on 2x2 patches of 28x28 images, conditioned on noise level and class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.config.datasets import CLASSES, NULL_CLASS

PATCH = 2
EMBEDDING = 128
FREQUENCIES = 32
GROUP = 16  # channels per group of GroupNorm
LONGEST_WAVE, SHORTEST_WAVE = 2 * math.pi, 2 * math.pi / 1000  # wavelengths of the embedding of t


class Block(nn.Module):
    """Residual block with FiLM conditioning (Perez et al. 2018); the residual branch is 0 at initialization.

    Source: Dhariwal and Nichol 2021, section 3.
    """

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(wide // GROUP, wide)
        self.conv_in = nn.Conv2d(wide, narrow, 3, padding=1)
        self.norm_out = nn.GroupNorm(narrow // GROUP, narrow)
        self.conv_out = _zeroed(nn.Conv2d(narrow, narrow, 3, padding=1))
        self.film = _zeroed(nn.Linear(EMBEDDING, 2 * narrow))
        self.skip = nn.Conv2d(wide, narrow, 1) if wide != narrow else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B, wide, H, W), embedding: (B, EMBEDDING) -> (B, narrow, H, W)."""
        h = self.conv_in(functional.silu(self.norm_in(x)))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)  # (B, narrow, 1, 1) each
        h = torch.addcmul(shift, self.norm_out(h), 1 + scale)
        summed: Tensor = self.skip(x) + self.conv_out(functional.silu(h))
        return summed


class PatchUNet(nn.Module):
    """A UNet of two levels, 14x14 and 7x7, with one skip connection.

    Pixel unshuffling and shuffling (Shi et al. 2016) convert between pixels and 2x2 patches, so no convolution runs at
    full resolution.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the prediction.
        channels: Channels at 14x14 and at 7x7, multiples of 16.
        blocks: Residual blocks of the down path, the middle and the up path.

    Raises:
        ValueError: `channels` are not two multiples of 16.
    """

    frequencies: Tensor  # (FREQUENCIES,), in radians per unit of t
    skips = True  # False: zeros in place of the skip connection, to show its effect

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (48, 96),
        blocks: Sequence[int] = (1, 2, 1),
    ) -> None:
        super().__init__()
        if len(channels) != 2 or any(width < GROUP or width % GROUP for width in channels):
            raise ValueError(f"channels must be two multiples of {GROUP}")
        fine, coarse = channels
        down, middle, up = blocks
        longest, shortest = math.log10(LONGEST_WAVE), math.log10(SHORTEST_WAVE)
        waves = torch.logspace(longest, shortest, FREQUENCIES, dtype=torch.float32)
        self.register_buffer("frequencies", 2 * math.pi / waves, persistent=False)
        self.time_embed = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING)
        )
        self.class_embed = nn.Embedding(CLASSES + 1, EMBEDDING)
        self.into = nn.Conv2d(in_channels * PATCH**2, fine, 3, padding=1)
        self.down = nn.ModuleList(Block(fine, fine) for _ in range(down))
        self.shrink = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(Block(coarse, coarse) for _ in range(middle))
        self.grow = nn.Conv2d(coarse, fine * 4, 1)
        self.up = nn.ModuleList(Block(fine if index else 2 * fine, fine) for index in range(up))
        self.norm = nn.GroupNorm(fine // GROUP, fine)
        self.out = _zeroed(nn.Conv2d(fine, out_channels * PATCH**2, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Tensor:
        """Predict from noisy images.

        Args:
            x: (B, in_channels, 28, 28), in the path's value range.
            t: Noise level in [0, 1], (B,) or one number for all.
            labels: Classes, (B,) int64, 0 to 9 or 10 for the null class; None: the null class for all.

        Returns:
            (B, out_channels, 28, 28).
        """
        embedding = self._embed(x, t, labels)
        x = self.into(functional.pixel_unshuffle(x, PATCH))
        for block in self.down:
            x = block(x, embedding)
        skip, x = x if self.skips else torch.zeros_like(x), self.shrink(x)
        for block in self.middle:
            x = block(x, embedding)
        x = torch.cat([functional.pixel_shuffle(self.grow(x), 2), skip], dim=1)
        for block in self.up:
            x = block(x, embedding)
        return functional.pixel_shuffle(self.out(functional.silu(self.norm(x))), PATCH)

    def _embed(self, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
        """Embedding of noise level and class, (B, EMBEDDING)."""
        t = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x))
        if labels is None:
            labels = torch.full((len(x),), NULL_CLASS, device=x.device)
        angles = t[:, None] * self.frequencies  # (B, FREQUENCIES)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.class_embed.weight.dtype)
        return functional.silu(self.time_embed(waves) + self.class_embed(labels))


def _zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Initialize a layer to 0."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
