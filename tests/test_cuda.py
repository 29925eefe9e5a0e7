"""Listing, training, resuming and sampling on a real NVIDIA GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_process import Client
from repository import REPOSITORY

from core import TrainConfig, load_model, pick_device, sample, train
from core.compute.precision import pick_precision
from core.engine.protocol import Done, SampleRequest
from core.runs.directory import builtin_directories
from core.runs.events import Epoch, Finished, Progress, Started, Warned
from core.system.devices import list_devices
from core.system.gpu_processes import gpu_processes
from core.training.api import resume

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

SMALL = {"dataset": "glyphs", "limit": 1024, "epochs": 2, "device": "cuda", "size": "tiny"}


def small(**changes: Any) -> TrainConfig:
    """Two epochs of the default recipe, about a second on a GPU."""
    return TrainConfig(**{**SMALL, **changes})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path, device="cpu").net.state_dict()


def test_the_driver_and_torch_list_the_same_gpus() -> None:
    listed = {info.device: info for info in list_devices() if info.kind == "cuda"}
    for index in range(torch.cuda.device_count()):
        info, properties = listed[f"cuda:{index}"], torch.cuda.get_device_properties(index)
        assert info.name == properties.name
        assert info.memory_total == pytest.approx(properties.total_memory, rel=0.05)  # the driver reserves some
        if info.uuid is not None and hasattr(properties, "uuid"):
            assert info.uuid.endswith(str(properties.uuid))
    assert pick_device("auto").type == "cuda"


def test_the_gpu_memory_of_a_process_is_reported() -> None:
    before = next(info for info in list_devices() if info.device == "cuda:0").memory_used
    held = torch.zeros(2**28, device="cuda:0")  # 1 GiB
    torch.cuda.synchronize()
    after = next(info for info in list_devices() if info.device == "cuda:0").memory_used
    assert held.numel() == 2**28
    if before is None or after is None:
        pytest.skip("the driver does not tell how much memory is used")
    assert after - before > 0.9 * 2**30
    mine = [process for process in gpu_processes() if process.pid == os.getpid()]
    for process in mine:  # in a container the driver may report another pid
        assert process.memory is None or process.memory > 0.9 * 2**30


def test_a_gpu_trains_the_default_recipe_and_reports_throughput(tmp_path: Path) -> None:
    events = list(train(small(root=tmp_path, name="a", epochs=4)))
    started = next(event for event in events if isinstance(event, Started))
    assert started.device.startswith("cuda")
    windows = [event for event in events if isinstance(event, Progress)]
    assert windows[-1].loss < 0.9 * windows[0].loss
    assert all(window.images_per_second > 0 and window.memory for window in windows)
    assert isinstance(events[-1], Finished)
    assert TrainConfig.from_toml(tmp_path / "a" / "config.toml").precision == pick_precision(
        "auto", pick_device("cuda")
    )


@pytest.mark.parametrize("options", [{}, {"preset": "quick", "size": None}, {"precision": "float32"}])
def test_a_resumed_deterministic_run_has_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    list(train(small(root=tmp_path, name="whole", deterministic=True, **options)))
    events = train(small(root=tmp_path, name="parts", deterministic=True, **options))
    next(event for event in events if isinstance(event, Progress))
    events.close()
    assert isinstance(list(resume(tmp_path / "parts"))[-1], Finished)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("preset", ["default", "quick", "tutorial"])
def test_the_training_step_is_replayed_as_a_cuda_graph_and_learns_like_the_step_itself(preset: str) -> None:
    losses = []
    for cuda_graph in (False, True):
        size = "tiny" if preset == "default" else None
        events = list(train(small(preset=preset, size=size, cuda_graph=cuda_graph, compile=False)))
        assert not [event for event in events if isinstance(event, Warned) and "CUDA graph" in event.message]
        losses.append([event.loss for event in events if isinstance(event, Epoch)])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # sums in another order; the optimizer is chaotic


def test_what_a_cuda_graph_cannot_record_trains_without_one_and_says_why() -> None:
    events = list(train(small(fit_memory=True)))
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert "the training step is not replayed as a CUDA graph: --fit-memory may retry a step" in warnings
    assert isinstance(events[-1], Finished)


def test_a_gpu_run_can_resume_on_the_cpu(tmp_path: Path) -> None:
    events = train(small(root=tmp_path, name="a"))
    next(event for event in events if isinstance(event, Progress))
    events.close()
    assert isinstance(list(resume(tmp_path / "a", device="cpu"))[-1], Finished)


def test_the_compiled_network_learns_like_the_eager_one(tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        config = small(root=tmp_path, name=f"compiled-{compiled}", compile=compiled, precision="float32")
        losses.append([event.loss for event in train(config) if isinstance(event, Epoch)])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # kernels round differently; the optimizer is chaotic


def test_gpu_samples_match_cpu_samples() -> None:
    home = builtin_directories().get("default-mnist")
    if home is None:
        pytest.skip("no built-in model here")
    drawn = []
    for device in ("cpu", "cuda"):
        model = load_model("default-mnist", device=device)
        *_, last = sample(model, n=10, seed=3)
        drawn.append(last.x.float().cpu())
    assert float((drawn[0] - drawn[1]).abs().mean()) < 0.01  # of images in [0, 1]; float32, TF32 in convolutions


def test_replayed_samples_are_those_of_the_network_itself() -> None:
    if "default-mnist" not in builtin_directories():
        pytest.skip("no built-in model here")
    drawn = []
    for cuda_graphs in (False, True):
        model = load_model("default-mnist", device="cuda", cuda_graphs=cuda_graphs)
        *_, last = sample(model, n=8, seed=3)
        drawn.append(last.x.float().cpu())
    assert model._graphed.problem is None
    assert len(model._graphed._graphs) == 2  # with guidance and without
    assert float((drawn[0] - drawn[1]).abs().mean()) < 0.01


def test_the_engine_samples_on_the_gpu() -> None:
    if "default-mnist" not in builtin_directories():
        pytest.skip("no built-in model here")
    client = Client(["-m", "core.engine.server"])
    client.send(SampleRequest(id=1, model="default-mnist", n=2, steps=2, device="cuda"))
    assert client.until(Done).id == 1
    assert client.end() == 0


def test_out_of_memory_is_a_one_line_error() -> None:
    code = (
        "import torch\n"
        "torch.cuda.set_per_process_memory_fraction(0.01)\n"
        "from core import MinidiffError, TrainConfig, train\n"
        "try:\n"
        "    list(train(TrainConfig(dataset='glyphs', limit=16000, batch_size=16000, size='base', device='cuda')))\n"
        "except MinidiffError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "memory" in done.stdout
