"""A trained model, ready to generate samples from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from core.compute.device import pick_device
from core.compute.precision import pick_precision
from core.config.datasets import CLASSES, IMAGE_SIZE
from core.config.numbers import whole_number
from core.config.sampling import image_count
from core.config.training import TrainConfig
from core.diffusion.prob_paths import PATHS
from core.diffusion.samplers import Denoiser
from core.errors import CheckpointError
from core.models.registry import build_model
from core.models.weights import fill, read_weights
from core.runs.directory import MODEL, builtin_directories, root_directory, run_directories
from core.text import sanitize


@dataclass(frozen=True)
class LoadedModel:
    """A net in evaluation mode, with the config of the run that trained it, and the step it was saved at."""

    net: nn.Module
    config: TrainConfig
    step: int
    name: str

    @property
    def device(self) -> torch.device:
        """Where the net's weights are."""
        return next(self.net.parameters()).device

    def placed(self, x: Tensor) -> Tensor:
        """A tensor where the net's weights are, and of their type; as it is for a net without weights."""
        weight = next(self.net.parameters(), None)
        return x if weight is None else x.to(weight.device, weight.dtype)

    def denoiser(self, labels: Tensor | None, guidance: float = 1.0) -> Denoiser:
        """The net as samplers ask it, for images of the classes `labels`, (n,), or for a net that knows none."""
        config = self.config
        path = PATHS[config.path]
        return Denoiser(self.net, path, config.prediction, config.time_conditioning, config.precision, labels, guidance)

    def noise(self, n: int, seed: int = 0) -> Tensor:
        """The noise that `sample(model, n, seed=seed)` starts from, (n, 1, 28, 28) float32 on the CPU.

        Standard normal; for a model of the path "mix" uniform in [0, 1). `sample(model, noise=...)` takes it.
        """
        generator = torch.Generator().manual_seed(whole_number(seed, "seed") % 2**63)
        return PATHS[self.config.path].sample_noise((image_count(n), 1, IMAGE_SIZE, IMAGE_SIZE), generator)

    @cached_property
    def mean_image(self) -> Tensor:
        """What the net makes of pure noise and no more: the mean of all images, (1, 1, 28, 28) in the path's range.

        It is asked once for each class, or as often for none, always with the same noise.
        """
        source = PATHS[self.config.path].sample_noise
        noise = self.placed(source((CLASSES, 1, IMAGE_SIZE, IMAGE_SIZE), torch.Generator().manual_seed(0)))
        classes = torch.arange(CLASSES, device=noise.device) if self.config.class_conditional else None
        with torch.inference_mode(False), torch.no_grad():
            return self.denoiser(classes)(noise, 1.0).denoised.mean(dim=0, keepdim=True)


def as_loaded(model: nn.Module | LoadedModel) -> LoadedModel:
    """The model itself; a bare net is taken to follow the tutorial's recipe."""
    return model if isinstance(model, LoadedModel) else LoadedModel(model, TrainConfig(preset="tutorial"), 0, "")


def load_model(path: str | Path, device: str | torch.device = "auto", root: str | Path | None = None) -> LoadedModel:
    """Load a trained model, ready to sample from.

    Args:
        path: a run directory, a run's name under the root, the name of a built-in model, or a .safetensors file.
        device: as for `pick_device`.
        root: where runs are looked up by name; None: $MINIDIFF_HOME, else ./checkpoints.

    Returns:
        The model in evaluation mode, with `.net` and `.config`.

    Raises:
        CheckpointError: nothing of that name is there, or the file is damaged, of another model or a newer format.
        DeviceUnavailable: the device is not there.
    """
    file = find_model(path, root_directory(root))
    tensors, config, step, _ = read_weights(file)
    name = file.parent.name if file.name == MODEL else file.stem
    where = pick_device(device)
    with torch.inference_mode(False):  # so that the net can be trained, or asked for gradients, later
        net = build_model(config.model, generator=torch.Generator(), **config.model_options)
        fill(net, tensors, file)
        net = net.to(where).to(memory_format=torch.channels_last)  # values stay as they were
    if config.precision == "bfloat16":  # which the machine that trained it was fast in
        config = config.changed(precision=pick_precision("auto", where))
    return LoadedModel(net.eval(), config, step, sanitize(name))


def find_model(path: str | Path, root: Path) -> Path:
    """The weights file that `load_model` reads for `path`.

    Raises:
        CheckpointError: there is none; the text lists the models that are there.
    """
    given = Path(os.path.expanduser(path))  # which, unlike Path.expanduser, leaves an unknown ~user alone
    builtin = builtin_directories()
    places = [given]
    if len(given.parts) == 1:  # a name means a built-in model or a run before a folder where the user happens to be
        places = [builtin.get(str(path), root / given), root / given, given]
    try:
        for candidate in places:
            if candidate.is_file():
                return candidate
            if (candidate / MODEL).is_symlink():
                raise CheckpointError(f"{candidate / MODEL} is a symbolic link; name the file that it leads to")
            if (candidate / MODEL).is_file():
                return candidate / MODEL
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; name a run or a .safetensors file") from None
    if str(path) and (given.is_dir() or (root / given).is_dir()):
        raise CheckpointError(f"{path} has no {MODEL} yet; a run writes it at its first checkpoint")
    names = [run.name for run in run_directories(root) if (run / MODEL).is_file()]
    there = ", ".join(sorted({*names, *builtin})) or "none yet"
    raise CheckpointError(f"there is no model {str(path)!r}; models here: {there}; or name a .safetensors file")
