"""diffusers' pipeline folders of a UNet2DModel, read as untrusted input without loading torch."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import CheckpointError, ConfigError
from core.runs.directory import CONFIG, INDEX
from core.runs.events import MAX_COUNT
from core.system.safe_io import parse_json, read_whole

if TYPE_CHECKING:
    from core.config.training import TrainConfig

JSON_BYTES = 1_048_576  # maximum of a config; one with 1,000 betas takes 30,000
WEIGHTS, PICKLED = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler")
PREDICTION_TYPES = {"epsilon": "noise", "v_prediction": "v", "sample": "clean"}  # diffusers' names to ours
SPACINGS = ("leading", "trailing", "linspace")
MAX_TIMESTEPS = 10_000
MAX_LAYERS = 16  # per block
_COMPONENTS = {"unet", "scheduler"}


@dataclass(frozen=True)
class Pipeline:
    """A folder's configs, checked as far as this is possible without torch."""

    unet: dict[str, Any]  # config of UNet2DModel
    scheduler: dict[str, Any]  # config of the scheduler, one of `SCHEDULERS`
    weights: Path
    config: TrainConfig  # that describes the model: path vp, prediction type, shape and classes
    step: int  # 0 if unknown


def is_pipeline(path: Path) -> bool:
    """Whether `path` is a folder of diffusers rather than a run."""
    try:
        return not os.path.lexists(path / CONFIG) and stat.S_ISREG(os.lstat(path / INDEX).st_mode)
    except OSError:
        return False


def model_config(path: Path) -> TrainConfig:
    """The config of the run or of the pipeline in the folder `path`.

    Raises:
        MinidiffError: It cannot be read or is not supported.
    """
    from core.config.training import TrainConfig

    return read_pipeline(path).config if is_pipeline(path) else TrainConfig.from_toml(path / CONFIG)


def read_pipeline(path: Path) -> Pipeline:
    """Read and check the configs of a pipeline.

    Args:
        path: The folder with model_index.json, and with the parts in `unet` and `scheduler`, or all in one folder as
            diffusers allows.

    Raises:
        CheckpointError: A file is missing or damaged, or diffusers would need another class than UNet2DModel and a
            scheduler of `SCHEDULERS`, or an option of them that is not supported.
    """
    index = _read(path / INDEX)
    parts = {name: value for name, value in index.items() if not name.startswith("_") and value != [None, None]}
    if unknown := sorted(parts.keys() - _COMPONENTS):
        raise CheckpointError(
            f"{path} is a pipeline with {', '.join(unknown)}; it may only have a unet and a scheduler"
        )
    if parts.get("unet") != ["diffusers", "UNet2DModel"]:
        raise CheckpointError(f"{path} has {_class(parts.get('unet'))} as its unet; only UNet2DModel is supported")
    unet_folder, scheduler_folder = (path / name if (path / name).is_dir() else path for name in ("unet", "scheduler"))
    unet = _read(unet_folder / "config.json")
    scheduler = _read(scheduler_folder / "scheduler_config.json")
    name = scheduler.get("_class_name")
    if parts.get("scheduler") != ["diffusers", name] or name not in SCHEDULERS:
        raise CheckpointError(
            f"{path} has {_class(parts.get('scheduler'))} as its scheduler; supported are {', '.join(SCHEDULERS)}"
        )
    weights = unet_folder / WEIGHTS
    if not weights.is_file():
        only = f"only {PICKLED}, and pickled weights are never read" if (unet_folder / PICKLED).exists() else "none"
        raise CheckpointError(
            f"{path} needs weights in {WEIGHTS}, but has {only}; save it with save_pretrained(safe_serialization=True)"
        )
    try:
        _check_scheduler(scheduler)
        more = index.get("_minidiff", {})
        step = more.get("step", 0)
        config = _config(unet, scheduler, more.get("class_names"))
        return Pipeline(unet, scheduler, weights, config, step if type(step) is int and 0 <= step <= MAX_COUNT else 0)
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(f"cannot use {path}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(read_whole(path, JSON_BYTES))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; save the pipeline again") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); save the pipeline again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, not an object; save the pipeline again")
    return value


def _class(part: object) -> str:
    """The class that model_index.json names for a part."""
    return str(part[1]) if isinstance(part, list) and len(part) == 2 else "nothing"


def _check_scheduler(options: dict[str, Any]) -> None:
    """Check the options that diffusers does not; raises ValueError."""
    timesteps = options.get("num_train_timesteps", 1000)
    if type(timesteps) is not int or not 1 <= timesteps <= MAX_TIMESTEPS:
        raise ValueError(f"num_train_timesteps must be a whole number from 1 to {MAX_TIMESTEPS:,}, not {timesteps!r}")
    for name, default, supported in (
        ("prediction_type", "epsilon", tuple(PREDICTION_TYPES)),
        ("timestep_spacing", "leading", SPACINGS),
        ("thresholding", False, (False,)),
        ("variance_type", "fixed_small", ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")),
    ):
        if (value := options.get(name, default)) not in supported:
            raise ValueError(f"{name} {value!r} is not supported; supported are {', '.join(map(str, supported))}")


def _config(unet: dict[str, Any], scheduler: dict[str, Any], class_names: object) -> TrainConfig:
    """Describe the model; raises ValueError or TypeError for what is not supported."""
    from core.config.datasets import DatasetInfo
    from core.config.training import TrainConfig

    channels, out_channels = unet.get("in_channels", 3), unet.get("out_channels", 3)
    if out_channels != channels:
        learned = " (a learned variance is not supported)" if out_channels == 2 * channels else ""
        raise ValueError(f"the network predicts {out_channels} channels from {channels}{learned}; they must be equal")
    if channels not in (1, 3):
        raise ValueError(f"the network takes {channels!r} channels; supported are 1 (gray) and 3 (RGB)")
    size = unet.get("sample_size")
    height, width = (size, size) if type(size) is int else size if isinstance(size, list) else (None, None)
    if type(height) is not int or type(width) is not int:
        raise ValueError(f"sample_size must be one or two whole numbers, not {size!r}")
    if unet.get("class_embed_type") is not None or unet.get("time_embedding_type", "positional") != "positional":
        raise ValueError("the network's class_embed_type must be null and its time_embedding_type positional")
    widths, layers = unet.get("block_out_channels", [224, 448, 672, 896]), unet.get("layers_per_block", 2)
    if not isinstance(widths, list) or not all(type(width) is int and width > 0 for width in widths):
        raise ValueError(f"block_out_channels must be whole numbers, not {widths!r}")
    if type(layers) is not int or not 1 <= layers <= MAX_LAYERS:
        raise ValueError(f"layers_per_block must be a whole number from 1 to {MAX_LAYERS}, not {layers!r}")
    count = unet.get("num_class_embeds")
    if count is not None and (type(count) is not int or count < 1):
        raise ValueError(f"num_class_embeds must be a whole number, not {count!r}")
    named = isinstance(class_names, list) and len(class_names) == (count or 0) - 1  # and the null class: our own export
    names: Any = class_names if named else map(str, range(count or 0))
    return TrainConfig(
        path="vp",
        prediction=PREDICTION_TYPES[scheduler.get("prediction_type", "epsilon")],
        class_conditional=count is not None,
        label_dropout=0.1 if named else 0,  # 0: there is no null class
        model="unet2d",
        channels=tuple(-(-width // 32) * 32 for width in widths),  # as unet2d accepts them; `unet` has the exact ones
        ema=0,
        precision="float32",
        dataset_info=DatasetInfo(channels=channels, height=height, width=width, class_names=tuple(names)),
    )
