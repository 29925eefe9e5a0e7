"""Folders that diffusers writes: sampled as diffusers samples them, and refused in one sentence otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Capture, error_line
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from torch import Tensor

from core import MinidiffError, TrainConfig, build_model, export_diffusers, load_model, sample
from core.cli import run
from core.config.datasets import DatasetInfo
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import EDGE

TOLERANCE = 1e-4  # of pixels in [0, 1]
LABELS = torch.tensor([1, 0])


def unet(**options: Any) -> UNet2DModel:
    """A tiny network with random weights."""
    values: dict[str, Any] = {
        "sample_size": (16, 8),
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 1,
        "block_out_channels": (32, 64),
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    torch.manual_seed(0)
    return UNet2DModel(**{**values, **options}).eval()


def taught(net: UNet2DModel, scheduler: Any, steps: int = 60) -> UNet2DModel:
    """The network after some training to predict noise; without it, DDIM from noise is chaotic."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        x_0 = 2 * torch.rand(16, 3, 1, 1, generator=generator).expand(16, 3, 16, 8) - 1
        eps = torch.randn(x_0.shape, generator=generator)
        t = torch.randint(scheduler.config.num_train_timesteps, (16,), generator=generator)
        loss = (net(scheduler.add_noise(x_0, eps, t), t).sample - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def written(folder: Path, scheduler: Any, net: UNet2DModel | None = None) -> Path:
    pipeline = DDIMPipeline if isinstance(scheduler, DDIMScheduler) else DDPMPipeline
    pipeline(net or unet(), scheduler).save_pretrained(folder)
    return folder


def by_diffusers(folder: Path, steps: int, labels: Tensor | None = None) -> Tensor:
    """The loop of DDIMPipeline, with labels if the network takes them."""
    pipeline = DDIMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    if labels is None:
        return pipeline(batch_size=2, generator=generator, num_inference_steps=steps, output_type="pt").images
    x = torch.randn(2, 3, 16, 8, generator=generator)
    pipeline.scheduler.set_timesteps(steps)
    for t in pipeline.scheduler.timesteps:
        with torch.no_grad():
            x = pipeline.scheduler.step(pipeline.unet(x, t, class_labels=labels).sample, t, x).prev_sample
    return (x / 2 + 0.5).clamp(0, 1)


def by_us(model: LoadedModel, **options: Any) -> Tensor:
    *_, last = sample(model, n=2, seed=3, **{"sampler": "ddim", **options})
    return last.x.clamp(0, 1)


@pytest.mark.parametrize(
    "scheduler",
    [
        DDPMScheduler(prediction_type="v_prediction"),
        DDPMScheduler(prediction_type="sample"),
        DDPMScheduler(beta_start=0.001, beta_end=0.5, num_train_timesteps=40, clip_sample_range=1.5),  # epsilon
        DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True),
        DDIMScheduler(prediction_type="sample", set_alpha_to_one=False, steps_offset=1, clip_sample=False),
        DDPMScheduler(prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing"),
    ],
    ids=lambda scheduler: f"{scheduler.config.prediction_type}-{scheduler.config.timestep_spacing}",
)
def test_ddim_equals_diffusers_own_pipeline(tmp_path: Path, scheduler: Any) -> None:
    net = taught(unet(), scheduler) if scheduler.config.prediction_type == "epsilon" else unet()
    folder = written(tmp_path / "pipeline", scheduler, net)
    expected = by_diffusers(folder, 20)
    assert expected.std() > 0.01
    actual = by_us(load_model(folder, "cpu"), steps=20)
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0)


def test_a_class_conditional_pipeline_is_given_its_classes(tmp_path: Path) -> None:
    folder = written(tmp_path / "p", DDPMScheduler(prediction_type="v_prediction"), unet(num_class_embeds=2))
    model = load_model(folder, "cpu")
    images = by_us(model, steps=10, labels=LABELS)
    torch.testing.assert_close(images, by_diffusers(folder, 10, LABELS), atol=TOLERANCE, rtol=0)
    assert (images - by_us(model, steps=10, labels=1 - LABELS)).abs().max() > 0.01
    for options in ({"guidance": 2.0}, {"labels": -1}):
        with pytest.raises(MinidiffError, match=r"without a null class.* from 0 to 1"):
            by_us(model, **options)


@pytest.mark.parametrize("sampler", ["euler", "heun", "ddpm", "dpm2m", "diffusers:UniPCMultistepScheduler"])
def test_every_sampler_ends_in_an_image(tmp_path: Path, sampler: str) -> None:
    model = load_model(written(tmp_path / "p", DDPMScheduler(prediction_type="sample")), "cpu")
    images = by_us(model, steps=20, sampler=sampler)
    assert images.isfinite().all()
    assert images.std() > 0.01


def test_the_path_passes_through_the_schedulers_noise_levels(tmp_path: Path) -> None:
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=50)
    path = load_model(written(tmp_path / "p", scheduler), "cpu").path
    t = torch.arange(1, 51, dtype=torch.float64) / 50
    torch.testing.assert_close(path.alpha(t).square(), scheduler.alphas_cumprod.double(), atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t))
    middle = torch.linspace(0.011, 0.97, 30, dtype=torch.float64).requires_grad_()
    for value, derivative in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        (slope,) = torch.autograd.grad(value(middle).sum(), middle)
        assert path.sigma(middle).min() > EDGE
        torch.testing.assert_close(derivative(middle.detach()), slope)


