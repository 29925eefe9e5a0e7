"""Copies a run's curves and previews to TensorBoard, W&B or trackio; the run's event log stays the source.

Every tracker is a context manager that is called as tracker(folder, name, options) and yields a function that logs one
event. `folder` is where it writes, `name` the run's name and `options` its config. Nothing is sent over the network.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from core.errors import MinidiffError
from core.runs.directory import EVENTS, config_options
from core.runs.events import Epoch, Evaluated, Event, LossByLevel, Preview, Progress, Resumed
from core.runs.history import RunHistory
from core.system.extras import require

LogEvent = Callable[[Event], None]
Tracker = Callable[[Path, str, Mapping[str, Any]], AbstractContextManager[LogEvent]]
PROJECT = "minidiff"
FLUSH_SECONDS = 10


@contextmanager
def tensorboard(folder: Path, name: str, options: Mapping[str, Any]) -> Iterator[LogEvent]:
    """Log to TensorBoard's event files: `tensorboard --logdir FOLDER`."""
    from tensorboard.compat.proto.event_pb2 import Event as Record
    from tensorboard.compat.proto.event_pb2 import SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder), flush_secs=FLUSH_SECONDS)

    def log(event: Event) -> None:
        if isinstance(event, Resumed):  # TensorBoard drops what was logged from this step on
            start = SessionLog(status=SessionLog.START)
            writer.add_event(Record(wall_time=event.time, step=event.step + 1, session_log=start))
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(event).items()]
        if isinstance(event, Preview):
            image = preview_image(event)
            content = io.BytesIO()
            image.save(content, "PNG")
            encoded = Summary.Image(
                height=image.height,
                width=image.width,
                colorspace=event.channels,
                encoded_image_string=content.getvalue(),
            )
            values.append(Summary.Value(tag="preview", image=encoded))
        if values:
            record = Record(wall_time=event.time, step=step_of(event), summary=Summary(value=values))
            writer.add_event(record)

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def wandb(folder: Path, name: str, options: Mapping[str, Any]) -> Iterator[LogEvent]:
    """Log to an offline run of W&B: `wandb sync FOLDER/wandb/offline-run-*` uploads it."""
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(silent=True, console="off")
    try:
        run = wandb.init(
            project=PROJECT,
            name=name,
            id=name,  # so that a resumed run is the same run
            resume="allow",
            config=dict(options),
            dir=str(folder),
            mode="offline",
            settings=settings,
        )
        run.define_metric("*", step_metric="step")
    except wandb.Error as error:
        raise OSError(str(error)) from None

    def log(event: Event) -> None:
        values: dict[str, Any] = dict(scalars(event))
        if isinstance(event, Preview):
            values["preview"] = wandb.Image(preview_image(event))
        if values:
            try:
                run.log({**values, "step": step_of(event)})
            except wandb.Error as error:
                raise OSError(str(error)) from None

    try:
        yield log
    finally:
        run.finish()


@contextmanager
def trackio(folder: Path, name: str, options: Mapping[str, Any]) -> Iterator[LogEvent]:
    """Log to trackio's local database: `TRACKIO_DIR=FOLDER trackio show`.

    trackio writes to one folder per process.
    """
    os.environ["TRACKIO_DIR"] = str(folder.absolute())
    import trackio

    if folder.absolute() != trackio.utils.TRACKIO_DIR:
        raise OSError(f"trackio already writes to {trackio.utils.TRACKIO_DIR} in this process")
    with contextlib.redirect_stdout(sys.stderr):
        run = trackio.init(
            project=PROJECT, name=name, config=dict(options), resume="allow", auto_log_gpu=False, auto_log_cpu=False
        )

    def log(event: Event) -> None:
        values: dict[str, Any] = dict(scalars(event))
        if isinstance(event, Preview):
            values["preview"] = trackio.Image(preview_image(event))
        if values:
            run.log(values, step=step_of(event))

    try:
        yield log
    finally:
        with contextlib.redirect_stdout(sys.stderr):
            run.finish()


