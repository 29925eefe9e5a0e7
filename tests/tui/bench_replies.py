"""Replies to the Plane and the Ideal bench, with ideal denoisers in place of networks so that they do not vary."""

from __future__ import annotations

import math
from functools import cache

import torch

from core.config.sampling import noise_levels
from core.config.training import TrainConfig
from core.data.datasets import LabeledImages, load_dataset
from core.diffusion.ideal_denoiser import IdealDenoiser, ideal_model
from core.diffusion.loaded_model import LoadedModel
from core.engine.ideal import IdealComparison
from core.engine.ideal_messages import IdealRequest
from core.engine.lab import LabImage, to_array
from core.engine.plane_messages import (
    PlaneComparison,
    PlaneData,
    PlaneDensity,
    PlaneParticles,
    PlaneProgress,
    PlaneReply,
    PlaneRequest,
    PlaneVectors,
)
from core.engine.protocol import LabReply
from core.lab.plane import compare_steps, marginal_density, particle_steps, plane_points, vector_field
from core.lab.plane.network import plane_config, to_images

POINTS = 300
TRAINING = 100  # images of the ideal denoiser; the next ones are those of the network


@cache
def plane_replies(request: PlaneRequest) -> tuple[PlaneReply, ...]:
    """What the engine replies for two moons, as if the network were the ideal denoiser."""
    data = plane_points("two moons", POINTS)
    config = plane_config("flow", "velocity", data.class_names, 0)
    images = to_images(data.points).clamp(0, 1)
    net = IdealDenoiser("flow", images, data.labels, "velocity", classes=len(data.class_names))
    model = LoadedModel(net.eval(), config, 0, "plane")
    times, total = tuple(noise_levels(request.steps)), request.training_steps
    assert request.density is not None
    density = [marginal_density(data, model.path, t, *request.density, smoothing=request.smoothing) for t in times]
    particles = [step.points for step in particle_steps(model, request.n, request.steps)]
    return (
        PlaneData(points=to_array(data.points), labels=bytes(data.labels.tolist()), class_names=data.class_names),
        PlaneDensity(times=times, density=to_array(torch.stack(density))),
        *(
            PlaneProgress(
                step=step,
                steps=total,
                loss=0.6 + math.exp(-step / 200) if step else None,
                elapsed=step / 400,
                parameters=21_410,
            )
            for step in range(0, total + 1, 100)
        ),
        PlaneVectors(
            times=times,
            kind="velocity",
            vectors=to_array(torch.stack([vector_field(model, t, *request.field).vectors for t in times])),
        ),
        PlaneParticles(times=times, points=to_array(torch.stack(particles))),
        *(
            PlaneComparison(
                steps=result.steps,
                evaluations=result.evaluations,
                distance=result.distance,
                points=to_array(result.points),
            )
            for result in compare_steps(model, data, request.compare, request.n)
        ),
    )


@cache
def ideal_replies(request: IdealRequest) -> tuple[LabReply, ...]:
    """What the engine replies for a glyph, as if the network were the ideal denoiser of other training images."""
    images, labels = load_dataset("glyphs", limit=2 * TRAINING)
    test = load_dataset("glyphs", split="test", limit=1)
    model = ideal_model(TrainConfig(dataset="glyphs"), images[TRAINING:], labels[TRAINING:])
    comparison = IdealComparison(lambda _: LabeledImages(images[:TRAINING], labels[:TRAINING]), lambda *_: None)
    return tuple(comparison.replies(request, LabImage(test.images[0] / 255, int(test.labels[0])), model))
