"""Trainers in processes of their own: those that outlive this terminal, and those that are several together."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

from core import runs
from core.errors import RunError
from core.events import Event, Failed, Finished, Stopped
from core.history import LogTail
from core.interrupts import Interrupts
from core.launcher import launch, said

START_SECONDS = 60.0  # to wait for a detached trainer to take its run; importing torch from a cold disk is slow
AGAIN_SECONDS = 1.0  # between two requests to stop: one made before the run is taken is not seen
POLL_SECONDS = 0.1


def detach(path: Path, *, device: str | None = None, force: bool = False, processes: int | None = None) -> int:
    """Launch a trainer and wait until it trains, or says why it cannot.

    Raises:
        RunError: it could not be started, or ended at once; the text is its own.
    """
    begun = _length(path)
    trainer = launch(path, device=device, force=force, processes=processes)
    deadline = time.monotonic() + START_SECONDS
    trains = (runs.Status.RUNNING, runs.Status.PAUSED)
    while not _holds(path, trainer.pid) or runs.run_status(path) not in trains:
        if trainer.poll() is not None:
            if trainer.returncode == 0:
                break  # so short a run that it is over already
            raise RunError(said(path, begun) or "the trainer ended without a word")
        if time.monotonic() > deadline:
            raise RunError(f"the trainer has not started within {START_SECONDS:.0f} s; see {path / runs.TRAINER_LOG}")
        time.sleep(POLL_SECONDS)
    print(f"{path.name} trains in process {trainer.pid}; `minidiff watch {path.name}` shows it")
    return 0


def together(
    path: Path, *, device: str | None = None, force: bool = False, processes: int | None = None
) -> Generator[Event, None, None]:
    """Train in several processes; what they log from now on, to the end. Signals ask them to stop, once they can hear.

    Raises:
        RunError: they could not be started, or ended without a word in the run's log; the text is their own.
        KeyboardInterrupt, SystemExit: they stopped because of a signal.
    """
    log = LogTail(path / runs.EVENTS)
    log.read()
    begun = _length(path)
    with Interrupts() as interrupts:
        trainers = launch(path, device=device, force=force, processes=processes)
        last, asked = None, 0.0
        try:
            ended = False
            while not ended:
                ended = trainers.poll() is not None  # before its last lines are read
                events, _ = log.read()
                for last in events:
                    yield last
                if isinstance(last, Failed):
                    trainers.terminate()  # which would start them again, and they would fail again
                if interrupts.received is not None and time.monotonic() - asked > AGAIN_SECONDS:
                    asked = time.monotonic()
                    _ask_to_stop(path)
                time.sleep(0 if ended else POLL_SECONDS)
        finally:
            if trainers.poll() is None:  # our reader has gone
                trainers.terminate()  # which has them write a checkpoint and end
                trainers.wait()
        if not isinstance(last, Finished | Stopped | Failed):
            raise RunError(said(path, begun) or f"the trainers ended without a word; see {path / runs.TRAINER_LOG}")
        interrupts.raise_received()


def _ask_to_stop(path: Path) -> None:
    if runs.is_locked(path):
        runs.request(path, "stop")


def _holds(path: Path, pid: int) -> bool:
    """Whether the run was last taken by the process `pid`, or by one that it launched."""
    holder = runs.lock_holder(path)
    return pid in (holder.get("pid"), holder.get("launcher"))


def _length(path: Path) -> int:
    log = path / runs.TRAINER_LOG
    return log.stat().st_size if log.exists() else 0
