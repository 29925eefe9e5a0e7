"""Training: a generator that moves a net step by step, yields what happens, and keeps it in a run directory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from core.config import TrainConfig
from core.devices import pick_device
from core.errors import ConfigError, RunError
from core.events import Event, Failed, Finished, Stopped
from core.filing import create_run
from core.follower import follow
from core.held_run import HeldRun
from core.history import RunHistory
from core.interrupts import Interrupts
from core.runs import CONFIG, EVENTS, Status, root_directory, run_held_for, run_status
from core.sitting import Sitting
from core.team import Team


def train(config: TrainConfig) -> Generator[Event, None, None]:
    """Train a model; every event is in the run's log before it is yielded.

    With `config.root` a new run directory is made there and owned until the end. With `root=None` nothing is written
    and the same events are yielded, but for `checkpoint`. Closing the generator, SIGINT, SIGTERM and SIGHUP finish the
    step, write a checkpoint and record `stopped`; a signal's exception is raised after that event.

    In processes that torchrun started, all train one net together: the first one yields the events and has the run
    directory, the generators of the others yield nothing. After the launcher restarted them they go on with the run.

    Args:
        config: what to train, on what, for how long.

    Yields:
        The events of `core.events`: `started`, `dataset`, then windows of `progress`, and after each epoch `preview`,
        `epoch` and `checkpoint`; at the end `finished`.

    Raises:
        MinidiffError: the data, device, run directory or loss is not usable; the run records it as `failed`.
    """
    team = Team()
    if not team.leads:
        return _following(team)
    if config.nproc > 1 and team.size == 1:
        raise ConfigError(
            f"{config.nproc} processes are started by `minidiff train --nproc {config.nproc}`; "
            f"for a script use `torchrun --nproc-per-node {config.nproc}`"
        )
    if config.root is None:
        pick_device(config.device)
        return _unrecorded(config, team)
    begun = run_held_for(root_directory(config.root), team.place.launcher) if team.place.restarts else None
    if begun is not None:
        return resume(begun)
    pick_device(config.device)  # a device that is not there should not leave a run behind
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
    team = Team()
    if not team.leads:
        return _following(team)
    status = run_status(path)
    if status == Status.FINISHED:
        raise RunError(f"{path.name} is finished; to train longer, start a new run with more --epochs")
    if status == Status.FAILED and team.place.restarts:  # it would only fail again
        last = RunHistory.of(path / EVENTS).lifecycle
        raise RunError(last.message if isinstance(last, Failed) else f"{path.name} failed")
    config = TrainConfig.from_toml(path / CONFIG)
    if device is not None:
        pick_device(device)  # a slip of the caller's is no failure of the run
    return _recorded(path, config, device, force, team)


def _following(team: Team) -> Generator[Event, None, None]:
    follow(team)
    yield from ()


def _unrecorded(config: TrainConfig, team: Team) -> Generator[Event, None, None]:
    team.join()
    with Interrupts(patient=team.size > 1) as interrupts, team.kept_together():
        sitting = Sitting(config, interrupts, team=team)
        try:
            yield from sitting.events()
        except GeneratorExit:
            team.tell(None)
            raise


def _recorded(
    path: Path, config: TrainConfig, device: str | None, force: bool, team: Team
) -> Generator[Event, None, None]:
    team.join()
    with Interrupts(patient=team.size > 1) as interrupts, HeldRun(path, force=force) as run, team.kept_together():
        sitting = Sitting(config, interrupts, run, device=device, team=team)
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
                team.tell(None)
            raise
