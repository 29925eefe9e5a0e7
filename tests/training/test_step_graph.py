"""The training step as a CUDA graph: when it is recorded, and that a graph that computes something else is not used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from core import TrainConfig, load_dataset
from core.training.step_graph import WARMUP_STEPS, GraphedStep
from core.training.trainer import Trainer

TINY: dict[str, Any] = {"dataset": "glyphs", "size": "tiny", "batch_size": 16, "epochs": 2, "precision": "float32"}
IMAGES = 120  # seven full batches and one of 8


class Recording:
    """Stands for a CUDA graph where there is no GPU: a replay takes the step."""

    def __init__(self, update: Callable[[], Tensor], generators: Iterable[torch.Generator]) -> None:
        self.replays = 0
        self._update = update

    def replay(self) -> Tensor:
        self.replays += 1
        return self._update()


class Frozen(Recording):
    """A replay that does nothing, as of a graph that reads other tensors than those that are filled."""

    def replay(self) -> Tensor:
        return torch.tensor(1.0)


class Impossible(Recording):
    """A step that cannot be recorded."""

    def __init__(self, update: Callable[[], Tensor], generators: Iterable[torch.Generator]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nSearch for it in the documentation")


def trained(record: type[Recording] | None, steps: int = 16) -> tuple[Trainer, list[float]]:
    """A trainer after `steps` steps, replayed from a recording if there is one, and its losses."""
    torch.set_num_threads(1)
    trainer = Trainer(TrainConfig(**TINY), torch.device("cpu"))
    trainer.set_data(*load_dataset("glyphs", limit=IMAGES))
    if record is not None:
        step = GraphedStep(
            trainer._fill,
            lambda: trainer._update(trainer._chosen),
            trainer.state,
            trainer._generators.values(),
            record,  # type: ignore[arg-type] # has the same methods
        )
        trainer._graphed = step
    return trainer, [float(trainer.train_step()[0]) for _ in range(steps)]


@pytest.mark.parametrize("record", [Recording, Frozen, Impossible])
def test_training_with_a_graph_gives_the_weights_of_training_without_one(record: type[Recording]) -> None:
    trainer, losses = trained(record)
    expected, expected_losses = trained(None)
    assert losses == expected_losses
    assert trainer.state().keys() == expected.state().keys()
    for name, value in expected.state().items():
        assert torch.equal(trainer.state()[name], value), name


def test_full_batches_are_replayed_after_some_steps() -> None:
    trainer, _ = trained(Recording)
    graph = trainer._graphed
    assert graph is not None
    assert graph.problem is None
    assert isinstance(graph._graph, Recording)
    # Of 16 steps in two epochs, two have fewer images, and two are before one of these; two replays were a comparison.
    assert graph._graph.replays == 16 - 2 - 2 - WARMUP_STEPS + 2


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (Frozen, "the losses of the recorded step are not those of the step itself"),
        (Impossible, "recording it failed: operation not permitted when stream is capturing"),
    ],
)
def test_a_graph_that_cannot_be_used_is_explained_and_not_tried_again(record: type[Recording], problem: str) -> None:
    trainer, _ = trained(record)
    graph = trainer._graphed
    assert graph is not None
    assert graph.problem == problem
    assert graph._graph is None
