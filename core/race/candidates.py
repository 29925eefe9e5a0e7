"""The candidates of a race: all combinations of the values of some options."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.architecture import is_custom
from core.config.training import TrainConfig, option_fields
from core.errors import ConfigError, hint

MAX_RUNS = 64  # of a race: all are in memory at the same time

# Options that all candidates share, and why.
SHARED = {
    **dict.fromkeys(("name", "root"), "each run is named after the race"),
    "seed": "--seeds trains every candidate with several seeds",
    **dict.fromkeys(("device", "nproc"), "all candidates train in turns on one device"),
    **dict.fromkeys(
        ("dataset", "data_root", "limit", "image_mode", "image_size", "resize", "strict"),
        "all candidates train on the same images",
    ),
    "path": "losses on different paths do not compare",
    "objective": "losses of different objectives do not compare",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One combination of settings."""

    number: int  # from 1
    settings: tuple[tuple[str, Any], ...]  # names and values of the options in which candidates differ
    config: TrainConfig  # with the options that all share, without name, root and seed

    @property
    def label(self) -> str:
        """The settings, such as "optimizer=muon learning_rate=0.002"."""
        return " ".join(f"{name}={_text(value)}" for name, value in self.settings)

    def command(self, seed: int) -> str:
        """The command that trains this candidate alone with a seed."""
        chosen = {name: getattr(self.config, name) for name in self.config.model_fields_set - {"dataset_info"}}
        if seed != TrainConfig.model_fields["seed"].default:
            chosen["seed"] = seed
        words = ["minidiff", "train"]
        for name in TrainConfig.model_fields:
            if name in chosen:
                words += _flag(name, chosen[name])
        return shlex.join(words)


def make_candidates(config: TrainConfig, settings: Mapping[str, Sequence[Any]]) -> tuple[Candidate, ...]:
    """One candidate for each combination of values; the last setting changes fastest.

    Args:
        config: Options that all candidates share. Options that are set override a raced preset.
        settings: The values of each raced option.

    Raises:
        ConfigError: There are fewer than two candidates or more than `MAX_RUNS`, an option or value is unknown or
            cannot be raced, or a combination is not valid.
    """
    for name in settings:
        if name not in option_fields():
            raise ConfigError(f"there is no option {name}; {hint(name, option_fields(), otherwise='options are')}")
        if name in SHARED:
            raise ConfigError(f"{name} cannot differ between the candidates of a race: {SHARED[name]}")
    count = math.prod(map(len, settings.values()))
    if count < 2:
        raise ConfigError("a race needs at least two candidates; name an option with several values")
    if count > MAX_RUNS:  # before they are made
        raise ConfigError(f"{count:,} candidates are too many: a race has at most {MAX_RUNS} runs; use fewer values")
    if config.objective != "diffusion":
        raise ConfigError("objective: a race compares denoising losses, which a distilled model is not trained on")
    if config.nproc > 1:
        raise ConfigError("nproc: a race trains in one process; leave it out")
    shared = {name: getattr(config, name) for name in config.model_fields_set if name not in ("name", "root", "seed")}
    if "log_to" in shared and shared["log_to"] is None:
        del shared["log_to"]
    candidates = []
    for number, values in enumerate(itertools.product(*settings.values()), start=1):
        combination = dict(zip(settings, values, strict=True))
        try:
            made = TrainConfig(**{**shared, **combination})
        except ConfigError as error:
            chosen = " ".join(f"{name}={_text(value)}" for name, value in combination.items())
            raise ConfigError(f"candidate {number} ({chosen}): {error}") from None
        if is_custom(made.model):
            raise ConfigError("model: a network of your own cannot be raced; race the options of a built-in one")
        candidates.append(Candidate(number, tuple((name, getattr(made, name)) for name in combination), made))
    return tuple(candidates)


def parse_settings(texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """The settings of texts such as "learning_rate=1e-3,2e-3".

    Values are separated by commas, the numbers of one value by spaces ("channels=32 64,64 128"); "none" is None.

    Raises:
        ConfigError: A text has another form. Names and values are checked by `make_candidates`.
    """
    settings: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not name or not sign or not values.strip():
            raise ConfigError(f"--set: write NAME=VALUE,VALUE, such as learning_rate=1e-3,2e-3, not {text!r}")
        settings[name] = settings.get(name, ()) + tuple(_value(name, value.strip()) for value in values.split(","))
    return settings


def _value(name: str, text: str) -> Any:
    if text.lower() == "none":
        return None
    field = option_fields().get(name)
    return tuple(text.split()) if field is not None and "tuple" in str(field.annotation) else text


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if value is None:
        return []
    return [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]
