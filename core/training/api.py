"""`train` and `resume`: generators that train a model, yield events and write a run directory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from core.compute.device import pick_device
from core.config.architecture import is_custom
from core.config.training import TrainConfig
from core.data.datasets import cache_directory
from core.data.in_memory import store_images
from core.errors import ConfigError, RunError
from core.export.trackers import TrackerLog
from core.models.custom import Network, mismatch, missing, with_network
from core.runs.directory import root_directory
from core.runs.events import Event, Failed, Finished, Stopped, Warned
from core.runs.launcher import config_to_resume
from core.runs.status import last_lifecycle, run_of_launcher
from core.runs.store import create_run
from core.runs.writer import RunWriter
from core.system.signals import Interrupts
from core.training.distributed import DistributedContext
from core.training.loop import TrainingLoop
from core.training.worker import run_worker


def train(
    config: TrainConfig,
    *,
    data: Any = None,
    net: Network | None = None,
    interrupts: Interrupts | None = None,
) -> Generator[Event, None, None]:
    """Train a model. Every event is in the run's log before it is yielded.

    With `config.root` a new run directory is created there and owned until the end. With `root=None` nothing is
    written, and the same events are yielded except `checkpoint`. Closing the generator, SIGINT, SIGTERM and SIGHUP
    finish the step, write a checkpoint and record `stopped`; a signal's exception is raised after that event. Signals
    that arrive while the generator is suspended are handled by the caller's own handlers.

    In processes started by torchrun, all train one network: the main process yields the events and writes the run
    directory, the generators of the others yield nothing. If the launcher restarts them, they resume the run.

    Args:
        config: the run's options.
        data: images of your own: a tensor or array, (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floating point in
            [0, 1]; a pair of images and labels, (N,); a mapping with names as in a .npz file; or a map-style dataset of
            torch. They are written to the user's cache, where the run finds them again. None: `config.dataset`.
        net: a network of your own, a `torch.nn.Module` or a class or function that makes one; None: that of the config.
            It is called as net(x, t, labels), net(x, t) or net(x), with noisy images, (B, C, H, W), in the value range
            of the config's path, noise levels in [0, 1], (B,), and labels, (B,) int64, where the number of classes is
            the null class (None if the run is not class-conditional). It returns its prediction, shaped like x. A class
            or function is called with those of `in_channels`, `image_size` (height, width) and `classes` that it names.
            A network is trained in place.
        interrupts: entered by the caller, if signals between two events should stop the training too.

    Yields:
        The events of `core.runs.events`: `started`, `dataset`, then windows of `progress`, and after each epoch
        `preview`, `epoch` and `checkpoint`; at the end `finished`.

    Raises:
        MinidiffError: the data, device or run directory is not usable, or training diverged; recorded as `failed`.
    """
    distributed = DistributedContext()
    if not distributed.is_main:
        return _run_as_worker(distributed, net, interrupts)
    config = with_network(config, net)
    if data is not None:
        if "dataset" in config.model_fields_set:
            raise ConfigError(f"dataset: both {config.dataset} and data were passed; leave one out")
        config = config.changed(dataset=str(store_images(data, cache_directory())))
    if config.nproc > 1 and distributed.size == 1:
        raise ConfigError(
            f"{config.nproc} processes are started by `minidiff train --nproc {config.nproc}`; "
            f"for a script use `torchrun --nproc-per-node {config.nproc}`"
        )
    if config.root is None:
        if config.log_to is not None:
            raise ConfigError(f"log_to: {config.log_to} writes into the run directory; set root too")
        pick_device(config.device)
        return _train_without_directory(config, net, distributed, interrupts)
    started = (
        run_of_launcher(root_directory(config.root), distributed.place.launcher) if distributed.place.restarts else None
    )
    if started is not None:
        return resume(started, net=net, interrupts=interrupts)
    pick_device(config.device)  # before a run directory is created
    return resume(create_run(config), net=net, interrupts=interrupts)


def resume(
    path: Path,
    *,
    device: str | None = None,
    force: bool = False,
    epochs: int | None = None,
    net: Network | None = None,
    interrupts: Interrupts | None = None,
) -> Generator[Event, None, None]:
    """Resume a run from its last checkpoint, or from the start if it has none.

    A finished run is trained further if `epochs` is larger than before. The learning-rate schedule then covers the new
    number of epochs.

    Args:
        path: the run's directory.
        device: overrides the config's device.
        force: resume although the lock names another host.
        epochs: overrides the number of epochs in the config.
        net: as for `train`, in a run that was started with one.
        interrupts: as for `train`.

    Yields:
        The events that follow, `resumed` first.

    Raises:
        MinidiffError: as for `train`; also if the run is finished, is being trained, or has a damaged state. A run that
            cannot be resumed stays unchanged.
    """
    distributed = DistributedContext()
    if not distributed.is_main:
        return _run_as_worker(distributed, net, interrupts)
    last = last_lifecycle(path)
    if isinstance(last, Failed) and distributed.place.restarts:  # it would fail again
        raise RunError(last.message)
    config = config_to_resume(path, epochs)
    if (net is not None) != is_custom(config.model):
        problem = missing(config.model, path.name) if net is None else mismatch(config.model)
        raise ConfigError(problem)
    if device is not None:
        pick_device(device)  # an invalid argument does not make the run fail
    return train_in_directory(path, config, net, device, force, distributed, interrupts)


def _run_as_worker(
    distributed: DistributedContext, net: Network | None, interrupts: Interrupts | None
) -> Generator[Event, None, None]:
    _join(distributed, interrupts)
    run_worker(distributed, net)
    yield from ()


def _join(distributed: DistributedContext, interrupts: Interrupts | None) -> None:
    """Connect to the other processes; until then there is nothing to save, and a signal ends this process."""
    if interrupts is None:
        distributed.init_process_group()
        return
    interrupts.raise_received()
    with interrupts.released():
        distributed.init_process_group()


def _train_without_directory(
    config: TrainConfig, net: Network | None, distributed: DistributedContext, interrupts: Interrupts | None
) -> Generator[Event, None, None]:
    _join(distributed, interrupts)
    with interrupts or Interrupts(patient=distributed.size > 1) as signals, distributed.process_group():
        loop = TrainingLoop(config, signals, distributed=distributed, net=net)
        try:
            for event in loop.events():
                with signals.released():
                    yield event
        except GeneratorExit:
            distributed.broadcast(None)
            raise


def train_in_directory(
    path: Path,
    config: TrainConfig,
    net: Network | None,
    device: str | None,
    force: bool,
    distributed: DistributedContext,
    interrupts: Interrupts | None,
    on_loop: Callable[[TrainingLoop], None] = lambda loop: None,
) -> Generator[Event, None, None]:
    """`resume` after its checks; `on_loop` receives the training loop before its first event."""
    _join(distributed, interrupts)
    signals = interrupts or Interrupts(patient=distributed.size > 1)
    tracker = TrackerLog(config.log_to, path)
    with signals, RunWriter(path, force=force) as run, distributed.process_group(), tracker:
        loop = TrainingLoop(config, signals, run, device=device, distributed=distributed, net=net)
        on_loop(loop)
        try:
            for event in loop.events():
                run.append(event)
                run.closed = isinstance(event, Stopped | Finished)
                warning = tracker.add(event)
                with signals.released():
                    yield event
                if warning is not None and not run.closed:
                    run.append(problem := Warned(message=warning))
                    with signals.released():
                        yield problem
        except GeneratorExit:
            if not run.closed:
                for event in loop.stop("by the calling script"):
                    run.append(event)
                run.closed = True
                distributed.broadcast(None)
            raise
