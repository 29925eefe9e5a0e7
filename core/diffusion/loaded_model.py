"""A trained model, loaded for sampling."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from core.compute.device import pick_device
from core.compute.precision import pick_precision
from core.config.numbers import whole_number
from core.config.sampling import image_count
from core.config.training import TrainConfig
from core.diffusion.graphed_network import GraphedNetwork
from core.diffusion.prob_paths import PATHS, ProbPath
from core.diffusion.samplers import Denoiser
from core.errors import CheckpointError
from core.models.custom import CustomNetwork, Network, build
from core.models.weights import fill, read_weights
from core.runs.directory import INDEX, MODEL, builtin_directories, root_directory, run_directories
from core.runs.pipelines import is_pipeline, read_pipeline
from core.runs.snapshots import find_snapshot
from core.text import sanitize

MEAN_IMAGES = 10  # of `mean_image` without classes


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode, with the config of its run and the step at which it was saved."""

    net: nn.Module
    config: TrainConfig
    step: int
    name: str
    schedule: ProbPath | None = None  # of a pipeline of diffusers; None: the config's path
    cuda_graphs: bool = False  # on CUDA, replay the network as CUDA graphs when sampling; forward hooks then do not run

    @property
    def path(self) -> ProbPath:
        """The probability path that the network was trained on."""
        return self.schedule or PATHS[self.config.path]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.net.parameters()).device

    def placed(self, x: Tensor) -> Tensor:
        """Move a tensor to the device and dtype of the weights; unchanged if the network has none."""
        weight = next(self.net.parameters(), None)
        return x if weight is None else x.to(weight.device, weight.dtype)

    def denoiser(self, labels: Tensor | None, guidance: float = 1.0) -> Denoiser:
        """A denoiser for samplers; `labels` are classes, (n,) int64, or None for an unconditional model."""
        config = self.config
        return Denoiser(
            self._graphed if self.cuda_graphs and self.device.type == "cuda" else self.net,
            self.path,
            config.prediction,
            config.time_conditioning,
            config.precision,
            labels,
            guidance,
            null_class=config.info.null_class,
        )

    def noise(self, n: int, seed: int = 0) -> Tensor:
        """Initial noise of `sample(model, n, seed=seed)`, (n, C, H, W) float32 on the CPU.

        Standard normal; on the path "mix" uniform in [0, 1). Can be passed to `sample(model, noise=...)`.
        """
        generator = torch.Generator().manual_seed(whole_number(seed, "seed") % 2**63)
        return self.path.sample_noise((image_count(n), *self.config.info.shape), generator)

    @cached_property
    def _graphed(self) -> GraphedNetwork:
        return GraphedNetwork(self.net)

    @cached_property
    def mean_image(self) -> Tensor:
        """The network's prediction from noise, averaged over classes: (1, C, H, W) in the path's value range.

        It approximates the mean of all images. The noise is fixed: one image per class, or 10 without classes.
        """
        info, sample_noise = self.config.info, self.path.sample_noise
        n = info.classes or MEAN_IMAGES
        noise = self.placed(sample_noise((n, *info.shape), torch.Generator().manual_seed(0)))
        classes = torch.arange(n, device=noise.device) if self.config.class_conditional else None
        with torch.inference_mode(False), torch.no_grad():
            return self.denoiser(classes)(noise, 1.0).denoised.mean(dim=0, keepdim=True)


def as_loaded(model: nn.Module | LoadedModel) -> LoadedModel:
    """Wrap a bare network as a model of the preset `tutorial`; a LoadedModel is returned as is."""
    return model if isinstance(model, LoadedModel) else LoadedModel(model, TrainConfig(preset="tutorial"), 0, "")


