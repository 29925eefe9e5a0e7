"""Names of earlier versions. Old files remain readable; scripts and commands get an error with the new name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from core.errors import ConfigError

OPTIONS = {
    "classes": "class_conditional",
    "clock": "time_conditioning",
    "decay": "lr_schedule",
    "shift": "augment_shift",
    "times": "time_sampling",
    "warmup": "warmup_steps",
}
SAMPLING = {"spacing": "shift"}  # never stored in files
EVENT_FIELDS = {"held_out": "validation_loss", "team": "devices"}
VALUES = {"preset": {"document": "tutorial"}}
MODULES = {"clock": "time_embed", "classes": "class_embed", "kept": "ema"}  # parts of tensor names in weights files


def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the options of a file to their present names; the present name wins if a file has both."""
    renamed = {OPTIONS[name]: value for name, value in values.items() if name in OPTIONS}
    renamed |= {name: value for name, value in values.items() if name not in OPTIONS}
    for name, names in VALUES.items():
        value = renamed.get(name)
        if isinstance(value, str):
            renamed[name] = names.get(value, value)
    return renamed


def upgrade_tensor_name(name: str) -> str:
    """The present name of a tensor in a weights file."""
    return ".".join(MODULES.get(part, part) for part in name.split("."))


def check_environment() -> None:
    """Refuse environment variables that no longer have an effect.

    Raises:
        ConfigError: One of them is set.
    """
    variables = {old.upper(): new.upper() for old, new in OPTIONS.items()} | {"ROOT": "HOME", "DATA_ROOT": "DATA"}
    for old, new in variables.items():
        if f"MINIDIFF_{old}" in os.environ:
            raise ConfigError(f"the environment variable MINIDIFF_{old} is now MINIDIFF_{new}")
