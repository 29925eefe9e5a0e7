"""Starts trainers as processes of their own, one or several together, and tells such a process its place."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from core import children, runs
from core.errors import ConfigError, RunError
from core.foreign import harmless, opened_to_append, read_end

COMPLAINT = "minidiff: "  # begins the line in which the command says what is wrong
LOST = "another process of this training is gone"  # begins a complaint that another process has the cause of
LOG_BYTES = 65_536  # of the end of trainer.log
RESTARTS = 3  # of all processes, after one of them died; each goes on from the last checkpoint


@dataclass(frozen=True, slots=True)
class Place:
    """Which process this is, from 0, of how many; on this machine and in all."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0  # of the whole training by its launcher
    launcher: int | None = None  # the launcher's process id; None without one


def place() -> Place:
    """This process's place: alone, unless torchrun started it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    rank, size, local_rank, local_size, restarts = (int(os.environ[name]) for name in names)
    return Place(rank, size, local_rank, local_size, restarts, os.getppid())


def launch(
    path: Path, *, device: str | None = None, force: bool = False, processes: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a trainer on a run as a process in a session of its own, which outlives the caller and its terminal.

    Of several processes, as `processes` or else the run's config has it, torchrun's is returned.

    Raises:
        RunError: its log cannot be written, or no process can be started.
    """
    arguments = ["resume", path.name, "--root", str(path.parent.resolve())]
    if device is not None:
        arguments += ["--device", device]
    if force:
        arguments += ["--force"]
    count = processes or _processes(path)
    # Options given through the environment are in the run's config already; --detach must not be obeyed a second time.
    places = ("MINIDIFF_HOME", "MINIDIFF_DATA")
    given = children.environment().items()
    kept = {name: value for name, value in given if name in places or not name.startswith("MINIDIFF_")}
    if count > 1:
        kept.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // count)))
    try:
        with opened_to_append(path / runs.TRAINER_LOG) as log:
            return subprocess.Popen(
                _together(count, arguments) if count > 1 else children.command("core", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=kept,
            )
    except OSError as error:
        raise RunError(f"cannot start a trainer on {path}: {error.strerror}") from None


def said(path: Path, since: int) -> str | None:
    """What trainers wrote last to the run's trainer.log beyond `since` bytes: a cause, a complaint, or any line."""
    try:
        lines = [line.strip() for line in read_end(path / runs.TRAINER_LOG, LOG_BYTES, since).split("\n")]
    except OSError:
        return None
    complaints = [line.removeprefix(COMPLAINT) for line in lines if line.startswith(COMPLAINT)]
    causes = [line for line in complaints if not line.startswith(LOST)]
    spoken = causes or complaints or [line for line in lines if line]
    return harmless(spoken[-1]) if spoken else None


def _processes(path: Path) -> int:
    """How many processes the run's config asks for; one for a config that is not valid, which that one will say."""
    from core.config import TrainConfig

    try:
        return TrainConfig.from_toml(path / runs.CONFIG).nproc
    except ConfigError:
        return 1


def _together(processes: int, arguments: list[str]) -> list[str]:
    """Run `minidiff` in several processes of this machine, all of which are started anew when one dies."""
    launch = children.command(
        "torch.distributed.run",
        "--standalone",
        "--local-addr=127.0.0.1",  # a machine's own name need not lead anywhere
        f"--nproc-per-node={processes}",
        f"--max-restarts={RESTARTS}",
        "--no-python",  # which would look for modules in the current folder first
    )
    return launch + children.command("core", *arguments)


def _cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
