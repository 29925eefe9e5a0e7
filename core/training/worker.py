"""What a process of a team does that does not lead it: prepare what the leader says, and take the steps it asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from core.compute.device_memory import too_large, within_memory
from core.compute.torch_settings import TorchSettings
from core.config.training import TrainConfig
from core.data import datasets
from core.errors import MinidiffError, RunError
from core.evaluation.feature_classifiers import images_sha256
from core.system.signals import Interrupts
from core.training.distributed import REFUSAL, Team
from core.training.trainer import Trainer

T = TypeVar("T")


def follow(team: Team) -> None:
    """Take the steps that the main process asks for, once all processes have met, until it ends the training.

    The leader's config counts, whatever this process was started with. Signals are left to the leader, which sends
    everyone home after a checkpoint. The average of the weights, which no step depends on, is the leader's alone.

    Raises:
        MinidiffError: this process cannot take part, which the leader was told too, or another one is gone.
    """
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
    finding = datasets.locate(told["dataset"], trainer.config.data_root, limit=trainer.config.limit)
    while True:
        try:
            next(finding)
        except StopIteration as found:
            located: datasets.Located = found.value
            break
    train = datasets.read(located, "train", trainer.config.limit)
    if images_sha256(train) != told["sha256"]:
        raise RunError(f"the {located.name} images in {located.directory} are not those that the leader has")
    trainer.take(train.images, train.labels)
    if told["compile"]:
        trainer.compile()
    return None, ""
