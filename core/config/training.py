"""All options of a training run; command-line flags, TOML keys, the UI's form and the docs derive from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from core.config.architecture import (
    CUSTOM_PATTERN,
    ModelName,
    SizeName,
    check_channels,
    check_image_size,
    is_custom,
    model_options,
)
from core.config.datasets import CHARACTERS, INFO, MAX_SIDE, MIN_SIDE, DatasetInfo, ImageOptions, is_path
from core.config.legacy import OPTIONS, upgrade
from core.errors import ConfigError, hint
from core.system.safe_io import NAME_PATTERN, read_toml

ImageModeName = Literal["auto", "L", "RGB"]
ResizeName = Literal["crop", "pad", "stretch"]
PresetName = Literal["default", "quick", "tutorial"]
PathName = Literal["mix", "flow", "vp"]
PredictionName = Literal["clean", "noise", "velocity", "v"]
ObjectiveName = Literal["diffusion", "consistency"]
TimeSamplingName = Literal["uniform", "logit_normal"]
WeightingName = Literal["prediction", "clean", "noise", "velocity"]
OptimizerName = Literal["adam", "adamw", "muon"]
LrScheduleName = Literal["constant", "linear"]
TrackerName = Literal["tensorboard", "wandb", "trackio"]
PrecisionName = Literal["auto", "float32", "bfloat16"]

# Prediction types of each path. On vp, dx/dt is unbounded toward t = 0, so v (Salimans and Ho 2022) takes its place.
PREDICTIONS: dict[str, tuple[str, ...]] = {
    "mix": ("clean", "noise", "velocity"),
    "flow": ("clean", "noise", "velocity"),
    "vp": ("clean", "noise", "v"),
}

# Options that a preset changes. All others keep their field's default, which is the preset `default`.
_TUTORIAL: dict[str, Any] = {
    "path": "mix",
    "prediction": "clean",
    "time_sampling": "uniform",
    "time_conditioning": False,
    "class_conditional": False,
    "epochs": 30,
    "batch_size": 128,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "lr_schedule": "constant",
    "ema": 0.0,
    "precision": "float32",
    "compile": False,
}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "quick": {**_TUTORIAL, "model": "basic_unet"},
    "tutorial": {**_TUTORIAL, "model": "unet2d", "channels_last": False},  # True is faster
}
MAX_COUNT = 1_000_000_000  # of images, steps or epochs
DEVICE_PATTERN = r"(auto|cpu|mps|cuda(:[0-9]{1,4})?)"


CustomName = Annotated[str, Field(pattern=f"^{CUSTOM_PATTERN}$")]


def _option(default: Any, group: str, description: str, **limits: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"group": group}, **limits)


class TrainConfig(BaseModel):
    """Validated, immutable options of one run; `TrainConfig(preset="tutorial", epochs=3)` overrides a preset.

    Raises:
        ConfigError: An option is unknown or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=False)

    preset: PresetName = _option("default", "Recipe", "options to start from; the others override them")
    path: PathName = _option("flow", "Recipe", "probability path from images to noise")
    prediction: PredictionName = _option("velocity", "Recipe", "what the network predicts from a noisy image")
    time_sampling: TimeSamplingName = _option("logit_normal", "Recipe", "distribution of the noise levels in training")
    weighting: WeightingName = _option("prediction", "Recipe", "quantity whose squared error is the loss")
    time_conditioning: bool = _option(True, "Recipe", "condition the network on the noise level")
    class_conditional: bool = _option(True, "Recipe", "condition the network on the class")
    objective: ObjectiveName = _option(
        "diffusion", "Recipe", "diffusion, or consistency: distill --init-from for sampling in one to four steps"
    )
    label_dropout: float = _option(
        0.05, "Recipe", "fraction of labels replaced by the null class; needed for guidance", ge=0, le=1
    )
    dataset: str = _option(
        "auto", "Data", f"{', '.join(INFO)}, or a path such as ./pictures; auto: MNIST, else the built-in glyphs"
    )
    data_root: Path | None = _option(None, "Data", "folder with the dataset's files")
    limit: int | None = _option(None, "Data", "use only the first images of each split", ge=1, le=MAX_COUNT)
    image_mode: ImageModeName = _option(
        "auto", "Data", "L: gray, RGB: color, auto: gray if all images are (for a path)"
    )
    image_size: tuple[int, ...] | None = _option(
        None, "Data", "height and width, or one number for both; default: the images' own (for a path)"
    )
    resize: ResizeName = _option("crop", "Data", "how images are converted to another size (for a path)")
    strict: bool = _option(False, "Data", "fail if an image cannot be read, instead of skipping it")
    flip: bool = _option(False, "Data", "mirror training images at random, left to right")
    augment_shift: int = _option(0, "Data", "shift training images at random by up to this many pixels", ge=0, le=4)
    model: ModelName | CustomName = _option(
        "patch_unet", "Model", "network architecture; on the command line also your own, as module:Class"
    )
    size: SizeName | None = _option(None, "Model", "width of patch_unet: tiny to large; default: small")
    channels: tuple[int, ...] | None = _option(None, "Model", "channels per level; default: the network's own")
    layers_per_block: int | None = _option(
        None, "Model", "residual layers per level (unet2d only); default: 2", ge=1, le=8
    )
    epochs: int = _option(5, "Training", "passes over the training images", ge=1, le=1_000_000)
    batch_size: int = _option(64, "Training", "images per step", ge=1, le=65_536)
    optimizer: OptimizerName = _option("muon", "Training", "adam, adamw (with weight decay) or muon (for convolutions)")
    learning_rate: float = _option(2e-3, "Training", "peak learning rate", gt=0, le=1)
    warmup_steps: int | None = _option(
        None,
        "Training",
        "linear warmup of the learning rate, in steps; default: 100, at most 5% of the run",
        ge=0,
        le=MAX_COUNT,
    )
    lr_schedule: LrScheduleName = _option(
        "linear", "Training", "learning rate after the warmup: constant, or linear decay to 0"
    )
    clip_grad_norm: float | None = _option(
        None, "Training", "scale gradients down to this norm; default: no limit", gt=0
    )
    weight_decay: float = _option(0.01, "Training", "weight decay (adamw and muon)", ge=0, le=1)
    ema: float = _option(0.1, "Training", "EMA of the weights over this fraction of the past steps; 0: off", ge=0, le=1)
    eval_every: int = _option(0, "Training", "epochs between evaluations of samples; 0: off", ge=0, le=MAX_COUNT)
    snapshots: int | None = _option(
        None,
        "Training",
        "float16 snapshots of the weights that are kept; default: 40, at most 256 MB; 0: none",
        ge=0,
        le=1000,
    )
    max_skipped: int = _option(
        20, "Training", "consecutive steps without a finite loss after which the run fails", ge=1, le=MAX_COUNT
    )
    init_from: str | None = _option(None, "Training", "run or weights file to start from, for fine-tuning")
    seed: int = _option(0, "Training", "random seed", ge=0, lt=2**63)
    device: str = _option("auto", "Machine", "auto, cpu, cuda, cuda:N or mps", pattern=f"^{DEVICE_PATTERN}$")
    threads: int | None = _option(None, "Machine", "CPU threads; default: torch's", ge=1, le=1024)
    nproc: int = _option(1, "Machine", "processes on this machine (distributed training)", ge=1, le=1024)
    micro_batch: int | None = _option(
        None,
        "Machine",
        "images per forward pass, with gradient accumulation; default: the whole batch",
        ge=1,
        le=65_536,
    )
    fit_memory: bool = _option(False, "Machine", "when memory runs out, halve micro_batch and retry")
    precision: PrecisionName = _option(
        "auto", "Machine", "auto: bfloat16 on GPUs and CPUs that are fast in it, else float32"
    )
    compile: bool | None = _option(None, "Machine", "torch.compile; default: on CUDA, when the run is long enough")
    cuda_graph: bool = _option(True, "Machine", "on CUDA, replay the training step as a CUDA graph: faster")
    channels_last: bool = _option(True, "Machine", "channels-last memory layout: faster; results differ by rounding")
    deterministic: bool = _option(
        False, "Machine", "deterministic algorithms, bit for bit reproducible on CUDA too; slower"
    )
    log_to: TrackerName | None = _option(
        None, "Machine", "also log to tensorboard, wandb (offline) or trackio; empty: only to the run's own log"
    )
    dataset_info: DatasetInfo | None = None  # of a dataset of the user's own, read from its images; not an option
    name: str | None = _option(None, "Run", "name of the run's folder; default: generated", pattern=f"^{NAME_PATTERN}$")
    root: Path | None = _option(None, "Run", "folder with the runs")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_describe_error(error)) from None
        self.__pydantic_fields_set__.intersection_update(values)  # values of the preset do not count as set

    @field_validator("device", mode="before")
    @classmethod
    def _name_device(cls, value: Any) -> Any:
        return str(value) if type(value).__module__ == "torch" else value  # a torch.device

    @field_validator("dataset")
    @classmethod
    def _check_dataset_name(cls, value: str) -> str:
        if value in INFO:
            return value
        if "\0" in value or not value:
            raise ValueError("dataset: a path must not be empty or contain a zero byte")
        if not is_path(value):
            raise ValueError(
                f"dataset: there is no dataset {value!r}; {hint(value, INFO, otherwise='choose one of:')}, or a path "
                f"such as ./{value}"
            )
        return os.path.abspath(os.path.expanduser(value))

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        named = values.get("preset", "default")
        preset = PRESETS.get(named, {}) if isinstance(named, str) else {}
        if values.get("model") == "basic_unet":
            preset = {"time_conditioning": False, "class_conditional": False, **preset}  # unsupported by the network
        if is_custom(str(values.get("model"))):
            preset = {**preset, "channels_last": False, "compile": False}  # which not every network supports
        return {**preset, **values}

    @model_validator(mode="after")
    def _check_combinations(self) -> TrainConfig:
        for name in ("data_root", "root"):
            if "\0" in str(getattr(self, name)):
                raise ValueError(f"{name}: a path must not contain a zero byte")
        allowed = PREDICTIONS[self.path]
        if self.prediction not in allowed:
            raise ValueError(f"prediction: the path {self.path} supports {', '.join(allowed)}, not {self.prediction}")
        if self.weighting not in ("prediction", *allowed):
            raise ValueError(
                f"weighting: the path {self.path} supports prediction, {', '.join(allowed)}, not {self.weighting}"
            )
        if self.model == "basic_unet" and (self.time_conditioning or self.class_conditional):
            raise ValueError(
                f"{'time_conditioning' if self.time_conditioning else 'class_conditional'}: basic_unet "
                "does not support it; use --no-time-conditioning --no-class-conditional, or another model"
            )
        if self.model == "unet2d" and self.class_conditional and not self.time_conditioning:
            raise ValueError(
                "class_conditional: unet2d needs time_conditioning for classes; use --time-conditioning or "
                "--no-class-conditional"
            )
        if self.objective == "consistency":
            self._check_distillation()
        if self.size is not None and self.model != "patch_unet":
            instead = "is a network of your own" if is_custom(self.model) else "uses channels instead"
            raise ValueError(f"size: {self.model} {instead}; leave size out or use patch_unet")
        if self.channels is not None:
            check_channels(self.model, self.channels)
        self._check_image_options()
        info = self.dataset_info or INFO.get(self.dataset)
        if info is not None:
            self._check_dataset(info)
        if self.model != "unet2d" and self.layers_per_block is not None:
            raise ValueError(f"layers_per_block: {self.model} has no such option; leave it out or use unet2d")
        return self

    def _check_distillation(self) -> None:
        if self.init_from is None:
            raise ValueError("objective: consistency distills a trained model; name it with init_from")
        if (self.path, self.prediction, self.time_conditioning) != ("flow", "velocity", True):
            raise ValueError(
                "objective: consistency needs a model that predicts the velocity on the path flow and is given the "
                f"noise level, not {self.prediction} on {self.path}"
                f"{'' if self.time_conditioning else ' without time_conditioning'}"
            )

    def _check_image_options(self) -> None:
        given = self.image_mode != "auto" or self.image_size is not None or self.resize != "crop" or self.strict
        if given and self.dataset in INFO:
            raise ValueError(
                f"dataset: {self.dataset} has fixed images; leave out image_mode, image_size, resize and strict"
            )
        if self.flip and self.dataset in CHARACTERS:
            raise ValueError(f"flip: mirrored characters are wrong; leave it out for {self.dataset}")
        size = self.image_size
        if size is not None and not (1 <= len(size) <= 2 and all(MIN_SIDE <= side <= MAX_SIDE for side in size)):
            raise ValueError(f"image_size: needs one or two numbers from {MIN_SIDE} to {MAX_SIDE}, not {list(size)}")

    @property
    def image_options(self) -> ImageOptions:
        """How images of the user's own are converted."""
        return ImageOptions(self.image_mode, self.image_size, self.resize, self.strict)

    def _check_dataset(self, info: DatasetInfo) -> None:
        check_image_size(self.model, self.channels, info)
        if self.class_conditional and not info.classes:
            raise ValueError("class_conditional: the images have no labels; use --no-class-conditional")

    @property
    def info(self) -> DatasetInfo:
        """Shape and classes of the images.

        Raises:
            ConfigError: The dataset is one of the user's own and has not been read yet.
        """
        if self.dataset_info is not None:
            return self.dataset_info
        if self.dataset not in INFO:
            raise ConfigError(f"the shape of the images in {self.dataset} is unknown; train on them first")
        return INFO[self.dataset]

    @property
    def characters(self) -> bool:
        """Whether the images are light characters on black, which is only known of built-in datasets."""
        return self.dataset in CHARACTERS and self.dataset_info is None

    @property
    def model_options(self) -> dict[str, Any]:
        """Keyword arguments for `build_model(config.model, **options)`.

        Raises:
            ConfigError: As for `info`.
        """
        size, labels = self.size or "small", self.class_conditional
        return model_options(self.model, self.info, size, self.channels, self.layers_per_block, labels=labels)

    def changed(self, **values: Any) -> TrainConfig:
        """A validated copy with some options changed."""
        return TrainConfig(**{**self.model_dump(), **values})

    def to_toml(self) -> str:
        """The config as TOML, without options that are None, and without `root` so that a run can be moved."""
        import tomli_w

        values = self.model_dump(mode="json", exclude_none=True, exclude={"root"})
        return tomli_w.dumps(values)

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """Read a config from TOML; options left out take their defaults.

        Raises:
            ConfigError: The file is missing, too large or not TOML, or an option is unknown or out of range.
        """
        try:
            values = read_toml(path, follow=True)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}; name a config.toml") from None
        except ValueError as error:
            raise ConfigError(f"{path} is not valid TOML ({error}); fix that line or start from a preset") from None
        try:
            return cls(**upgrade(values))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def option_fields() -> dict[str, FieldInfo]:
    """The fields of `TrainConfig` that a user sets, by name."""
    return {name: field for name, field in TrainConfig.model_fields.items() if field.json_schema_extra}


