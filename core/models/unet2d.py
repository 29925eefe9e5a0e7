"""diffusers' UNet2DModel in the sizes of the teaching document, with the registry's plain tensor interface."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import UNet2DModel
from torch import Tensor, nn

from core.config import IMAGE_SIZE


class UNet2D(nn.Module):
    """A UNet2DModel that returns the prediction itself; the wrapped net is `.unet`."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, timestep: Tensor | int = 0) -> Tensor:
        """Predict the clean image from `x`, (B, C, H, W), at `timestep`; the result has the same shape."""
        prediction: Tensor = self.unet(x, timestep, return_dict=False)[0]
        return prediction


def unet2d(
    in_channels: int = 1, out_channels: int = 1, channels: Sequence[int] = (32, 64, 64), layers_per_block: int = 2
) -> UNet2D:
    """UNet2DModel for 28x28 images: attention at every level but the finest; 1,707,009 parameters by default.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the prediction.
        channels: channels of each level, from the finest; multiples of 32.
        layers_per_block: residual layers of a level.

    Source: the teaching document's section 3.5.
    """
    attended = len(channels) - 1
    return UNet2D(
        UNet2DModel(  # type: ignore[no-untyped-call, arg-type] # diffusers ships no types
            sample_size=IMAGE_SIZE,
            in_channels=in_channels,
            out_channels=out_channels,
            layers_per_block=layers_per_block,
            block_out_channels=tuple(channels),
            down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * attended,
            up_block_types=("AttnUpBlock2D",) * attended + ("UpBlock2D",),
        )
    )
