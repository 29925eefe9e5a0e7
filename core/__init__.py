"""The headless part of minidiff: the public API, imported lazily (PEP 562)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.compute.device import pick_device as pick_device
    from core.config.training import TrainConfig as TrainConfig
    from core.data.datasets import load_dataset as load_dataset
    from core.diagnosis.api import diagnose as diagnose
    from core.diagnosis.api import diagnose_run as diagnose_run
    from core.diffusion.corruption import corrupt as corrupt
    from core.diffusion.editing import inpaint as inpaint
    from core.diffusion.editing import mix_classes as mix_classes
    from core.diffusion.editing import sample_with_loss as sample_with_loss
    from core.diffusion.ideal_denoiser import IdealDenoiser as IdealDenoiser
    from core.diffusion.ideal_denoiser import ideal_model as ideal_model
    from core.diffusion.interpolation import interpolate_images as interpolate_images
    from core.diffusion.interpolation import interpolate_seeds as interpolate_seeds
    from core.diffusion.interpolation import invert as invert
    from core.diffusion.loaded_model import load_model as load_model
    from core.diffusion.sampling import sample as sample
    from core.diffusion.snapshots import sample_snapshots as sample_snapshots
    from core.errors import MinidiffError as MinidiffError
    from core.evaluation.loss_by_level import loss_floor as loss_floor
    from core.evaluation.nearest import nearest_training_images as nearest_training_images
    from core.evaluation.scores import evaluate as evaluate
    from core.export.diffusers_pipelines import export_diffusers as export_diffusers
    from core.export.tensors import save_grid as save_grid
    from core.lab.convolution import convolve_steps as convolve_steps
    from core.lab.inside import feature_maps as feature_maps
    from core.lab.inside import receptive_field as receptive_field
    from core.lab.layers import layer_table as layer_table
    from core.lab.sweep import corruption_sweep as corruption_sweep
    from core.lab.training_step import training_steps as training_steps
    from core.lab.transposed import transposed_convolve_steps as transposed_convolve_steps
    from core.models.basic_unet import BasicUNet as BasicUNet
    from core.models.registry import build_model as build_model
    from core.race.race import run_race as run_race
    from core.race.records import RaceRules as RaceRules
    from core.runs.snapshots import list_snapshots as list_snapshots
    from core.system.devices import list_devices as list_devices
    from core.training.api import resume as resume
    from core.training.api import train as train
    from core.training.description import describe_run as describe_run
    from core.training.distillation import distillation_config as distillation_config

__version__ = "0.1.0"

_MODULES = {
    "BasicUNet": "core.models.basic_unet",
    "IdealDenoiser": "core.diffusion.ideal_denoiser",
    "MinidiffError": "core.errors",
    "RaceRules": "core.race.records",
    "TrainConfig": "core.config.training",
    "build_model": "core.models.registry",
    "convolve_steps": "core.lab.convolution",
    "corrupt": "core.diffusion.corruption",
    "corruption_sweep": "core.lab.sweep",
    "describe_run": "core.training.description",
    "diagnose": "core.diagnosis.api",
    "diagnose_run": "core.diagnosis.api",
    "distillation_config": "core.training.distillation",
    "evaluate": "core.evaluation.scores",
    "export_diffusers": "core.export.diffusers_pipelines",
    "feature_maps": "core.lab.inside",
    "ideal_model": "core.diffusion.ideal_denoiser",
    "inpaint": "core.diffusion.editing",
    "interpolate_images": "core.diffusion.interpolation",
    "interpolate_seeds": "core.diffusion.interpolation",
    "invert": "core.diffusion.interpolation",
    "layer_table": "core.lab.layers",
    "list_devices": "core.system.devices",
    "list_snapshots": "core.runs.snapshots",
    "load_dataset": "core.data.datasets",
    "load_model": "core.diffusion.loaded_model",
    "loss_floor": "core.evaluation.loss_by_level",
    "mix_classes": "core.diffusion.editing",
    "nearest_training_images": "core.evaluation.nearest",
    "pick_device": "core.compute.device",
    "receptive_field": "core.lab.inside",
    "resume": "core.training.api",
    "run_race": "core.race.race",
    "sample": "core.diffusion.sampling",
    "sample_snapshots": "core.diffusion.snapshots",
    "sample_with_loss": "core.diffusion.editing",
    "save_grid": "core.export.tensors",
    "train": "core.training.api",
    "training_steps": "core.lab.training_step",
    "transposed_convolve_steps": "core.lab.transposed",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name on first access."""
    if name not in _MODULES:
        raise AttributeError(f"module 'core' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
