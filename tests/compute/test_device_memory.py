"""Micro-batches: the same training step, and the fallback when a batch does not fit in device memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from little_memory import little_memory

from core.compute.device_memory import within_memory
from core.config.training import TrainConfig
from core.errors import TrainingError
from core.runs.directory import CONFIG, EVENTS
from core.runs.events import Epoch, Failed, Warned
from core.runs.history import RunHistory
from core.training.api import resume, train


@pytest.fixture
def small_device() -> Iterator[list[int]]:
    """Batch sizes tried in training on a device with little memory."""
    with little_memory() as batch_sizes:
        yield batch_sizes


def losses(config: TrainConfig) -> list[float]:
    return [loss for event in train(config) if isinstance(event, Epoch) for loss in (event.loss, event.validation_loss)]


@pytest.mark.parametrize("recipe", [{}, {"preset": "default", "channels": (16, 16), "precision": "float32"}])
def test_micro_batches_give_the_same_step_as_the_full_batch(
    tiny: Callable[..., TrainConfig], recipe: dict[str, object]
) -> None:
    whole, parts = (losses(tiny(**recipe, limit=75, micro_batch=size)) for size in (None, 5))
    assert parts == pytest.approx(whole, rel=1e-5)


def test_out_of_memory_halves_the_micro_batch_until_it_fits_and_a_resumed_run_keeps_it(
    tiny: Callable[..., TrainConfig], tmp_path: Path, small_device: list[int]
) -> None:
    events = train(tiny(root=tmp_path, name="large", fit_memory=True))
    warned = next(event for event in events if isinstance(event, Warned))
    assert "parts of 8 images (--micro-batch)" in warned.message
    assert {32, 16, 8} == set(small_device)
    events.close()
    assert TrainConfig.from_toml(tmp_path / "large" / CONFIG).micro_batch == 8
    small_device.clear()
    actual = [loss for event in resume(tmp_path / "large") if isinstance(event, Epoch) for loss in (event.loss,)]
    assert set(small_device) == {8}
    assert actual == pytest.approx(losses(tiny(micro_batch=8))[::2], rel=1e-5)


def test_out_of_memory_fails_a_run_with_a_fixed_micro_batch_and_names_the_setting(
    tiny: Callable[..., TrainConfig], tmp_path: Path, small_device: list[int]
) -> None:
    with pytest.raises(TrainingError, match="--fit-memory"):
        list(train(tiny(root=tmp_path, name="large")))
    assert isinstance(RunHistory.of(tmp_path / "large" / EVENTS).lifecycle, Failed)
    assert set(small_device) == {32}


def test_memory_that_python_cannot_allocate_is_the_same_error() -> None:
    with pytest.raises(TrainingError, match="does not fit"), within_memory(TrainingError("the batch does not fit")):
        bytearray(1 << 62)
