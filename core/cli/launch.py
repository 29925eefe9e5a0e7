"""Trainers in separate processes: detached from this terminal, or several for distributed training."""

from __future__ import annotations

import shlex
import time
from collections.abc import Generator
from pathlib import Path

from core.errors import RunError
from core.runs import directory
from core.runs.events import Event, Failed
from core.runs.history import LogTail
from core.runs.launcher import last_error_line, launch
from core.runs.requests import request
from core.runs.status import Status, lock_holder, run_status
from core.system.signals import Interrupts

START_SECONDS = 60.0  # for a detached trainer to start; importing torch from a cold disk is slow
POLL_SECONDS = 0.1


def detach(
    path: Path,
    *,
    device: str | None = None,
    force: bool = False,
    processes: int | None = None,
    epochs: int | None = None,
    network: str | None = None,
) -> int:
    """Launch a trainer and wait until training starts.

    Raises:
        RunError: the trainer could not be started, or exited with an error, which the message contains.
    """
    log_start = _log_length(path)
    trainer = launch(path, device=device, force=force, processes=processes, epochs=epochs, network=network)
    deadline = time.monotonic() + START_SECONDS
    running = (Status.RUNNING, Status.PAUSED)
    while not _holds(path, trainer.pid) or run_status(path) not in running:
        if trainer.poll() is not None:
            if trainer.returncode == 0:
                break  # a very short run that is already finished
            raise RunError(last_error_line(path, log_start) or "the trainer exited unexpectedly")
        if time.monotonic() > deadline:
            raise RunError(
                f"the trainer has not started within {START_SECONDS:.0f} s; see {path / directory.TRAINER_LOG}"
            )
        time.sleep(POLL_SECONDS)
    watch = f"minidiff watch {shlex.quote(path.name)}"
    print(f"{path.name} is training in process {trainer.pid}; `{watch}` shows its progress")
    return 0


def launch_and_follow(
    path: Path,
    interrupts: Interrupts,
    *,
    device: str | None = None,
    force: bool = False,
    processes: int | None = None,
    epochs: int | None = None,
    network: str | None = None,
) -> Generator[Event, None, None]:
    """Train in several processes, and yield their events until they exit. A signal stops them after a checkpoint.

    Args:
        path: the run's directory.
        interrupts: entered by the caller; records signals.
        device: as for `core.training.api.resume`.
        force: resume even if the lock names another host.
        processes: number of processes; default: that in the run's config.
        epochs: new total number of epochs.
        network: the user's own, `module:Class`, which they may import.

    Raises:
        RunError: they could not be started, or exited with an error that is not in the run's log.
        KeyboardInterrupt, SystemExit: they were stopped by a signal.
    """
    log = LogTail(path / directory.EVENTS)
    log.read()
    log_start = _log_length(path)
    trainers = launch(path, device=device, force=force, processes=processes, epochs=epochs, network=network)
    last, stopping = None, False
    try:
        exited = False
        while not exited:
            exited = trainers.poll() is not None  # checked before the last lines are read
            events, _ = log.read()
            for last in events:
                yield last
            if interrupts.received is not None and not stopping and run_status(path).alive:
                request(path, "stop")
                stopping = True
            time.sleep(0 if exited else POLL_SECONDS)
    finally:
        if trainers.poll() is None:  # the caller closed this generator
            trainers.terminate()  # they write a checkpoint and exit
            trainers.wait()
    if trainers.returncode != 0 and not isinstance(last, Failed):
        raise RunError(
            last_error_line(path, log_start) or f"the trainers exited unexpectedly; see {path / directory.TRAINER_LOG}"
        )
    interrupts.raise_received()


def _holds(path: Path, pid: int) -> bool:
    """Whether the lock was last taken by the process `pid`, or by one that it launched."""
    holder = lock_holder(path)
    return pid in (holder.get("pid"), holder.get("launcher"))


def _log_length(path: Path) -> int:
    log = path / directory.TRAINER_LOG
    return log.stat().st_size if log.exists() else 0
