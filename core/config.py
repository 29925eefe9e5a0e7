"""Every option of a training run, declared once: flags, TOML keys, the screen's form and the docs derive from it."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import ConfigError

DatasetName = Literal["auto", "mnist", "fashion-mnist", "kmnist", "glyphs"]
ModelName = Literal["basic_unet", "unet2d"]
PresetName = Literal["quick", "document"]

# What a preset sets; everything else keeps the default that its field declares.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"model": "basic_unet"},
    "document": {"model": "unet2d", "channels_last": False},  # to the letter; True is faster
}
IMAGE_SIZE = 28
GROUP_SIZE = 32  # diffusers' UNet2DModel normalises in 32 groups
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def _option(default: Any, group: str, description: str, **limits: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"group": group}, **limits)


class TrainConfig(BaseModel):
    """The options of one run, checked and frozen; `TrainConfig(preset="document", epochs=3)` overrides a preset.

    Raises:
        ConfigError: an option is unknown or outside its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=False)

    preset: PresetName = _option("quick", "Recipe", "recipe to start from; other options override it")
    dataset: DatasetName = _option("auto", "Data", "images to learn; auto: MNIST, else the built-in glyphs")
    data_root: Path | None = _option(None, "Data", "folder that holds the data set's files")
    limit: int | None = _option(None, "Data", "use only the first images of each split", ge=1)
    model: ModelName = _option("basic_unet", "Model", "the net that predicts the clean image")
    channels: tuple[int, ...] = _option((32, 64, 64), "Model", "channels of each level, from the finest", min_length=1)
    layers_per_block: int | None = _option(None, "Model", "residual layers a level (unet2d only: 2)", ge=1, le=8)
    epochs: int = _option(30, "Training", "passes over the training images", ge=1, le=1_000_000)
    batch_size: int = _option(128, "Training", "images a step", ge=1, le=65_536)
    learning_rate: float = _option(1e-3, "Training", "Adam's learning rate", gt=0, le=1)
    seed: int = _option(0, "Training", "decides weights, order and noise", ge=0, lt=2**63)
    device: str = _option("auto", "Machine", "auto, cpu, cuda, cuda:N or mps", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int | None = _option(None, "Machine", "CPU threads; empty: as many as torch chooses", ge=1, le=1024)
    channels_last: bool = _option(True, "Machine", "faster memory layout; last digits differ")
    deterministic: bool = _option(False, "Machine", "bit for bit repeatable on CUDA too; slower")
    name: str | None = _option(
        None, "Run", "name of the run's folder; empty: chosen for you", pattern=f"^{NAME_PATTERN}$"
    )
    root: Path | None = _option(None, "Run", "folder of the runs; in a script, None: no files")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_in_words(error)) from None
        self.__pydantic_fields_set__.intersection_update(values)  # what a preset laid under was not set by the caller

    @model_validator(mode="before")
    @classmethod
    def _lay_preset_under(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        preset = PRESETS.get(str(values.get("preset", "quick")), {})
        return {**preset, **values}

    @model_validator(mode="after")
    def _check_net(self) -> TrainConfig:
        if not all(1 <= width <= 4096 for width in self.channels):
            raise ValueError(f"channels: each level takes 1 to 4096 channels, not {list(self.channels)}")
        halvings = len(self.channels) - 1
        if IMAGE_SIZE % 2**halvings:
            raise ValueError(
                f"channels: {len(self.channels)} levels would halve {IMAGE_SIZE} pixels {halvings} times, and "
                f"{IMAGE_SIZE} divides by 4 but not by 8; give at most 3 levels"
            )
        if self.model == "unet2d" and any(width % GROUP_SIZE for width in self.channels):
            raise ValueError(f"channels: unet2d needs multiples of {GROUP_SIZE}, not {list(self.channels)}")
        if self.model != "unet2d" and self.layers_per_block is not None:
            raise ValueError(f"layers_per_block: {self.model} has no such option; leave it out or use unet2d")
        return self

    @property
    def model_options(self) -> dict[str, Any]:
        """The options that `build_model(config.model, **options)` takes."""
        options: dict[str, Any] = {"channels": self.channels}
        if self.layers_per_block is not None:
            options["layers_per_block"] = self.layers_per_block
        return options

    def changed(self, **values: Any) -> TrainConfig:
        """This config with some options changed, checked again."""
        return TrainConfig(**{**self.model_dump(), **values})

    def to_toml(self) -> str:
        """The whole config as TOML, without options that are None and without `root`: a run can be moved."""
        import tomli_w

        values = self.model_dump(mode="json", exclude_none=True, exclude={"root"})
        return tomli_w.dumps(values)

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """Read a config written by `to_toml`, or by hand with only the options that differ.

        Raises:
            ConfigError: the file is missing, is not TOML, or holds an option that does not exist.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}; name a config.toml") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML ({error}); mend that line or start from a preset") from None
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def _in_words(error: ValidationError) -> str:
    """One line for the first thing that is wrong, with what was found and what would do."""
    first = error.errors(include_url=False)[0]
    option = str(first["loc"][0]) if first["loc"] else ""
    found = first.get("input")
    kind = first["type"]
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(option, TrainConfig.model_fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"options are {', '.join(TrainConfig.model_fields)}"
        return f"there is no option {option}; {hint}"
    if kind == "value_error":
        return str(first["ctx"]["error"])
    if option == "device":
        return f"device: takes auto, cpu, cuda, cuda:N or mps, not {found!r}"
    if option == "name":
        return (
            f"name: {found!r} cannot name a run; use up to 64 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit"
        )
    wanted = first["msg"].removeprefix("Input ").split(", unable")[0]
    return f"{option}: {wanted}, not {found}"
