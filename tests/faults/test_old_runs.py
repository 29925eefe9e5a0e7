"""Run directories of earlier versions, and stale locks from before a reboot, can be used."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from counts import FULL
from trainer_pool import HERE, TrainerPool, assert_same_end, epochs_of, losses

from core import load_model, sample
from core.config.training import TrainConfig
from core.models.weights import read_weights, write_tensors
from core.runs.directory import CONFIG, EVENTS, LOCK, MODEL, STATE
from core.runs.events import from_line
from core.runs.status import Status, list_runs, run_status, summarize
from core.training.state import read_state

OLD = HERE / "old_runs"
VERSIONS = sorted(path.name for path in OLD.iterdir() if path.is_dir())
NEWEST = "0.1.0"
UNRELEASED = ("0.1.0-first",)  # written by code that was never released
# Options and event fields added after the first version.
LATER_OPTIONS = (
    "eval_every",
    "precision",
    "compile",
    "augment_shift",
    "size",
    "weighting",
    "label_dropout",
    "deterministic",
    "image_mode",
    "resize",
    "strict",
    "flip",
    "log_to",
    "snapshots",
)


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an old run."""
    return Path(shutil.copytree(OLD / request.param, tmp_path / "runs" / request.param))


def test_a_run_of_the_current_version_is_stored() -> None:
    import core

    assert core.__version__ in VERSIONS, "each release adds a run; see old_runs/README.md"


def test_an_old_run_can_be_listed_summarised_and_sampled_from(old: Path) -> None:
    assert [run.name for run in list_runs(old.parent)] == [old.name]
    summary = summarize(old)
    assert (summary.status, summary.step, summary.total_steps) == (Status.STOPPED, 3, 9)
    assert (summary.epoch, summary.epochs, summary.dataset, summary.preset) == (1, 3, "glyphs", "quick")
    assert summary.loss == pytest.approx(0.135, abs=0.01)
    assert summary.sampleable
    loaded = load_model(old, device="cpu")
    *_, last = sample(loaded, n=2, steps=3, seed=0)
    assert last.x.shape == (2, 1, 28, 28)
    assert bool(last.x.isfinite().all())


def test_an_old_run_resumes_to_the_same_result_as_an_uninterrupted_one(trainer_pool: TrainerPool, old: Path) -> None:
    config = TrainConfig.from_toml(old / CONFIG).model_dump(mode="json", exclude={"root", "name", "data_root"})
    resumed = trainer_pool.train(old)
    if old.name in UNRELEASED:  # its moments have other names: refused with an error, and nothing is changed
        assert resumed.code == 1
        assert "lacks what resuming needs" in resumed.stderr
        assert len(resumed.stderr.splitlines()) == 1
        assert load_model(old, device="cpu").step == 3
        return
    assert resumed.code == 0, resumed.stderr
    assert run_status(old) is Status.FINISHED
    assert epochs_of(old) == [1, 2, 3]
    assert trainer_pool.train(old.with_name("fresh"), config).code == 0
    (_, actual), (_, expected) = losses(old), losses(old.with_name("fresh"))
    for (_, loss, validation_loss), (_, other_loss, other_held_out) in zip(actual, expected, strict=True):
        assert math.isclose(loss, other_loss, rel_tol=1e-3)  # another CPU sums in another order
        assert math.isclose(validation_loss, other_held_out, rel_tol=1e-3)


@pytest.mark.parametrize("option", LATER_OPTIONS if FULL else LATER_OPTIONS[:3])
def test_a_run_without_a_newer_option_resumes(trainer_pool: TrainerPool, tmp_path: Path, option: str) -> None:
    path = Path(shutil.copytree(OLD / NEWEST, tmp_path / "a"))
    config = path / CONFIG
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith(f"{option} =")))
    for file, kind in ((STATE, "state"), (MODEL, "model")):
        without(path / file, kind, option)
    assert load_model(path, device="cpu").step == 3
    resumed = trainer_pool.train(path)
    assert resumed.code == 0, resumed.stderr
    whole = Path(shutil.copytree(OLD / NEWEST, tmp_path / "whole"))
    assert trainer_pool.train(whole).code == 0
    assert_same_end(path, whole)


def without(path: Path, kind: str, option: str) -> None:
    """Rewrite a checkpoint without one option of its config."""
    tensors, config, step, more = (read_weights if kind == "model" else read_state)(path)

    class Lacking(TrainConfig):
        def model_dump_json(self, **options: Any) -> str:
            values = json.loads(super().model_dump_json(exclude={"root", "data_root"}))
            return json.dumps({name: value for name, value in values.items() if name != option})

    write_tensors(path, kind, tensors, Lacking(**config.model_dump()), step, **more)


@pytest.mark.parametrize(("kind", "field"), [("started", "torch"), ("resumed", "torch")])
def test_an_event_without_a_newer_field_is_read(kind: str, field: str) -> None:
    record = {"event": kind, "time": 1.0, "name": "a", "device": "cpu", "threads": 1, "parameters": 5, "epochs": 2}
    event = from_line(json.dumps(record | ({"step": 0} if kind == "resumed" else {})))
    assert event is not None
    assert getattr(event, field) == ""


@pytest.mark.parametrize("boot", [1.0, None], ids=["of another boot", "that names no boot"])
def test_a_lock_whose_pid_was_reused_holds_nothing(
    trainer_pool: TrainerPool, whole: Path, tmp_path: Path, boot: float | None
) -> None:
    path = tmp_path / "a"
    assert trainer_pool.train(path, fault={"trace": "", "kind": "kill", "at": 60}).code == -9
    (path / LOCK).write_text(
        json.dumps({"host": socket.gethostname(), "boot": boot, "pid": os.getpid(), "started": 1.0})
    )
    assert run_status(path) is Status.INTERRUPTED
    assert list_runs(tmp_path)[0].status is Status.INTERRUPTED
    assert trainer_pool.train(path).code == 0
    assert_same_end(path, whole)
    assert (path / EVENTS).exists()
