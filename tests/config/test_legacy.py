"""Files of earlier versions: options under the names they had then."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import MinidiffError
from core.config.legacy import OPTIONS, VALUES, upgrade
from core.config.training import TrainConfig

OLD = """
preset = "document"
times = "logit_normal"
clock = true
classes = false
decay = "linear"
warmup = 7
shift = 2
"""


def test_a_config_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(OLD)
    config = TrainConfig.from_toml(tmp_path / "config.toml")
    assert config == TrainConfig(
        preset="tutorial",
        time_sampling="logit_normal",
        time_conditioning=True,
        class_conditional=False,
        lr_schedule="linear",
        warmup_steps=7,
        augment_shift=2,
    )
    (tmp_path / "again.toml").write_text(config.to_toml())
    assert TrainConfig.from_toml(tmp_path / "again.toml") == config


def test_where_a_file_has_both_names_the_present_one_counts() -> None:
    assert upgrade({"warmup": 3, "warmup_steps": 5}) == {"warmup_steps": 5}
    assert upgrade({"warmup_steps": 5, "warmup": 3}) == {"warmup_steps": 5}


def test_every_present_name_is_an_option() -> None:
    assert set(OPTIONS.values()) <= TrainConfig.model_fields.keys()
    assert not OPTIONS.keys() & TrainConfig.model_fields.keys()
    for name, names in VALUES.items():
        for value in names.values():
            TrainConfig(**{name: value})


@pytest.mark.parametrize("name", OPTIONS)
def test_scripts_use_the_present_names(name: str) -> None:
    with pytest.raises(MinidiffError, match=f"there is no option {name}"):
        TrainConfig(**{name: 1})