TRACKERS: dict[str, Tracker] = {"tensorboard": tensorboard, "wandb": wandb, "trackio": trackio}


def scalars(event: Event) -> dict[str, float]:
    """The numbers of an event to plot, by tag; only finite ones."""
    match event:
        case Progress():
            values = {
                "train/loss": event.loss,
                "train/learning_rate": event.learning_rate,
                "train/images_per_second": event.images_per_second,
                "train/memory": math.nan if event.memory is None else float(event.memory),
            }
        case Epoch():
            values = {"epoch/loss": event.loss, "epoch/validation_loss": event.validation_loss}
        case Evaluated():
            values = {"evaluation/frechet": event.frechet, "evaluation/agreement": event.agreement}
        case LossByLevel():
            values = {"floor/loss": event.loss, "floor/floor": event.floor, "floor/excess": event.loss - event.floor}
        case _:
            values = {}
    return {tag: value for tag, value in values.items() if math.isfinite(value)}


def step_of(event: Event) -> int:
    """The training step of an event."""
    step: int = getattr(event, "step", 0)
    return step


def preview_image(preview: Preview) -> Image.Image:
    """The preview's images side by side."""
    mode = "L" if preview.channels == 1 else "RGB"
    width, height = preview.width, preview.height
    row, size = Image.new(mode, (preview.count * width, height)), width * height * preview.channels
    for index in range(preview.count):
        pixels = preview.images[index * size : (index + 1) * size]
        row.paste(Image.frombytes(mode, (width, height), pixels), (index * width, 0))
    return row


class TrackerLog:
    """Context manager that logs the events of a run in training to a tracker.

    A problem with the tracker ends its logging, not the training.

    Args:
        name: One of `TRACKERS`; None: nothing is logged.
        path: The run's directory; the tracker writes to a folder in it that has the tracker's name.

    Raises:
        MinidiffError: Its package is not installed.
    """

    def __init__(self, name: str | None, path: Path) -> None:
        self._name = name
        self._path = path
        self._stack = contextlib.ExitStack()
        self._log: LogEvent | None = None
        if name is not None:
            require(name)

    def __enter__(self) -> TrackerLog:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._stack.close()

    def add(self, event: Event) -> str | None:
        """Log an event; returns a warning if the tracker failed, after which nothing more is logged to it."""
        if self._name is None:
            return None
        try:
            if self._log is None:  # the first event: the config is complete
                options = config_options(self._path) or {}
                tracker = TRACKERS[self._name](self._path / self._name, self._path.name, options)
                self._log = self._stack.enter_context(tracker)
            self._log(event)
        except OSError as error:
            name, self._name = self._name, None
            return (
                f"{name} failed ({error}); training continues without it, and `minidiff export {self._path.name} --to "
                f"{name} FOLDER` writes everything later"
            )
        return None


def export_events(path: Path, tracker: str, folder: Path) -> int:
    """Write the log of a run to a tracker's files; steps that a resumed run repeated appear once.

    Args:
        path: The run's directory.
        tracker: One of `TRACKERS`.
        folder: A folder, created if needed.

    Returns:
        The number of events with numbers or images.

    Raises:
        MinidiffError: The tracker's package is not installed, the run has no events, or `folder` cannot be written.
    """
    require(tracker)
    history = RunHistory.of(path / EVENTS)
    evaluations = {note.epoch: note for note in history.notes if isinstance(note, Evaluated)}
    events: list[Event] = [*history.progress, *history.epochs, *history.previews]
    events += [note for note in evaluations.values() if note.step <= history.step]
    if not events:
        raise MinidiffError(f"{path.name} has not logged any steps yet; export it after its first ones")
    try:
        with TRACKERS[tracker](folder, path.name, config_options(path) or {}) as log:
            for event in sorted(events, key=step_of):
                log(event)
    except OSError as error:
        raise MinidiffError(f"cannot write to {folder} with {tracker}: {error}; choose another folder") from None
    return len(events)
