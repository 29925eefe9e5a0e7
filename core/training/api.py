"""Training: a generator that moves a net step by step, yields what happens, and keeps it in a run directory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from core.compute.device import pick_device
from core.config.training import TrainConfig
from core.errors import ConfigError, RunError
from core.runs.directory import root_directory
from core.runs.events import Event, Failed, Finished, Stopped
from core.runs.launcher import config_to_resume
from core.runs.status import last_lifecycle, run_of_launcher
from core.runs.store import create_run
from core.runs.writer import RunWriter
from core.system.signals import Interrupts
from core.training.distributed import DistributedContext
from core.training.loop import TrainingLoop
from core.training.worker import run_worker


def train(config: TrainConfig, *, interrupts: Interrupts | None = None) -> Generator[Event, None, None]:
    """Train a model; every event is in the run's log before it is yielded.

    With `config.root` a new run directory is made there and owned until the end. With `root=None` nothing is written
    and the same events are yielded, but for `checkpoint`. Closing the generator, SIGINT, SIGTERM and SIGHUP finish the
    step, write a checkpoint and record `stopped`; a signal's exception is raised after that event. Signals that arrive
    between two events, while the generator is suspended, are the caller's, whose handlers are in force then.

    In processes that torchrun started, all train one net together: the first one yields the events and has the run
    directory, the generators of the others yield nothing. After the launcher restarted them they go on with the run.

    Args:
        config: what to train, on what, for how long.
        interrupts: entered by the caller, where signals between two events should stop the training as well.

    Yields:
        The events of `core.runs.events`: `started`, `dataset`, then windows of `progress`, and after each epoch
        `preview`, `epoch` and `checkpoint`; at the end `finished`.

    Raises:
        MinidiffError: the data, device, run directory or loss is not usable; the run records it as `failed`.
    """
    distributed = DistributedContext()
    if not distributed.is_main:
        return _following(distributed, interrupts)
    if config.nproc > 1 and distributed.size == 1:
        raise ConfigError(
            f"{config.nproc} processes are started by `minidiff train --nproc {config.nproc}`; "
            f"for a script use `torchrun --nproc-per-node {config.nproc}`"
        )
    if config.root is None:
        pick_device(config.device)
        return _unrecorded(config, distributed, interrupts)
    started = (
        run_of_launcher(root_directory(config.root), distributed.place.launcher) if distributed.place.restarts else None
    )
    if started is not None:
        return resume(started, interrupts=interrupts)
    pick_device(config.device)  # a device that is not there should not leave a run behind
    return resume(create_run(config), interrupts=interrupts)


def resume(
    path: Path,
    *,
    device: str | None = None,
    force: bool = False,
    epochs: int | None = None,
    interrupts: Interrupts | None = None,
) -> Generator[Event, None, None]:
    """Resume a run from its last checkpoint, or from the start if it has none.

    A run whose `epochs` are all done is trained further if more are asked for. From there on the learning rate is the
    one that its schedule, stretched to the new number of epochs, has at that step.

    Args:
        path: the run's directory.
        device: go on with another device than the one that the run began on.
        force: take the run although its lock names another host.
        epochs: train up to so many epochs, instead of as many as the run's config says.
        interrupts: as for `train`.

    Yields:
        The events that follow, `resumed` first.

    Raises:
        MinidiffError: as for `train`; also a run that is finished, is being trained, or has a damaged state. A run that
            cannot be resumed stays what it was.
    """
    distributed = DistributedContext()
    if not distributed.is_main:
        return _following(distributed, interrupts)
    last = last_lifecycle(path)
    if isinstance(last, Failed) and distributed.place.restarts:  # it would only fail again
        raise RunError(last.message)
    config = config_to_resume(path, epochs)
    if device is not None:
        pick_device(device)  # a slip of the caller's is no failure of the run
    return _recorded(path, config, device, force, distributed, interrupts)


def _following(distributed: DistributedContext, interrupts: Interrupts | None) -> Generator[Event, None, None]:
    _join(distributed, interrupts)
    run_worker(distributed)
    yield from ()


def _join(distributed: DistributedContext, interrupts: Interrupts | None) -> None:
    """Meet the other processes. Meanwhile there is nothing to keep, and a signal ends this process at once."""
    if interrupts is None:
        distributed.init_process_group()
        return
    interrupts.raise_received()
    with interrupts.released():
        distributed.init_process_group()


def _unrecorded(
    config: TrainConfig, distributed: DistributedContext, interrupts: Interrupts | None
) -> Generator[Event, None, None]:
    _join(distributed, interrupts)
    with interrupts or Interrupts(patient=distributed.size > 1) as signals, distributed.process_group():
        loop = TrainingLoop(config, signals, distributed=distributed)
        try:
            for event in loop.events():
                with signals.released():
                    yield event
        except GeneratorExit:
            distributed.broadcast(None)
            raise


def _recorded(
    path: Path,
    config: TrainConfig,
    device: str | None,
    force: bool,
    distributed: DistributedContext,
    interrupts: Interrupts | None,
) -> Generator[Event, None, None]:
    _join(distributed, interrupts)
    signals = interrupts or Interrupts(patient=distributed.size > 1)
    with signals, RunWriter(path, force=force) as run, distributed.process_group():
        loop = TrainingLoop(config, signals, run, device=device, distributed=distributed)
        try:
            for event in loop.events():
                run.append(event)
                run.closed = isinstance(event, Stopped | Finished)
                with signals.released():
                    yield event
        except GeneratorExit:
            if not run.closed:
                for event in loop.stop("closed"):
                    run.append(event)
                run.closed = True
                distributed.broadcast(None)
            raise
