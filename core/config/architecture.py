"""Widths, levels and patch sizes of the networks, and which image sizes they accept; without torch."""

from __future__ import annotations

from typing import Any, Literal

from core.config.datasets import DatasetInfo

ModelName = Literal["patch_unet", "basic_unet", "unet2d"]
CUSTOM_PATTERN = r"[^\W\d][\w.]{0,100}:[^\W\d][\w.]{0,100}"  # module:Class of a network of the user's own
SizeName = Literal["tiny", "small", "base", "large"]
WIDTHS: dict[str, int] = {"tiny": 32, "small": 48, "base": 64, "large": 96}  # of patch_unet's finest level
CHANNELS = (32, 64, 64)  # of basic_unet and unet2d
NORM_GROUPS = 32  # of GroupNorm in diffusers' UNet2DModel
MAX_LEVELS = 6
PIXELS = 16  # longest side of images whose pixels are not joined into patches: each is a large part of the picture
FINEST, COARSEST = 32, 8  # longest side of patch_unet's first level, and of its last, in patches


def is_custom(model: str) -> bool:
    """Whether a model is a network of the user's own, `module:Class`."""
    return ":" in model


def patch_size(info: DatasetInfo) -> int:
    """Side of patch_unet's patches, in pixels: 1 up to 16x16, 2 up to 64x64, 4 up to 128x128, 8 up to 256x256."""
    longest = max(info.height, info.width)
    patch = 1 if longest <= PIXELS else 2
    while longest > FINEST * patch:
        patch *= 2
    return patch


def patch_unet_channels(size: str, info: DatasetInfo) -> tuple[int, ...]:
    """Channels of patch_unet per level: two levels, or as many as lead to a side of at most 8 patches."""
    side, levels = -(-max(info.height, info.width) // patch_size(info)), 1
    while side > COARSEST or levels == 1:
        side, levels = -(-side // 2), levels + 1
    return (WIDTHS[size], *(2 * WIDTHS[size],) * (levels - 1))


def model_options(
    model: str, info: DatasetInfo, size: str, channels: tuple[int, ...] | None, layers: int | None, *, labels: bool
) -> dict[str, Any]:
    """Keyword arguments for `build_model(model, **options)`; None takes the network's default."""
    options: dict[str, Any] = {"in_channels": info.channels, "out_channels": info.channels}
    if model == "patch_unet":
        widths = channels or patch_unet_channels(size, info)
        return {**options, "channels": widths, "patch": patch_size(info), "classes": info.classes}
    options["channels"] = channels or CHANNELS
    if model == "unet2d":
        options |= {"image_size": (info.height, info.width), "classes": info.classes if labels else None}
        if layers is not None:
            options["layers_per_block"] = layers
    return options


def check_channels(model: str, channels: tuple[int, ...]) -> None:
    """Check channels per level.

    Raises:
        ValueError: The network does not support them.
    """
    if is_custom(model):
        raise ValueError(f"channels: {model} is a network of your own; leave channels out")
    if not 1 <= len(channels) <= MAX_LEVELS or not all(1 <= width <= 4096 for width in channels):
        raise ValueError(
            f"channels: 1 to {MAX_LEVELS} levels of 1 to 4096 channels are supported, not {list(channels)}"
        )
    if model == "unet2d" and any(width % NORM_GROUPS for width in channels):
        raise ValueError(f"channels: unet2d needs multiples of {NORM_GROUPS}, not {list(channels)}")
    if model == "patch_unet" and (len(channels) < 2 or any(width % 16 for width in channels)):
        raise ValueError(f"channels: patch_unet needs at least two multiples of 16, not {list(channels)}")


def check_image_size(model: str, channels: tuple[int, ...] | None, info: DatasetInfo) -> None:
    """Check that a network accepts the image size; patch_unet accepts all, and a network of the user's own is called.

    Raises:
        ValueError: It does not; the message names the nearest sizes that it accepts.
    """
    levels = len(channels or CHANNELS)
    multiple = 2 ** (levels - 1)
    if model == "patch_unet" or is_custom(model) or not (info.height % multiple or info.width % multiple):
        return
    low, high = (
        tuple(max(multiple, (side + up) // multiple * multiple) for side in (info.height, info.width))
        for up in (0, multiple - 1)
    )
    raise ValueError(
        f"channels: {model} with {levels} levels needs a height and width divisible by {multiple}, not "
        f"{info.height}x{info.width}; the nearest sizes are {low[0]}x{low[1]} and {high[0]}x{high[1]}; "
        f"use fewer levels, or patch_unet, which takes any size"
    )
