"""BasicUNet: the teaching net, six 5x5 convolutions with two skips, which learns to undo noise without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


class BasicUNet(nn.Module):
    """A small UNet of 5x5 convolutions with SiLU after every one, the last included.

    Down: one convolution a level, 2x max-pooling between levels. Up: the mirror image, with 2x nearest upsampling
    before every convolution but the first, where the matching level's activation is added. With the default channels it
    has 309,057 parameters. Source: the tutorial's section 3.4.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the prediction.
        channels: channels of each level, from the finest; height and width must divide by 2 ** (levels - 1).
    """

    skips = True  # False: nothing is added on the way up, to see what the skips are for

    def __init__(self, in_channels: int = 1, out_channels: int = 1, channels: Sequence[int] = (32, 64, 64)) -> None:
        super().__init__()
        if not channels or min(in_channels, out_channels, *channels) < 1:
            raise ValueError("there must be at least one level, and every width at least 1")
        down = [in_channels, *channels]
        up = [*reversed(channels), out_channels]
        self.down = nn.ModuleList(nn.Conv2d(a, b, kernel_size=5, padding=2) for a, b in pairwise(down))
        self.up = nn.ModuleList(nn.Conv2d(a, b, kernel_size=5, padding=2) for a, b in pairwise(up))

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Tensor:
        """Predict the clean image.

        Args:
            x: noisy images, (B, in_channels, H, W), values around [0, 1].
            amount: ignored; every net of the registry takes one.
            labels: ignored; likewise.

        Returns:
            (B, out_channels, H, W), at least -0.28, the least value of SiLU.
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
