"""Weights on disk: safetensors with the config in the header, written whole or not at all, read with suspicion."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from core.arrays import whole_number
from core.atomic import write_atomically
from core.checkpoint_layout import (
    Found,
    check_finite,
    check_layout,
    check_opening,
    check_progress,
    described,
    described_in,
    net_layout,
    state_layout,
)
from core.config import IMAGE_SIZE, TrainConfig
from core.devices import pick_device
from core.errors import CheckpointError, ConfigError
from core.events import GREATEST
from core.foreign import harmless, parse_json
from core.models import build_model, sketch
from core.paths import PATHS
from core.precision import pick_precision
from core.published import CLASSES
from core.runs import MODEL, builtin_directories, root_directory, run_directories
from core.samplers import Denoiser
from core.sampling_options import image_count

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT, VERSION = "minidiff", 1


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
        road = PATHS[config.path]
        return Denoiser(self.net, road, config.prediction, config.clock, config.precision, labels, guidance)

    def noise(self, n: int, seed: int = 0) -> Tensor:
        """The noise that `sample(model, n, seed=seed)` starts from, (n, 1, 28, 28) float32 on the CPU.

        Standard normal; for a model of the path "mix" uniform in [0, 1). `sample(model, noise=...)` takes it.
        """
        generator = torch.Generator().manual_seed(whole_number(seed, "seed") % 2**63)
        return PATHS[self.config.path].source((image_count(n), 1, IMAGE_SIZE, IMAGE_SIZE), generator)

    @cached_property
    def average(self) -> Tensor:
        """What the net makes of pure noise and no more: the mean of all images, (1, 1, 28, 28) in the path's range.

        It is asked once for each class, or as often for none, always with the same noise.
        """
        source = PATHS[self.config.path].source
        noise = self.placed(source((CLASSES, 1, IMAGE_SIZE, IMAGE_SIZE), torch.Generator().manual_seed(0)))
        classes = torch.arange(CLASSES, device=noise.device) if self.config.classes else None
        with torch.inference_mode(False), torch.no_grad():
            return self.denoiser(classes)(noise, 1.0).clean.mean(dim=0, keepdim=True)


def as_loaded(model: nn.Module | LoadedModel) -> LoadedModel:
    """The model itself; a bare net is taken to follow the document's recipe."""
    return model if isinstance(model, LoadedModel) else LoadedModel(model, TrainConfig(preset="document"), 0, "")


def write_tensors(
    path: Path, kind: str, tensors: Mapping[str, Tensor], config: TrainConfig, step: int, **more: Any
) -> None:
    """Write tensors with a header that says what they are; the old file stays until the new one is on disk.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": kind,
        "step": str(step),
        "config": config.model_dump_json(exclude={"root", "data_root"}),
        "more": json.dumps(more),
    }
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_atomically(path, safetensors.torch.save(on_cpu, header))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], TrainConfig, int, dict[str, Any]]:
    """Read what `write_tensors` wrote: tensors on the CPU, the config, the step and what else the header holds.

    Raises:
        CheckpointError: the file is missing, cut short, not safetensors, of another kind, from a newer version, or
            does not hold what its config asks for. All of the header, with each tensor's type and shape, is checked
            before any tensor is read.
    """
    try:
        check_opening(path, follow=kind == "model")  # which a person may name; a state is its run's own
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is a safetensors file, but minidiff did not write it; name a run or its {MODEL}"
                )
            if not 1 <= int(header["version"]) <= VERSION:
                raise CheckpointError(
                    f"{path} has format {header['version']}, and this minidiff knows up to {VERSION}; update minidiff"
                )
            if header["kind"] != kind:
                raise CheckpointError(
                    f"{path} holds a {header['kind']}, and a {kind} was asked for; name the other file"
                )
            step, more = int(header["step"]), parse_json(header["more"])
            if not 0 <= step <= GREATEST or not isinstance(more, dict):
                raise ValueError(f"step {step}")
            config = TrainConfig(**parse_json(header["config"]))
            if kind == "state":
                check_progress(path, more, step)
            _check_tensors(path, kind, config, step, described_in(file))
            with torch.device("cpu"):
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, config, step, more
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}; `minidiff runs` lists what is there") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged, cut short or not a safetensors file ({error}); take another checkpoint"
        ) from None
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} has a header that makes no sense ({error}); take another checkpoint") from None


def _check_tensors(path: Path, kind: str, config: TrainConfig, step: int, found: Mapping[str, Found]) -> None:
    """Compare the tensors that a header describes with those that its config asks for."""
    if kind == "model":
        check_layout(path, net_layout(sketch(config.model, **config.model_options)), found)
        return
    wanted = state_layout(config, step)
    missing = sorted(name for name in wanted.keys() - found.keys() if name.startswith("optimizer."))
    if missing:
        raise CheckpointError(f"{path} lacks what resuming needs ({missing[0]} is missing); start a new run")
    check_layout(path, wanted, found)


def fill(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a net.

    Raises:
        CheckpointError: they belong to a net of other layers or sizes, or are not all numbers.
    """
    check_layout(path, net_layout(net), described(tensors))
    check_finite(path, tensors)
    net.load_state_dict(dict(tensors))


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
    tensors, config, step, _ = read_tensors(file, "model")
    name = file.parent.name if file.name == MODEL else file.stem
    where = pick_device(device)
    with torch.inference_mode(False):  # so that the net can be trained, or asked for gradients, later
        net = build_model(config.model, generator=torch.Generator(), **config.model_options)
        fill(net, tensors, file)
        net = net.to(where).to(memory_format=torch.channels_last)  # values stay as they were
    if config.precision == "bfloat16":  # which the machine that trained it was fast in
        config = config.changed(precision=pick_precision("auto", where))
    return LoadedModel(net.eval(), config, step, harmless(name))


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
