"""Trainers killed with SIGKILL at the worst moments end, once resumed, in the uninterrupted run's weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

ROOT = Path(__file__).parent.parent
OPTIONS = (
    "--preset quick "
    "--dataset glyphs --limit 96 --batch-size 16 --channels 4 4 --epochs 3 --device cpu --threads 1 --seed 5".split()
)

# A trainer in a process of its own that dies at a moment chosen by the test. Only the operating system's calls are
# watched; minidiff's own code runs as it is.
KILL_MID_EPOCH = """
import os, signal
from pathlib import Path
import core.training
from core.runs import find_run
events = core.training.resume(find_run(NAME, Path(RUNS)))
after = 0
for event in events:
    after += event.kind == "checkpoint"
    if after and event.kind == "progress":
        os.kill(os.getpid(), signal.SIGKILL)
"""
KILL_IN_TEMPORARY_WRITE = """
import builtins, os, signal
from pathlib import Path
import core.training
from core.runs import find_run
real_open, written = builtins.open, []
class Torn:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *error): self.file.close()
    def __getattr__(self, name): return getattr(self.file, name)
    def write(self, content):
        self.file.write(content[: len(content) // 2]); self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
def torn_open(path, *rest, **more):
    file = real_open(path, *rest, **more)
    if str(path).endswith(".state.safetensors.tmp"):
        written.append(path)
        if len(written) == 2:
            return Torn(file)
    return file
builtins.open = torn_open
for event in core.training.resume(find_run(NAME, Path(RUNS))): pass
"""
KILL_BETWEEN_RENAMES = """
import os, signal
from pathlib import Path
import core.training
from core.runs import find_run
real_replace, renamed = os.replace, []
def replace(source, target):
    if str(target).endswith("model.safetensors"):
        renamed.append(target)
        if len(renamed) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    real_replace(source, target)
os.replace = replace
for event in core.training.resume(find_run(NAME, Path(RUNS))): pass
"""


def minidiff(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "core", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def tensors(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("whole")
    done = minidiff("train", *OPTIONS, "--name", "whole", "--root", str(runs))
    assert done.returncode == 0, done.stderr
    return runs / "whole"


@pytest.mark.parametrize(
    ("script", "left_behind"),
    [
        pytest.param(KILL_MID_EPOCH, None, id="mid-epoch after a checkpoint"),
        pytest.param(KILL_IN_TEMPORARY_WRITE, ".state.safetensors.tmp", id="inside a checkpoint's temporary write"),
        pytest.param(KILL_BETWEEN_RENAMES, ".model.safetensors.tmp", id="between the two renames"),
    ],
)
def test_a_killed_run_resumed_ends_in_the_same_weights_bit_for_bit(
    tmp_path: Path, uninterrupted: Path, script: str, left_behind: str | None
) -> None:
    from core import TrainConfig
    from core.cli.commands import app
    from core.runs import create_run, run_status

    _, bound, _ = app.parse_args(["train", *OPTIONS, "--name", "killed", "--root", str(tmp_path)], exit_on_error=False)
    config: TrainConfig = bound.arguments["config"]
    path = create_run(config)

    filled = script.replace("NAME", repr("killed")).replace("RUNS", repr(str(tmp_path)))
    killed = subprocess.run([sys.executable, "-c", filled], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert run_status(path) == "interrupted"
    assert (path / "state.safetensors").exists(), "a checkpoint was written before the kill"
    if left_behind is not None:
        assert (path / left_behind).exists(), "the kill fell into the write it was meant for"

    resumed = minidiff("resume", "killed", "--root", str(tmp_path))
    assert resumed.returncode == 0, resumed.stderr
    assert run_status(path) == "finished"
    assert tensors(path / "model.safetensors") == tensors(uninterrupted / "model.safetensors")
    assert tensors(path / "state.safetensors") == tensors(uninterrupted / "state.safetensors")
    assert not [entry for entry in os.listdir(path) if entry.endswith(".tmp")]
