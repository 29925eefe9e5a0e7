"""diffusers' UNet2DModel with the registry's interface, by default in the size of the preset `tutorial`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from core.config.datasets import IMAGE_SIZE

TIMESTEPS = 1000  # diffusers' timesteps at noise level 1


class UNet2D(nn.Module):
    """A UNet2DModel, `.unet`, that returns a tensor.

    On a CPU attention and normalization run in float32 even under bfloat16 autocast: in bfloat16 torch is several times
    slower there, with heads of 8 channels and groups of one or two.

    Args:
        unet: The UNet2DModel.
        classes: Number of classes of its class embedding, the null class not counted; None: it has none.
        timesteps: Number of timesteps between the noise levels 0 and 1.
        offset: 1 for a network trained with diffusers, whose timestep 0 is noise level 1 / `timesteps`.
    """

    skips = True  # False: zeros in place of the skip connections, to show their effect

    def __init__(self, unet: nn.Module, classes: int | None, timesteps: int = TIMESTEPS, offset: int = 0) -> None:
        super().__init__()
        self.unet = unet
        self.classes = classes
        self.timesteps = timesteps
        self.offset = offset
        for module in unet.modules():
            if isinstance(module, nn.GroupNorm):
                module.register_forward_pre_hook(_in_float32)
            elif isinstance(module, Attention):
                module.set_processor(Float32Attention())  # type: ignore[no-untyped-call, arg-type] # no types

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Tensor:
        """Predict from noisy images.

        Args:
            x: (B, C, H, W), in the path's value range.
            t: Noise level in [0, 1], (B,) or one number for all.
            labels: Classes of a class-conditional network, (B,) int64, 0 to `classes` - 1, or `classes` for the null
                class; None: the null class for all.

        Returns:
            (B, C, H, W).
        """
        if self.classes is not None and labels is None:
            labels = torch.full((len(x),), self.classes, device=x.device)
        # A number becomes a tensor by filling it: a CUDA graph cannot record a copy from the CPU.
        level = t if isinstance(t, Tensor) else torch.full((), t, dtype=torch.float32, device=x.device)
        timestep = level * self.timesteps
        if self.offset:  # rounded, since float32 does not hold all timesteps exactly as noise levels
            timestep = (timestep - self.offset).round(decimals=3).clamp(min=0)
        with nullcontext() if self.skips else _zero_skips(self.unet):
            prediction: Tensor = self.unet(x, timestep, class_labels=labels, return_dict=False)[0]
        return prediction


@contextmanager
def _zero_skips(unet: nn.Module) -> Iterator[None]:
    """Pass zeros to the up blocks in place of the skip connections."""
    blocks = unet.get_submodule("up_blocks").children()
    hooks = [block.register_forward_pre_hook(_zero_residuals, with_kwargs=True) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _zero_residuals(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Zero the skip connections, which are the only tuples of tensors among an up block's arguments."""
    return tuple(map(_zeros, args)), {name: _zeros(value) for name, value in kwargs.items()}


def _zeros(value: Any) -> Any:
    return tuple(map(torch.zeros_like, value)) if isinstance(value, tuple) else value


def _in_float32(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].float(),) if args[0].device.type == "cpu" else args


class Float32Attention(AttnProcessor2_0):
    """diffusers' attention, in float32 on a CPU."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """As in diffusers; the result is float32 on a CPU, and has the input's dtype elsewhere."""
        inputs = (encoder_hidden_states, attention_mask, temb)
        if hidden_states.device.type != "cpu":
            plain: Tensor = super().__call__(attn, hidden_states, *inputs)
            return plain
        with torch.autocast("cpu", enabled=False):
            exact: Tensor = super().__call__(attn, hidden_states.float(), *inputs)
            return exact


def unet2d(
    in_channels: int = 1,
    out_channels: int = 1,
    channels: Sequence[int] = (32, 64, 64),
    layers_per_block: int = 2,
    classes: int | None = None,
    image_size: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE),
) -> UNet2D:
    """UNet2DModel with attention at all levels but the finest; 1,707,009 parameters by default.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the prediction.
        channels: Channels per level, finest first; multiples of 32.
        layers_per_block: Residual layers per level.
        classes: Add an embedding of this many classes and the null class; None: unconditional.
        image_size: Height and width of the images.

    Source: the Hugging Face diffusion course, "Diffusion models from scratch".
    """
    attention_levels = len(channels) - 1
    return UNet2D(
        UNet2DModel(  # type: ignore[no-untyped-call, arg-type] # diffusers ships no types
            sample_size=image_size if image_size[0] != image_size[1] else image_size[0],
            in_channels=in_channels,
            out_channels=out_channels,
            layers_per_block=layers_per_block,
            block_out_channels=tuple(channels),
            num_class_embeds=None if classes is None else classes + 1,
            down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * attention_levels,
            up_block_types=("AttnUpBlock2D",) * attention_levels + ("UpBlock2D",),
        ),
        classes,
    )
