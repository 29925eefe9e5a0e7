"""The description of a run before it starts: parameters, and estimates that grow as the run does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core import TrainConfig, build_model, describe_run
from core.config.datasets import INFO
from core.errors import MinidiffError
from core.runs.description import DatasetDescription, RunDescription
from core.text import rough_duration

Maker = Callable[..., TrainConfig]


def test_a_run_is_described_in_steps_and_writes_nothing(tiny: Maker, tmp_path: Path) -> None:
    config = tiny(root=tmp_path / "runs", dataset="sprites")
    first, *others, last = describe_run(config)
    pending = dict.fromkeys(description.pending for description in (first, *others, last))
    assert list(pending) == ["building the network", "estimating memory and time", "measuring time", ""]
    assert all(
        description.pending in version for description in (first, *others, last) for version in description.lines[1][:2]
    )
    assert (first.data.train, first.parameters, first.seconds) == (64, None, None)
    net = build_model(config.model, **config.model_options)
    assert last.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert last.seconds is not None
    assert last.memory is not None
    assert last.memory > 10_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_longer_run_takes_longer_and_a_larger_batch_more_memory(tiny: Maker) -> None:
    *_, short = describe_run(tiny(limit=512, batch_size=8))
    *_, long = describe_run(tiny(limit=512, batch_size=512, channels=(32, 32), epochs=10_000))
    assert short.seconds is not None
    assert long.seconds is not None
    assert short.memory is not None
    assert long.memory is not None
    assert long.seconds > 50 * short.seconds
    assert long.memory > short.memory + 20_000_000


def test_a_dataset_of_unknown_shape_ends_the_description(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((30, 8, 8), dtype=np.uint8))
    (only,) = describe_run(TrainConfig(dataset=str(tmp_path / "x.npy"), device="cpu"))
    assert only.parameters is None
    assert "unknown until the images are decoded" in only.lines[1][0]


def test_a_network_that_cannot_take_the_images_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    from PIL import Image

    for index in range(4):
        Image.new("L", (30, 30), index).save(folder / f"{index}.png")
    config = TrainConfig(dataset=str(folder), preset="tutorial", device="cpu")
    with pytest.raises(MinidiffError, match="the nearest sizes are 28x28 and 32x32"):
        list(describe_run(config))


def test_lines_have_shorter_versions_that_keep_what_matters() -> None:
    data = DatasetDescription(name="sprites", location="here", info=INFO["sprites"], train=30_000, test=6_000)
    description = RunDescription(
        data=data, model="patch_unet", device="cpu", parameters=613_452, seconds=190.0, memory=420 * 2**20
    )
    about_data, network, location = description.lines
    assert about_data[0] == "sprites · 16x16 RGB · 12 classes · 30,000 + 6,000 images"
    assert network[0] == "patch_unet · 613,452 parameters · about 3 min on cpu · 420 MiB of memory"
    assert "613,452 parameters · ~3 min · 420 MiB" in network
    _, kept, _ = dataclasses.replace(description, snapshot_bytes=49_000_000).lines
    assert kept[0] == f"{network[0]} · 49.0 MB of snapshots"
    assert kept[1:] == network
    assert location == ["here"]
    for versions in (about_data, network):
        assert [len(text) for text in versions] == sorted(map(len, versions), reverse=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (5_399, "90 min"), (28_620, "8 h"), (172_800, "2 d")],
)
def test_a_rough_duration_has_one_unit(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text
