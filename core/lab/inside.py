"""The inside of a net: its maps, attention and kernels, and which pixels of the image a pixel of the answer sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.diffusion.loaded_model import LoadedModel
from core.errors import MinidiffError, hint
from core.lab.hooks import first_tensor, put, run, watched

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

# Legend: x is (B, C, H, W) in the range of the path that the net was trained on (`core.diffusion.prob_paths`);
# amount is (B,) or one number for all, in [0, 1]; labels are (B,) int64, 0 to 9, or 10 for none.


def feature_maps(
    net: nn.Module,
    x: ArrayLike,
    t: Tensor | float = 0.0,
    labels: Tensor | None = None,
    *,
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """What the layers of a net put out.

    What is not a module of its own has no entry: BasicUNet's maps are those before SiLU and pooling.

    Args:
        net: a net of the registry, run in the mode it is in.
        x: (B, C, H, W), in the range of the net's path.
        amount: how much noise the net is told, (B,) or one number.
        labels: classes, (B,) int64, for a net that knows them.
        layers: names of modules, as `layer_table` gives them; None for all that hold no other module.

    Returns:
        Output by name, float32 on the CPU, in the order in which the layers ran; most are (B, C', H', W'). A second
        call of a module is named `name#2`, and so on. What never ran is left out.

    Raises:
        MinidiffError: the net has no such layer or cannot take x.
    """
    modules = dict(net.named_modules())
    if layers is None:
        layers = [name for name, module in modules.items() if not any(True for _ in module.children())]
    for name in layers:
        if name not in modules:
            raise MinidiffError(f"the net has no layer {name!r}; {hint(name, modules, otherwise='its layers are')}")
    chosen = {modules[name]: name for name in layers}
    found: dict[str, Tensor] = {}
    calls = dict.fromkeys(chosen, 0)

    def keep(module: nn.Module, output: object) -> None:
        tensor = first_tensor(output)
        calls[module] += 1
        if tensor is not None:
            name = chosen[module] + (f"#{calls[module]}" if calls[module] > 1 else "")
            found[name] = tensor.detach().to("cpu", torch.float32, copy=True)

    given = put(net, x, t, labels)
    with torch.no_grad(), watched(dict.fromkeys(chosen, keep)):
        run(net, *given)
    return found


def attention_maps(
    net: nn.Module, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Where each place looks: softmax(q k^T / sqrt(d)) of every attention layer (Vaswani et al. 2017, equation 1).

    Args:
        net: a net of the registry; only `unet2d` attends.
        x: one image, (1, C, H, W), in the range of the net's path.
        amount: how much noise the net is told.
        labels: its class, (1,) int64, for a net that knows classes.

    Returns:
        (heads, queries, keys) by the layer's name, float32 on the CPU, in the order in which they ran; each row adds up
        to 1, and places are counted row by row. Empty for a net without attention.

    Raises:
        MinidiffError: more than one image, or the net cannot take x.
    """
    if len(x) != 1:
        raise MinidiffError(f"attention is shown for one image, not {len(x)}; give x the shape (1, C, H, W)")
    attending = {name: net.get_submodule(name) for name in attention_layers(net)}
    projections = [f"{name}.{part}" for name in attending for part in ("to_q", "to_k")]
    outputs = feature_maps(net, x, t, labels, layers=projections)
    ran = [key.removesuffix(".to_q") for key in outputs if key.endswith(".to_q")]
    return {
        name: _weights(attending[name], *(outputs[f"{name}.{part}"][0] for part in ("to_q", "to_k"))) for name in ran
    }


def attention_layers(net: nn.Module) -> list[str]:
    """The names of the layers that attend; empty for a net without attention."""
    # diffusers' Attention, known by its parts: importing diffusers takes seconds.
    return [name for name, module in net.named_modules() if hasattr(module, "to_q")]


def _weights(attention: nn.Module, queries: Tensor, keys: Tensor) -> Tensor:
    """(places, heads d) each -> (heads, places, places)."""
    heads = int(attention.heads)  # type: ignore[arg-type] # torch takes every attribute for a tensor or a module
    q, k = (side.reshape(len(side), heads, -1).transpose(0, 1) for side in (queries, keys))  # (heads, places, d)
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(dim=2)


def layer_kernels(net: nn.Module) -> dict[str, Tensor]:
    """Every convolution's weights, (out, in, kh, kw) float32 on the CPU, by name, in the order of the net's parts."""
    return {
        name: module.weight.detach().to("cpu", torch.float32, copy=True)
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    }


class _CleanAnswer(nn.Module):
    """A loaded model as a net that answers with the clean image, whatever it was trained to predict."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net, self._model = model.net, model

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
        """The clean image that the model sees in x, asked once."""
        told = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        return self._model.denoiser(labels).predict(x, told).denoised


def receptive_field(
    net: nn.Module | LoadedModel,
    x: ArrayLike,
    position: tuple[int, int],
    t: Tensor | float = 0.0,
    labels: Tensor | None = None,
) -> Tensor:
    """How much each pixel of the image moves one pixel of the answer: the absolute gradient, by autograd.

    This is the effective field of Luo et al. 2016, for this image: at most the theoretical one, smaller where
    max-pooling drops a pixel, and strongest in the middle. Where a net normalises (GroupNorm in `patch_unet` and
    `unet2d`) or attends, every pixel takes part in a mean and a variance or in a softmax, and the field is the whole
    image, if only by a little. A `patch_unet` that has not learned answers 0 whatever it sees, and its field is 0.

    Args:
        net: a net of the registry, whose answer is what it puts out, or what `load_model` gives, whose answer is the
            clean image that it sees in x. A net that predicts noise or velocity repeats each pixel of x in its output,
            which outshines all that it has seen around it; the clean image is without that. Weights and their
            gradients stay as they are.
        x: one image, (1, C, H, W), in the range of the net's path.
        position: row and column of the answer's pixel; with several channels, of their sum.
        amount: how much noise the net is told.
        labels: its class, (1,) int64, for a net that knows classes.

    Returns:
        (H, W), at least 0, float32 on the CPU, summed over the image's channels.

    Raises:
        MinidiffError: more than one image, a position outside the answer, or the net cannot take x.
    """
    net = net if isinstance(net, nn.Module) else _CleanAnswer(net)
    image, *told = put(net, x, t, labels)
    if len(image) != 1:
        raise MinidiffError(f"a receptive field is that of one image, not {len(image)}; give x the shape (1, C, H, W)")
    with torch.inference_mode(False), torch.enable_grad():
        image = image.clone().requires_grad_()
        answer = run(net, image, *told)
        row, column = position
        height, width = answer.shape[2:]
        if not (0 <= row < height and 0 <= column < width):
            raise MinidiffError(f"position must lie within {height} by {width} pixels, not at {row}, {column}")
        gradient: Tensor = torch.autograd.grad(answer[0, :, row, column].sum(), image)[0]
    return gradient[0].abs().sum(dim=0).to("cpu", torch.float32)
