"""The public names of `core`: correct after any imports, and loaded lazily."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest
from repository import REPOSITORY

import core

PUBLIC = {
    "BasicUNet": ("core.models.basic_unet", type),
    "IdealDenoiser": ("core.diffusion.ideal_denoiser", type),
    "MinidiffError": ("core.errors", type),
    "RaceRules": ("core.race.records", type),
    "TrainConfig": ("core.config.training", type),
    "build_model": ("core.models.registry", None),
    "convolve_steps": ("core.lab.convolution", None),
    "corrupt": ("core.diffusion.corruption", None),
    "corruption_sweep": ("core.lab.sweep", None),
    "describe_run": ("core.training.description", None),
    "diagnose": ("core.diagnosis.api", None),
    "diagnose_run": ("core.diagnosis.api", None),
    "distillation_config": ("core.training.distillation", None),
    "evaluate": ("core.evaluation.scores", None),
    "export_diffusers": ("core.export.diffusers_pipelines", None),
    "feature_maps": ("core.lab.inside", None),
    "ideal_model": ("core.diffusion.ideal_denoiser", None),
    "inpaint": ("core.diffusion.editing", None),
    "interpolate_images": ("core.diffusion.interpolation", None),
    "interpolate_seeds": ("core.diffusion.interpolation", None),
    "invert": ("core.diffusion.interpolation", None),
    "layer_table": ("core.lab.layers", None),
    "list_devices": ("core.system.devices", None),
    "list_snapshots": ("core.runs.snapshots", None),
    "load_dataset": ("core.data.datasets", None),
    "load_model": ("core.diffusion.loaded_model", None),
    "loss_floor": ("core.evaluation.loss_by_level", None),
    "nearest_training_images": ("core.evaluation.nearest", None),
    "mix_classes": ("core.diffusion.editing", None),
    "pick_device": ("core.compute.device", None),
    "receptive_field": ("core.lab.inside", None),
    "resume": ("core.training.api", None),
    "run_race": ("core.race.race", None),
    "sample": ("core.diffusion.sampling", None),
    "sample_snapshots": ("core.diffusion.snapshots", None),
    "sample_with_loss": ("core.diffusion.editing", None),
    "save_grid": ("core.export.tensors", None),
    "train": ("core.training.api", None),
    "training_steps": ("core.lab.training_step", None),
    "transposed_convolve_steps": ("core.lab.transposed", None),
}


def submodules() -> list[str]:
    names = [module.name for module in pkgutil.walk_packages(core.__path__, "core.")]
    return [name for name in names if not name.endswith("__main__")]


def run_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_submodule_has_the_name_of_a_public_object() -> None:
    assert not {name.rpartition(".")[2] for name in submodules()} & set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_keep_their_objects_after_importing_every_submodule(name: str) -> None:
    for module in submodules():
        importlib.import_module(module)
    home, kind = PUBLIC[name]
    value = getattr(core, name)
    assert value is getattr(importlib.import_module(home), name)
    assert isinstance(value, kind) if kind else callable(value)


def test_all_and_dir_list_the_public_names() -> None:
    assert core.__all__ == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(core))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = core.nonsense


def test_importing_core_loads_neither_torch_nor_pydantic() -> None:
    heavy = "{'torch', 'torchvision', 'diffusers', 'numpy', 'pydantic', 'rich', 'textual'}"
    assert run_python(f"import sys, core; print({heavy} & set(sys.modules))") == "set()"


def test_listing_devices_and_runs_loads_no_torch() -> None:
    program = (
        "import sys; from core import list_devices, TrainConfig; import core.runs.history, core.runs.trajectory;"
        "from core.runs.status import list_runs; from pathlib import Path;"
        "list_devices(); list_runs(Path('/nowhere'));"
        "print({'torch', 'numpy', 'torchvision', 'diffusers', 'safetensors'} & set(sys.modules))"
    )
    assert run_python(program) == "set()"


def test_sampling_with_a_basic_unet_loads_neither_torchvision_nor_diffusers() -> None:
    program = (
        "import sys, core.engine.server, core.models.weights; from core import build_model, sample;"
        "list(sample(build_model('basic_unet'), n=1, steps=1));"
        "print({'torchvision', 'diffusers', 'textual', 'tui'} & set(sys.modules))"
    )
    assert run_python(program) == "set()"
