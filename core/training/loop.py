"""The training loop: a run from start to finish in `TrainingLoop._train`, as a stream of events."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import torch

from core.compute.device_memory import memory_free, memory_held, out_of_memory_error, within_memory
from core.compute.torch_settings import TorchSettings
from core.config.datasets import is_path
from core.config.training import TrainConfig
from core.data import datasets
from core.diffusion.frames import shrunk, to_uint8
from core.errors import NotFinite, RunError, TrainingError
from core.evaluation.reference import EvaluationProgress, Reference, prepare
from core.evaluation.scores import quick_scores
from core.generators import WithResult
from core.models.custom import CustomNetwork, Network, build, check_call, conditioning
from core.runs.directory import STATE
from core.runs.events import (
    Checkpoint,
    Continued,
    DatasetLoaded,
    Epoch,
    Evaluated,
    Event,
    Finished,
    Paused,
    Preview,
    Stopped,
    Warned,
)
from core.runs.writer import RunWriter
from core.system.signals import Interrupts
from core.text import memory_size
from core.training.checkpoint import RunProgress, SavedState, check_epoch_position, read_checkpoint, write_checkpoint
from core.training.distributed import DistributedContext
from core.training.level_losses import is_due, measure_loss_by_level
from core.training.loss_window import RunningEpoch, Window, min_seconds
from core.training.memory_estimate import training_memory
from core.training.snapshots import SnapshotWriter
from core.training.start import choose_device, initialize, start_event, warnings_at_start
from core.training.trainer import PREVIEWS, Trainer

T = TypeVar("T")
CHECKPOINT_SECONDS = 60.0
PAUSE_POLL_SECONDS = 0.1
EVALUATION_SAMPLES = 2_000  # of an evaluation during training (--eval-every)
PREVIEW_SIDE = 64  # longest side of the images of a preview, in pixels
COMPILE_STEPS = 5_000  # steps on CUDA from which torch.compile should pay off; an estimate, not measured


class StopRequested(Exception):
    """A signal or another process asked the training to stop."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RunData(NamedTuple):
    """A dataset in memory: where it was found, its training images and its test images."""

    located: datasets.Located
    train: datasets.LabeledImages
    test: datasets.LabeledImages


