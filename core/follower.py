"""What a process of a team does that does not lead it: prepare what the leader says, and take the steps it asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from core import data
from core.classifiers import images_sha256
from core.config import TrainConfig
from core.errors import MinidiffError, RunError
from core.interrupts import Interrupts
from core.machine import TorchSettings
from core.memory import too_large, within_memory
from core.team import REFUSAL, Team
from core.trainer import Trainer

T = TypeVar("T")


def follow(team: Team) -> None:
    """Train under the leader's orders until it says that this is over.

    The leader's config counts, whatever this process was started with. Signals are left to the leader, which sends
    everyone home after a checkpoint. The average of the weights, which no step depends on, is the leader's alone.

    Raises:
        MinidiffError: this process cannot take part, which the leader was told too, or another one is gone.
    """
    team.join()
    with Interrupts(patient=True), team.kept_together():
        config = TrainConfig(**team.hear()).changed(ema=0)
        device = _answered(team, lambda: _pick_device(team, config))
        with TorchSettings(config), within_memory(too_large(config)):
            trainer = Trainer(config, device, team)
            told = team.hear()
            if told is None:  # stopped while the data was being fetched
                return
            _answered(team, lambda: _take_data(trainer, told))
            step = team.hear()
            trainer.restore(team.receive(), step, Path("the leader's state"))
            while steps := team.hear():
                for _ in range(steps):
                    trainer.advance()


def _answered(team: Team, prepare: Callable[[], tuple[T, str]]) -> T:
    """Prepare something and tell the team what came of it."""
    try:
        found, words = prepare()
    except MinidiffError as error:
        team.ask(f"{REFUSAL}{error}")
        raise
    team.ask(words)
    return found


def _pick_device(team: Team, config: TrainConfig) -> tuple[torch.device, str]:
    device = team.pick_device(config.device)
    return device, team.here(device)


def _take_data(trainer: Trainer, told: dict[str, Any]) -> tuple[None, str]:
    """Read the images that the leader trains on."""
    finding = data.locate(told["dataset"], trainer.config.data_root, limit=trainer.config.limit)
    while True:
        try:
            next(finding)
        except StopIteration as found:
            located: data.Located = found.value
            break
    train = data.read(located, "train", trainer.config.limit)
    if images_sha256(train) != told["sha256"]:
        raise RunError(f"the {located.name} images in {located.directory} are not those that the leader has")
    trainer.take(train.images, train.labels)
    if told["compile"]:
        trainer.compile()
    return None, ""
