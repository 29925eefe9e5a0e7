"""Runs in other trackers, during training and from the log of a finished run, read back with their own packages."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, Capture, command, environment, error_line, events

from core import MinidiffError, TrainConfig, train
from core.cli import run
from core.export.trackers import export_events, preview_image, scalars
from core.runs.events import Epoch, Evaluated, Preview, Progress, Warned
from core.runs.store import create_run
from core.system.extras import require
from core.training.api import resume

TRACKERS = ("tensorboard", "wandb", "trackio")
PROGRESS = Progress(
    step=3, epoch=1, loss=0.5, loss_min=0.4, loss_max=math.nan, images_per_second=9.0, learning_rate=0.1, memory=None
)


def installed(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def test_only_finite_numbers_are_plotted() -> None:
    assert scalars(PROGRESS) == {"train/loss": 0.5, "train/learning_rate": 0.1, "train/images_per_second": 9.0}
    evaluated = Evaluated(epoch=1, step=3, n=10, frechet=2.5, agreement=math.nan, seconds=1.0)
    assert scalars(evaluated) == {"evaluation/frechet": 2.5}
    assert not scalars(Warned(message="hot"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_preview_becomes_a_row_of_images(channels: int) -> None:
    pixels = bytes(range(2 * 3 * 4 * channels))  # two images, 3 high and 4 wide
    preview = Preview(epoch=1, step=3, count=2, height=3, width=4, images=pixels, channels=channels)
    image = preview_image(preview)
    assert image.size == (8, 3)
    second = pixels[3 * 4 * channels :]
    assert image.crop((4, 0, 8, 3)).tobytes() == second


def tensorboard_data(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], list[Any]]:
    """Scalars by tag as (step, value), and preview images."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()
    values = {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    return values, read.Images("preview") if "preview" in read.Tags()["images"] else []


def logged(path: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Steps and losses of a run's windows and epochs, from its own log."""
    own = events(path)
    return (
        [(event.step, pytest.approx(event.loss, rel=1e-6)) for event in own if isinstance(event, Progress)],
        [(event.step, pytest.approx(event.validation_loss, rel=1e-6)) for event in own if isinstance(event, Epoch)],
    )


@installed("tensorboard")
def test_tensorboard_has_the_runs_curves_and_previews_while_it_trains(home: Path, capsys: Capture) -> None:
    assert run(["train", *TINY, "--epochs", "2", "--name", "mine", "--log-to", "tensorboard"]) == 0
    values, images = tensorboard_data(home / "mine" / "tensorboard")
    windows, epochs = logged(home / "mine")
    assert windows
    assert values["train/loss"] == windows
    assert values["epoch/validation_loss"] == epochs
    assert [(image.step, image.width, image.height) for image in images] == [(2, 224, 28), (4, 224, 28)]
    assert "minidiff export" not in capsys.readouterr().out  # no warning


@installed("tensorboard")
def test_tensorboard_drops_what_a_resumed_run_repeats(tmp_path: Path, tiny: Callable[..., TrainConfig]) -> None:
    config = tiny(root=tmp_path, name="again", epochs=2, log_to="tensorboard")
    training = train(config)
    for event in training:
        if isinstance(event, Epoch):
            break
    training.close()
    for _ in resume(tmp_path / "again"):
        pass
    values, _ = tensorboard_data(tmp_path / "again" / "tensorboard")
    steps = [step for step, _ in values["train/loss"]]
    assert steps == sorted(set(steps))
    assert [step for step, _ in values["epoch/loss"]] == [step for step, _ in logged(tmp_path / "again")[1]]


@installed("tensorboard")
def test_a_finished_run_is_exported_to_tensorboard(finished_run: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "new" / "logs"
    arguments = ["export", finished_run.name, str(folder), "--to", "tensorboard", "--root", str(finished_run.parent)]
    assert run(arguments) == 0
    assert f"events of {finished_run.name} to {folder}" in capsys.readouterr().out
    values, images = tensorboard_data(folder)
    windows, epochs = logged(finished_run)
    assert (values["train/loss"], values["epoch/validation_loss"]) == (windows, epochs)
    assert len(images) == len(epochs)


@installed("tensorboard")
def test_a_tracker_that_fails_does_not_end_the_training(tmp_path: Path, tiny: Callable[..., TrainConfig]) -> None:
    path = create_run(tiny(root=tmp_path, name="full", epochs=1, log_to="tensorboard"))
    (path / "tensorboard").write_text("in the way")
    seen = list(resume(path))
    warnings = [event.message for event in seen if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert warnings[0].startswith("tensorboard failed (")
    assert "`minidiff export full --to tensorboard FOLDER`" in warnings[0]
    assert seen[-1].kind == "finished"
    assert [event.kind for event in events(path)] == [event.kind for event in seen]


@installed("wandb")
@pytest.mark.parametrize("while_training", [True, False])
def test_wandb_gets_an_offline_run(home: Path, tmp_path: Path, while_training: bool) -> None:
    done, folder = ["export", "done", str(tmp_path / "out"), "--to", "wandb"], tmp_path / "out"
    if while_training:
        done, folder = ["train", *TINY, "--epochs", "1", "--name", "mine", "--log-to", "wandb"], home / "mine" / "wandb"
    printed = subprocess.run(command(*done), capture_output=True, text=True, env=environment(), check=True)
    assert "wandb failed" not in printed.stdout
    (record,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content = record.read_bytes()
    for tag in (b"train/loss", b"epoch/validation_loss", b"learning_rate", b"preview"):
        assert tag in content
    assert list(record.parent.glob("files/media/images/preview*.png"))


TRACKIO_ROWS = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps(SQLiteStorage.get_logs("minidiff", sys.argv[1])))
"""


@installed("trackio")
@pytest.mark.parametrize("while_training", [True, False])
def test_trackio_gets_a_local_run(home: Path, tmp_path: Path, while_training: bool) -> None:
    done, folder, name = ["export", "done", str(tmp_path / "out"), "--to", "trackio"], tmp_path / "out", "done"
    if while_training:
        done = ["train", *TINY, "--epochs", "1", "--name", "mine", "--log-to", "trackio"]
        folder, name = home / "mine" / "trackio", "mine"
    printed = subprocess.run(command(*done), capture_output=True, text=True, env=environment(), check=True)
    assert "trackio failed" not in printed.stdout
    read = subprocess.run(
        [sys.executable, "-c", TRACKIO_ROWS, name],
        capture_output=True,
        text=True,
        env=environment(TRACKIO_DIR=str(folder)),
        check=True,
    )
    rows = json.loads(read.stdout)
    windows, epochs = logged(home / name)
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == windows
    assert [(row["step"], row["epoch/validation_loss"]) for row in rows if "epoch/loss" in row] == epochs
    assert len([row for row in rows if "preview" in row]) == len(epochs)


def test_a_missing_package_is_named_with_how_to_install_it() -> None:
    with pytest.raises(MinidiffError, match=r"^no_such_tracker is not installed; `pip install no_such_tracker`"):
        require("no_such_tracker")


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_missing_tracker_ends_a_command_before_it_writes_anything(
    home: Path, tmp_path: Path, capsys: Capture, tracker: str
) -> None:
    if importlib.util.find_spec(tracker) is not None:
        pytest.skip(f"{tracker} is installed")
    message = f"{tracker} is not installed; `pip install {tracker}` installs it"
    assert message in error_line(capsys, "train", *TINY, "--name", "mine", "--log-to", tracker)
    assert message in error_line(capsys, "export", "done", str(tmp_path / "out"), "--to", tracker)
    assert not (home / "mine").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(all(importlib.util.find_spec(name) is None for name in TRACKERS), reason="no tracker is installed")
def test_a_run_without_steps_is_not_exported(tmp_path: Path, tiny: Callable[..., TrainConfig]) -> None:
    tracker = next(name for name in TRACKERS if importlib.util.find_spec(name) is not None)
    path = create_run(tiny(root=tmp_path, name="new"))
    with pytest.raises(MinidiffError, match="new has not logged any steps yet"):
        export_events(path, tracker, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_log_to_needs_a_run_directory(tiny: Callable[..., TrainConfig]) -> None:
    with pytest.raises(MinidiffError, match="log_to: tensorboard writes into the run directory; set root too"):
        next(train(tiny(log_to="tensorboard")))
