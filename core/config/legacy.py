"""Names that options had in earlier versions: config files and checkpoints written then are still read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPTIONS = {
    "classes": "class_conditional",
    "clock": "time_conditioning",
    "decay": "lr_schedule",
    "shift": "augment_shift",
    "times": "time_sampling",
    "warmup": "warmup_steps",
}
VALUES = {"preset": {"document": "tutorial"}}


def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options from a file under their present names; where a file has both names, the present one counts."""
    renamed = {OPTIONS[name]: value for name, value in values.items() if name in OPTIONS}
    renamed |= {name: value for name, value in values.items() if name not in OPTIONS}
    for name, names in VALUES.items():
        value = renamed.get(name)
        if isinstance(value, str):
            renamed[name] = names.get(value, value)
    return renamed
