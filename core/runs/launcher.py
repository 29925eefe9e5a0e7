"""Starts trainers as processes of their own, one or several together, and tells such a process its place."""

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
from core.system import subprocesses
from core.system.devices import cores, gpu_handles
from core.system.disk_usage import remedy
from core.system.safe_io import opened_to_append, read_end
from core.text import sanitize

if TYPE_CHECKING:
    from core.config.training import TrainConfig

COMPLAINT = "minidiff: "  # begins the line in which the command says what is wrong
LOST = "another process of this training is gone"  # begins a complaint that another process has the cause of
LOG_BYTES = 65_536  # of the end of trainer.log
RENDEZVOUS = "MINIDIFF_RENDEZVOUS"  # names the file through which the processes that core.runs.supervisor started meet
OVERSUBSCRIPTION = 4  # processes for each core or GPU, at most


@dataclass(frozen=True, slots=True)
class RankInfo:
    """Which process this is, from 0, of how many; on this machine and in all."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0  # of the whole training by its launcher
    launcher: int | None = None  # the launcher's process id; None without one


def place() -> RankInfo:
    """This process's place: alone, unless `core.runs.supervisor` or torchrun started it."""
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
) -> subprocess.Popen[bytes]:
    """Start a trainer on a run as a process in a session of its own, which outlives the caller and its terminal.

    The run is locked for it at once, so that it is `starting` from now on and requests reach the new trainer. Where
    several processes train together, as `processes` or else the run's config has it, their supervisor is returned.

    Raises:
        ConfigError: `processes` is more than this machine can run, or the run's config is not valid.
        RunError: the run is finished, another trainer holds it, it cannot be written, or no process can be started.
    """
    count, _ = resolve_processes(path.name, config_to_resume(path, epochs), processes)
    arguments = ["resume", "--root", str(path.parent.resolve()), "--nproc", str(count)]
    if device is not None:
        arguments += ["--device", device]
    if epochs is not None:
        arguments += ["--epochs", str(epochs)]
    if force:
        arguments += ["--force"]
    arguments += ["--", path.name]
    # Options given through the environment are in the run's config already; --detach must not be obeyed a second time.
    places = ("MINIDIFF_HOME", "MINIDIFF_DATA")
    given = subprocesses.environment().items()
    kept = {name: value for name, value in given if name in places or not name.startswith("MINIDIFF_")}
    if count > 1:
        kept.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
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
                env=kept | {locks.INHERITED: str(lock.fileno())},
                pass_fds=[lock.fileno()],
            )
    except OSError as error:
        raise RunError(f"cannot start a trainer on {path}: {error.strerror}; {remedy(error)}") from None


def config_to_resume(path: Path, epochs: int | None = None) -> TrainConfig:
    """The config that the run at `path` is resumed with, up to `epochs` epochs if given.

    Raises:
        ConfigError: it is not valid.
        RunError: that many epochs are trained already.
    """
    from core.config.training import TrainConfig

    config = TrainConfig.from_toml(path / directory.CONFIG)
    if epochs is not None:
        config = config.changed(epochs=epochs)
    finished, done = isinstance(directory.last_lifecycle(path), Finished), directory.summarize(path).epoch or 0
    if config.epochs <= done and (finished or epochs is not None):
        raise RunError(
            f"{path.name} {'is finished' if finished else 'is trained'}: {done} epochs are done; "
            f"`minidiff resume {shlex.quote(path.name)} --epochs {2 * done}` trains it further"
        )
    return config


def resolve_processes(name: str, config: TrainConfig, asked: int | None) -> tuple[int, str]:
    """How many processes train run `name`: as many as asked for, else as its config says; and a note, if any.

    A config may come from another machine, so that more processes than this one can run are not started.

    Raises:
        ConfigError: `asked` is more than this machine can run.
    """
    if asked is not None:
        check_processes(asked)
        return asked, ""
    if config.nproc <= most_processes():
        return config.nproc, ""
    return cores(), (
        f"{name} was trained in {config.nproc:,} processes; this machine has {cores()} cores, so {cores()} are used "
        "(--nproc sets another number)"
    )


def check_processes(count: int) -> None:
    """Refuse more processes than this machine can run.

    Raises:
        ConfigError: there are too many.
    """
    if count > most_processes():
        raise ConfigError(
            f"nproc: {count:,} processes are too many for this machine's {cores()} cores; use at most "
            f"{most_processes()}"
        )


def most_processes() -> int:
    """The most processes that may train together on this machine."""
    return OVERSUBSCRIPTION * max(cores(), len(gpu_handles()))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def said(path: Path, since: int) -> str | None:
    """What trainers wrote last to the run's trainer.log beyond `since` bytes: a cause, a complaint, or any line."""
    try:
        lines = [line.strip() for line in read_end(path / directory.TRAINER_LOG, LOG_BYTES, since).split("\n")]
    except OSError:
        return None
    complaints = [line.removeprefix(COMPLAINT) for line in lines if line.startswith(COMPLAINT)]
    causes = [line for line in complaints if not line.startswith(LOST)]
    spoken = causes or complaints or [line for line in lines if line]
    return sanitize(spoken[-1]) if spoken else None