def load_model(
    path: str | Path,
    device: str | torch.device = "auto",
    root: str | Path | None = None,
    *,
    step: int | None = None,
    net: Network | None = None,
    cuda_graphs: bool = False,
) -> LoadedModel:
    """Load a trained model for sampling.

    Args:
        path: A run directory, the name of a run under `root`, the name of a built-in model, a .safetensors file, or a
            folder of diffusers with a UNet2DModel and a DDPM or DDIM scheduler.
        device: As for `pick_device`.
        root: Folder of the runs; None: $MINIDIFF_HOME, else ./checkpoints.
        step: Load the run's snapshot of this training step instead of its last checkpoint; see
            `core.runs.snapshots.list_snapshots`.
        net: The network, or its class, of a run that was trained on a network of the user's own.
        cuda_graphs: On CUDA, replay the network as CUDA graphs when sampling, which is faster for small batches.
            Forward hooks do not run then, and weights may only be changed in place. Networks of the user's own are
            never replayed.

    Returns:
        The model, with the network in evaluation mode as `.net`, and `.config`.

    Raises:
        CheckpointError: There is no such model or snapshot, or its file is damaged, of another model, of a newer format
            or of an unsupported pipeline.
        DeviceUnavailable: The device is not available.
    """
    file = find_model(path, root_directory(root), step)
    if file.name == INDEX:
        return _load_pipeline(file.parent, pick_device(device), cuda_graphs)
    tensors, config, saved_step, _ = read_weights(file, net)
    name = file.parent.name if file.name == MODEL else file.stem
    if step is not None:
        name = file.parent.parent.name  # the run of the snapshot
    target = pick_device(device)
    with torch.inference_mode(False):  # allows training and gradients later
        built = build(config, net, torch.Generator())
        fill(built, tensors, file)
        channels_last = config.channels_last or not isinstance(built, CustomNetwork)
        built = built.to(target).to(memory_format=torch.channels_last if channels_last else torch.preserve_format)
    if config.precision == "bfloat16":  # chosen for the machine that trained the model
        config = config.changed(precision=pick_precision("auto", target))
    graphed = cuda_graphs and not isinstance(built, CustomNetwork)  # which may depend on values
    return LoadedModel(built.eval(), config, saved_step, sanitize(name), cuda_graphs=graphed)


def _load_pipeline(folder: Path, device: torch.device, cuda_graphs: bool) -> LoadedModel:
    from core.diffusion.diffusers_schedulers import discrete_schedule
    from core.models.unet2d_weights import load_unet

    pipeline = read_pipeline(folder)
    schedule = discrete_schedule(folder, pipeline.scheduler)
    config, label = pipeline.config, None
    if config.class_conditional:
        label = config.info.null_class if config.label_dropout else 0
    with torch.inference_mode(False):
        net = load_unet(pipeline.weights, pipeline.unet, label, timesteps=len(schedule.log_alphas_cumprod) - 1)
        net = net.to(device).to(memory_format=torch.channels_last)
    return LoadedModel(net.eval(), config, pipeline.step, sanitize(folder.resolve().name), schedule, cuda_graphs)


def find_model(path: str | Path, root: Path, step: int | None = None) -> Path:
    """The weights file that `load_model` reads for `path`, or the model_index.json of a pipeline.

    Raises:
        CheckpointError: There is none; the message lists the available models or snapshots.
    """
    if step is not None:
        return find_snapshot(find_run_of(path, root), whole_number(step, "step")).path
    expanded = Path(os.path.expanduser(path))  # unlike Path.expanduser, accepts an unknown ~user
    builtin = builtin_directories()
    candidates = [expanded]
    if len(expanded.parts) == 1:  # built-in models and runs take precedence over the current folder
        candidates = [builtin.get(str(path), root / expanded), root / expanded, expanded]
    try:
        for candidate in candidates:
            if candidate.is_file():
                return candidate
            if (candidate / MODEL).is_symlink():
                raise CheckpointError(f"{candidate / MODEL} is a symbolic link; name its target")
            if (candidate / MODEL).is_file():
                return candidate / MODEL
            if is_pipeline(candidate):
                return candidate / INDEX
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; name a run or a .safetensors file") from None
    if str(path) and (expanded.is_dir() or (root / expanded).is_dir()):
        raise CheckpointError(
            f"{path} has no {MODEL}, which a run writes at its first checkpoint; name another run, or a folder with "
            f"diffusers' {INDEX}"
        )
    names = [run.name for run in run_directories(root) if (run / MODEL).is_file() or is_pipeline(run)]
    available = ", ".join(sorted({*names, *builtin})) or "none yet"
    raise CheckpointError(f"there is no model {str(path)!r}; available: {available}; or name a .safetensors file")


def find_run_of(path: str | Path, root: Path) -> Path:
    """The directory of the run that `load_model` reads for `path`.

    Raises:
        CheckpointError: There is no such model, or it is a file or a pipeline, which have no snapshots.
    """
    file = find_model(path, root)
    if file.name != MODEL:
        raise CheckpointError(f"{path} is not a run, and only runs have snapshots")
    return file.parent
