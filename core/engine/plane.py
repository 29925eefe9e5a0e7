"""Replies to the requests of the 2-D bench."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from core.compute.torch_settings import one_thread
from core.config.sampling import noise_levels
from core.engine.lab import to_array
from core.engine.plane_messages import (
    PlaneComparison,
    PlaneData,
    PlaneDensity,
    PlaneParticles,
    PlaneProgress,
    PlaneRequest,
    PlaneVectors,
)
from core.engine.protocol import DrawnImage, EngineReply
from core.errors import MinidiffError
from core.lab.plane.field import marginal_density, vector_field
from core.lab.plane.particles import compare_steps, particle_steps
from core.lab.plane.points import PlanePoints
from core.lab.plane.training import PlaneTraining, train_plane

LoadPoints = Callable[[str | DrawnImage], PlanePoints]

EVERY = 25  # training steps between two reports
SHOWN_EVERY = 200  # training steps between two fields and sets of particles
FIRST_SHOWN_EVERY = 50  # the same up to `FIRST_STEPS`, while they change most
FIRST_STEPS = 200
TRAINING_PARTICLES = 200  # at most, while the network is trained
MAX_STEPS = 200  # of a sampler
MAX_COMPARED = 16  # numbers of steps


@dataclass
class _Run:
    """A network, trained or in training."""

    key: tuple[object, ...]
    data: PlanePoints
    records: Iterator[PlaneTraining]
    newest: PlaneTraining
    density: tuple[tuple[object, ...], PlaneDensity] | None = None  # the newest, and what it depends on


class PlaneSession:
    """Replies to requests; keeps the newest network and its training from one request to the next."""

    def __init__(self, load_points: LoadPoints) -> None:
        self._load_points = load_points
        self._run: _Run | None = None

    def replies(self, request: PlaneRequest) -> Iterator[EngineReply]:
        """The replies to a request. The caller may stop before the last one; training then pauses.

        Raises:
            MinidiffError: A value of the request is out of its range.
        """
        _check(request)
        with one_thread():
            run = self._run_of(request)
            yield PlaneData(
                points=to_array(run.data.points),
                labels=bytes(run.data.labels.tolist()),
                class_names=run.data.class_names,
            )
            if request.density is not None:
                yield _density(request, run, request.density)
            yield from _state(request, run.newest)
            for record in run.records:
                run.newest = record
                yield from _state(request, record)
            if request.n:
                yield _particles(request, run.newest, request.n)
            if request.n and request.compare:
                yield from _comparison(request, run)

    def _run_of(self, request: PlaneRequest) -> _Run:
        options = (request.path, request.prediction, request.class_conditional, request.training_steps, request.seed)
        key = (request.points, *options)
        if self._run is None or self._run.key != key:
            data = self._load_points(request.points)
            records = train_plane(
                data,
                path=request.path,
                prediction=request.prediction,
                class_conditional=request.class_conditional,
                steps=request.training_steps,
                seed=request.seed,
                every=EVERY,
            )
            self._run = _Run(key, data, records, next(records))
        return self._run


def _check(request: PlaneRequest) -> None:
    counts = (request.steps, *request.compare)
    if not all(1 <= steps <= MAX_STEPS for steps in counts) or len(request.compare) > MAX_COMPARED:
        raise MinidiffError(f"steps must lie between 1 and {MAX_STEPS}, and at most {MAX_COMPARED} are compared")
    if request.compare and request.against is not None:
        raise MinidiffError("numbers of steps are compared without guidance between two classes; leave against out")


def _times(request: PlaneRequest) -> tuple[float, ...]:
    """The noise levels of the sampler's steps."""
    return tuple(noise_levels(request.steps, request.shift))


def _density(request: PlaneRequest, run: _Run, grid: tuple[int, int]) -> PlaneDensity:
    """The density of the data, computed only if it is not the newest one."""
    key = (grid, request.extent, request.smoothing, request.label, _times(request))
    if run.density is None or run.density[0] != key:
        run.density = key, _new_density(request, run, grid)
    return run.density[1]


def _new_density(request: PlaneRequest, run: _Run, grid: tuple[int, int]) -> PlaneDensity:
    data, times = run.data, _times(request)
    if request.label is not None and request.label >= 0:
        own = data.labels == request.label
        if own.any():  # otherwise there is no such class, which the field reports
            data = PlanePoints(data.points[own], data.labels[own], data.class_names)
    path, smoothing = run.newest.model.path, request.smoothing
    maps = [marginal_density(data, path, t, *grid, request.extent, smoothing=smoothing) for t in times]
    return PlaneDensity(times=times, density=to_array(torch.stack(maps)))


def _state(request: PlaneRequest, record: PlaneTraining) -> Iterator[EngineReply]:
    """What is sent during training, and at once of a network that is trained already."""
    yield PlaneProgress(
        step=record.step,
        steps=record.steps,
        loss=record.loss if math.isfinite(record.loss) else None,
        elapsed=record.elapsed,
        parameters=sum(parameter.numel() for parameter in record.model.net.parameters()),
    )
    every = FIRST_SHOWN_EVERY if record.step <= FIRST_STEPS else SHOWN_EVERY
    if record.step % every and record.step < record.steps:
        return
    yield _vectors(request, record)
    if request.n and record.step < record.steps:
        yield _particles(request, record, min(request.n, TRAINING_PARTICLES))


def _vectors(request: PlaneRequest, record: PlaneTraining) -> PlaneVectors:
    times = _times(request)
    fields = [
        vector_field(
            record.model,
            t,
            *request.field,
            kind=request.kind,
            label=request.label,
            guidance=request.guidance,
            against=request.against,
            extent=request.extent,
        ).vectors
        for t in times
    ]
    return PlaneVectors(times=times, kind=request.kind, vectors=to_array(torch.stack(fields)))


def _sampling(request: PlaneRequest) -> dict[str, Any]:
    """Options of the sampler, for both functions that use it."""
    return {
        "sampler": request.sampler,
        "label": request.label,
        "guidance": request.guidance,
        "shift": request.shift,
    }


def _particles(request: PlaneRequest, record: PlaneTraining, n: int) -> PlaneParticles:
    steps = list(
        particle_steps(
            record.model,
            n,
            request.steps,
            request.particle_seed,
            against=request.against,
            **_sampling(request),
        )
    )
    points = torch.stack([step.points for step in steps])
    return PlaneParticles(times=tuple(step.t for step in steps), points=to_array(points))


def _comparison(request: PlaneRequest, run: _Run) -> Iterator[PlaneComparison]:
    records = compare_steps(
        run.newest.model,
        run.data,
        request.compare,
        request.n,
        request.particle_seed,
        **_sampling(request),
    )
    for record in records:
        yield PlaneComparison(
            steps=record.steps,
            evaluations=record.evaluations,
            distance=record.distance,
            points=to_array(record.points),
        )
