"""Client of `fork_server`: starts jobs, waits for them, and compares the resulting runs."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.models.weights import read_weights
from core.runs.directory import EVENTS, MODEL, STATE
from core.runs.events import Epoch, Event
from core.runs.history import LogTail, RunHistory
from core.system import subprocesses
from core.training.state import read_state

HERE = Path(__file__).parent
MOUNT = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size="$1" tmpfs /mnt && shift && exec "$@"', "sh"]
TINY = {"dataset": "glyphs", "limit": 48, "batch_size": 16, "epochs": 2, "device": "cpu", "threads": 1}
QUICK = {**TINY, "preset": "quick", "channels": (4, 4)}


@dataclass(frozen=True)
class Ended:
    """The result of a job: exit code or minus the signal, its stderr, and the events it yielded."""

    code: int
    stderr: str
    events: list[str]


@dataclass(frozen=True)
class Job:
    """A running child process."""

    pid: int
    files: tuple[Path, Path]  # its stderr, and the events it yielded


class TrainerPool:
    """A process with torch imported that forks trainers; `disk` gives it a small disk of that size, such as "1m"."""

    def __init__(self, scratch: Path, disk: str | None = None) -> None:
        self._scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, str(HERE / "fork_server.py")]
        # PYTHONPATH has the tested code; children do not depend on the working directory.
        self._process = subprocess.Popen(
            [*MOUNT, disk, *program] if disk else program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**subprocesses.environment(), "OMP_NUM_THREADS": "1"},
            cwd=scratch,
        )
        pid = self._read_reply()["ready"]
        self.disk = Path(f"/proc/{pid}/root/mnt")  # path in this process of the small disk that children have at /mnt
        self._numbers = itertools.count()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def start(self, path: Path | str, config: dict[str, Any] | None = None, **job: Any) -> Job:
        """Start the run at `path` in a child, or resume it if it exists; `job` is passed to `fork_server.perform`."""
        number = next(self._numbers)
        stderr, events = self._scratch / f"stderr-{number}", self._scratch / f"events-{number}"
        request = {"path": str(path), "config": config or QUICK, "root": str(Path(path).parent), **job}
        pid = self._request({"each_step": True, **request, "stderr": str(stderr), "events": str(events)})["pid"]
        return Job(pid, (stderr, events))

    def wait(self, job: Job) -> Ended:
        """Wait for a child to exit."""
        code = self._request({"wait": job.pid})["code"]
        stderr, events = (file.read_text() if file.exists() else "" for file in job.files)
        return Ended(code, stderr, events.splitlines(keepends=True))

    def train(self, path: Path | str, config: dict[str, Any] | None = None, **job: Any) -> Ended:
        """`start`, and `wait`."""
        return self.wait(self.start(path, config, **job))

    def points(self, path: Path | str, config: dict[str, Any] | None = None, **job: Any) -> list[str]:
        """The points passed by a complete run."""
        trace = self._scratch / f"trace-{next(self._numbers)}"
        assert self.train(path, config, fault={"trace": str(trace)}, **job).code == 0
        return trace.read_text().splitlines()

    def _request(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
        return self._read_reply()

    def _read_reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks trainers has ended"
        reply: dict[str, Any] = json.loads(line)
        return reply


def can_mount() -> bool:
    """Whether this user can mount a small disk in a namespace."""
    try:
        return subprocess.run([*MOUNT, "1m", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of both checkpoints of a run."""
    state, _, step, _ = read_state(path / STATE)
    model, _, _, _ = read_weights(path / MODEL)
    step_taken = {"step": torch.tensor(step)}
    return {**step_taken, **{f"state.{k}": v for k, v in state.items()}, **{f"model.{k}": v for k, v in model.items()}}


def assert_same_end(path: Path, whole: Path) -> None:
    """Both runs have the same weights and moments, bit for bit, and the same losses."""
    actual, expected = tensors(path), tensors(whole)
    assert actual.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(actual[name], expected[name])]
    assert not different, f"{path.name} differs in {different[:3]} and {len(different)} in all"
    assert losses(path) == losses(whole)


def losses(path: Path) -> tuple[list[tuple[int, float, float]], list[tuple[int, float, float]]]:
    """The loss and learning rate of each step, and both losses of each epoch, as plotted."""
    history = RunHistory.of(path / EVENTS)
    steps = [(event.step, event.loss, event.learning_rate) for event in history.progress]
    return steps, [(event.epoch, event.loss, event.validation_loss) for event in history.epochs]


def log_of(path: Path) -> list[Event]:
    """The events of a run's log."""
    return LogTail(path / EVENTS).read()[0]


def assert_kept(path: Path, events: Sequence[str]) -> None:
    """Every event that a trainer yielded is in the log, complete and in order."""
    lines = iter((path / EVENTS).read_text(errors="replace").splitlines(keepends=True))
    lost = [line for line in events if line not in lines]
    assert not lost, f"the log lost {lost[0]!r}"


def epochs_of(path: Path) -> list[int]:
    """The epochs in the log, as plotted."""
    return [event.epoch for event in RunHistory.of(path / EVENTS).epochs if isinstance(event, Epoch)]
