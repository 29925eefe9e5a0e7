"""Writes a tiny pipeline with diffusers itself: 28x28 gray images, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_pipeline(folder: Path, **unet_options: Any) -> Path:
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    options: dict[str, Any] = {
        "sample_size": 28,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": (16, 16),
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
    }
    unet = UNet2DModel(**{**options, **unet_options})
    DDPMPipeline(unet, DDPMScheduler(prediction_type="sample")).save_pretrained(folder)
    return folder