def test_our_own_export_comes_back_with_its_null_class_and_class_names(tmp_path: Path) -> None:
    info = DatasetInfo(channels=3, height=16, width=8, class_names=("cat", "dog"))
    config = TrainConfig(
        model="unet2d", channels=(64, 64), layers_per_block=1, path="vp", prediction="v", dataset_info=info
    )
    net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
    ours = LoadedModel(net.eval(), config, 12, "pets")
    back = load_model(export_diffusers(ours, tmp_path / "pets"), "cpu")
    assert back.config.info == info
    assert (back.name, back.step) == ("pets", 12)
    options: dict[str, Any] = {"steps": 10, "guidance": 2.0, "labels": LABELS}
    torch.testing.assert_close(by_us(back, **options), by_us(ours, **options), atol=TOLERANCE, rtol=0)
    with pytest.raises(MinidiffError, match="a folder of diffusers already"):
        export_diffusers(back, tmp_path / "again")


def test_parts_may_be_in_one_folder_with_old_names_of_attention_layers(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = written(tmp_path / "p", DDPMScheduler(prediction_type="sample"))
    expected = by_us(load_model(folder, "cpu"), steps=4)
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(folder / "model_index.json", flat)
    shutil.copy(folder / "unet" / "config.json", flat)
    shutil.copy(folder / "scheduler" / "scheduler_config.json", flat)
    tensors = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {name.replace(f".{new}.", f".{old}."): value for name, value in tensors.items()}
    save_file(tensors, flat / "diffusion_pytorch_model.safetensors")
    assert torch.equal(by_us(load_model(flat, "cpu"), steps=4), expected)


def edited(part: str, **changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / part
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return edit


def truncated(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])


def pickled(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
REFUSED = {
    "other unet": (
        edited("model_index.json", unet=["diffusers", "UNet2DConditionModel"]),
        "UNet2DConditionModel as its unet; only UNet2DModel",
    ),
    "code of its own": (edited("model_index.json", unet=["my_module", "UNet2DModel"]), "only UNet2DModel"),
    "more parts": (
        edited("model_index.json", vae=["diffusers", "AutoencoderKL"]),
        "a pipeline with vae; it may only have a unet",
    ),
    "other scheduler": (
        edited("model_index.json", scheduler=["diffusers", "PNDMScheduler"]),
        "PNDMScheduler as its scheduler; supported are DDPMScheduler, DDIMScheduler",
    ),
    "learned sigma": (edited(UNET, out_channels=6), "6 channels from 3 (a learned variance is not supported)"),
    "variance type": (edited(SCHEDULER, variance_type="learned_range"), "variance_type 'learned_range' is not"),
    "prediction": (edited(SCHEDULER, prediction_type="flow"), "prediction_type 'flow' is not supported"),
    "thresholding": (edited(SCHEDULER, thresholding=True), "thresholding True is not supported"),
    "latents": (edited(UNET, in_channels=4, out_channels=4), "takes 4 channels; supported are 1 (gray) and 3 (RGB)"),
    "size": (edited(UNET, sample_size=None), "sample_size must be one or two whole numbers, not None"),
    "huge": (edited(UNET, sample_size=4096), "4096"),
    "many layers": (edited(UNET, layers_per_block=10**9), "layers_per_block must be a whole number from 1 to 16"),
    "wide": (edited(UNET, block_out_channels=[32, 4096 * 4]), "channels"),
    "unknown block": (edited(UNET, down_block_types=["DownBlock2D", "Block9"]), "invalid config.json"),
    "many timesteps": (edited(SCHEDULER, num_train_timesteps=10**12), "num_train_timesteps must be"),
    "beta schedule": (edited(SCHEDULER, beta_schedule="new"), "invalid scheduler_config.json: new is not implemented"),
    "betas": (edited(SCHEDULER, trained_betas=[2.0, 0.1]), "its betas must be 1,000 numbers from 0 to 1"),
    "no JSON": (lambda folder: (folder / UNET).write_text("{"), "is not valid JSON"),
    "a list": (lambda folder: (folder / UNET).write_text("[]"), "holds a list, not an object"),
    "no scheduler": (lambda folder: (folder / SCHEDULER).unlink(), "scheduler_config.json: No such file"),
    "pickled": (pickled, "has only diffusion_pytorch_model.bin, and pickled weights are never read"),
    "truncated": (truncated, "is damaged or truncated"),
    "other weights": (edited(UNET, layers_per_block=2), "holds another model"),
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("written") / "pipeline", DDPMScheduler())


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_not_supported_is_refused_in_one_sentence(
    tmp_path: Path, pipeline: Path, capsys: Capture, name: str
) -> None:
    change, message = REFUSED[name]
    folder = shutil.copytree(pipeline, tmp_path / "pipeline")
    change(folder)
    assert message in error_line(capsys, "sample", str(folder), "--device", "cpu", "--n", "1")


def test_the_command_samples_a_folder(tmp_path: Path, pipeline: Path, capsys: Capture) -> None:
    shutil.copytree(pipeline, tmp_path / "runs" / "faces")
    output = tmp_path / "grid.png"
    assert run(["sample", "faces", "--root", str(tmp_path / "runs"), "--n", "2", "--output", str(output)]) == 0
    assert "faces/model_index.json, of diffusers" in capsys.readouterr().out
    with Image.open(output) as image:
        assert image.size[0] > image.size[1]
