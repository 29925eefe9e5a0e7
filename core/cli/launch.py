"""Trainers in processes of their own: those that outlive this terminal, and those that are several together."""

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

START_SECONDS = 60.0  # to wait for a detached trainer to take its run; importing torch from a cold disk is slow
POLL_SECONDS = 0.1


def detach(
    path: Path,
    *,
    device: str | None = None,
    force: bool = False,
    processes: int | None = None,
    epochs: int | None = None,
) -> int:
    """Launch a trainer and wait until it trains, or says why it cannot.

    Raises:
        RunError: it could not be started, or ended at once; the text is its own.
    """
    started = _length(path)
    trainer = launch(path, device=device, force=force, processes=processes, epochs=epochs)
    deadline = time.monotonic() + START_SECONDS
    trains = (Status.RUNNING, Status.PAUSED)
    while not _holds(path, trainer.pid) or run_status(path) not in trains:
        if trainer.poll() is not None:
            if trainer.returncode == 0:
                break  # so short a run that it is over already
            raise RunError(last_error_line(path, started) or "the trainer ended without a word")
        if time.monotonic() > deadline:
            raise RunError(
                f"the trainer has not started within {START_SECONDS:.0f} s; see {path / directory.TRAINER_LOG}"
            )
        time.sleep(POLL_SECONDS)
    print(f"{path.name} trains in process {trainer.pid}; `minidiff watch {shlex.quote(path.name)}` shows it")
    return 0


def together(
    path: Path,
    interrupts: Interrupts,
    *,
    device: str | None = None,
    force: bool = False,
    processes: int | None = None,
    epochs: int | None = None,
) -> Generator[Event, None, None]:
    """Train in several processes; what they log from now on, to the end. A signal asks them to stop.

    Args:
        path: the run's directory.
        interrupts: entered by the caller; remembers signals.
        device: as for `core.training.api.resume`, as are the other options.
        force: take the run although its lock names another host.
        processes: how many; by default as many as the run's config says.
        epochs: train up to so many epochs.

    Raises:
        RunError: they could not be started, or ended with an error that is not in the run's log; the text is theirs.
        KeyboardInterrupt, SystemExit: they stopped because of a signal.
    """
    log = LogTail(path / directory.EVENTS)
    log.read()
    started = _length(path)
    trainers = launch(path, device=device, force=force, processes=processes, epochs=epochs)
    last, asked = None, False
    try:
        ended = False
        while not ended:
            ended = trainers.poll() is not None  # before its last lines are read
            events, _ = log.read()
            for last in events:
                yield last
            if interrupts.received is not None and not asked and run_status(path).alive:
                request(path, "stop")
                asked = True
            time.sleep(0 if ended else POLL_SECONDS)
    finally:
        if trainers.poll() is None:  # our reader has gone
            trainers.terminate()  # which has them write a checkpoint and end
            trainers.wait()
    if trainers.returncode != 0 and not isinstance(last, Failed):
        raise RunError(
            last_error_line(path, started) or f"the trainers ended without a word; see {path / directory.TRAINER_LOG}"
        )
    interrupts.raise_received()


def _holds(path: Path, pid: int) -> bool:
    """Whether the run was last taken by the process `pid`, or by one that it launched."""
    holder = lock_holder(path)
    return pid in (holder.get("pid"), holder.get("launcher"))


def _length(path: Path) -> int:
    log = path / directory.TRAINER_LOG
    return log.stat().st_size if log.exists() else 0