class TrainingLoop:
    """Trains a run to its end or until it is stopped; writes checkpoints if there is a run directory.

    In a distributed run it belongs to the main process and broadcasts to the workers how many steps to take next.

    Args:
        config: the run's options.
        interrupts: the signals received so far.
        run: the run directory; None trains without one.
        device: overrides the config's device.
        distributed: the process group; None is a single process.
        net: the user's network, or its class; None trains the one that the config names.
    """

    def __init__(
        self,
        config: TrainConfig,
        interrupts: Interrupts,
        run: RunWriter | None = None,
        *,
        device: str | None = None,
        distributed: DistributedContext | None = None,
        net: Network | None = None,
    ) -> None:
        self.config = config
        self._net = net
        self.run = run
        self._distributed = distributed or DistributedContext()
        self._devices: list[str] = []  # of all processes
        self._interrupts = interrupts
        self._requested_device = device
        self._trainer: Trainer | None = None
        self._progress = RunProgress()
        self._window = Window()
        self._step_seconds = 0.0  # in the newest window
        self._busy = 0  # cores that other processes use
        self._graph_problem: str | None = None  # the last one that was reported
        self._snapshots: SnapshotWriter | None = None  # with a run directory, once the data is loaded
        self._snapshot_problem: str | None = None  # the last one that was reported
        self._saved_at = time.monotonic()
        self._located: datasets.Located | None = None  # if its images were inspected before the network was built
        self._reference: Reference | None = None  # for evaluations
        # Set by a caller that trains several runs in turns.
        self.data: RunData | None = None  # read once for all runs
        self.window_end: int | None = None  # a later step at which a window ends, set between two events
        self.stop_reason: str | None = None  # set between two events to stop before the next step

    @property
    def trainer(self) -> Trainer:
        """The network in training, from the first event on."""
        assert self._trainer is not None
        return self._trainer

    @property
    def seconds(self) -> float:
        """Training time up to the last window, over all processes that trained the run."""
        return self._progress.seconds

    def events(self) -> Iterator[Event]:
        """All events in order; the last is `Finished` or `Stopped`."""
        saved = read_checkpoint(self.run.path, self.config, self._net) if self.run is not None else None
        device, self.config, self._busy = choose_device(self.config, self._requested_device, self._distributed)
        if self.config.dataset_info is None and is_path(self.config.dataset):
            try:
                yield from self._inspect_data()
            except StopRequested as request:
                yield from self.stop(request.reason)
                self._distributed.broadcast(None)
                self._interrupts.raise_received()
                return
        if self._net is not None:
            yield from self._inspect_network(self._net)
        self._distributed.broadcast(self.config.changed(device=device.type).model_dump(mode="json"))
        self._devices = self._distributed.gather_results(self._distributed.device_name(device))
        train = closing(self._train(device, saved))
        with TorchSettings(self.config) as settings, within_memory(out_of_memory_error(self.config)), train as events:
            for event in events:
                with settings.released():
                    yield event
        self._distributed.broadcast(None)
        self._interrupts.raise_received()

    def _train(self, device: torch.device, saved: SavedState | None) -> Generator[Event, None, None]:
        """A run, from its last checkpoint to its end or until it is stopped."""
        # Restore the last checkpoint.
        self._trainer = trainer = Trainer(self.config, device, self._distributed, self._net)
        if saved is not None:
            assert self.run is not None
            trainer.restore(saved.tensors, saved.step, self.run.path / STATE)
            self._progress = saved.progress
        kept = self._initialize(trainer) if saved is None else []
        yield start_event(trainer, self.config, self._devices)
        if kept:
            yield Warned(
                message=f"{len(kept)} of the weights are not in {self.config.init_from}, or have another shape there, "
                f"and start at random: {', '.join(kept[:3])}{' …' if len(kept) > 3 else ''}"
            )
        yield from warnings_at_start(self.config, saved, device, self._distributed.size, self._busy)

        try:
            # Load the data, and send the weights to the worker processes.
            validation = yield from self._load_data(trainer)
            self._distributed.broadcast(trainer.step)
            self._distributed.broadcast_tensors(trainer.training_state())
            self._saved_at = time.monotonic()
            yield from self._handle_requests(trainer)
            self._keep_snapshot(trainer)
            if trainer.step >= trainer.total_steps and not self._progress.epoch.steps:
                yield from self._save(trainer)  # a process may have exited after the state and before the model

            while trainer.step < trainer.total_steps or self._progress.epoch.steps:
                # Take the steps of one window. A run that was stopped at the end of an epoch has none left in it.
                if self._progress.epoch.steps < trainer.steps_per_epoch:
                    self._take_steps(trainer)
                    yield from self._log_window(trainer)
                    yield from self._handle_requests(trainer)
                    if time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS:
                        yield from self._save_if_finite(trainer)
                    if self._progress.epoch.steps < trainer.steps_per_epoch:
                        continue

                # End the epoch: validate, sample a preview, save, evaluate.
                epoch = -(-trainer.step // trainer.steps_per_epoch)
                validation_loss = yield from self._validate(trainer, validation)
                yield self._preview(trainer, epoch)
                ended, self._progress.epoch = self._progress.epoch, RunningEpoch()
                yield Epoch(
                    epoch=epoch,
                    step=trainer.step,
                    loss=ended.average,
                    validation_loss=validation_loss,
                    seconds=ended.seconds,
                )
                yield from self._save_if_finite(trainer)
                if is_due(epoch, last=trainer.step >= trainer.total_steps):
                    yield from self._measure_loss(trainer, epoch)
                if self.config.eval_every and epoch % self.config.eval_every == 0:
                    yield from self._evaluate(trainer, epoch)

            if self._progress.skipped:
                raise self._diverged(self._progress.skipped, trainer)
            yield Finished(step=trainer.step, seconds=self._progress.seconds)
        except StopRequested as request:
            yield from self.stop(request.reason)

    def _initialize(self, trainer: Trainer) -> list[str]:
        """Start from the weights of another run, if the config says so; returns the weights that it lacks."""
        if self.config.init_from is None:
            return []
        root = None if self.run is None else self.run.path.parent
        kept = initialize(trainer.net, self.config.init_from, root)
        for copied in (trainer.ema_net, *([trainer.distillation.teacher] if trainer.distillation else [])):
            copied.load_state_dict(trainer.net.state_dict())
        return kept

    def stop(self, reason: str) -> Iterator[Event]:
        """Write a checkpoint if any step was taken, and end with `Stopped`."""
        if self._trainer is not None and self._trainer.step > 0:
            yield from self._save(self._trainer)
        yield Stopped(step=self._trainer.step if self._trainer else 0, reason=reason)

    def _handle_requests(self, trainer: Trainer) -> Iterator[Event]:
        """Handle signals and the requests of other processes in their order. While paused it does not return.

        Raises:
            StopRequested: by a signal or a request.
        """
        paused = False
        while True:
            if self._interrupts.received is not None:
                raise StopRequested(self._interrupts.received.name)
            if self.stop_reason is not None:
                raise StopRequested(self.stop_reason)
            yield from self._restore_files()
            match self.run.requests.next_request() if self.run is not None else None:
                case "stop":
                    raise StopRequested("on request")
                case "checkpoint" if not paused:
                    yield from self._save(trainer)
                case "pause" if not paused:
                    yield from self._save(trainer)
                    paused = True
                    yield Paused(step=trainer.step)
                case "continue" if paused:
                    paused = False
                    yield Continued(step=trainer.step)
                case None if paused:
                    time.sleep(PAUSE_POLL_SECONDS)
                case None:
                    return
                case _:
                    pass  # nothing to do for it in this state, or unknown to this version

    # Data

    def _load_data(self, trainer: Trainer) -> Generator[Event, None, datasets.LabeledImages]:
        """Find or download the dataset and put it on the device; returns the test split.

        Raises:
            StopRequested: during the download.
        """
        if self.data is not None:
            located, train, test = self.data
        else:
            located = self._located or (yield from self._locate_data())
            train = datasets.read(located, "train", self.config.limit)
            test = datasets.read(located, "test", self.config.limit)
        sha256 = datasets.images_digest(located, train)
        if self._progress.data_sha256 not in ("", sha256):
            raise RunError(
                f"the {located.name} images found in {located.directory} are not those that this run was trained on; "
                "put those back, or start a new run"
            )
        self._progress.data_sha256 = sha256
        trainer.set_data(train.images, train.labels)
        if self.run is not None:
            check_epoch_position(self.run.path, self._progress, trainer)
            self._snapshots = SnapshotWriter(self.run.path, trainer)
        compiled = self.config.compile
        if compiled is None:
            compiled = trainer.device.type == "cuda" and trainer.total_steps >= COMPILE_STEPS
        if compiled:
            trainer.compile()
        self._change_config(dataset=located.name, device=trainer.device.type, compile=compiled)
        self._distributed.broadcast({"dataset": located.name, "sha256": sha256, "compile": compiled})
        self._distributed.gather_results("")
        memory = training_memory(trainer)
        yield DatasetLoaded(
            name=located.title,
            source=str(located.directory),
            train=len(train.images),
            test=len(test.images),
            sha256=located.sha256("train"),
            steps_per_epoch=trainer.steps_per_epoch,
            memory=memory,
            snapshot_bytes=self._snapshots.bytes if self._snapshots is not None else 0,
        )
        held, free = memory_held(trainer.device) or 0, memory_free(trainer.device)
        if memory is not None and memory > held + free:
            yield Warned(
                message=f"training needs about {memory_size(memory)} of memory, and {memory_size(held + free)} are "
                "available; if it runs out, use --fit-memory or a smaller --batch-size"
            )
        return datasets.LabeledImages(test.images.to(trainer.device), test.labels.to(trainer.device))

    def _locate_data(self) -> Generator[Event, None, datasets.Located]:
        """Find the dataset; download or decode it if necessary.

        Raises:
            StopRequested: in the meantime.
        """
        config = self.config
        search = datasets.locate(config.dataset, config.data_root, limit=config.limit, options=config.image_options)
        with WithResult(search) as events:
            for event in events:
                yield event
                if self._interrupts.received is not None or (self.run and self.run.requests.is_pending("stop")):
                    raise StopRequested("while the data was being prepared")
        return events.result

    def _inspect_data(self) -> Iterator[Event]:
        """Read the shape and classes of the user's own images into the config, before the network is built."""
        self._located = located = yield from self._locate_data()
        assert located.prepared is not None
        info = located.prepared.info
        if self.config.class_conditional and not info.classes:
            yield Warned(message=f"the images in {located.name} have no labels: training without class conditioning")
        conditional = self.config.class_conditional and info.classes > 0
        self._change_config(dataset_info=info, class_conditional=conditional)

    def _inspect_network(self, net: Network) -> Iterator[Event]:
        """Build and try the user's network, and turn off the conditioning that it does not take."""
        self._net = built = build(self.config, net)
        assert isinstance(built, CustomNetwork)
        if off := conditioning(built, self.config):
            names = " and ".join(off)
            yield Warned(message=f"{self.config.model} takes only {built.signature}: training without {names}")
            self._change_config(**off)
        check_call(built, self.config)

    def _change_config(self, **changes: Any) -> None:
        """Change options and record them in the run directory."""
        self.config = self.config.changed(**changes)
        if self.run is not None:
            self.run.write_config(self.config)

    # Steps

    def _take_steps(self, trainer: Trainer) -> None:
        """Take steps until the window is due, its end is reached, or the epoch ends."""
        left = trainer.steps_per_epoch - self._progress.epoch.steps
        if self.window_end is not None and self.window_end > trainer.step:
            left = min(left, self.window_end - trainer.step)
        while True:
            self._window.begin()
            count = self._steps_ahead(left - len(self._window))
            self._distributed.broadcast(count)
            for _ in range(count):
                self._window.add(*trainer.train_step())
                self._keep_snapshot(trainer)
            if len(self._window) == left or self._window.is_due(self._progress.seconds):
                return

    def _steps_ahead(self, left: int) -> int:
        """Steps to take before looking at the clock: one, or in a distributed run about a window's worth."""
        if self._distributed.size == 1 or not self._step_seconds:
            return 1
        return max(1, min(left, round(min_seconds(self._progress.seconds) / self._step_seconds)))

    def _log_window(self, trainer: Trainer) -> Iterator[Event]:
        """Read the window's losses and yield its events.

        Raises:
            TrainingError: too many steps in a row were skipped.
        """
        window = self._window.read()
        self._progress.epoch.add(window)
        self._progress.seconds += window.seconds
        self._step_seconds = window.seconds / len(window.losses)
        yield window.as_event(
            step=trainer.step,
            epoch=-(-trainer.step // trainer.steps_per_epoch),
            learning_rate=trainer.learning_rate,
            device=trainer.device,
        )
        most, self._progress.skipped = window.skipped_in_a_row(self._progress.skipped)
        if most >= self.config.max_skipped:
            raise self._diverged(most, trainer)
        if window.skipped:
            yield Warned(
                message=f"skipped {window.skipped} of the steps up to {trainer.step:,}, whose loss or gradient was not "
                "finite; the weights are as before them"
            )
        if trainer.graph_problem != self._graph_problem:
            self._graph_problem = trainer.graph_problem
            yield Warned(message=f"the training step is not replayed as a CUDA graph: {self._graph_problem}")
        if self._snapshots is not None and self._snapshots.problem != self._snapshot_problem:
            self._snapshot_problem = self._snapshots.problem
            if self._snapshot_problem is not None:
                yield Warned(message=self._snapshot_problem)
        if trainer.micro_batch != self.config.micro_batch:
            self._change_config(micro_batch=trainer.micro_batch)
            yield Warned(
                message=f"out of memory at step {trainer.step:,}: from here on gradients are accumulated over parts of "
                f"{trainer.micro_batch} images (--micro-batch)"
            )

    def _diverged(self, skipped: int, trainer: Trainer) -> TrainingError:
        """The error for a run whose newest steps had no finite loss or gradient."""
        intact = "; the last checkpoint is intact" if self.run is not None and (self.run.path / STATE).exists() else ""
        steps = "step" if skipped == 1 else f"{skipped} steps"
        return TrainingError(
            f"training diverged: the loss or a gradient was not finite in the last {steps}, up to step "
            f"{trainer.step:,}{intact}; start a new run with a lower --learning-rate"
        )

    # The end of an epoch

    def _validate(self, trainer: Trainer, validation: datasets.LabeledImages) -> Generator[Event, None, float]:
        """The validation loss of the EMA weights; requests are handled between batches."""
        total = 0.0
        for error in trainer.validation_errors(*validation):
            total += float(error)
            yield from self._handle_requests(trainer)
        return total / validation.images.numel()

    def _preview(self, trainer: Trainer, epoch: int) -> Preview | Warned:
        """Samples from the same noise after every epoch."""
        try:
            samples = shrunk(trainer.preview(), PREVIEW_SIDE)
            images = to_uint8(samples)
        except NotFinite as error:
            return Warned(message=f"no preview of epoch {epoch}: {error}")
        _, channels, height, width = samples.shape
        return Preview(
            epoch=epoch,
            step=trainer.step,
            count=PREVIEWS,
            height=height,
            width=width,
            images=images,
            channels=channels,
        )

    def _measure_loss(self, trainer: Trainer, epoch: int) -> Iterator[Event]:
        """Compare the loss at each noise level with the least possible one, if that is known."""
        with WithResult(measure_loss_by_level(trainer, epoch)) as measurement:
            for _ in measurement:
                yield from self._handle_requests(trainer)
        if measurement.result is not None:
            yield measurement.result

    def _evaluate(self, trainer: Trainer, epoch: int) -> Iterator[Event]:
        """Compute the distance of some samples to the test images."""
        began = time.monotonic()
        if self._reference is None:
            config = self.config
            preparation = prepare(
                config.dataset, config.data_root, config.limit, info=config.info, options=config.image_options
            )
            self._reference = yield from self._with_requests(trainer, preparation)
        n = min(EVALUATION_SAMPLES, len(self._reference.validation.images))
        try:
            scores = quick_scores(trainer.ema_model(), n, self._reference)
            frechet, agreement = yield from self._with_requests(trainer, scores)
        except NotFinite as error:
            yield Warned(message=f"no evaluation of epoch {epoch}: {error}")
            return
        yield Evaluated(
            epoch=epoch,
            step=trainer.step,
            n=n,
            frechet=frechet,
            agreement=math.nan if agreement is None else agreement,
            seconds=time.monotonic() - began,
        )

    def _with_requests(
        self, trainer: Trainer, work: Generator[EvaluationProgress | Event, None, T]
    ) -> Generator[Event, None, T]:
        """Run part of an evaluation, handling requests between its steps; warns before what takes minutes."""
        announced = ""
        with WithResult(work) as steps:
            for step in steps:
                if isinstance(step, Event):
                    yield step
                elif step.doing != announced and step.doing.startswith("training"):
                    yield Warned(message=f"{step.doing}, which takes some minutes, once")
                    announced = step.doing
                yield from self._handle_requests(trainer)
        return steps.result

    # Checkpoints

    def _keep_snapshot(self, trainer: Trainer) -> None:
        """Write a snapshot of the weights if one is due at this step and there is a run directory."""
        if self._snapshots is not None:
            self._snapshots.write_if_due(trainer, self.config)

    def _save_if_finite(self, trainer: Trainer) -> Iterator[Event]:
        """Write a checkpoint unless the last steps were skipped, to keep the one before a divergence."""
        if not self._progress.skipped:
            yield from self._save(trainer)

    def _save(self, trainer: Trainer) -> Iterator[Event]:
        """Write a checkpoint if there is a run directory."""
        self._saved_at = time.monotonic()
        if self.run is not None:
            yield from self._restore_files()  # raises if another process has taken the run
            write_checkpoint(self.run, trainer, self.config, self._progress)
            yield Checkpoint(step=trainer.step)

    def _restore_files(self) -> Iterator[Event]:
        for name in self.run.restore_files() if self.run is not None else ():
            yield Warned(message=f"{name} was deleted or replaced during training and has been written again")
