"""The training loop: from restoring a run's state to its end, as a stream of events."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

import torch
from torch import Tensor

from core.compute.device_memory import memory_free, memory_held, out_of_memory_error, within_memory
from core.compute.precision import pick_precision
from core.compute.torch_settings import TorchSettings, describe_environment, usable_threads
from core.config.training import TrainConfig
from core.data import datasets
from core.diffusion.frames import to_uint8
from core.errors import CheckpointError, DeviceUnavailable, NotFinite, RunError, TrainingError
from core.evaluation.feature_classifiers import images_sha256
from core.evaluation.scores import EvaluationProgress, Reference, prepare, quick_scores
from core.models.weights import write_tensors
from core.runs.directory import MODEL, STATE
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
    Resumed,
    Started,
    Stopped,
    Warned,
)
from core.runs.writer import RunWriter
from core.system.disk_usage import remedy
from core.system.signals import Interrupts
from core.text import memory_size
from core.training.distributed import REFUSAL, DistributedContext
from core.training.loss_window import RunningEpoch, Window, least_seconds
from core.training.memory_estimate import training_memory
from core.training.state import read_state
from core.training.trainer import PREVIEWS, Trainer

T = TypeVar("T")
State = tuple[dict[str, Tensor], int, dict[str, Any]]  # tensors, step, and what else the header holds
CHECKPOINT_SECONDS = 60.0
PAUSE_POLL_SECONDS = 0.1
EVALUATED = 2_000  # samples, where --eval-every asks for an evaluation
COMPILING_PAYS = 5_000  # steps on CUDA that should make up for the time compiling takes; a guess, not yet measured
# What may differ between a run's config and its saved state: where and how long it trains, not what is learned.
FREE_TO_CHANGE = {
    *("name", "root", "data_root", "device", "threads", "deterministic", "epochs", "compile", "eval_every"),
    *("max_skipped", "nproc", "micro_batch", "fit_memory"),
}


class TrainingLoop:
    """Moves a trainer to the end of its run unless it is stopped; writes checkpoints if there is a run directory.

    In a distributed run it is the main process's: it broadcasts what to prepare and how many steps to take next.
    """

    def __init__(
        self,
        config: TrainConfig,
        interrupts: Interrupts,
        run: RunWriter | None = None,
        *,
        device: str | None = None,
        distributed: DistributedContext | None = None,
    ) -> None:
        self.config = config
        self.run = run
        self._distributed = distributed or DistributedContext()
        self._devices: list[str] = []  # of all processes
        self._interrupts = interrupts
        self._asked_device = device
        self._trainer: Trainer | None = None
        self._window = Window()
        self._epoch = RunningEpoch()
        self._skipped_in_a_row = 0
        self._planned_epochs = config.epochs  # of the run before it was resumed
        self._reference: Reference | None = None
        self._seconds = 0.0  # of training, over all trainers of the run
        self._step_seconds = 0.0  # in the newest window
        self._saved = time.monotonic()
        self._data_sha256 = ""
        self._began_with: dict[str, str] = {}  # circumstances of the previous trainer, in words

    def events(self) -> Iterator[Event]:
        """Everything that happens, in order; ends after `finished` or `stopped`."""
        saved = self._read_state()
        device = self._pick_device()
        run = closing(self._run(saved, device))
        with TorchSettings(self.config) as settings, within_memory(out_of_memory_error(self.config)), run as events:
            for event in events:
                with settings.released():
                    yield event
        self._distributed.broadcast(None)
        self._interrupts.raise_received()

    def _run(self, saved: State | None, device: torch.device) -> Generator[Event, None, None]:
        """Restore the state, load the data, and train to the end or until stopped."""
        self._trainer = trainer = Trainer(self.config, device, self._distributed)
        if saved is not None:
            self._restore(trainer, *saved)
        yield self._opening(trainer)
        yield from self._differences(device)
        validation = yield from self._take_data(trainer)
        if validation is not None:
            self._distributed.broadcast(trainer.step)
            self._distributed.broadcast_tensors(trainer.learned())
            self._saved = time.monotonic()
            yield from self._train(trainer, validation)

    def stop(self, reason: str) -> Iterator[Event]:
        """Write what there is to keep, and the last word."""
        if self._trainer is not None and self._trainer.step > 0:
            yield from self._save(self._trainer)
        yield Stopped(step=self._trainer.step if self._trainer else 0, reason=reason)

    # Taking up a run

    def _read_state(self) -> State | None:
        if self.run is None or not (self.run.path / STATE).exists():
            return None
        path = self.run.path / STATE
        tensors, config, step, more = read_state(path)
        was, now = config.model_dump(), self.config.model_dump()
        changed = [name for name in now if name not in FREE_TO_CHANGE and was[name] != now[name]]
        if changed:
            name = changed[0]
            raise CheckpointError(
                f"config.toml says {name} = {now[name]!r}, but the run was trained with {was[name]!r}; "
                "put it back, or start a new run"
            )
        return tensors, step, {**more, "epochs": config.epochs}

    def _restore(self, trainer: Trainer, tensors: dict[str, Tensor], step: int, more: dict[str, Any]) -> None:
        """Take up the state that `_save` wrote."""
        try:
            trainer.restore(tensors, step, self._path(STATE))
            self._epoch = RunningEpoch(**more["epoch"])
            self._seconds = more["seconds"]
            self._data_sha256 = more["data_sha256"]
            self._skipped_in_a_row = max(0, int(more.get("skipped", 0)))
            self._planned_epochs = more["epochs"]
            self._began_with = describe_environment(more["device"], more["torch"], more.get("processes", 1))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self._path(STATE)} lacks what resuming needs ({error}); start a new run") from None

    def _pick_device(self) -> torch.device:
        """Decide where and how to compute, here and all over the distributed."""
        asked = self._asked_device or self.config.device
        try:
            device = self._distributed.pick_device(asked)
        except DeviceUnavailable as error:
            raise DeviceUnavailable(f"{error}; or choose another with --device") from None
        processes = self._distributed.place.local_size
        if self.config.threads is None or self.config.nproc != processes:
            self.config = self.config.changed(threads=torch.get_num_threads(), nproc=processes)
        if self.config.precision == "auto":
            self.config = self.config.changed(precision=pick_precision("auto", device))
        self._distributed.broadcast(self.config.changed(device=device.type).model_dump(mode="json"))
        self._devices = self._agreed(self._distributed.device_name(device))
        return device

    def _agreed(self, words: str) -> list[str]:
        """The result of every process; raises the error of one that failed."""
        answers = self._distributed.all_gather(words)
        for rank, answer in enumerate(answers):
            if answer.startswith(REFUSAL):
                raise TrainingError(f"process {rank} cannot take part: {answer.removeprefix(REFUSAL)}")
        return answers

    def _opening(self, trainer: Trainer) -> Started | Resumed:
        said: dict[str, Any] = {
            "name": self.config.name or "",
            "device": str(trainer.device),
            "threads": usable_threads(self.config),
            "parameters": trainer.parameters,
            "epochs": self.config.epochs,
            "torch": torch.__version__,
            "devices": ", ".join(self._devices) if self._distributed.size > 1 else "",
        }
        return Resumed(step=trainer.step, **said) if trainer.step else Started(**said)

    def _differences(self, device: torch.device) -> Iterator[Event]:
        threads = usable_threads(self.config)
        if self.config.threads != threads:
            yield Warned(
                message=f"threads = {self.config.threads:,} is more than this machine's {threads} cores, so {threads} "
                "are used; another number of threads changes the last digits"
            )
        if self._planned_epochs != self.config.epochs:
            rates = (
                "; the learning rate is now that of a run of this length" if self.config.lr_schedule == "linear" else ""
            )
            yield Warned(
                message=f"the run's length changes from {self._planned_epochs} to {self.config.epochs} epochs{rates}"
            )
        now_with = describe_environment(device.type, torch.__version__, self._distributed.size)
        for what, was in self._began_with.items():
            if was != now_with[what]:
                yield Warned(
                    message=f"this run began {was} and goes on {now_with[what]}: its numbers will not be "
                    "bit for bit those of an uninterrupted run"
                )

    def _take_data(self, trainer: Trainer) -> Generator[Event, None, datasets.Dataset | None]:
        """Put the data where it is needed; the test split, or None if stopped while downloading."""
        finding = datasets.locate(self.config.dataset, self.config.data_root, limit=self.config.limit)
        while True:
            try:
                event = next(finding)
            except StopIteration as found:
                located: datasets.Located = found.value
                break
            yield event
            if self._interrupts.received is not None or (self.run and self.run.requests.is_pending("stop")):
                finding.close()
                yield from self.stop("while the data was being fetched")
                return None
        train = datasets.read(located, "train", self.config.limit)
        test = datasets.read(located, "test", self.config.limit)
        seen = images_sha256(train)
        if self._data_sha256 not in ("", seen):
            raise RunError(
                f"the {located.name} images found in {located.directory} are not those that this run was trained on; "
                "put those back, or start a new run"
            )
        self._data_sha256 = seen
        trainer.take(train.images, train.labels)
        self._check_position(trainer)
        compiled = self.config.compile
        if compiled is None:
            compiled = trainer.device.type == "cuda" and trainer.total_steps >= COMPILING_PAYS
        if compiled:
            trainer.compile()
        self.config = self.config.changed(dataset=located.name, device=trainer.device.type, compile=compiled)
        if self.run is not None:
            self.run.write_config(self.config)
        self._distributed.broadcast({"dataset": located.name, "sha256": seen, "compile": compiled})
        self._agreed("")
        memory = training_memory(trainer)
        yield DatasetLoaded(
            name=located.name,
            source=str(located.directory),
            train=len(train.images),
            test=len(test.images),
            sha256=located.sha256("train"),
            steps_per_epoch=trainer.steps_per_epoch,
            memory=memory,
        )
        held, free = memory_held(trainer.device) or 0, memory_free(trainer.device)
        if memory is not None and memory > held + free:
            yield Warned(
                message=f"training needs about {memory_size(memory)} of memory, and {memory_size(held + free)} are "
                "available; if it runs out, use --fit-memory or a smaller --batch-size"
            )
        return datasets.Dataset(test.images.to(trainer.device), test.labels.to(trainer.device))

    def _check_position(self, trainer: Trainer) -> None:
        """Refuse a state that counts more or fewer steps of its epoch than fit its step."""
        steps, whole = self._epoch.steps, trainer.steps_per_epoch
        if steps > whole or (trainer.step - steps) % whole:
            raise CheckpointError(
                f"{self._path(STATE)} has a header that makes no sense ({steps} steps into an epoch of {whole} after "
                f"{trainer.step} steps); start a new run"
            )

    # Going on with it

    def _train(self, trainer: Trainer, validation: datasets.Dataset) -> Generator[Event, None, None]:
        if (yield from self._handle_requests(trainer)):  # what was asked while the trainer started
            return
        if trainer.step >= trainer.total_steps and not self._epoch.steps:
            yield from self._save(trainer)  # of the last state: its trainer may have ended before the model was written
        # An epoch whose end was not reached in time is ended first.
        while trainer.step < trainer.total_steps or self._epoch.steps:
            stopped = yield from self._run_epoch(trainer, validation)
            if stopped:
                return
        if self._skipped_in_a_row:
            raise self._diverged(self._skipped_in_a_row, trainer)
        yield Finished(step=trainer.step, seconds=self._seconds)

    def _run_epoch(self, trainer: Trainer, validation: datasets.Dataset) -> Generator[Event, None, bool]:
        """Go on to the end of the epoch and through it; True if stopped on the way."""
        while self._epoch.steps < trainer.steps_per_epoch:
            self._window.begin()
            ahead = self._ahead(trainer)
            self._distributed.broadcast(ahead)
            for _ in range(ahead):
                self._window.add(*trainer.advance())
            ends = self._epoch.steps + len(self._window) == trainer.steps_per_epoch
            if ends or self._window.is_due(self._seconds):
                yield from self._read_window(trainer)
                if (yield from self._handle_requests(trainer)):
                    return True
                if time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
                    yield from self._save_if_finite(trainer)
        epoch = -(-trainer.step // trainer.steps_per_epoch)
        total = 0.0
        for error in trainer.validation_errors(*validation):
            total += float(error)
            if (yield from self._handle_requests(trainer)):
                return True
        try:
            images = to_uint8(trainer.preview())
        except NotFinite as error:
            yield Warned(message=f"no preview of epoch {epoch}: {error}")
        else:
            height, width = validation.images.shape[2:]
            yield Preview(epoch=epoch, step=trainer.step, count=PREVIEWS, height=height, width=width, images=images)
        ended, self._epoch = self._epoch, RunningEpoch()
        yield Epoch(
            epoch=epoch,
            step=trainer.step,
            loss=ended.average,
            validation_loss=total / validation.images.numel(),
            seconds=ended.seconds,
        )
        yield from self._save_if_finite(trainer)
        if self.config.eval_every and epoch % self.config.eval_every == 0:
            return (yield from self._evaluate(trainer, epoch))
        return False

    def _evaluate(self, trainer: Trainer, epoch: int) -> Generator[Event, None, bool]:
        """Measure some samples; True if stopped on the way."""
        began = time.monotonic()
        if self._reference is None:
            preparing = prepare(self.config.dataset, self.config.data_root, self.config.limit)
            self._reference = yield from self._followed(trainer, preparing)
            if self._reference is None:
                return True
        n = min(EVALUATED, len(self._reference.validation.images))
        try:
            found = yield from self._followed(trainer, quick_scores(trainer.sampleable(), n, self._reference))
        except NotFinite as error:
            yield Warned(message=f"no evaluation of epoch {epoch}: {error}")
            return False
        if found is None:
            return True
        frechet, agreement = found
        yield Evaluated(
            epoch=epoch,
            step=trainer.step,
            n=n,
            frechet=frechet,
            agreement=math.nan if agreement is None else agreement,
            seconds=time.monotonic() - began,
        )
        return False

    def _followed(
        self, trainer: Trainer, work: Generator[EvaluationProgress | Event, None, T]
    ) -> Generator[Event, None, T | None]:
        """Do part of an evaluation, saying what takes long; its result, or None if stopped on the way."""
        saying = ""
        while True:
            try:
                step = next(work)
            except StopIteration as end:
                found: T = end.value
                return found
            if isinstance(step, Event):
                yield step
            elif step.doing != saying and step.doing.startswith("training"):
                yield Warned(message=f"{step.doing}, which is done once and takes some minutes")
                saying = step.doing
            if (yield from self._handle_requests(trainer)):
                work.close()
                return None

    def _ahead(self, trainer: Trainer) -> int:
        """Steps to take before the next look: one, or in a distributed run about a window's worth."""
        if self._distributed.size == 1 or not self._step_seconds:
            return 1
        left = trainer.steps_per_epoch - self._epoch.steps - len(self._window)
        return max(1, min(left, round(least_seconds(self._seconds) / self._step_seconds)))

    def _read_window(self, trainer: Trainer) -> Iterator[Event]:
        reading = self._window.read()
        self._epoch.add(reading)
        self._seconds += reading.seconds
        self._step_seconds = reading.seconds / len(reading.losses)
        yield reading.as_event(
            step=trainer.step,
            epoch=-(-trainer.step // trainer.steps_per_epoch),
            learning_rate=trainer.learning_rate,
            device=trainer.device,
        )
        most, self._skipped_in_a_row = reading.skipped_in_a_row(self._skipped_in_a_row)
        if most >= self.config.max_skipped:
            raise self._diverged(most, trainer)
        if reading.skipped:
            yield Warned(
                message=f"left out {reading.skipped} of the steps up to {trainer.step:,}, "
                "whose loss or gradient was not a number; the weights are as before them"
            )
        if trainer.micro_batch != self.config.micro_batch:
            self.config = self.config.changed(micro_batch=trainer.micro_batch)
            if self.run is not None:
                self.run.write_config(self.config)
            yield Warned(
                message=f"memory ran out at step {trainer.step:,}: from here on {trainer.micro_batch} images are "
                "computed at once (--micro-batch), and the gradients of a batch's parts added up"
            )

    def _handle_requests(self, trainer: Trainer) -> Generator[Event, None, bool]:
        """Do what a signal or other processes asked for, in their order; True if that was to stop.

        While paused it does not return.
        """
        paused = False
        while True:
            if self._interrupts.received is not None:
                yield from self.stop(self._interrupts.received.name)
                return True
            yield from self._restore_files()
            match self.run.requests.next_request() if self.run is not None else None:
                case "stop":
                    yield from self.stop("asked")
                    return True
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
                    return False
                case _:
                    pass  # nothing to do for it now, or not a request that this version knows

    def _restore_files(self) -> Iterator[Event]:
        for name in self.run.restore_files() if self.run is not None else ():
            yield Warned(message=f"{name} was deleted or replaced while this run trains; it has been written again")

    def _diverged(self, skipped: int, trainer: Trainer) -> TrainingError:
        """The error for a run whose newest steps had no finite loss or gradient."""
        intact = "; the last checkpoint is intact" if self.run is not None and self._path(STATE).exists() else ""
        steps = "step" if skipped == 1 else f"{skipped} steps"
        return TrainingError(
            f"training diverged: the loss or a gradient was not finite in the last {steps}, up to step "
            f"{trainer.step:,}{intact}; start a new run with a lower --learning-rate"
        )

    def _save_if_finite(self, trainer: Trainer) -> Iterator[Event]:
        """Write a checkpoint unless the last steps were skipped, so that the one before a divergence is kept."""
        if not self._skipped_in_a_row:
            yield from self._save(trainer)

    def _save(self, trainer: Trainer) -> Iterator[Event]:
        """Write the state, then the model made of it, if there is a place to write to."""
        self._saved = time.monotonic()
        if self.run is None:
            return
        yield from self._restore_files()  # which ends here if the run is another trainer's by now
        if not trainer.is_finite():
            raise TrainingError(
                f"a weight is no longer a number at step {trainer.step}; the last checkpoint is intact; "
                "start again with a lower --learning-rate"
            )
        more = {
            "epoch": dataclasses.asdict(self._epoch),
            "seconds": self._seconds,
            "data_sha256": self._data_sha256,
            "device": trainer.device.type,
            "torch": torch.__version__,
            "processes": self._distributed.size,
            "skipped": self._skipped_in_a_row,
        }
        try:
            write_tensors(self._path(STATE), "state", trainer.state(), self.config, trainer.step, **more)
            write_tensors(self._path(MODEL), "model", trainer.ema_net.state_dict(), self.config, trainer.step)
        except OSError as error:
            self.run.restore_files()
            raise RunError(
                f"cannot write a checkpoint to {self.run.path}: {error.strerror}; the last one is intact; "
                f"{remedy(error)}, then resume"
            ) from None
        yield Checkpoint(step=trainer.step)

    def _path(self, name: str) -> Any:
        assert self.run is not None, "only a run directory has files"
        return self.run.path / name
