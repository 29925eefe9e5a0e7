"""One sitting of a trainer at a run: from taking up its state to the last word, as a stream of events."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from core import data
from core.checkpoint import read_tensors, write_tensors
from core.classifiers import images_sha256
from core.config import TrainConfig
from core.devices import pick_device
from core.errors import CheckpointError, DeviceUnavailable, RunError, TrainingError
from core.evaluation import Progressed, Reference, glance, prepare
from core.events import (
    Checkpoint,
    Continued,
    Dataset,
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
from core.held_run import HeldRun
from core.interrupts import Interrupts
from core.memory import within_memory
from core.precision import pick_precision
from core.recording import to_uint8
from core.runs import MODEL, STATE
from core.trainer import PREVIEWS, Trainer
from core.windows import EpochSoFar, Window

T = TypeVar("T")
CHECKPOINT_SECONDS = 60.0
PAUSE_POLL_SECONDS = 0.1
EVALUATED = 2_000  # samples, where --eval-every asks for an evaluation
MOST_SKIPPED = 20  # steps in a row whose loss is not a number
COMPILING_PAYS = 5_000  # steps on CUDA that should make up for the time compiling takes; a guess, not yet measured
# What may differ between a run's config and its saved state: where and how long it trains, not what is learned.
FREE_TO_CHANGE = {"name", "root", "data_root", "device", "threads", "deterministic", "epochs", "compile", "eval_every"}


class Sitting:
    """Moves a trainer to the end of its run unless it is stopped; writes checkpoints if there is a run directory."""

    def __init__(
        self, config: TrainConfig, interrupts: Interrupts, run: HeldRun | None = None, *, device: str | None = None
    ) -> None:
        self.config = config
        self.run = run
        self._interrupts = interrupts
        self._asked_device = device
        self._trainer: Trainer | None = None
        self._window = Window()
        self._epoch = EpochSoFar()
        self._skipped_in_a_row = 0
        self._reference: Reference | None = None
        self._seconds = 0.0  # of training, over all sittings
        self._saved = time.monotonic()
        self._data_sha256 = ""
        self._began_with: dict[str, str] = {}  # the device and the version of torch of the sitting before

    def events(self) -> Iterator[Event]:
        """Everything that happens, in order; ends after `finished` or `stopped`."""
        saved = self._read_state()
        device = self._pick_device()
        too_large = TrainingError(
            f"a batch of {self.config.batch_size} does not fit into memory; start again with a smaller --batch-size"
        )
        with _machine(self.config), within_memory(too_large):
            self._trainer = trainer = Trainer(self.config, device)
            if saved is not None:
                self._restore(trainer, *saved)
            yield self._opening(trainer)
            yield from self._differences(device)
            held_out = yield from self._take_data(trainer)
            if held_out is not None:
                self._saved = time.monotonic()
                yield from self._train(trainer, held_out)
        self._interrupts.raise_received()

    def stop(self, reason: str) -> Iterator[Event]:
        """Write what there is to keep, and the last word."""
        if self._trainer is not None and self._trainer.step > 0:
            yield from self._save(self._trainer)
        yield Stopped(step=self._trainer.step if self._trainer else 0, reason=reason)

    # Taking up a run

    def _read_state(self) -> tuple[dict[str, Tensor], int, dict[str, Any]] | None:
        if self.run is None or not (self.run.path / STATE).exists():
            return None
        path = self.run.path / STATE
        tensors, config, step, more = read_tensors(path, "state")
        was, now = config.model_dump(), self.config.model_dump()
        changed = [name for name in now if name not in FREE_TO_CHANGE and was[name] != now[name]]
        if changed:
            name = changed[0]
            raise CheckpointError(
                f"config.toml says {name} = {now[name]!r}, but the run was trained with {was[name]!r}; "
                "put it back, or start a new run"
            )
        return tensors, step, more

    def _restore(self, trainer: Trainer, tensors: dict[str, Tensor], step: int, more: dict[str, Any]) -> None:
        """Take up the state that `_save` wrote."""
        try:
            trainer.restore(tensors, step, self._path(STATE))
            self._epoch = EpochSoFar(**more["epoch"])
            self._seconds = more["seconds"]
            self._data_sha256 = more["data_sha256"]
            self._began_with = {"on": more["device"], "with torch": more["torch"]}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self._path(STATE)} lacks what resuming needs ({error}); start a new run") from None

    def _pick_device(self) -> torch.device:
        try:
            device = pick_device(self._asked_device or self.config.device)
        except DeviceUnavailable as error:
            raise DeviceUnavailable(f"{error}; or choose another with --device") from None
        if self.config.threads is None:
            self.config = self.config.changed(threads=torch.get_num_threads())
        if self.config.precision == "auto":
            self.config = self.config.changed(precision=pick_precision("auto", device))
        return device

    def _opening(self, trainer: Trainer) -> Started | Resumed:
        said: dict[str, Any] = {
            "name": self.config.name or "",
            "device": str(trainer.device),
            "threads": self.config.threads,
            "parameters": trainer.parameters,
            "epochs": self.config.epochs,
            "torch": torch.__version__,
        }
        return Resumed(step=trainer.step, **said) if trainer.step else Started(**said)

    def _differences(self, device: torch.device) -> Iterator[Event]:
        now_with = {"on": device.type, "with torch": torch.__version__}
        for what, was in self._began_with.items():
            now = now_with[what]
            if was != now:
                yield Warned(
                    message=f"this run began {what} {was} and goes on {what} {now}: its numbers will not be "
                    "bit for bit those of an uninterrupted run"
                )

    def _take_data(self, trainer: Trainer) -> Generator[Event, None, data.Dataset | None]:
        """Put the data where it is needed; the test split, or None if stopped while downloading."""
        finding = data.locate(self.config.dataset, self.config.data_root, limit=self.config.limit)
        while True:
            try:
                event = next(finding)
            except StopIteration as found:
                located: data.Located = found.value
                break
            yield event
            if self._interrupts.received is not None or (self.run is not None and "stop" in self.run.requests()):
                finding.close()
                yield from self.stop("while the data was being fetched")
                return None
        train = data.read(located, "train", self.config.limit)
        test = data.read(located, "test", self.config.limit)
        seen = images_sha256(train)
        if self._data_sha256 not in ("", seen):
            raise RunError(
                f"the {located.name} images found in {located.directory} are not those that this run was trained on; "
                "put those back, or start a new run"
            )
        self._data_sha256 = seen
        trainer.take(train.images, train.labels)
        compiled = self.config.compile
        if compiled is None:
            compiled = trainer.device.type == "cuda" and trainer.total_steps >= COMPILING_PAYS
        if compiled:
            trainer.compile()
        self.config = self.config.changed(dataset=located.name, device=trainer.device.type, compile=compiled)
        if self.run is not None:
            self.run.write_config(self.config)
        yield Dataset(
            name=located.name,
            source=str(located.directory),
            train=len(train.images),
            test=len(test.images),
            sha256=located.sha256("train"),
            steps_per_epoch=trainer.steps_per_epoch,
        )
        return data.Dataset(test.images.to(trainer.device), test.labels.to(trainer.device))

    # Going on with it

    def _train(self, trainer: Trainer, held_out: data.Dataset) -> Iterator[Event]:
        if trainer.step >= trainer.total_steps and not self._epoch.steps:
            yield from self._save(trainer)  # of the last state: its trainer may have ended before the model was written
        # An epoch whose end was not reached in time is ended first.
        while trainer.step < trainer.total_steps or self._epoch.steps:
            stopped = yield from self._run_epoch(trainer, held_out)
            if stopped:
                return
        yield Finished(step=trainer.step, seconds=self._seconds)

    def _run_epoch(self, trainer: Trainer, held_out: data.Dataset) -> Generator[Event, None, bool]:
        """Go on to the end of the epoch and through it; True if stopped on the way."""
        while self._epoch.steps < trainer.steps_per_epoch:
            self._window.begin()
            self._window.add(*trainer.advance())
            ends = self._epoch.steps + len(self._window) == trainer.steps_per_epoch
            if ends or self._window.is_due(self._seconds):
                yield from self._read_window(trainer)
                if (yield from self._obey(trainer)):
                    return True
                if time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
                    yield from self._save(trainer)
        epoch = -(-trainer.step // trainer.steps_per_epoch)
        total = 0.0
        for error in trainer.held_out_errors(*held_out):
            total += float(error)
            if (yield from self._obey(trainer)):
                return True
        images = to_uint8(trainer.preview())
        height, width = held_out.images.shape[2:]
        yield Preview(epoch=epoch, step=trainer.step, count=PREVIEWS, height=height, width=width, images=images)
        ended, self._epoch = self._epoch, EpochSoFar()
        yield Epoch(
            epoch=epoch,
            step=trainer.step,
            loss=ended.average,
            held_out=total / held_out.images.numel(),
            seconds=ended.seconds,
        )
        yield from self._save(trainer)
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
        n = min(EVALUATED, len(self._reference.held_out.images))
        found = yield from self._followed(trainer, glance(trainer.sampleable(), n, self._reference))
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
        self, trainer: Trainer, work: Generator[Progressed | Event, None, T]
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
            if (yield from self._obey(trainer)):
                work.close()
                return None

    def _read_window(self, trainer: Trainer) -> Iterator[Event]:
        reading = self._window.read()
        self._epoch.add(reading)
        self._seconds += reading.seconds
        yield reading.as_event(
            step=trainer.step,
            epoch=-(-trainer.step // trainer.steps_per_epoch),
            learning_rate=trainer.learning_rate,
            device=trainer.device,
        )
        self._skipped_in_a_row = reading.skipped_in_a_row(self._skipped_in_a_row)
        if self._skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"the loss has not been a number for {self._skipped_in_a_row} steps up to step {trainer.step}; "
                "the last checkpoint is intact; start again with a lower --learning-rate"
            )
        if reading.skipped:
            yield Warned(
                message=f"left out {reading.skipped} of the steps up to {trainer.step:,}, "
                "whose loss or gradient was not a number; the weights are as before them"
            )

    def _obey(self, trainer: Trainer) -> Generator[Event, None, bool]:
        """Do what a signal or another process asked for; True if that was to stop."""
        if self._interrupts.received is not None:
            yield from self.stop(self._interrupts.received.name)
            return True
        for request in self.run.requests() if self.run is not None else ():
            if request == "stop":
                yield from self.stop("asked")
                return True
            if request == "checkpoint":
                yield from self._save(trainer)
            if request == "pause":
                yield from self._save(trainer)
                yield Paused(step=trainer.step)
                if (yield from self._wait(trainer)):
                    return True
                yield Continued(step=trainer.step)
        return False

    def _wait(self, trainer: Trainer) -> Generator[Event, None, bool]:
        """Wait until asked to continue; True if asked to stop instead."""
        assert self.run is not None, "only a run directory can ask for a pause"
        while True:
            if self._interrupts.received is not None:
                yield from self.stop(self._interrupts.received.name)
                return True
            requests = self.run.requests()
            if "stop" in requests:
                yield from self.stop("asked")
                return True
            if "continue" in requests:
                return False
            time.sleep(PAUSE_POLL_SECONDS)

    def _save(self, trainer: Trainer) -> Iterator[Event]:
        """Write the state, then the model made of it, if there is a place to write to."""
        self._saved = time.monotonic()
        if self.run is None:
            return
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
        }
        try:
            write_tensors(self._path(STATE), "state", trainer.state(), self.config, trainer.step, **more)
            write_tensors(self._path(MODEL), "model", trainer.kept.state_dict(), self.config, trainer.step)
        except OSError as error:
            remedy = "put the folder back" if isinstance(error, FileNotFoundError) else "free space"
            raise RunError(
                f"cannot write a checkpoint to {self.run.path}: {error.strerror}; the last one is intact; "
                f"{remedy}, then resume"
            ) from None
        yield Checkpoint(step=trainer.step)

    def _path(self, name: str) -> Any:
        assert self.run is not None, "only a run directory has files"
        return self.run.path / name


@contextmanager
def _machine(config: TrainConfig) -> Iterator[None]:
    """Set torch's process-wide switches for the sitting, and put them back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if config.threads is not None and config.threads != threads:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
