"""Networks by name. All are called as `net(x, t, labels)`; unconditional networks ignore `t` and `labels`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

# Module and callable of each network; imported on use, since importing diffusers takes seconds.
_BUILDERS = {
    "patch_unet": ("core.models.patch_unet", "PatchUNet"),
    "basic_unet": ("core.models.basic_unet", "BasicUNet"),
    "unet2d": ("core.models.unet2d", "unet2d"),
}
MODEL_NAMES = tuple(_BUILDERS)
MAX_PARAMETERS = 2**28  # a gigabyte in float32; the presets have 0.3 to 2 million


def build_model(name: str, *, generator: torch.Generator | None = None, **options: Any) -> nn.Module:
    """Build a network with random weights, in float32 on the CPU regardless of torch's defaults.

    Args:
        name: One of `MODEL_NAMES`.
        generator: CPU generator for the weights; None: torch's global generator.
        options: `in_channels`, `out_channels` and `channels` for all networks; `patch` and `classes` for `patch_unet`;
            `layers_per_block`, `classes` and `image_size` for `unet2d`.

    Returns:
        The network, in training mode.

    Raises:
        ConfigError: The name or an option is unknown, or the network would exceed `MAX_PARAMETERS`.
    """
    from core.compute.seeding import initializing

    build_meta_model(name, **options)
    builder = _builder(name)
    with initializing(generator):
        return _build(builder, name, options)


def build_meta_model(name: str, **options: Any) -> nn.Module:
    """Build a network on torch's device `meta`: names and shapes of the weights without memory for them.

    Raises:
        ConfigError: As for `build_model`.
    """
    from core.compute.seeding import initializing

    builder = _builder(name)  # import outside of the meta device
    with initializing(None, "meta"):
        net = _build(builder, name, options)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    if parameters > MAX_PARAMETERS:
        raise ConfigError(
            f"model {name} would have {parameters:,} parameters with {options}, more than {MAX_PARAMETERS:,}; "
            "use fewer channels"
        )
    return net


def _builder(name: str) -> Callable[..., nn.Module]:
    if name not in _BUILDERS:
        raise ConfigError(f"there is no model {name!r}; choose one of: {', '.join(MODEL_NAMES)}")
    module, builder = _BUILDERS[name]
    function: Callable[..., nn.Module] = getattr(importlib.import_module(module), builder)
    return function


def _build(builder: Callable[..., nn.Module], name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return builder(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built with {options}: {error}") from None
