"""Loads a UNet2DModel that diffusers saved, from its config and safetensors, as untrusted input."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import safetensors
import torch
from diffusers import UNet2DModel

from core.compute.seeding import initializing
from core.errors import CheckpointError
from core.models.registry import MAX_PARAMETERS
from core.models.unet2d import UNet2D
from core.models.weights import fill
from core.models.weights_layout import check_layout, check_opening, expected_layout, file_tensor_infos

# Names of attention layers before diffusers 0.14.
_OLD_ATTENTION = re.compile(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)(?=\.)")
_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_unet(weights: Path, options: dict[str, Any], label: int | None, *, timesteps: int) -> UNet2D:
    """Load a UNet2DModel in float32 on the CPU.

    Args:
        weights: Its safetensors file.
        options: Its config, checked by `core.runs.pipelines`.
        label: Class if none is given: the null class, if any; None: it is unconditional.
        timesteps: Number of timesteps it was trained with.

    Raises:
        CheckpointError: The config is not valid, or the weights are damaged or do not belong to it.
    """
    try:
        with initializing(None, "meta"):
            layout = _unet(options)
        parameters = sum(parameter.numel() for parameter in layout.parameters())
        if parameters > MAX_PARAMETERS:
            raise ValueError(f"{parameters:,} parameters are more than {MAX_PARAMETERS:,}")
    except (TypeError, ValueError, LookupError, RuntimeError, ArithmeticError, AttributeError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{weights.parent} has an invalid config.json: {message}") from None
    try:
        check_opening(weights, follow=False)
        with safetensors.safe_open(weights, framework="pt") as file, torch.device("cpu"):
            infos = file_tensor_infos(file)
            check_layout(weights, expected_layout(layout), {_renamed(name): info for name, info in infos.items()})
            tensors = {_renamed(name): file.get_tensor(name).float() for name in infos}
    except OSError as error:
        raise CheckpointError(f"cannot read {weights}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{weights} is damaged or truncated ({error}); save the pipeline again") from None
    with initializing(torch.Generator(), "cpu"):
        unet = _unet(options)
    fill(unet, tensors, weights)
    return UNet2D(unet, label, timesteps, offset=1)


def _unet(options: dict[str, Any]) -> Any:
    unet: Any = UNet2DModel
    return unet.from_config(options)


def _renamed(name: str) -> str:
    return _OLD_ATTENTION.sub(lambda match: match[1] + _ATTENTION[match[2]], name)
