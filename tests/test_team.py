"""Several processes that train one net together: the same run, whatever their number, and whatever happens to one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import little_memory
import psutil
import pytest
from command_line import wait_until

from core import children, runs
from core.config import TrainConfig
from core.events import Checkpoint, Resumed, Stopped
from core.history import LogTail, RunHistory
from core.launcher import Place, place, said
from core.team import Team
from core.training import resume, train

Starter = Callable[[list[str]], subprocess.Popen[bytes]]
AGREEMENT = 1e-4  # relative, of losses; what differs is the order in which gradients are added up
# Float32, with a short last batch that leaves three of four processes without an image; 208 steps.
OPTIONS = {"dataset": "glyphs", "limit": 241, "batch_size": 16, "epochs": 13, "device": "cpu", "precision": "float32"}
RECIPES: dict[str, dict[str, object]] = {
    "default": {"channels": (16, 16)},
    "quick": {"preset": "quick", "channels": (8, 8)},
}


def flags(**options: object) -> list[str]:
    """The options as they are typed."""
    found = []
    for name, value in options.items():
        for part in value if isinstance(value, tuple) else (value,):
            found += [f"--{name.replace('_', '-')}", str(part)]
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Starter]:
    """Starts a command whose output goes to the file `output`; what is left of it at the end is killed."""
    processes: list[subprocess.Popen[bytes]] = []
    environment = {**children.environment(), "OMP_NUM_THREADS": "1"}

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        with open(tmp_path / "output", "wb") as file:  # not a pipe, which nobody would read meanwhile
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                child.kill()
        process.wait()


def history(path: Path) -> RunHistory:
    return RunHistory.of(path / runs.EVENTS)


def losses(path: Path) -> list[float]:
    return [loss for epoch in history(path).epochs for loss in (epoch.loss, epoch.held_out)]


def alone(root: Path, recipe: str) -> Path:
    """The run that one process trains, here."""
    for _ in train(TrainConfig(**OPTIONS, **RECIPES[recipe], threads=1, root=root, name="one")):
        pass
    return root / "one"


def torchrun(*arguments: str, restarts: int = 0, program: Sequence[str] = ("-m", "core")) -> list[str]:
    """The command of people who start `train` by PyTorch's launcher themselves."""
    launch = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2"]
    return [sys.executable, "-m", *launch, f"--max-restarts={restarts}", *program, *arguments]


def test_two_processes_under_torchrun_train_the_run_that_one_does(tmp_path: Path) -> None:
    options = flags(root=tmp_path, name="two", **OPTIONS, **RECIPES["default"])
    subprocess.run(torchrun("train", *options), env=children.environment(), check=True, capture_output=True)
    assert history(tmp_path / "two").begun.team == "cpu, cpu"
    assert losses(tmp_path / "two") == pytest.approx(losses(alone(tmp_path, "default")), rel=AGREEMENT)


def test_four_processes_stop_at_ctrl_c_and_one_goes_on_with_their_run(tmp_path: Path, started: Starter) -> None:
    four = tmp_path / "four"
    process = started(
        children.command("core", "train", *flags(root=tmp_path, name="four", nproc=4, **OPTIONS, **RECIPES["quick"]))
    )
    wait_until((four / runs.STATE).exists, "a checkpoint is there")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    stopped = history(four).lifecycle
    assert isinstance(stopped, Stopped)
    assert 0 < stopped.step < 208
    last = (tmp_path / "output").read_text().splitlines()[-1]
    assert last == f"stopped at step {stopped.step}: asked"
    assert not runs.run_status(four).alive
    for _ in resume(four):
        pass
    assert "in 4 processes and goes on in 1 process" in (four / runs.EVENTS).read_text()
    assert losses(four) == pytest.approx(losses(alone(tmp_path, "quick")), rel=AGREEMENT)


def test_a_process_that_dies_is_started_again_with_the_others_from_the_last_checkpoint(
    tmp_path: Path, started: Starter
) -> None:
    options = {**OPTIONS, **RECIPES["quick"], "epochs": 1_000_000}
    process = started(torchrun("train", *flags(root=tmp_path, **options), restarts=2))
    path = tmp_path / "quick-1"  # whose name the trainers chose, and find again
    steps: list[int] = []
    for leader in (False, True):
        seen = steps_of(path, Checkpoint)
        wait_until(lambda seen=seen: steps_of(path, Checkpoint)[len(seen) :], "a checkpoint is there")
        held = runs.lock_holder(path)
        pids = {child.pid for child in psutil.Process(process.pid).children()}
        (other,) = pids - {held["pid"]}
        os.kill(held["pid"] if leader else other, signal.SIGKILL)
        wait_until(lambda steps=steps: steps_of(path, Resumed)[len(steps) :], "they are back")
        steps = steps_of(path, Resumed)
        assert steps[-1] == [step for step in steps_of(path, Checkpoint) if step <= steps[-1]][-1] > 0
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)
    assert isinstance(history(path).lifecycle, Stopped)
    assert runs.run_directories(tmp_path) == [path]


def test_memory_that_runs_out_for_one_process_halves_the_parts_of_all(tmp_path: Path) -> None:
    sizes = {**OPTIONS, **RECIPES["quick"], "batch_size": 32, "epochs": 3}
    options = [*flags(root=tmp_path, name="two", **sizes), "--fit-memory"]
    command = torchrun("train", *options, program=[little_memory.__file__])
    subprocess.run(command, env=children.environment(), check=True, capture_output=True)
    assert TrainConfig.from_toml(tmp_path / "two" / runs.CONFIG).micro_batch == 8  # of 16 of each process
    for _ in train(TrainConfig(**sizes, threads=1, root=tmp_path, name="one")):
        pass
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=AGREEMENT)


def test_memory_that_runs_out_for_one_process_ends_all_with_a_sentence(tmp_path: Path, started: Starter) -> None:
    options = flags(root=tmp_path, name="two", **{**OPTIONS, **RECIPES["quick"], "batch_size": 32})
    process = started(torchrun("train", *options, program=[little_memory.__file__]))
    assert process.wait(60) != 0
    output = (tmp_path / "output").read_text()
    assert "minidiff: a batch of 32 does not fit into memory; start again with --fit-memory" in output
    assert "core/trainer.py" not in output, "no traceback of ours"
    assert not runs.run_status(tmp_path / "two").alive


def test_of_what_several_processes_complain_about_the_cause_is_told(tmp_path: Path) -> None:
    log = tmp_path / runs.TRAINER_LOG
    log.write_text("minidiff: another process of this training is gone (closed)\n[a launcher's line]\n")
    assert said(tmp_path, 0) == "another process of this training is gone (closed)"
    began = log.stat().st_size
    with log.open("a") as file:
        file.write("minidiff: it does not fit\nminidiff: another process of this training is gone (closed)\n")
    assert said(tmp_path, 0) == said(tmp_path, began) == "it does not fit"


def steps_of(path: Path, kind: type[Checkpoint] | type[Resumed]) -> list[int]:
    events, _ = LogTail(path / runs.EVENTS).read()
    return [event.step for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("images", [1, 2, 16, 100])
def test_every_image_of_a_batch_is_one_processes(size: int, images: int) -> None:
    parts = [Team(Place(rank=rank, size=size)).share(images) for rank in range(size)]
    assert (parts[0].start, parts[-1].stop) == (0, images)
    assert all(left.stop == right.start for left, right in pairwise(parts))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_a_process_is_alone_unless_torchrun_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert place() == Place()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert place() == Place(3, 8, 1, 2, restarts=1, launcher=os.getppid())
