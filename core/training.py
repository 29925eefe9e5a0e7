"""Training: a generator that moves a net step by step, yields what happens, and keeps it in a run directory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from core.config import TrainConfig
from core.devices import pick_device
from core.errors import RunError
from core.events import Event, Finished, Stopped
from core.held_run import HeldRun
from core.interrupts import Interrupts
from core.runs import CONFIG, Status, create_run, run_status
from core.sitting import Sitting


def train(config: TrainConfig) -> Generator[Event, None, None]:
    """Train a model; every event is in the run's log before it is yielded.

    With `config.root` a new run directory is made there and owned until the end. With `root=None` nothing is written
    and the same events are yielded, but for `checkpoint`. Closing the generator, SIGINT, SIGTERM and SIGHUP finish the
    step, write a checkpoint and record `stopped`; a signal's exception is raised after that event.

    Args:
        config: what to train, on what, for how long.

    Yields:
        The events of `core.events`: `started`, `dataset`, then windows of `progress`, and after each epoch `preview`,
        `epoch` and `checkpoint`; at the end `finished`.

    Raises:
        MinidiffError: the data, device, run directory or loss is not usable; the run records it as `failed`.
    """
    pick_device(config.device)  # a device that is not there should not leave a run behind
    if config.root is None:
        return _unrecorded(config)
    return resume(create_run(config))


def resume(path: Path, *, device: str | None = None, force: bool = False) -> Generator[Event, None, None]:
    """Go on with a run from its last checkpoint, or from the start if it has none.

    Args:
        path: the run's directory.
        device: go on with another device than the one that the run began on.
        force: take the run although its lock names another host.

    Yields:
        The events that follow, `resumed` first.

    Raises:
        MinidiffError: as for `train`; also a run that is finished, is being trained, or has a damaged state.
    """
    if run_status(path) == Status.FINISHED:
        raise RunError(f"{path.name} is finished; to train longer, start a new run with more --epochs")
    config = TrainConfig.from_toml(path / CONFIG)
    if device is not None:
        pick_device(device)  # a slip of the caller's is no failure of the run
    return _recorded(path, config, device, force)


def _unrecorded(config: TrainConfig) -> Generator[Event, None, None]:
    with Interrupts() as interrupts:
        yield from Sitting(config, interrupts).events()


def _recorded(path: Path, config: TrainConfig, device: str | None, force: bool) -> Generator[Event, None, None]:
    with Interrupts() as interrupts, HeldRun(path, force=force) as run:
        sitting = Sitting(config, interrupts, run, device=device)
        try:
            for event in sitting.events():
                run.append(event)
                run.closed = isinstance(event, Stopped | Finished)
                yield event
        except GeneratorExit:
            if not run.closed:
                for event in sitting.stop("closed"):
                    run.append(event)
                run.closed = True
            raise
