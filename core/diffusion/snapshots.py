"""Samples every snapshot of a run from the same noise, and records the samples for display."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from core.config.sampling import SamplingOptions
from core.diffusion.frames import Classify, quantized, to_bytes
from core.diffusion.loaded_model import LoadedModel, find_run_of, load_model
from core.diffusion.sampling import sample
from core.diffusion.validation import validation_loss
from core.errors import CheckpointError
from core.models.custom import Network
from core.runs.directory import EVENTS, root_directory
from core.runs.history import RunHistory
from core.runs.snapshots import (
    LoggedValues,
    SnapshotFrame,
    SnapshotSeries,
    list_snapshots,
    logged_values,
    missing_snapshots,
)


@dataclass(frozen=True, slots=True)
class SnapshotSamples:
    """Samples of one snapshot of a run, and what its log says about that step."""

    step: int
    x: Tensor  # (n, C, H, W), scaled to [0, 1], but not clipped
    model: LoadedModel
    logged: LoggedValues
    validation_loss: float | None = None  # measured on the images passed; None without any


def sample_snapshots(
    run: str | Path,
    n: int = 8,
    steps: int | None = None,
    seed: int = 0,
    *,
    device: str | torch.device = "auto",
    root: str | Path | None = None,
    training_steps: Iterable[int] | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    labels: int | Iterable[int] | None = None,
    net: Network | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[SnapshotSamples]:
    """Sample the same noise with every snapshot of a run, in the order of training.

    Args:
        run: A run directory, or the name of a run under `root`.
        n, steps, seed, labels, options: As for `sample`.
        device, root, net: As for `load_model`.
        training_steps: Only the snapshots of these steps; None: all.
        validation: Images, (N, C, H, W) uint8, and labels, (N,), as returned by `load_dataset`, on which the validation
            loss of each snapshot is measured; None: it is not.

    Yields:
        A record for each snapshot. One snapshot is in memory at a time, unless its record is kept.

    Raises:
        CheckpointError: There is no such run, it has no snapshots, or one is missing or damaged.
        MinidiffError: As for `sample`.
    """
    path = find_run_of(run, root_directory(root))
    chosen = [snapshot.step for snapshot in list_snapshots(path)] if training_steps is None else list(training_steps)
    if not chosen:
        raise missing_snapshots(path)
    if isinstance(labels, Iterator):  # which can be read only once
        labels = tuple(labels)
    history = RunHistory()
    with contextlib.suppress(OSError):  # then nothing is known
        history = RunHistory.of(path / EVENTS)
    for step in chosen:
        model = load_model(path, device, step=step, net=net)
        *_, last = sample(model, n, steps, seed, labels=labels, **options)
        measured = None if validation is None else validation_loss(model, *validation)
        yield SnapshotSamples(step, last.x, model, logged_values(history, step), measured)


def to_snapshot_frame(samples: SnapshotSamples, classify: Classify | None = None) -> SnapshotFrame:
    """Convert the samples of one snapshot to uint8; `classify`, if given, adds the class of each.

    Raises:
        NotFinite: A value is NaN or infinite.
    """
    pixels = quantized(samples.x)
    read = None if classify is None else classify(pixels)
    return SnapshotFrame(samples.step, to_bytes(pixels), read, samples.logged, samples.validation_loss)


def record_snapshots(samples: Iterable[SnapshotSamples], seed: int = 0) -> SnapshotSeries:
    """Keep the samples of all snapshots as uint8.

    Args:
        samples: As yielded by `sample_snapshots`.
        seed: Seed of the sampling, to be stored.

    Raises:
        CheckpointError: There are none.
        NotFinite: A value is NaN or infinite.
    """
    frames: list[SnapshotFrame] = []
    last: SnapshotSamples | None = None
    for last in samples:  # converted one by one, to free their tensors
        frames.append(to_snapshot_frame(last))
    if last is None:
        raise CheckpointError("there is nothing to record: no snapshot was sampled")
    n, channels, height, width = last.x.shape
    return SnapshotSeries(
        model=last.model.name,
        seed=seed,
        n=n,
        height=height,
        width=width,
        channels=channels,
        characters=last.model.config.characters,
        steps=tuple(frame.step for frame in frames),
        frames=tuple(frames),
    )
