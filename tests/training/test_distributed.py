"""Distributed training: the same result for any world size, and recovery from failed processes."""

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

from core.cli import run
from core.config.training import TrainConfig
from core.runs import directory
from core.runs.events import Checkpoint, Failed, Resumed, Stopped
from core.runs.history import LogTail, RunHistory
from core.runs.launcher import RENDEZVOUS, RankInfo, last_error_line, rank_info
from core.runs.requests import request
from core.runs.status import Status, is_locked, lock_holder, run_status
from core.system import subprocesses
from core.system.devices import cores
from core.training.api import resume, train
from core.training.distributed import DistributedContext

Starter = Callable[[list[str]], subprocess.Popen[bytes]]
AGREEMENT = 1e-4  # relative, of losses; only the order of gradient summation differs
# float32, with a short last batch that leaves three of four ranks without an image; 208 steps.
OPTIONS = {"dataset": "glyphs", "limit": 241, "batch_size": 16, "epochs": 13, "device": "cpu", "precision": "float32"}
RECIPES: dict[str, dict[str, object]] = {
    "default": {"channels": (16, 16), "warmup_steps": 100},
    "quick": {"preset": "quick", "channels": (8, 8)},
}


def flags(**options: object) -> list[str]:
    """The options as command-line flags."""
    result = []
    for name, value in options.items():
        for part in value if isinstance(value, tuple) else (value,):
            result += [f"--{name.replace('_', '-')}", str(part)]
    return result


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Starter]:
    """Start a command with its output in the file `output`; remaining processes are killed on exit."""
    processes: list[subprocess.Popen[bytes]] = []
    environment = {**subprocesses.environment(), "OMP_NUM_THREADS": "1"}

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        with open(tmp_path / "output", "wb") as file:  # not a pipe, since nothing reads it
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
    return RunHistory.of(path / directory.EVENTS)


def losses(path: Path) -> list[float]:
    return [loss for epoch in history(path).epochs for loss in (epoch.loss, epoch.validation_loss)]


def alone(root: Path, recipe: str) -> Path:
    """A run trained by a single process."""
    for _ in train(TrainConfig(**OPTIONS, **RECIPES[recipe], threads=1, root=root, name="one")):
        pass
    return root / "one"


def torchrun(*arguments: str, restarts: int = 0, program: Sequence[str] = ("-m", "core")) -> list[str]:
    """The command to start `train` with torchrun."""
    launch = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2"]
    return [sys.executable, "-m", *launch, f"--max-restarts={restarts}", *program, *arguments]


def test_two_processes_under_torchrun_match_a_single_process(tmp_path: Path) -> None:
    options = flags(root=tmp_path, name="two", **OPTIONS, **RECIPES["default"])
    subprocess.run(torchrun("train", *options), env=subprocesses.environment(), check=True, capture_output=True)
    assert history(tmp_path / "two").started.devices == "cpu, cpu"
    assert losses(tmp_path / "two") == pytest.approx(losses(alone(tmp_path, "default")), rel=AGREEMENT)


def test_four_processes_stop_at_ctrl_c_and_one_resumes_their_run(tmp_path: Path, started: Starter) -> None:
    four = tmp_path / "four"
    process = started(
        subprocesses.command(
            "core", "train", *flags(root=tmp_path, name="four", nproc=4, **OPTIONS, **RECIPES["quick"])
        )
    )
    wait_until((four / directory.STATE).exists, "a checkpoint is there")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    stopped = history(four).lifecycle
    assert isinstance(stopped, Stopped)
    assert 0 < stopped.step < 208
    last = (tmp_path / "output").read_text().splitlines()[-1]
    assert last == f"stopped at step {stopped.step}: on request"
    assert not run_status(four).alive
    for _ in resume(four):
        pass
    assert "in 4 processes and continues in 1 process" in (four / directory.EVENTS).read_text()
    assert losses(four) == pytest.approx(losses(alone(tmp_path, "quick")), rel=AGREEMENT)


