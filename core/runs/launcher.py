"""Launches trainers as separate processes, and reads a process's rank from its environment."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ConfigError, RunError
from core.runs import directory, locks
from core.runs.events import Finished
from core.runs.status import last_lifecycle, summarize
from core.system import subprocesses
from core.system.devices import cores, gpu_handles
from core.system.disk_usage import remedy
from core.system.safe_io import opened_to_append, read_end
from core.text import sanitize

if TYPE_CHECKING:
    from core.config.training import TrainConfig

ERROR_PREFIX = "minidiff: "  # of an error line on stderr
PROCESS_LOST = "another training process exited unexpectedly"  # prefix of an error caused by another process's error
LOG_BYTES = 65_536  # read from the end of trainer.log
RENDEZVOUS = "MINIDIFF_RENDEZVOUS"  # variable with the path of the file store that core.runs.supervisor creates
OVERSUBSCRIPTION = 4  # maximum number of processes per core or GPU


@dataclass(frozen=True, slots=True)
class RankInfo:
    """Rank and world size of this process, in total and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0  # of all processes by the launcher
    launcher: int | None = None  # process id of the launcher, if any


def rank_info() -> RankInfo:
    """The rank of this process; rank 0 of 1 unless `core.runs.supervisor` or torchrun started it."""
    if RENDEZVOUS not in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        return RankInfo()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    rank, size, local_rank, local_size, restarts = (int(os.environ[name]) for name in names)
    return RankInfo(rank, size, local_rank, local_size, restarts, os.getppid())


def launch(
    path: Path,
    *,
    device: str | None = None,
    force: bool = False,
    processes: int | None = None,
    epochs: int | None = None,
    network: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a trainer on a run as a process in a new session, which outlives the caller and its terminal.

    The caller locks the run for it, so the status is `starting` immediately and requests reach the new trainer. With
    more than one process (`processes`, else the run's config), the returned process is their supervisor. `network` is
    the user's own, `module:Class`, which it may import.

    Raises:
        ConfigError: `processes` is more than this machine can run, or the run's config is not valid.
        RunError: the run is finished, is already running or cannot be written, or no process can be started.
    """
    count, _ = resolve_processes(path.name, config_to_resume(path, epochs), processes)
    arguments = ["resume", "--root", str(path.parent.resolve()), "--nproc", str(count)]
    if device is not None:
        arguments += ["--device", device]
    if epochs is not None:
        arguments += ["--epochs", str(epochs)]
    if network is not None:
        arguments += ["--model", network]
    if force:
        arguments += ["--force"]
    arguments += ["--", path.name]
    # Options from the environment are already in the run's config, and --detach must not apply twice.
    folders = ("MINIDIFF_HOME", "MINIDIFF_DATA")
    environment = {
        name: value
        for name, value in subprocesses.environment().items()
        if name in folders or not name.startswith("MINIDIFF_")
    }
    if count > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
        command = subprocesses.command("core.runs.supervisor", str(count), *arguments)
    else:
        command = subprocesses.command("core", *arguments)
    try:
        with locks.claim(path, force=force) as lock, opened_to_append(path / directory.TRAINER_LOG) as log:
            locks.write_holder(lock, _size(path / directory.EVENTS))
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment | {locks.INHERITED: str(lock.fileno())},
                pass_fds=[lock.fileno()],
            )
    except OSError as error:
        raise RunError(f"cannot start a trainer on {path}: {error.strerror}; {remedy(error)}") from None


def config_to_resume(path: Path, epochs: int | None = None) -> TrainConfig:
    """The config to resume the run at `path` with; `epochs` overrides its number of epochs.

    Raises:
        ConfigError: the config is not valid.
        RunError: that many epochs are already done.
    """
    from core.config.training import TrainConfig

    config = TrainConfig.from_toml(path / directory.CONFIG)
    if epochs is not None:
        config = config.changed(epochs=epochs)
    finished = isinstance(last_lifecycle(path), Finished)
    done = summarize(path).epoch or 0
    if config.epochs <= done and (finished or epochs is not None):
        raise RunError(
            f"{path.name} {'is finished' if finished else 'is trained'}: {done} epochs are done; "
            f"`minidiff resume {shlex.quote(path.name)} --epochs {2 * done}` trains it further"
        )
    return config


def resolve_processes(name: str, config: TrainConfig, requested: int | None) -> tuple[int, str]:
    """The number of processes to train run `name` with, as requested or else from its config, and a note for the user.

    The config may come from a larger machine, so its number is limited to what this machine can run.

    Raises:
        ConfigError: `requested` is more than this machine can run.
    """
    if requested is not None:
        check_processes(requested)
        return requested, ""
    if config.nproc <= max_processes():
        return config.nproc, ""
    return cores(), (
        f"{name} was trained with {config.nproc:,} processes; this machine has {cores()} cores, so {cores()} are used "
        "(--nproc sets another number)"
    )


def check_processes(count: int) -> None:
    """Check that this machine can run `count` processes.

    Raises:
        ConfigError: `count` is too large.
    """
    if count > max_processes():
        raise ConfigError(
            f"nproc: {count:,} processes are too many for this machine's {cores()} cores; use at most {max_processes()}"
        )


def max_processes() -> int:
    """The maximum number of training processes on this machine."""
    return OVERSUBSCRIPTION * max(cores(), len(gpu_handles()))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def last_error_line(path: Path, since: int) -> str | None:
    """The last error in the run's trainer.log after byte `since`, else its last line; None if there is none.

    Errors caused by another process's error are returned only if there are no others.
    """
    try:
        lines = [line.strip() for line in read_end(path / directory.TRAINER_LOG, LOG_BYTES, since).split("\n")]
    except OSError:
        return None
    errors = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    causes = [line for line in errors if not line.startswith(PROCESS_LOST)]
    candidates = causes or errors or [line for line in lines if line]
    return sanitize(candidates[-1]) if candidates else None
