"""diffusers' UNet2DModel in the sizes of the tutorial, with the registry's plain tensor interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from core.config.datasets import CLASSES, IMAGE_SIZE, NULL_CLASS

TIMESTEPS = 1000  # diffusers' clocks count noise in thousandths


class UNet2D(nn.Module):
    """A UNet2DModel that returns the prediction itself; the wrapped net is `.unet`.

    On a CPU attention and normalisation stay in float32 when the rest is in bfloat16: torch is several times slower
    there in bfloat16, with heads of 8 channels and groups of one or two.
    """

    skips = True  # False: zeros pass all skips, to see what they are for

    def __init__(self, unet: nn.Module, class_conditional: bool) -> None:
        super().__init__()
        self.unet = unet
        self._class_conditional = class_conditional
        for module in unet.modules():
            if isinstance(module, nn.GroupNorm):
                module.register_forward_pre_hook(_in_float32)
            elif isinstance(module, Attention):
                module.set_processor(Float32Attention())  # type: ignore[no-untyped-call, arg-type] # no types

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Tensor:
        """Predict from `x`, (B, C, H, W), with `amount`, (B,) or a number, of noise in it; the result has x's shape.

        A class-conditional network takes `labels`, (B,) int64: 0 to 9, or 10 for none.
        """
        if self._class_conditional and labels is None:
            labels = torch.full((len(x),), NULL_CLASS, device=x.device)
        timestep = t * TIMESTEPS
        with nullcontext() if self.skips else _skips_cut(self.unet):
            prediction: Tensor = self.unet(x, timestep, class_labels=labels, return_dict=False)[0]
        return prediction


@contextmanager
def _skips_cut(unet: nn.Module) -> Iterator[None]:
    """Hand zeros to the way up instead of what the way down kept: the input's, every layer's and every level's."""
    blocks = unet.get_submodule("up_blocks").children()
    hooks = [block.register_forward_pre_hook(_zero_kept, with_kwargs=True) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _zero_kept(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a block of the way up is called with; of that, only what was kept is a tuple of tensors."""
    return tuple(map(_zeros, given)), {name: _zeros(value) for name, value in named.items()}


def _zeros(value: Any) -> Any:
    return tuple(map(torch.zeros_like, value)) if isinstance(value, tuple) else value


def _in_float32(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (given[0].float(),) if given[0].device.type == "cpu" else given


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
        """As diffusers calls it; the result is in float32 on a CPU, and elsewhere of the type it came in."""
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
    class_conditional: bool = False,
) -> UNet2D:
    """UNet2DModel for 28x28 images: attention at every level but the finest; 1,707,009 parameters by default.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the prediction.
        channels: channels of each level, from the finest; multiples of 32.
        layers_per_block: residual layers of a level.
        class_conditional: also take labels, including the null class.

    Source: the tutorial's section 3.5.
    """
    attended = len(channels) - 1
    return UNet2D(
        UNet2DModel(  # type: ignore[no-untyped-call, arg-type] # diffusers ships no types
            sample_size=IMAGE_SIZE,
            in_channels=in_channels,
            out_channels=out_channels,
            layers_per_block=layers_per_block,
            block_out_channels=tuple(channels),
            num_class_embeds=CLASSES + 1 if class_conditional else None,
            down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * attended,
            up_block_types=("AttnUpBlock2D",) * attended + ("UpBlock2D",),
        ),
        class_conditional,
    )
