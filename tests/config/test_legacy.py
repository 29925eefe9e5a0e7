"""Files of earlier versions, with old option names."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import MinidiffError
from core.cli import run
from core.config.legacy import OPTIONS, VALUES, upgrade
from core.config.training import TrainConfig
from tui.settings import load_settings

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


def test_the_current_name_wins_if_a_file_has_both() -> None:
    assert upgrade({"warmup": 3, "warmup_steps": 5}) == {"warmup_steps": 5}
    assert upgrade({"warmup_steps": 5, "warmup": 3}) == {"warmup_steps": 5}


def test_every_current_name_is_an_option() -> None:
    assert set(OPTIONS.values()) <= TrainConfig.model_fields.keys()
    assert not OPTIONS.keys() & TrainConfig.model_fields.keys()
    for name, names in VALUES.items():
        for value in names.values():
            TrainConfig(**{name: value})


@pytest.mark.parametrize("name", OPTIONS)
def test_scripts_use_the_current_names(name: str) -> None:
    with pytest.raises(MinidiffError, match=f"the option {name} is now {OPTIONS[name]}$"):
        TrainConfig(**{name: 1})


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --clock", "--clock is now --time-conditioning"),
        ("train --no-classes", "--no-classes is now --no-class-conditional"),
        ("train --decay linear", "--decay is now --lr-schedule"),
        ("train --shift 2", "--shift is now --augment-shift"),
        ("sample --spacing 3", "--spacing is now --shift"),
    ],
)
def test_commands_name_the_current_option(capsys: pytest.CaptureFixture[str], command: str, message: str) -> None:
    assert run(command.split()) == 2
    assert capsys.readouterr().err == f"minidiff: {message}\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MINIDIFF_WARMUP", "MINIDIFF_WARMUP_STEPS"),
        ("MINIDIFF_ROOT", "MINIDIFF_HOME"),
        ("MINIDIFF_DATA_ROOT", "MINIDIFF_DATA"),
    ],
)
def test_a_variable_that_no_longer_has_an_effect_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.setenv(old, "3")
    assert run(["train", "--limit", "8"]) == 2
    assert capsys.readouterr().err == f"minidiff: the environment variable {old} is now {new}\n"


def test_a_settings_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[training]\npreset = "document"\nwarmup = 5\n')
    assert load_settings(tmp_path / "settings.toml")[0].training == {"preset": "tutorial", "warmup_steps": 5}
