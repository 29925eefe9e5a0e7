"""The snapshots of a run: which steps have one, where the files are, and samples of all of them for display."""

from __future__ import annotations

import contextlib
import math
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import CheckpointError
from core.runs.directory import SNAPSHOTS, config_options, is_builtin
from core.runs.events import Evaluated
from core.runs.history import RunHistory, loss_text

DEFAULT_COUNT = 40
DEFAULT_BYTES = 256_000_000  # of all snapshots of a run together, unless their number was chosen
_NAME = re.compile(r"(\d{6,15})\.safetensors")
_TEMPORARY = re.compile(r"\.\d{6,15}\.safetensors\.tmp")  # left by a trainer that was killed


@dataclass(frozen=True, slots=True, order=True)
class Snapshot:
    """The weights after `step` training steps, in float16."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class LoggedValues:
    """What the log of a run says about one of its steps; None where nothing was measured up to it."""

    loss: float | None = None  # mean training loss of the window that the step is in
    validation_loss: float | None = None  # of the last epoch that ended up to the step
    validation_step: int | None = None  # its last step
    distance: float | None = None  # of the last evaluation up to the step

    @property
    def text(self) -> str:
        """In words; empty if nothing was measured."""
        parts = [] if self.loss is None else [f"training loss {loss_text(self.loss)}"]
        if self.validation_loss is not None:
            parts.append(f"validation loss {loss_text(self.validation_loss)}")
        if self.distance is not None:
            parts.append(f"distance {self.distance:.4g}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class SnapshotFrame:
    """Samples of one snapshot: uint8 images of shape (n, height, width, channels)."""

    step: int
    images: bytes
    read: tuple[tuple[int, int], ...] | None = None  # predicted class and confidence in percent of each image
    logged: LoggedValues = LoggedValues()
    validation_loss: float | None = None  # measured on some images; None: it was not measured

    @property
    def title(self) -> str:
        """The step and what is known about it, such as "step 512: training loss 0.18342"."""
        known = self.logged
        if self.validation_loss is not None:
            known = replace(known, validation_loss=self.validation_loss, validation_step=self.step)
        return f"step {self.step:,}" + (f": {known.text}" if known.text else "")


@dataclass(frozen=True, slots=True)
class SnapshotSeries:
    """Samples of the snapshots of a run, all from the same noise; `frames` are those sampled so far, by step."""

    model: str
    seed: int
    n: int
    height: int
    width: int
    channels: int
    characters: bool  # as in `core.runs.trajectory.Denoising`
    steps: tuple[int, ...]  # of all snapshots, ascending
    frames: tuple[SnapshotFrame, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all snapshots are sampled."""
        return len(self.frames) == len(self.steps)


def file_name(step: int) -> str:
    """The name of a snapshot's file, such as 000512.safetensors."""
    return f"{step:06}.safetensors"


def snapshot_steps(total: int, count: int) -> list[int]:
    """At most `count` steps at which a run of `total` steps keeps its weights: 0, then in ratios as equal as possible.

    They are evenly spaced in the logarithm of the step, from 1 to `total`, except that early steps, which would be the
    same when rounded, follow one another. A single one is `total`.
    """
    if count < 2:
        return [total] * count
    steps = [0]
    for left in range(min(count - 1, total), 0, -1):  # of the steps that follow
        before = steps[-1]
        ratio = (total / before) ** (1 / left) if before else 0.0
        steps.append(total if left == 1 else max(before + 1, round(before * ratio)))
    return steps


