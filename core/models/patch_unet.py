"""PatchUNet: a residual UNet on patches of an image, conditioned on noise level and class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.config.datasets import CLASSES

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


class Level(nn.Module):
    """A level of the UNet with all levels below it: down path, middle at half the side, up path, one skip connection.

    Args:
        channels: Channels of this level and of those below it, multiples of 16.
        blocks: Residual blocks of the down path, the middle of the coarsest level, and the up path.
    """

    skips = True  # False: zeros in place of the skip connection, to show its effect

    def __init__(self, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.add_blocks(channels, blocks)

    def add_blocks(self, channels: Sequence[int], blocks: Sequence[int]) -> None:
        """Create the layers."""
        fine, coarse, *_ = channels
        down, middle, up = blocks
        self.down = nn.ModuleList(Block(fine, fine) for _ in range(down))
        self.shrink = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        if len(channels) > 2:
            self.middle = nn.ModuleList([Level(channels[1:], blocks)])
        else:
            self.middle = nn.ModuleList(Block(coarse, coarse) for _ in range(middle))
        self.grow = nn.Conv2d(coarse, fine * 4, 1)
        self.up = nn.ModuleList(Block(fine if index else 2 * fine, fine) for index in range(up))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B, channels[0], H, W), H and W even, embedding: (B, EMBEDDING) -> like x."""
        for block in self.down:
            x = block(x, embedding)
        skip, x = x if self.skips else torch.zeros_like(x), self.shrink(x)
        for block in self.middle:
            x = block(x, embedding)
        x = torch.cat([functional.pixel_shuffle(self.grow(x), 2), skip], dim=1)
        for block in self.up:
            x = block(x, embedding)
        return x


class PatchUNet(Level):
    """A UNet on patches, with one skip connection per level but the coarsest.

    Pixel unshuffling and shuffling (Shi et al. 2016) convert between pixels and patches, so no convolution runs at full
    resolution. Images whose sides are not divisible by patch * 2 ** (levels - 1) are padded with their last row and
    column, and the prediction is cropped.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the prediction.
        channels: Channels per level, finest first: at least two multiples of 16.
        blocks: Residual blocks of the down path, the middle and the up path.
        patch: Side of a patch in pixels.
        classes: Number of classes; the null class comes after them.

    Raises:
        ValueError: `channels` are not at least two multiples of 16.
    """

    frequencies: Tensor  # (FREQUENCIES,), in radians per unit of t

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (48, 96),
        blocks: Sequence[int] = (1, 2, 1),
        patch: int = 2,
        classes: int = CLASSES,
    ) -> None:
        nn.Module.__init__(self)  # not Level's: the order of the layers decides their random weights
        if len(channels) < 2 or any(width < GROUP or width % GROUP for width in channels):
            raise ValueError(f"channels must be at least two multiples of {GROUP}")
        fine = channels[0]
        self.patch, self.null_class = patch, classes
        self._multiple = patch * 2 ** (len(channels) - 1)
        longest, shortest = math.log10(LONGEST_WAVE), math.log10(SHORTEST_WAVE)
        waves = torch.logspace(longest, shortest, FREQUENCIES, dtype=torch.float32)
        self.register_buffer("frequencies", 2 * math.pi / waves, persistent=False)
        self.time_embed = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING)
        )
        self.class_embed = nn.Embedding(classes + 1, EMBEDDING)
        self.into = nn.Conv2d(in_channels * patch**2, fine, 3, padding=1)
        self.add_blocks(channels, blocks)
        self.norm = nn.GroupNorm(fine // GROUP, fine)
        self.out = _zeroed(nn.Conv2d(fine, out_channels * patch**2, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Tensor:
        """Predict from noisy images.

        Args:
            x: (B, in_channels, H, W), in the path's value range.
            t: Noise level in [0, 1], (B,) or one number for all.
            labels: Classes, (B,) int64, 0 to `classes` - 1, or `classes` for the null class; None: the null class for
                all.

        Returns:
            (B, out_channels, H, W).
        """
        height, width = x.shape[2:]
        embedding = self._embed(x, t, labels)
        padding = (0, -width % self._multiple, 0, -height % self._multiple)
        if any(padding):
            x = functional.pad(x, padding, mode="replicate")
        x = super().forward(self.into(functional.pixel_unshuffle(x, self.patch)), embedding)
        x = functional.pixel_shuffle(self.out(functional.silu(self.norm(x))), self.patch)
        return x[:, :, :height, :width] if any(padding) else x

    def _embed(self, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
        """Embedding of noise level and class, (B, EMBEDDING)."""
        t = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x))
        if labels is None:
            labels = torch.full((len(x),), self.null_class, device=x.device)
        angles = t[:, None] * self.frequencies  # (B, FREQUENCIES)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.class_embed.weight.dtype)
        return functional.silu(self.time_embed(waves) + self.class_embed(labels))


def _zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Initialize a layer to 0."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
