"""BasicUNet: the small network of the preset `quick`, six 5x5 convolutions, without noise-level conditioning."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


class BasicUNet(nn.Module):
    """A small UNet of 5x5 convolutions, each followed by SiLU, including the last.

    Down path: one convolution per level, 2x max-pooling between levels. Up path: one convolution per level, 2x nearest
    upsampling between levels; the skip connection is added after upsampling. 309,057 parameters with the default
    channels.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the prediction.
        channels: Channels per level, finest first; height and width must be divisible by 2 ** (levels - 1).

    Raises:
        ValueError: There is no level, or a number of channels is below 1.

    Source: the Hugging Face diffusion course, "Diffusion models from scratch".
    """

    skips = True  # False: no skip connections, to show their effect

    def __init__(self, in_channels: int = 1, out_channels: int = 1, channels: Sequence[int] = (32, 64, 64)) -> None:
        super().__init__()
        if not channels or min(in_channels, out_channels, *channels) < 1:
            raise ValueError("at least one level is needed, and every width must be at least 1")
        down = [in_channels, *channels]
        up = [*reversed(channels), out_channels]
        self.down = nn.ModuleList(nn.Conv2d(a, b, kernel_size=5, padding=2) for a, b in pairwise(down))
        self.up = nn.ModuleList(nn.Conv2d(a, b, kernel_size=5, padding=2) for a, b in pairwise(up))

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Tensor:
        """Predict the clean image.

        Args:
            x: Noisy images, (B, in_channels, H, W), values around [0, 1].
            t: Ignored; part of the registry's interface.
            labels: Ignored; part of the registry's interface.

        Returns:
            (B, out_channels, H, W), at least -0.28, the minimum of SiLU.
        """
        skips: list[Tensor] = []
        for convolution in self.down:
            if skips:
                x = functional.max_pool2d(x, 2)
            x = functional.silu(convolution(x))
            skips.append(x)
        skips.pop()
        for level, convolution in enumerate(self.up):
            if level > 0:
                x, skip = functional.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()
                x = x + skip if self.skips else x
            x = functional.silu(convolution(x))
        return x
