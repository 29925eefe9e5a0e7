"""Network internals: feature maps, attention, kernels and receptive fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.diffusion.loaded_model import LoadedModel
from core.errors import MinidiffError, hint
from core.lab.hooks import first_tensor, forward_hooks, prepare_inputs, run_network

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

# Notation: x is (B, C, H, W) in the value range of the model's path (`core.diffusion.prob_paths`); t is the noise level
# in [0, 1], (B,) or one number for all; labels are (B,) int64, 0 to 9, or 10 for the null class.


def feature_maps(
    net: nn.Module,
    x: ArrayLike,
    t: Tensor | float = 0.0,
    labels: Tensor | None = None,
    *,
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Outputs of a network's modules.

    Functional operations are not modules: BasicUNet's maps are those before SiLU and pooling.

    Args:
        net: A network of the registry; its training or evaluation mode is kept.
        x: (B, C, H, W), in the value range of the model's path.
        t: Noise level, (B,) or one number.
        labels: Classes, (B,) int64, for a class-conditional network.
        layers: Names of modules, as in `layer_table`; None: all modules without children.

    Returns:
        Outputs by name, float32 on the CPU, in execution order; most are (B, C', H', W'). Further calls of a module are
        named `name#2` and so on. Modules that did not run are left out.

    Raises:
        MinidiffError: A layer does not exist, or the network does not support x.
    """
    modules = dict(net.named_modules())
    if layers is None:
        layers = [name for name, module in modules.items() if not any(True for _ in module.children())]
    for name in layers:
        if name not in modules:
            raise MinidiffError(f"the network has no layer {name!r}; {hint(name, modules, otherwise='its layers are')}")
    chosen = {modules[name]: name for name in layers}
    maps: dict[str, Tensor] = {}
    calls = dict.fromkeys(chosen, 0)

    def store(module: nn.Module, output: object) -> None:
        tensor = first_tensor(output)
        calls[module] += 1
        if tensor is not None:
            name = chosen[module] + (f"#{calls[module]}" if calls[module] > 1 else "")
            maps[name] = tensor.detach().to("cpu", torch.float32, copy=True)

    inputs = prepare_inputs(net, x, t, labels)
    with torch.no_grad(), forward_hooks(dict.fromkeys(chosen, store)):
        run_network(net, *inputs)
    return maps


def attention_maps(
    net: nn.Module, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Attention weights softmax(q k^T / sqrt(d)) of every attention layer (Vaswani et al. 2017, equation 1).

    Args:
        net: A network of the registry; only `unet2d` has attention.
        x: One image, (1, C, H, W), in the value range of the model's path.
        t: Noise level.
        labels: Its class, (1,) int64, for a class-conditional network.

    Returns:
        (heads, queries, keys) by layer name, float32 on the CPU, in execution order. Rows sum to 1; positions are in
        row-major order. Empty for a network without attention.

    Raises:
        MinidiffError: There is more than one image, or the network does not support x.
    """
    if len(x) != 1:
        raise MinidiffError(f"attention maps need one image, not {len(x)}; use shape (1, C, H, W)")
    attention = {name: net.get_submodule(name) for name in attention_layers(net)}
    projections = [f"{name}.{part}" for name in attention for part in ("to_q", "to_k")]
    outputs = feature_maps(net, x, t, labels, layers=projections)
    ran = [key.removesuffix(".to_q") for key in outputs if key.endswith(".to_q")]
    return {
        name: _weights(attention[name], *(outputs[f"{name}.{part}"][0] for part in ("to_q", "to_k"))) for name in ran
    }


def attention_layers(net: nn.Module) -> list[str]:
    """Names of the attention layers."""
    # diffusers' Attention, recognized by an attribute, since importing diffusers takes seconds.
    return [name for name, module in net.named_modules() if hasattr(module, "to_q")]


def _weights(attention: nn.Module, queries: Tensor, keys: Tensor) -> Tensor:
    """(positions, heads * d) each -> (heads, positions, positions)."""
    heads = int(attention.heads)  # type: ignore[arg-type] # torch types every attribute as a tensor or a module
    q, k = (side.reshape(len(side), heads, -1).transpose(0, 1) for side in (queries, keys))  # (heads, positions, d)
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(dim=2)


def layer_kernels(net: nn.Module) -> dict[str, Tensor]:
    """Weights of all convolutions, (out, in, kh, kw) float32 on the CPU, by name, in module order."""
    return {
        name: module.weight.detach().to("cpu", torch.float32, copy=True)
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    }


class _DenoisedOutput(nn.Module):
    """A loaded model as a network that returns the clean image, for any prediction type."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net, self._model = model.net, model

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        return self._model.denoiser(labels).predict(x, t).denoised


def receptive_field(
    net: nn.Module | LoadedModel,
    x: ArrayLike,
    position: tuple[int, int],
    t: Tensor | float = 0.0,
    labels: Tensor | None = None,
) -> Tensor:
    """Effective receptive field: absolute gradient of one output pixel with respect to the image.

    It depends on the image: it lies within the theoretical field, is smaller where max-pooling drops a pixel, and is
    strongest in the middle (Luo et al. 2016). GroupNorm (`patch_unet`, `unet2d`) and attention extend it to the whole
    image, with small values. An untrained `patch_unet` returns 0, so its field is 0.

    Args:
        net: A network of the registry, or a model from `load_model`, whose output is then the predicted clean image.
            For noise and velocity prediction use the model: the bare output contains x itself, which dominates the
            gradient. Weights and their gradients are not changed.
        x: One image, (1, C, H, W), in the value range of the model's path.
        position: Row and column of the output pixel; channels are summed.
        t: Noise level.
        labels: Its class, (1,) int64, for a class-conditional network.

    Returns:
        (H, W), non-negative, float32 on the CPU, summed over the image's channels.

    Raises:
        MinidiffError: There is more than one image, the position is outside the output, or the network does not support
            x.
    """
    net = net if isinstance(net, nn.Module) else _DenoisedOutput(net)
    image, *condition = prepare_inputs(net, x, t, labels)
    if len(image) != 1:
        raise MinidiffError(f"a receptive field needs one image, not {len(image)}; use shape (1, C, H, W)")
    with torch.inference_mode(False), torch.enable_grad():
        image = image.clone().requires_grad_()
        output = run_network(net, image, *condition)
        row, column = position
        height, width = output.shape[2:]
        if not (0 <= row < height and 0 <= column < width):
            raise MinidiffError(f"position must be within {height} by {width} pixels, not {row}, {column}")
        gradient: Tensor = torch.autograd.grad(output[0, :, row, column].sum(), image)[0]
    return gradient[0].abs().sum(dim=0).to("cpu", torch.float32)
