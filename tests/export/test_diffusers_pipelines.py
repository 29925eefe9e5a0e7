"""Exported folders, loaded and sampled by plain diffusers: the same images from the same noise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Capture, environment, error_line
from diffusers import DDIMPipeline, DDPMPipeline
from PIL import Image
from torch import Tensor

from core import TrainConfig, build_model, export_diffusers, sample
from core.cli import run
from core.config.datasets import DatasetInfo
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, training_target
from core.errors import MinidiffError
from core.models.weights import write_tensors

TOLERANCE = 1e-4  # of pixels in [0, 1]
INFO = DatasetInfo(channels=3, height=16, width=8, class_names=("cat", "dog"))


def unet2d(**options: Any) -> LoadedModel:
    """A tiny unet2d with random weights in float32; with 32 channels its GroupNorm would remove the timestep."""
    values = {
        "model": "unet2d",
        "channels": (64, 64),
        "layers_per_block": 1,
        "path": "vp",
        "prediction": "v",
        "class_conditional": False,
        "precision": "float32",
        "dataset_info": INFO,
    }
    config = TrainConfig(**{**values, **options})
    net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
    return LoadedModel(net.to(memory_format=torch.channels_last).eval(), config, 7, "tiny")


def taught(model: LoadedModel, steps: int = 60) -> LoadedModel:
    """The model after some training on images of one color each: enough for a trajectory that is not chaotic."""
    path, generator = PATHS[model.config.path], torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.net.parameters(), lr=2e-3)
    for _ in range(steps):
        x_0 = 2 * torch.rand(16, 3, 1, 1, generator=generator).expand(16, 3, 16, 8) - 1
        eps, t = torch.randn(x_0.shape, generator=generator), torch.rand(16, generator=generator)
        target = training_target(path, model.config.prediction, x_0, eps, t)
        loss = (model.net(path.interpolate(x_0, eps, t), t) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def samples(model: LoadedModel, **options: Any) -> Tensor:
    *_, last = sample(model, seed=3, **options)
    return last.x.clamp(0, 1)


def pipeline_images(pipeline: Any, n: int, steps: int) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    return pipeline(batch_size=n, generator=generator, num_inference_steps=steps, output_type="pt").images


@pytest.mark.parametrize(
    ("prediction", "time_conditioning"), [("v", True), ("noise", True), ("clean", True), ("v", False)]
)
def test_ddim_pipeline_generates_our_images(tmp_path: Path, prediction: str, time_conditioning: bool) -> None:
    model = taught(unet2d(prediction=prediction, time_conditioning=time_conditioning))
    folder = export_diffusers(model, tmp_path / "exported")
    images = pipeline_images(DDIMPipeline.from_pretrained(folder), 2, 50)
    assert images.shape == (2, 3, 16, 8)
    assert images.std() > 0.01
    torch.testing.assert_close(images, samples(model, n=2, steps=50, sampler="ddim"), atol=TOLERANCE, rtol=0)


def test_the_exported_network_depends_on_the_timestep_as_ours_does(tmp_path: Path) -> None:
    model = unet2d()
    pipeline = DDPMPipeline.from_pretrained(export_diffusers(model, tmp_path / "exported"))
    x = torch.randn(4, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([0, 1, 500, 999])
    with torch.no_grad():
        ours = model.net(x, (timesteps + 1) / 1000)
        torch.testing.assert_close(pipeline.unet(x, timesteps).sample, ours, atol=2e-5, rtol=0)
        assert (model.net(x, timesteps / 1000) - ours).abs().max() > 1e-3  # one timestep makes a difference


def test_ddpm_pipeline_has_our_posterior(tmp_path: Path) -> None:
    pipeline = DDPMPipeline.from_pretrained(export_diffusers(unet2d(), tmp_path / "exported"))
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(20)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -50))
    path_alpha = torch.exp(-0.1 * torch.tensor(0.5) / 2 - 19.9 * torch.tensor(0.25) / 4)
    torch.testing.assert_close(scheduler.alphas_cumprod[499].sqrt(), path_alpha, atol=1e-6, rtol=1e-5)
    assert pipeline_images(pipeline, 1, 20).isfinite().all()


def run_script(folder: Path, *arguments: str) -> np.ndarray[Any, Any]:
    output = folder.parent / "images.png"
    done = subprocess.run(
        [sys.executable, folder / "sample.py", *arguments, "--seed", "3", "--output", output],
        env={**environment(), "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(output) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def as_row(images: Tensor) -> np.ndarray[Any, Any]:
    return torch.cat(list(images), dim=2).permute(1, 2, 0).numpy()


# The script writes 8-bit images: half a gray level on top of the tolerance.
PNG_TOLERANCE = 0.5 / 255 + TOLERANCE


@pytest.mark.parametrize(
    ("options", "flags", "ours"),
    [
        ({"path": "flow", "prediction": "clean"}, "--n 2 --steps 4", {"n": 2, "steps": 4, "sampler": "euler"}),
        ({"path": "flow", "prediction": "noise"}, "--n 2 --steps 4", {"n": 2, "steps": 4, "sampler": "euler"}),
        (
            {"path": "flow", "prediction": "velocity", "class_conditional": True},
            "--n 3 --steps 10 --guidance 3",
            {"n": 3, "steps": 10, "sampler": "euler", "guidance": 3.0, "contrast": 0.0},
        ),
        (
            {"class_conditional": True},
            "--n 2 --steps 20 --class 1 --guidance 3",
            {"n": 2, "steps": 20, "sampler": "ddim", "guidance": 3.0, "labels": 1},
        ),
    ],
)
def test_the_script_generates_our_images(
    tmp_path: Path, options: dict[str, Any], flags: str, ours: dict[str, Any]
) -> None:
    model = unet2d(**options)
    folder = export_diffusers(model, tmp_path / "exported")
    expected = as_row(samples(model, **{"contrast": 0.0, **ours} if options.get("path") == "flow" else ours))
    np.testing.assert_allclose(run_script(folder, *flags.split()), expected, atol=PNG_TOLERANCE, rtol=0)


def test_a_class_conditional_export_loads_and_says_that_pipelines_do_not_sample_it(
    tmp_path: Path, capsys: Capture
) -> None:
    model = unet2d(class_conditional=True)
    weights = tmp_path / "tiny.safetensors"
    write_tensors(weights, "model", model.net.state_dict(), model.config, 7)
    assert run(["export", str(weights), str(tmp_path / "out"), "--to", "diffusers"]) == 0
    assert "only sample networks without classes; sample.py" in capsys.readouterr().out
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "out")
    assert pipeline.unet.config.num_class_embeds == 3  # two classes and the null class
    with pytest.raises(ValueError, match="class_labels"):
        pipeline_images(pipeline, 1, 1)


def test_the_folder_has_only_safetensors_and_json(tmp_path: Path) -> None:
    folder = export_diffusers(unet2d(), tmp_path / "a" / "exported")
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert files == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == "DDPMPipeline"
    assert os.listdir(folder.parent) == ["exported"]  # no temporary folder is left
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_empty_folder_is_used_and_one_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    model = unet2d()
    assert (export_diffusers(model, tmp_path / "empty") / "unet").is_dir()
    with pytest.raises(MinidiffError, match=r"full is not empty; name a new folder"):
        export_diffusers(model, tmp_path / "full")
    assert os.listdir(tmp_path / "full") == ["notes.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(MinidiffError, match=r"cannot write .*file: Not a directory; choose another folder"):
        export_diffusers(model, tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "full"]


def test_models_that_diffusers_does_not_have_are_refused_in_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "out")
    assert "default-mnist is a patch_unet, which diffusers does not have; only unet2d can be exported" in error_line(
        capsys, "export", "default-mnist", out, "--to", "diffusers"
    )
    with pytest.raises(MinidiffError, match="uniform noise"):
        export_diffusers(unet2d(path="mix", prediction="clean"), out)
    assert not Path(out).exists()
