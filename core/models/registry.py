"""The nets that can be trained, by name: each maps noisy images, (B, C, H, W), to a prediction of the same shape.

All are called as `net(x, amount, labels)`; those that know neither amount nor class ignore both.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

# Where each net is built; a module is imported only when its net is asked for, since diffusers takes seconds.
_BUILDERS = {
    "patch_unet": ("core.models.patch_unet", "PatchUNet"),
    "basic_unet": ("core.models.basic_unet", "BasicUNet"),
    "unet2d": ("core.models.unet2d", "unet2d"),
}
MODEL_NAMES = tuple(_BUILDERS)
MAX_PARAMETERS = 2**28  # a gigabyte in float32; those of the presets have 0.3 to 2 million


def build_model(name: str, *, generator: torch.Generator | None = None, **options: Any) -> nn.Module:
    """Build the net `name` with freshly drawn weights, in float32 on the CPU whatever torch's defaults are.

    Args:
        name: one of `MODEL_NAMES`.
        generator: on the CPU, what the weights are drawn from; None is torch's global generator.
        options: what that net takes: `channels` for all, `layers_per_block` and `class_conditional` for `unet2d`.

    Raises:
        ConfigError: there is no such net, it has no such option, or it would have more than `MAX_PARAMETERS`.
    """
    from core.compute.seeding import initializing

    sketch(name, **options)
    builder = _builder(name)
    with initializing(generator):
        return _build(builder, name, options)


def sketch(name: str, **options: Any) -> nn.Module:
    """`build_model` on torch's device `meta`: names and shapes of weights that take no memory.

    Raises:
        ConfigError: as `build_model`.
    """
    from core.compute.seeding import initializing

    builder = _builder(name)  # out here: what a module makes while it is imported is not for meta
    with initializing(None, "meta"):
        net = _build(builder, name, options)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    if parameters > MAX_PARAMETERS:
        raise ConfigError(
            f"model {name} would have {parameters:,} parameters with {options}, and {MAX_PARAMETERS:,} are the most; "
            "take fewer channels"
        )
    return net


def _builder(name: str) -> Callable[..., nn.Module]:
    if name not in _BUILDERS:
        raise ConfigError(f"there is no model {name!r}; models are {', '.join(MODEL_NAMES)}")
    module, builder = _BUILDERS[name]
    found: Callable[..., nn.Module] = getattr(importlib.import_module(module), builder)
    return found


def _build(builder: Callable[..., nn.Module], name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return builder(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built with {options}: {error}") from None
