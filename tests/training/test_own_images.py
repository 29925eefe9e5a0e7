"""Training on a folder of the user's own images: shape, classes, resuming, sampling and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core import TrainConfig, load_model, resume, sample, train
from core.errors import MinidiffError
from core.models.weights import read_weights
from core.runs.directory import CONFIG, MODEL
from core.runs.events import DatasetLoaded, Epoch, Preview, Started, Stopped, Warned

TINY = {"channels": (16, 16), "epochs": 2, "batch_size": 8, "device": "cpu", "threads": 1, "precision": "float32"}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """120 color images of 12x20 pixels in three class folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for index in range(120):
        name = ("red", "green", "blue")[index % 3]
        pixels = random.integers(0, 60, (12, 20, 3), dtype=np.uint8)
        pixels[..., index % 3] += 180
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "pictures"


def test_a_folder_trains_previews_and_samples_in_its_own_shape(pictures: Path, tmp_path: Path) -> None:
    events = list(train(TrainConfig(dataset=str(pictures), root=tmp_path / "runs", name="own", flip=True, **TINY)))
    (started,) = (event for event in events if isinstance(event, Started))
    (loaded,) = (event for event in events if isinstance(event, DatasetLoaded))
    assert (loaded.train, loaded.test, loaded.source) == (108, 12, str(pictures))
    assert started.parameters > 0
    preview = [event for event in events if isinstance(event, Preview)][-1]
    assert (preview.count, preview.height, preview.width, preview.channels) == (8, 12, 20, 3)
    model = load_model("own", root=tmp_path / "runs", device="cpu")
    assert model.config.info.class_names == ("blue", "green", "red")
    *_, last = sample(model, n=4, steps=2)
    assert last.x.shape == (4, 3, 12, 20)
    with pytest.raises(MinidiffError, match="a class must be a number from 0 to 2"):
        sample(model, n=1, labels=3)
    with pytest.raises(MinidiffError, match=r"start needs shape \(n, 3, 12, 20\)"):
        sample(model, start=torch.zeros(1, 1, 28, 28), start_t=0.5)


def test_a_stopped_run_resumes_bit_for_bit_and_refuses_other_images(pictures: Path, tmp_path: Path) -> None:
    config = TrainConfig(dataset=str(pictures), root=tmp_path / "runs", augment_shift=1, **TINY)
    list(train(config.changed(name="whole")))
    running = train(config.changed(name="parts"))
    for event in running:
        if isinstance(event, Epoch):
            running.close()
    assert isinstance(list(resume(tmp_path / "runs" / "parts"))[-1], object)
    whole, parts = (read_weights(tmp_path / "runs" / name / MODEL)[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    Image.new("RGB", (20, 12), "white").save(next((pictures / "red").iterdir()))
    with pytest.raises(MinidiffError, match="not those that this run was trained on"):
        list(resume(tmp_path / "runs" / "parts", epochs=3))


def test_unlabelled_images_train_without_class_conditioning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).random((40, 16, 16), dtype=np.float32))
    config = TrainConfig(dataset=str(tmp_path / "grey.npy"), root=tmp_path / "runs", name="grey", **TINY)
    events = list(train(config.changed(epochs=1)))
    assert any("no labels: training without class conditioning" in e.message for e in events if isinstance(e, Warned))
    stored = TrainConfig.from_toml(tmp_path / "runs" / "grey" / CONFIG)
    assert stored.class_conditional is False
    assert stored.info.shape == (1, 16, 16)
    assert stored.info.classes == 0


def test_stopping_while_images_are_decoded_leaves_a_stopped_run(pictures: Path, tmp_path: Path) -> None:
    running = train(TrainConfig(dataset=str(pictures), root=tmp_path / "runs", name="early", **TINY))
    next(running)
    running.close()
    events = list(resume(tmp_path / "runs" / "early"))
    assert isinstance(events[-1], object)
    assert not isinstance(events[-1], Stopped)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "./nowhere"], "there is no"),
        (["--dataset", "./empty"], "it is empty"),
        (["--dataset", "pictures"], "or a path such as ./pictures"),
        (["--dataset", "./pictures", "--image-size", "4"], "image_size"),
        (["--dataset", "./pictures", "--model", "unet2d", "--image-size", "30"], "nearest sizes are 28x28 and 32x32"),
        (["--dataset", "mnist", "--flip"], "mirrored characters are wrong"),
        (["--dataset", "glyphs", "--image-size", "32"], "fixed images"),
    ],
)
def test_errors_on_the_command_line_are_one_line(
    pictures: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "core", "train", "--root", "runs", "--epochs", "1", "--device", "cpu", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