@pytest.mark.slow
def test_if_a_process_dies_all_are_restarted_from_the_last_checkpoint(tmp_path: Path, started: Starter) -> None:
    options = {**OPTIONS, **RECIPES["quick"], "epochs": 1_000_000}
    process = started(torchrun("train", *flags(root=tmp_path, **options), restarts=2))
    path = tmp_path / "quick-1"  # the name was chosen by the trainers, and is kept on restart
    steps: list[int] = []
    for leader in (False, True):
        checkpoints = steps_of(path, Checkpoint)
        wait_until(
            lambda checkpoints=checkpoints: steps_of(path, Checkpoint)[len(checkpoints) :], "a checkpoint is there"
        )
        held = lock_holder(path)
        pids = {child.pid for child in psutil.Process(process.pid).children()}
        (other,) = pids - {held["pid"]}
        os.kill(held["pid"] if leader else other, signal.SIGKILL)
        wait_until(lambda steps=steps: steps_of(path, Resumed)[len(steps) :], "they are back")
        steps = steps_of(path, Resumed)
        assert steps[-1] == [step for step in steps_of(path, Checkpoint) if step <= steps[-1]][-1] > 0
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)
    assert isinstance(history(path).lifecycle, Stopped)
    assert directory.run_directories(tmp_path) == [path]


def local_launch(root: Path, name: str, **options: object) -> list[str]:
    """The command for training in several local processes."""
    chosen = {**OPTIONS, **RECIPES["quick"], **options}
    return subprocesses.command("core", "train", *flags(root=root, name=name, **chosen))


def processes_of(path: Path) -> list[psutil.Process]:
    """The supervisor of a run, and its worker processes."""
    supervisor = psutil.Process(lock_holder(path)["launcher"])
    return [supervisor, *supervisor.children(recursive=True)]


def test_the_rendezvous_is_not_reachable_by_other_users(tmp_path: Path, started: Starter) -> None:
    """Only Gloo listens, on localhost, and no shared file is accessible to others."""
    path = tmp_path / "two"
    started(local_launch(tmp_path, "two", nproc=2, epochs=1_000_000))
    wait_until((path / directory.STATE).exists, "a checkpoint is there")
    supervisor, *workers = processes_of(path)
    assert len(workers) == 2
    assert supervisor.net_connections() == []
    for worker in workers:
        listening = [
            connection.laddr.ip for connection in worker.net_connections() if connection.status == psutil.CONN_LISTEN
        ]
        assert set(listening) <= {"127.0.0.1"}, listening
        store = Path(worker.environ()[RENDEZVOUS])
        assert store.parent.stat().st_mode & 0o777 == 0o700
    request(path, "stop")
    wait_until(lambda: not store.parent.exists(), "it has stopped and cleaned up")


def test_if_a_local_process_is_killed_all_are_restarted_and_the_run_stays_locked(
    tmp_path: Path, started: Starter
) -> None:
    path = tmp_path / "two"
    process = started(local_launch(tmp_path, "two", nproc=2, epochs=1_000_000))
    for number, rank in enumerate((0, 1), start=1):
        before = len(steps_of(path, Checkpoint))
        wait_until(lambda before=before: len(steps_of(path, Checkpoint)) > before, "a checkpoint is there")
        victim = next(it for it in processes_of(path)[1:] if it.environ()["RANK"] == str(rank))
        victim.kill()
        wait_until(lambda number=number: len(steps_of(path, Resumed)) == number, "they are back")
        assert is_locked(path)
    request(path, "stop")
    assert process.wait(60) == 0
    assert isinstance(history(path).lifecycle, Stopped)
    log_text = (path / directory.TRAINER_LOG).read_text()
    assert "process 1 of 2 was killed by SIGKILL" in log_text
    assert "Traceback" not in log_text


@pytest.mark.slow
def test_if_a_process_is_killed_while_paused_training_restarts_paused(tmp_path: Path, started: Starter) -> None:
    path = tmp_path / "two"
    process = started(local_launch(tmp_path, "two", nproc=2, epochs=1_000_000))
    wait_until((path / directory.STATE).exists, "a checkpoint is there")
    request(path, "pause")
    wait_until(lambda: run_status(path) is Status.PAUSED, "it is paused")
    processes_of(path)[-1].kill()
    wait_until(lambda: bool(steps_of(path, Resumed)), "they are back")
    wait_until(lambda: run_status(path) is Status.PAUSED, "it is paused again")
    request(path, "stop")
    assert process.wait(60) == 0


