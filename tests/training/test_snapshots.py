"""Snapshots written in training: their weights, and that they change nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from core import TrainConfig, list_snapshots, load_model, sample, sample_snapshots, train
from core.compute.device import pick_device
from core.data.datasets import load_dataset
from core.diffusion.snapshots import record_snapshots
from core.errors import CheckpointError
from core.models.weights import read_weights
from core.runs.directory import EVENTS, MODEL, SNAPSHOTS, STATE, builtin_directories
from core.runs.events import DatasetLoaded, Event, Finished, Progress, Warned
from core.runs.history import RunHistory
from core.runs.store import delete_run, rename_run
from core.training.api import resume
from core.training.snapshots import SnapshotWriter, snapshot_bytes
from core.training.state import read_state
from core.training.trainer import Trainer

TINY = {"preset": "quick", "dataset": "glyphs", "limit": 64, "batch_size": 24, "channels": (4, 4), "threads": 1}


def tiny(**changes: object) -> TrainConfig:
    return TrainConfig(**{**TINY, "epochs": 2, "device": "cpu", **changes})


def steps_of(run: Path) -> list[int]:
    return [snapshot.step for snapshot in list_snapshots(run)]


def contents(run: Path) -> dict[int, dict[str, torch.Tensor]]:
    return {snapshot.step: read_weights(snapshot.path)[0] for snapshot in list_snapshots(run)}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 6 steps with a snapshot of each."""
    root = tmp_path_factory.mktemp("runs")
    list(train(tiny(root=root, name="whole")))
    return root / "whole"


def test_each_snapshot_has_the_ema_weights_of_its_step_in_float16(tmp_path: Path) -> None:
    config = tiny(ema=0.3, learning_rate=0.01, snapshots=4)
    trainer = Trainer(config, pick_device("cpu"))
    trainer.set_data(*load_dataset("glyphs", limit=64))
    writer = SnapshotWriter(tmp_path, trainer)
    expected = {}
    for step in range(trainer.total_steps + 1):
        writer.write_if_due(trainer, config)
        expected[step] = {name: value.clone() for name, value in trainer.ema_net.state_dict().items()}
        if step < trainer.total_steps:
            trainer.train_step()
    (tmp_path / MODEL).write_bytes(list_snapshots(tmp_path)[-1].path.read_bytes())  # a run with a checkpoint
    assert writer.problem is None
    assert steps_of(tmp_path) == [0, 1, 2, 6]
    assert writer.bytes == 4 * snapshot_bytes(trainer.net.state_dict())
    for step in steps_of(tmp_path):
        loaded = load_model(tmp_path, "cpu", step=step)
        assert (loaded.step, loaded.name) == (step, tmp_path.name)
        actual = loaded.net.state_dict()
        assert_equal(actual, {name: value.half().float() for name, value in expected[step].items()})
        error = max(float((actual[name] - value).abs().max()) for name, value in expected[step].items())
        assert 0 < error < 2**-11  # half of the distance of two numbers just below 2


def test_training_is_the_same_with_and_without_snapshots(tmp_path: Path, trained: Path) -> None:
    list(train(tiny(root=tmp_path, name="none", snapshots=0)))
    assert not (tmp_path / "none" / SNAPSHOTS).exists()
    assert_equal(read_state(tmp_path / "none" / STATE)[0], read_state(trained / STATE)[0])


def test_a_stopped_and_resumed_run_has_the_same_snapshots(tmp_path: Path, trained: Path) -> None:
    events = train(tiny(root=tmp_path, name="parts"))
    next(event for event in events if isinstance(event, Progress))
    events.close()
    run = tmp_path / "parts"
    stopped = RunHistory.of(run / EVENTS).step
    for name in (f"{stopped + 50:06}.safetensors", ".000003.safetensors.tmp"):  # of a trainer that was killed later
        (run / SNAPSHOTS / name).write_bytes(b"")
    list(resume(run))
    assert steps_of(run) == list(range(7))
    assert len(list((run / SNAPSHOTS).iterdir())) == 7
    for step, weights in contents(trained).items():
        assert_equal(contents(run)[step], weights)
    assert_equal(load_model(run, "cpu").net.state_dict(), load_model(trained, "cpu").net.state_dict())


