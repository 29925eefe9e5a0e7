"""Recorded trajectories: rounding, round trips through a file, and damaged files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from core import BasicUNet, MinidiffError, sample
from core.diffusion.frames import record, to_uint8
from core.errors import CheckpointError
from core.runs.trajectory import Denoising, Frame, load_recording, save_recording


@pytest.fixture(scope="module")
def denoising() -> Denoising:
    torch.manual_seed(0)
    return record(sample(BasicUNet(channels=(2, 2)), n=3, steps=4, seed=9), model="m", seed=9)


def test_values_are_clipped_and_rounded_to_the_nearest_byte() -> None:
    values = torch.tensor([-0.3, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 1.7])
    assert list(to_uint8(values.view(1, 1, 1, 7))) == [0, 0, 0, 1, 128, 255, 255]


def test_bytes_are_in_row_order_for_any_memory_format() -> None:
    images = torch.arange(24.0).view(2, 1, 3, 4) / 255
    assert list(to_uint8(images)) == list(range(24))
    assert list(to_uint8(images.to(memory_format=torch.channels_last))) == list(range(24))
    assert list(to_uint8(images.transpose(2, 3).contiguous().transpose(2, 3))) == list(range(24))


def test_a_recording_has_every_step(denoising: Denoising) -> None:
    assert (denoising.model, denoising.seed, denoising.steps, denoising.n) == ("m", 9, 4, 3)
    assert (denoising.height, denoising.width, denoising.complete) == (28, 28, True)
    assert [frame.index for frame in denoising.frames] == [0, 1, 2, 3, 4]
    assert denoising.frames[0].prediction is None
    assert all(len(frame.x) == len(frame.prediction or b"") == 3 * 784 for frame in denoising.frames[1:])
    assert denoising.frames[-1].x == denoising.frames[-1].prediction


def test_a_recording_in_progress_is_not_complete(denoising: Denoising) -> None:
    started = Denoising("m", 9, 4, 3, 28, 28, denoising.frames[:2])
    assert not started.complete


def test_a_sampler_without_steps_records_nothing() -> None:
    with pytest.raises(MinidiffError, match="nothing to record"):
        record(iter(()), model="m", seed=0)


def test_a_recording_survives_a_round_trip(denoising: Denoising, tmp_path: Path) -> None:
    for recorded in (denoising, dataclasses.replace(denoising, characters=False)):
        save_recording(recorded, tmp_path / "d.json")
        assert load_recording(tmp_path / "d.json") == recorded


def test_a_recording_is_small(tmp_path: Path) -> None:
    flat = tuple(Frame(i, 1 - i / 40, bytes(8 * 784), bytes(8 * 784) if i else None) for i in range(41))
    save_recording(Denoising("m", 0, 40, 8, 28, 28, flat), tmp_path / "d.json")
    assert (tmp_path / "d.json").stat().st_size < 10_000


@pytest.mark.parametrize("change", ["n", "height", "amounts", "x", "prediction", "steps", "model", "version"])
def test_an_incomplete_recording_is_refused(denoising: Denoising, tmp_path: Path, change: str) -> None:
    save_recording(denoising, tmp_path / "d.json")
    content = json.loads((tmp_path / "d.json").read_text())
    del content[change]
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"d\.json"):
        load_recording(tmp_path / "d.json")


@pytest.mark.parametrize(
    "changes",
    [{"n": 4}, {"n": 0}, {"height": -28}, {"amounts": [1.0]}, {"amounts": []}, {"x": "eJw="}, {"x": 5}, {"version": 2}],
)
def test_an_inconsistent_recording_is_refused(denoising: Denoising, tmp_path: Path, changes: dict[str, object]) -> None:
    save_recording(denoising, tmp_path / "d.json")
    content = json.loads((tmp_path / "d.json").read_text())
    (tmp_path / "d.json").write_text(json.dumps({**content, **changes}))
    with pytest.raises(CheckpointError, match=r"d\.json"):
        load_recording(tmp_path / "d.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff\xfe"])
def test_a_file_that_is_not_a_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"d\.json"):
        load_recording(tmp_path / "d.json")


def test_a_missing_recording_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        load_recording(tmp_path / "none.json")
