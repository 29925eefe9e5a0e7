"""What `minidiff sample` computes: a batch at a time, with its progress where there are several."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from core.cli.evaluation import showing
from core.config.sampling import image_count, resolve_sampling
from core.diffusion.frames import record, to_uint8
from core.diffusion.sampling import BATCH, PIXELS, sample, sample_batches
from core.errors import MinidiffError
from core.evaluation.scores import EvaluationProgress
from core.runs.trajectory import IMAGE_BYTES, Denoising, Frame

if TYPE_CHECKING:
    from core.diffusion.loaded_model import LoadedModel


def sampled(model: LoadedModel, n: int, seed: int, *, every_step: bool, **options: Any) -> Denoising:
    """The samples as one frame, or as a frame for every step, which are kept in memory together.

    Args:
        model, n, seed, options: as for `core.sample`.
        every_step: keep all frames, for a figure or a GIF.

    Raises:
        MinidiffError: as `core.sample`; also more frames than `IMAGE_BYTES` allows.
    """
    n = image_count(n)
    if every_step:
        asked = {name: value for name, value in options.items() if name != "labels"}
        steps = resolve_sampling(model.config, 1, **asked)[0].steps
        most = IMAGE_BYTES // (PIXELS * (steps + 1))
        if n > most:
            raise MinidiffError(
                f"a figure or GIF of {n:,} images with {steps:,} steps is too large; take at most {most:,} images (--n)"
            )
        return record(sample(model, n=n, seed=seed, **options), model=model.name, seed=seed)
    frames: list[Frame] = []
    with showing("sampling") if n > BATCH else nullcontext() as add:
        for batch in sample_batches(model, n, seed=seed, **options):
            *_, last = batch
            frames.append(Frame(last.index, last.t, to_uint8(last.x), None))
            if add is not None:
                add(EvaluationProgress("sampling", min(len(frames) * BATCH, n), n))
    height, width = last.x.shape[2:]
    whole = dataclasses.replace(frames[-1], x=b"".join(frame.x for frame in frames))
    return Denoising(model.name, seed, last.index, n, height, width, (whole,))