def planned_steps(chosen: int | None, total: int, bytes_each: int) -> list[int]:
    """The steps of a run of `total` steps that have a snapshot.

    Args:
        chosen: the number of snapshots; None: `DEFAULT_COUNT`, or as many as `DEFAULT_BYTES` hold.
        total: number of steps of the run.
        bytes_each: size of one snapshot.
    """
    if chosen is not None:
        return snapshot_steps(total, chosen)
    count = min(DEFAULT_COUNT, DEFAULT_BYTES // max(1, bytes_each))
    return snapshot_steps(total, count) if count > 1 else []  # the last one alone is the model


def kept_steps(existing: Sequence[int], planned: Iterable[int], step: int) -> set[int]:
    """Of the steps that have a snapshot, those that a run resumed at `step` keeps, with its present plan.

    For every planned step up to `step` the nearest one on a logarithmic scale is kept, so that all snapshots, with
    those that follow, are at most as many as planned. Those beyond `step` are not part of the run any more.
    """
    usable = [other for other in existing if other <= step]
    if not usable:
        return set()
    return {
        min(usable, key=lambda other: abs(math.log1p(other) - math.log1p(target)))
        for target in planned
        if target <= step
    }


def list_snapshots(run: str | Path) -> list[Snapshot]:
    """The snapshots in a run directory, by step; empty if it has none.

    Raises:
        CheckpointError: their folder cannot be read.
    """
    run = Path(run)
    try:
        with os.scandir(run / SNAPSHOTS) as entries:
            files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"cannot read the snapshots of {run.name}: {error.strerror}") from None
    steps = (int(match[1]) for name in files if (match := _NAME.fullmatch(name)))
    return [Snapshot(step, run / SNAPSHOTS / file_name(step)) for step in sorted(set(steps))]


def find_snapshot(run: Path, step: int) -> Snapshot:
    """The snapshot of a run after `step` steps.

    Raises:
        CheckpointError: there is none; the message names those that are nearest.
    """
    snapshots = list_snapshots(run)
    for snapshot in snapshots:
        if snapshot.step == step:
            return snapshot
    if not snapshots:
        raise missing_snapshots(run)
    raise CheckpointError(
        f"{run.name} has no snapshot of step {step}; there are those of steps {_nearest(snapshots, step)}"
    )


def missing_snapshots(run: Path) -> CheckpointError:
    """The error for a run or a built-in model without snapshots."""
    if is_builtin(run):
        reason = "it is a built-in model; `minidiff train` keeps snapshots of a run of your own"
    elif (config_options(run) or {}).get("snapshots") == 0:
        reason = "it was trained with --snapshots 0; train with another number"
    else:
        reason = (
            "they were deleted, its network is too large for the default number, or an earlier version trained it; "
            "choose a number with --snapshots when training"
        )
    return CheckpointError(f"{run.name} has no snapshots: {reason}")


def _nearest(snapshots: Sequence[Snapshot], step: int) -> str:
    before = [str(snapshot.step) for snapshot in snapshots if snapshot.step < step][-2:]
    after = [str(snapshot.step) for snapshot in snapshots if snapshot.step > step][:2]
    return ", ".join([*before, *after]) + (f" ({len(snapshots)} in all)" if len(snapshots) > 4 else "")


def remove_snapshots(run: Path, kept: Iterable[int]) -> None:
    """Remove the snapshots of other steps than `kept`, and incomplete files; what cannot be removed stays."""
    folder, keep = run / SNAPSHOTS, {file_name(step) for step in kept}
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if (_NAME.fullmatch(name) and name not in keep) or _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(folder / name)


def snapshots_bytes(run: Path) -> int:
    """Bytes that the snapshots of a run take on disk."""
    total = 0
    for snapshot in list_snapshots(run):
        with contextlib.suppress(OSError):  # removed meanwhile
            total += snapshot.path.stat().st_size
    return total


def logged_values(history: RunHistory, step: int) -> LoggedValues:
    """What is known about a step of a run."""
    first = bisect_left(history.progress, step, key=lambda window: window.step) if step else len(history.progress)
    losses = (window.loss for window in history.progress[first:] if math.isfinite(window.loss))
    epochs = [epoch for epoch in history.epochs if epoch.step <= step and math.isfinite(epoch.validation_loss)]
    measured = [note for note in history.notes if isinstance(note, Evaluated) and note.step <= step]
    measured = [note for note in measured if math.isfinite(note.frechet)]
    return LoggedValues(
        loss=next(losses, None),
        validation_loss=epochs[-1].validation_loss if epochs else None,
        validation_step=epochs[-1].step if epochs else None,
        distance=measured[-1].frechet if measured else None,
    )
