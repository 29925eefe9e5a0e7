"""Sampling for `minidiff sample`, in batches and with a progress bar if there are several."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from core.cli.evaluation import progress_display
from core.config.sampling import image_count, resolve_sampling
from core.diffusion.frames import record, to_uint8
from core.diffusion.sampling import BATCH, sample, sample_batches
from core.errors import MinidiffError
from core.evaluation.reference import EvaluationProgress
from core.runs.trajectory import IMAGE_BYTES, Denoising, Frame

if TYPE_CHECKING:
    from core.diffusion.loaded_model import LoadedModel


def generate(model: LoadedModel, n: int, seed: int, *, every_step: bool, **options: Any) -> Denoising:
    """Generate samples as one frame, or with `every_step` as one frame per step, all in memory.

    Args:
        model, n, seed, options: as for `core.sample`.
        every_step: keep all frames, for a figure or a GIF.

    Raises:
        MinidiffError: as `core.sample`; also if the frames exceed `IMAGE_BYTES`.
    """
    n = image_count(n)
    if every_step:
        sampling_options = {name: value for name, value in options.items() if name != "labels"}
        steps = resolve_sampling(model.config, 1, **sampling_options)[0].steps
        maximum = IMAGE_BYTES // (math.prod(model.config.info.shape) * (steps + 1))
        if n > maximum:
            raise MinidiffError(
                f"a figure or GIF of {n:,} images with {steps:,} steps is too large; "
                f"use at most {maximum:,} images (--n)"
            )
        return record(sample(model, n=n, seed=seed, **options), model=model.name, seed=seed)
    frames: list[Frame] = []
    with progress_display("sampling") if n > BATCH else nullcontext() as add:
        for batch in sample_batches(model, n, seed=seed, **options):
            *_, last = batch
            frames.append(Frame(last.index, last.t, to_uint8(last.x), None))
            if add is not None:
                add(EvaluationProgress("sampling", min(len(frames) * BATCH, n), n))
    channels, height, width = last.x.shape[1:]
    merged = dataclasses.replace(frames[-1], x=b"".join(frame.x for frame in frames))
    return Denoising(model.name, seed, last.index, n, height, width, (merged,), channels)
