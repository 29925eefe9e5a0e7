"""Settings of a race: their combinations, texts, errors, and the command that trains one candidate."""

from __future__ import annotations

import shlex

import pytest

from core.cli.commands import app
from core.config.training import TrainConfig
from core.errors import ConfigError
from core.race.candidates import make_candidates, parse_settings


def test_candidates_are_all_combinations_with_the_last_setting_changing_fastest() -> None:
    settings = parse_settings(["optimizer=adam,muon", "learning-rate=1e-3,2e-3"])
    candidates = make_candidates(TrainConfig(dataset="glyphs", root="runs", seed=3), settings)
    assert [candidate.label for candidate in candidates] == [
        "optimizer=adam learning_rate=0.001",
        "optimizer=adam learning_rate=0.002",
        "optimizer=muon learning_rate=0.001",
        "optimizer=muon learning_rate=0.002",
    ]
    assert [candidate.number for candidate in candidates] == [1, 2, 3, 4]
    assert candidates[2].config == TrainConfig(dataset="glyphs", optimizer="muon", learning_rate=1e-3)


def test_values_may_be_lists_none_and_true() -> None:
    settings = parse_settings(["channels=32 64,none", "flip=true,false"])
    first, *_, last = make_candidates(TrainConfig(dataset="sprites"), settings)
    assert (first.config.channels, first.config.flip) == ((32, 64), True)
    assert (last.config.channels, last.config.flip) == (None, False)
    assert first.label == "channels=32x64 flip=true"


def test_the_command_of_a_candidate_gives_its_config() -> None:
    base = TrainConfig(preset="quick", dataset="glyphs", channels=(8, 16), name="race", root="runs", device="cpu")
    candidate = make_candidates(base, {"channels_last": [True, False], "learning_rate": [3e-4]})[1]
    program, name, *flags = shlex.split(candidate.command(seed=0))
    assert (program, name) == ("minidiff", "train")
    _, bound, _ = app.parse_args(["train", *flags])
    assert bound.arguments["config"] == candidate.config
    assert "--seed" not in candidate.command(seed=0)
    assert "--seed 3" in candidate.command(seed=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optimiser=adam,muon"], "did you mean optimizer"),
        (["learning_rate"], "NAME=VALUE"),
        (["learning_rate=1e-3"], "at least two"),
        (["learning_rate=1e-3,fast"], "candidate 2 .*learning_rate"),
        (["seed=0,1"], "--seeds"),
        (["path=flow,vp"], "do not compare"),
        (["dataset=mnist,glyphs"], "same images"),
        ([f"{name}={','.join('9' * 100)}" for name in ("epochs", "batch_size", "threads")], "1,000,000 candidates"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_settings_that_cannot_be_raced_are_errors(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_candidates(TrainConfig(dataset="glyphs"), parse_settings(settings))
