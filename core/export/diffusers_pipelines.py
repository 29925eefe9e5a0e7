"""Exports models as folders in the layout of diffusers' pipelines, which load without this project."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from core.compute.torch_settings import standard_defaults
from core.diffusion.diffusers_schedulers import TRAIN_STEPS, variance_preserving_betas
from core.errors import MinidiffError
from core.export.diffusers_script import sampling_script
from core.system.atomic_write import new_folder, write_atomically

if TYPE_CHECKING:
    from torch import nn

    from core.config.training import TrainConfig
    from core.diffusion.loaded_model import LoadedModel

PREDICTION_TYPES = {"noise": "epsilon", "v": "v_prediction", "clean": "sample"}  # diffusers' names, on vp
SCRIPT = "sample.py"


def export_diffusers(model: LoadedModel, folder: str | Path) -> Path:
    """Write a model as a folder that diffusers loads by itself, with weights as safetensors in float32.

    On the path vp, `DDPMPipeline.from_pretrained(folder)` and `DDIMPipeline.from_pretrained(folder)` load it. From the
    same noise they generate the same images as the samplers ddpm and ddim if the number of steps divides 1,000. Both
    pipelines only call unconditional networks: a class-conditional model loads, and `sample.py` in the folder samples
    it. On the path flow, for which diffusers has no such pipeline, the folder holds the UNet2DModel, a
    FlowMatchEulerDiscreteScheduler and `sample.py`.

    Args:
        model: A model from `load_model` with the network `unet2d`.
        folder: A new or empty folder; written under a temporary name and renamed.

    Returns:
        The folder.

    Raises:
        MinidiffError: The network is not unet2d, the path is mix, or the folder is not empty or cannot be written.
    """
    config, path = model.config, Path(os.path.expanduser(folder))
    if model.schedule is not None:
        raise MinidiffError(f"{model.name} is a folder of diffusers already; copy it")
    if config.model != "unet2d":
        raise MinidiffError(
            f"{model.name} is a {config.model}, which diffusers does not have; only unet2d can be exported "
            "(`minidiff train --model unet2d --path vp`)"
        )
    if config.path == "mix":
        raise MinidiffError(
            f"{model.name} is on the path mix, whose uniform noise diffusers' pipelines do not have; only vp and flow "
            "can be exported (`minidiff train --model unet2d --path vp`)"
        )
    try:
        with new_folder(path) as temporary, standard_defaults():
            _write(model, temporary)
    except OSError as error:
        if path.is_dir() and any(path.iterdir()):
            raise MinidiffError(f"{path} is not empty; name a new folder") from None
        raise MinidiffError(f"cannot write {path}: {error.strerror}; choose another folder") from None
    except SafetensorError as error:
        raise MinidiffError(f"cannot write {path}: {error}; choose another folder") from None
    return path


def describe_export(config: TrainConfig) -> str:
    """How to use the folder exported from a model trained with `config`, in one sentence."""
    if config.path == "flow":
        return f"diffusers has no pipeline for the path flow, so {SCRIPT} in it samples the model with diffusers alone"
    if config.class_conditional:
        return (
            "DDPMPipeline and DDIMPipeline load it, but only sample networks without classes; "
            f"{SCRIPT} in it samples this one"
        )
    return "DDPMPipeline.from_pretrained and DDIMPipeline.from_pretrained load it"


def _write(model: LoadedModel, folder: Path) -> None:
    diffusers: Any = importlib.import_module("diffusers")  # ships no types
    config = model.config
    flow = config.path == "flow"
    unet = _plain_unet(diffusers.UNet2DModel, model.net.get_submodule("unet"))
    if not config.time_conditioning:
        _fix_timestep(unet)
    elif not flow:
        _shift_timesteps(unet)
    if flow:
        unet.save_pretrained(folder / "unet")
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAIN_STEPS)
        scheduler.save_pretrained(folder / "scheduler")
    else:
        scheduler = diffusers.DDPMScheduler(
            num_train_timesteps=TRAIN_STEPS,
            trained_betas=variance_preserving_betas(),
            prediction_type=PREDICTION_TYPES[config.prediction],
            clip_sample=config.prediction == "noise",  # as `Denoiser` does
            timestep_spacing="trailing",
        )
        diffusers.DDPMPipeline(unet, scheduler).save_pretrained(folder)
        index = json.loads((folder / "model_index.json").read_bytes())
        # diffusers ignores private keys.
        index["_minidiff"] = {"name": model.name, "step": model.step, "class_names": config.info.class_names}
        write_atomically(folder / "model_index.json", json.dumps(index, indent=2).encode())
    if flow or config.class_conditional:
        write_atomically(folder / SCRIPT, sampling_script(config).encode())


def _plain_unet(unet_class: Any, unet: nn.Module) -> Any:
    """A copy on the CPU in float32, in the default memory layout and with diffusers' own attention."""
    with torch.inference_mode(False):
        copy = unet_class.from_config(unet.config)
        copy.load_state_dict(unet.state_dict())
        return copy.eval()


def _shift_timesteps(unet: Any) -> None:
    """Change the first layer so that timestep i has the effect of i + 1.

    diffusers' timestep i stands for noise level (i + 1) / 1000, which our networks see as timestep i + 1. The embedding
    of i has cos(i f) and sin(i f) for each frequency f; that of i + 1 is the same rotated by f.
    """
    weight = unet.time_embedding.linear_1.weight
    with torch.no_grad():
        cos_f, sin_f = unet.time_proj(torch.ones(1)).double().chunk(2, dim=1)
        cos_weight, sin_weight = weight.double().chunk(2, dim=1)
        shifted = (cos_weight * cos_f + sin_weight * sin_f, sin_weight * cos_f - cos_weight * sin_f)
        weight.copy_(torch.cat(shifted, dim=1))


def _fix_timestep(unet: Any) -> None:
    """Change the first layer so that every timestep has the effect of 0, as for networks without conditioning."""
    layer = unet.time_embedding.linear_1
    with torch.no_grad():
        layer.bias.copy_(layer(unet.time_proj(torch.zeros(1)))[0])
        layer.weight.zero_()