@pytest.mark.slow
def test_a_permanent_failure_is_not_retried(tmp_path: Path, started: Starter) -> None:
    path = tmp_path / "two"
    process = started(local_launch(tmp_path, "two", nproc=2, epochs=1_000_000))
    wait_until((path / directory.STATE).exists, "a checkpoint is there")
    for name in (directory.STATE, directory.MODEL):
        with contextlib.suppress(FileNotFoundError):
            (path / name).unlink()
    (path / directory.STATE).mkdir()
    request(path, "checkpoint")
    assert process.wait(60) == 1
    failed = history(path).lifecycle
    assert isinstance(failed, Failed)
    assert f"move {path / directory.STATE} away" in failed.message
    assert steps_of(path, Resumed) == []
    assert (tmp_path / "output").read_text().splitlines()[-1] == f"minidiff: {failed.message}"


def test_more_processes_than_supported_are_refused(
    tmp_path: Path, started: Starter, capsys: pytest.CaptureFixture[str]
) -> None:
    path = alone(tmp_path, "quick")
    (path / directory.CONFIG).write_text((path / directory.CONFIG).read_text().replace("nproc = 1\n", "nproc = 1024\n"))
    assert run(["train", *flags(root=tmp_path, name="many", nproc=1024, **OPTIONS)]) == 2
    assert run(["resume", "one", *flags(root=tmp_path, nproc=1024, epochs=14)]) == 2
    too_many = "minidiff: nproc: 1,024 processes are too many for this machine's"
    assert all(line.startswith(too_many) for line in capsys.readouterr().err.splitlines())
    process = started(subprocesses.command("core", "resume", "one", *flags(root=tmp_path, epochs=14)))
    assert process.wait(120) == 0
    output = (tmp_path / "output").read_text()
    assert f"one was trained with 1,024 processes; this machine has {cores()} cores" in output
    started = history(path).started
    assert started is not None
    assert started.devices == (", ".join(["cpu"] * cores()) if cores() > 1 else "")


@pytest.mark.slow
def test_out_of_memory_in_one_process_halves_the_micro_batch_of_all(tmp_path: Path) -> None:
    sizes = {**OPTIONS, **RECIPES["quick"], "batch_size": 32, "epochs": 3}
    options = [*flags(root=tmp_path, name="two", **sizes), "--fit-memory"]
    command = torchrun("train", *options, program=[little_memory.__file__])
    subprocess.run(command, env=subprocesses.environment(), check=True, capture_output=True)
    assert TrainConfig.from_toml(tmp_path / "two" / directory.CONFIG).micro_batch == 8  # of 16 per process
    for _ in train(TrainConfig(**sizes, threads=1, root=tmp_path, name="one")):
        pass
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=AGREEMENT)


@pytest.mark.slow
def test_out_of_memory_in_one_process_stops_all_with_an_error(tmp_path: Path, started: Starter) -> None:
    options = flags(root=tmp_path, name="two", **{**OPTIONS, **RECIPES["quick"], "batch_size": 32})
    process = started(torchrun("train", *options, program=[little_memory.__file__]))
    assert process.wait(60) != 0
    output = (tmp_path / "output").read_text()
    assert "minidiff: a batch of 32 does not fit into memory; start again with --fit-memory" in output
    assert "core/training/trainer.py" not in output, "no traceback of ours"
    assert not run_status(tmp_path / "two").alive


def test_of_several_errors_the_root_cause_is_reported(tmp_path: Path) -> None:
    log = tmp_path / directory.TRAINER_LOG
    log.write_text("minidiff: another training process exited unexpectedly (closed)\n[a launcher's line]\n")
    assert last_error_line(tmp_path, 0) == "another training process exited unexpectedly (closed)"
    began = log.stat().st_size
    with log.open("a") as file:
        file.write("minidiff: it does not fit\nminidiff: another training process exited unexpectedly (closed)\n")
    assert last_error_line(tmp_path, 0) == last_error_line(tmp_path, began) == "it does not fit"


def steps_of(path: Path, kind: type[Checkpoint] | type[Resumed]) -> list[int]:
    events, _ = LogTail(path / directory.EVENTS).read()
    return [event.step for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("images", [1, 2, 16, 100])
def test_every_image_of_a_batch_belongs_to_one_process(size: int, images: int) -> None:
    parts = [DistributedContext(RankInfo(rank=rank, size=size)).local_slice(images) for rank in range(size)]
    assert (parts[0].start, parts[-1].stop) == (0, images)
    assert all(left.stop == right.start for left, right in pairwise(parts))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_the_world_size_is_1_unless_torchrun_started_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert rank_info() == RankInfo()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert rank_info() == RankInfo(3, 8, 1, 2, restarts=1, launcher=os.getppid())