def _describe_error(error: ValidationError) -> str:
    """The first error in one line: what is wrong, what was found, and what is allowed."""
    first = error.errors(include_url=False)[0]
    option = str(first["loc"][0]) if first["loc"] else ""
    value = first.get("input")
    kind = first["type"]
    if kind == "extra_forbidden" and option in OPTIONS:
        return f"the option {option} is now {OPTIONS[option]}"
    if kind == "extra_forbidden":
        return f"there is no option {option}; {hint(option, option_fields(), otherwise='options are')}"
    if kind == "value_error":
        return str(first["ctx"]["error"])
    if option == "model":
        found = _format_value(value)
        guess = hint(found, get_args(ModelName), otherwise="choose one of:")
        return f"model: {found} is not a network, nor module:Class of your own; {guess}"
    if option == "device":
        return f"device: must be auto, cpu, cuda, cuda:N or mps, not {_format_value(value, repr)}"
    if option == "name":
        return (
            f"name: {_format_value(value, repr)} is not a valid run name; use up to 64 letters, digits, dots, dashes "
            "and underscores, starting with a letter or digit"
        )
    requirement = first["msg"].removeprefix("Input ").split(", unable")[0]
    return f"{option}: {requirement}, not {_format_value(value)}"


def _format_value(value: object, form: Callable[[object], str] = str) -> str:
    try:
        return form(value)
    except (ValueError, RecursionError):  # TOML allows thousands of digits and deeply nested tables
        return "a value that cannot be shown"
