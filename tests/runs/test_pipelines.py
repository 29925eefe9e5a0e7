"""Folders of diffusers beside runs: listed and summarized like them, but not resumed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Capture, error_line
from pipeline_folder import write_pipeline

from core.cli import run
from core.errors import RunError
from core.runs.directory import INDEX, find_run, run_directories
from core.runs.pipelines import model_config
from core.runs.status import Status, run_status, summarize
from core.runs.store import rename_run
from core.runs.summary_cache import SummaryCache


@pytest.fixture
def faces(home: Path) -> Path:
    """A pipeline beside the finished run `done`."""
    return write_pipeline(home / "faces", num_class_embeds=3)


def test_a_pipeline_is_listed_with_its_own_status(faces: Path, capsys: Capture) -> None:
    assert [path.name for path in run_directories(faces.parent)] == ["done", "faces"]
    summary = summarize(faces)
    assert (summary.status, summary.sampleable, summary.error, summary.step) == (Status.PIPELINE, True, None, 0)
    assert summary.updated == pytest.approx((faces / INDEX).stat().st_mtime)
    assert run_status(faces) is Status.PIPELINE
    assert not Status.PIPELINE.alive
    assert run(["runs", "--root", str(faces.parent)]) == 0
    assert "diffusers" in capsys.readouterr().out


def test_its_config_describes_the_model(faces: Path) -> None:
    config = model_config(faces)
    assert (config.path, config.prediction, config.model) == ("vp", "clean", "unet2d")
    assert config.info.shape == (1, 28, 28)
    assert config.info.class_names == ("0", "1", "2")
    assert model_config(faces.parent / "done").preset == "quick"


def test_a_pipeline_that_is_not_supported_is_listed_with_the_reason(faces: Path) -> None:
    (faces / "unet" / "diffusion_pytorch_model.safetensors").rename(faces / "unet" / "diffusion_pytorch_model.bin")
    summary = summarize(faces)
    assert not summary.sampleable
    assert summary.error is not None
    assert "pickled weights are never read" in summary.error


@pytest.mark.parametrize("command", ["resume", "stop", "watch"])
def test_commands_for_runs_refuse_a_pipeline(faces: Path, capsys: Capture, command: str) -> None:
    message = error_line(capsys, command, "faces", "--root", str(faces.parent))
    assert "faces is a folder of diffusers, not a run; it can only be sampled" in message


def test_a_linked_index_does_not_count(home: Path, faces: Path) -> None:
    (home / "linked").mkdir()
    (home / "linked" / INDEX).symlink_to(faces / INDEX)
    assert [path.name for path in run_directories(home)] == ["done", "faces"]
    with pytest.raises(RunError, match="there is no run linked"):
        find_run("linked", home)


def test_a_pipeline_can_be_renamed(faces: Path) -> None:
    renamed = rename_run(faces, "portraits")
    assert summarize(renamed).sampleable
    assert not faces.exists()


def test_its_summary_is_cached_until_it_is_saved_again(faces: Path) -> None:
    cache = SummaryCache()
    first = cache.summarize(faces)
    assert cache.summarize(faces) is first
    os.utime(faces / INDEX, (1, 1))
    assert cache.summarize(faces).updated == 1
