"""Points that a model moves from noise to data, and their distance to the data by the number of steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from core.compute.torch_settings import one_thread
from core.config.numbers import whole_number
from core.config.plane import MAX_PARTICLES
from core.config.sampling import evaluations, resolve_sampling
from core.diffusion.editing import mix_classes
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import SampleStep, sample
from core.errors import MinidiffError
from core.evaluation.distances import energy_distance
from core.lab.plane.field import guidance_weights
from core.lab.plane.network import to_points
from core.lab.plane.points import PlanePoints

SAMPLER = "euler"  # supports all paths


@dataclass(frozen=True, slots=True)
class PlaneStep:
    """One step of the particles. Row k is particle k in every record."""

    index: int  # 0 is the noise
    t: float  # noise level: 1 at the start, 0 at the end
    points: Tensor  # (n, 2) float32, after this step
    denoised: Tensor | None  # (n, 2), clean points predicted from the previous points; None at index 0


@dataclass(frozen=True, slots=True)
class StepsComparison:
    """The samples of one number of steps."""

    steps: int
    evaluations: int  # network evaluations for each point
    points: Tensor  # (n, 2) float32
    distance: float  # energy distance to the data, in units of the plane


def particle_steps(
    model: LoadedModel,
    n: int = 1000,
    steps: int = 40,
    seed: int = 0,
    *,
    sampler: str = SAMPLER,
    label: int | None = None,
    guidance: float = 1.0,
    against: int | None = None,
    shift: float = 1.0,
) -> Iterator[PlaneStep]:
    """Move points from noise to data with `core.sample`.

    Args:
        model: The model of a `PlaneTraining` record.
        n: Number of points, 1 to `MAX_PARTICLES`.
        steps: Steps of the sampler, at least 1.
        seed: Seed of the noise.
        sampler: One of the samplers that the model's path supports.
        label: Class of all points, from 0; -1 for unconditional; None: all classes in turn.
        guidance: Guidance scale, applied at the noise levels of `core.config.sampling.GUIDED`; 1: off.
        against: Class that guidance leads away from, at all noise levels; None: away from the unconditional prediction.
            Scale 0 is the prediction of this class, 1 that of `label`, and values between them interpolate.
        shift: Shift of the noise schedule.

    Returns:
        An iterator over `steps` + 1 records; record 0 is the noise.

    Raises:
        MinidiffError: An argument is out of range, or the model does not support it.
    """
    n = whole_number(n, "n")
    if not 1 <= n <= MAX_PARTICLES:
        raise MinidiffError(f"n must lie between 1 and {MAX_PARTICLES:,}, not {n:,}")
    if against is None:
        trajectory = sample(
            model, n, steps, seed, labels=label, sampler=sampler, guidance=guidance, shift=shift, contrast=0.0
        )
    else:
        weights = guidance_weights(label, guidance, against)
        trajectory = mix_classes(
            model, weights, n, steps, seed, sampler=sampler, guidance=1.0, shift=shift, contrast=0.0
        )
    return _on_one_thread(trajectory)


def compare_steps(
    model: LoadedModel,
    data: PlanePoints,
    counts: Sequence[int] = (1, 2, 4, 8, 16, 40),
    n: int = 1000,
    seed: int = 0,
    *,
    sampler: str = SAMPLER,
    label: int | None = None,
    guidance: float = 1.0,
    shift: float = 1.0,
) -> Iterator[StepsComparison]:
    """Sample from the same noise in few steps and in many, and measure the distance to the data.

    For n samples and N points of the same distribution the mean of the energy distance is (1/n + 1/N) E|a - a'|, where
    a and a' are two independent points, so it does not fall to 0.

    Args:
        model, n, seed, sampler, label, guidance, shift: As for `particle_steps`.
        data: The points to compare with; with a label, only those of its class.
        counts: Numbers of steps.

    Returns:
        An iterator over one record for each number of steps.

    Raises:
        MinidiffError: As for `particle_steps`.
    """
    for steps in counts:
        *_, last = particle_steps(model, n, steps, seed, sampler=sampler, label=label, guidance=guidance, shift=shift)
        chosen, _ = resolve_sampling(
            model.config, n, steps=steps, labels=label, sampler=sampler, guidance=guidance, shift=shift, contrast=0.0
        )
        real = data.points if label is None or label < 0 else data.points[data.labels == label]
        with one_thread():
            distance = energy_distance(last.points, real)
        yield StepsComparison(steps, evaluations(chosen, model.config.path), last.points, distance)


def _on_one_thread(trajectory: Iterator[SampleStep]) -> Iterator[PlaneStep]:
    while True:
        with one_thread():
            step = next(trajectory, None)
        if step is None:
            return
        denoised = None if step.prediction is None else to_points(step.prediction)
        yield PlaneStep(step.index, step.t, to_points(step.x), denoised)