def test_training_further_keeps_the_number_of_snapshots(tmp_path: Path) -> None:
    run = tmp_path / "a"
    list(train(tiny(root=tmp_path, name="a", epochs=1, snapshots=4)))
    assert steps_of(run) == [0, 1, 2, 3]
    list(resume(run, epochs=4))
    assert steps_of(run) == [0, 1, 3, 12]


def test_the_log_says_how_much_space_the_snapshots_take(trained: Path) -> None:
    loaded = RunHistory.of(trained / EVENTS).dataset
    assert isinstance(loaded, DatasetLoaded)
    on_disk = sum(snapshot.path.stat().st_size for snapshot in list_snapshots(trained))
    assert 0 < loaded.snapshot_bytes < on_disk < loaded.snapshot_bytes + 7 * 8_192


def test_a_run_trains_on_where_snapshots_cannot_be_written(tmp_path: Path) -> None:
    events: list[Event] = []
    for event in train(tiny(root=tmp_path, name="a")):
        events.append(event)
        if isinstance(event, DatasetLoaded):
            (tmp_path / "a" / SNAPSHOTS).write_text("in the way")
    assert isinstance(events[-1], Finished)
    (warning,) = (event.message for event in events if isinstance(event, Warned))
    assert warning == "snapshots of the weights are left out: File exists; training continues"


def test_a_run_with_snapshots_can_be_renamed_and_deleted(tmp_path: Path, trained: Path) -> None:
    run = rename_run(Path(shutil.copytree(trained, tmp_path / "whole")), "other")
    assert load_model("other", "cpu", tmp_path, step=3).name == "other"
    delete_run(run)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_ended_before_its_first_checkpoint_can_be_replaced(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a"))
    next(event for event in events if isinstance(event, Progress))
    events.close()
    run = tmp_path / "a"
    for name in (STATE, MODEL):
        (run / name).unlink()
    list(train(tiny(root=tmp_path, name="a", snapshots=0)))
    assert not (run / SNAPSHOTS).exists()


def test_the_same_noise_is_sampled_with_every_snapshot(trained: Path) -> None:
    records = list(sample_snapshots(trained, n=2, steps=3, seed=5, device="cpu"))
    assert [record.step for record in records] == list(range(7))
    for record in (records[0], records[4]):
        *_, last = sample(load_model(trained, "cpu", step=record.step), n=2, steps=3, seed=5)
        assert torch.equal(record.x, last.x)
    epochs = RunHistory.of(trained / EVENTS).epochs
    assert [record.logged.validation_step for record in records] == [None, None, None, 3, 3, 3, 6]
    assert records[5].logged.validation_loss == epochs[0].validation_loss
    (chosen,) = sample_snapshots(trained, n=2, steps=3, seed=5, device="cpu", training_steps=[4])
    assert torch.equal(chosen.x, records[4].x)
    series = record_snapshots(records, seed=5)
    assert (series.model, series.steps, series.complete) == ("whole", tuple(range(7)), True)
    assert len(series.frames[3].images) == 2 * 28 * 28


def test_the_validation_loss_of_a_snapshot_is_that_in_the_log(trained: Path) -> None:
    test = load_dataset("glyphs", split="test", limit=64)
    records = sample_snapshots(
        trained, n=1, steps=1, device="cpu", training_steps=[0, 3, 6], validation=(test.images, test.labels)
    )
    start, *measured = [record.validation_loss for record in records]
    logged = [epoch.validation_loss for epoch in RunHistory.of(trained / EVENTS).epochs]
    assert measured == pytest.approx(logged, rel=2e-3)  # of weights in float32
    assert start is not None
    assert start > logged[0]


def test_a_run_without_snapshots_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="quick-mnist has no snapshots: it is a built-in model"):
        next(sample_snapshots("quick-mnist", device="cpu"))
    with pytest.raises(CheckpointError, match="has no snapshots"):
        load_model("quick-mnist", "cpu", step=3)
    with pytest.raises(CheckpointError, match="only runs have snapshots"):
        shutil.copy(builtin_directories()["quick-mnist"] / MODEL, tmp_path / "m.safetensors")
        load_model(tmp_path / "m.safetensors", "cpu", step=3)
