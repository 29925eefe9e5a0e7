"""A small network trained on points in the plane: its field, its particles and their distance to the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core import MinidiffError, sample
from core.config.plane import POINT_SETS
from core.config.sampling import SAMPLER_INFO
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS
from core.evaluation.distances import energy_distance
from core.lab.plane import (
    PlanePoints,
    compare_steps,
    marginal_density,
    particle_steps,
    plane_points,
    train_plane,
    vector_field,
)
from core.lab.plane.field import grid
from core.lab.plane.network import to_images, to_points

MEAN, STD = torch.tensor([0.3, -0.2]), 0.3  # of the Gaussian data


@pytest.fixture(scope="module")
def moons() -> PlanePoints:
    return plane_points("two moons")


@pytest.fixture(scope="module")
def model(moons: PlanePoints) -> LoadedModel:
    """A class-conditional model of the path flow, trained for about a second."""
    *_, last = train_plane(moons, steps=400, every=400)
    return last.model


def gaussian_data() -> PlanePoints:
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    noise = (noise - noise.mean(0)) / noise.std(0)
    return PlanePoints(MEAN + STD * noise, torch.zeros(4000, dtype=torch.int64), ("all",))


@pytest.mark.parametrize("path", ["flow", "vp"])
def test_the_field_of_gaussian_data_is_the_closed_form(path: str) -> None:
    """Within 10% of its root mean square, for points up to two standard deviations from the mean."""
    *_, last = train_plane(gaussian_data(), path=path, class_conditional=False, steps=300, width=48)
    for level in (0.3, 0.6, 0.9):
        t = torch.tensor(level, dtype=torch.float64)
        alpha, sigma = PATHS[path].alpha(t), PATHS[path].sigma(t)
        variance = (alpha * STD) ** 2 + sigma**2
        found = {kind: vector_field(last.model, level, 20, 20, kind=kind) for kind in ("velocity", "score", "denoised")}
        x = found["velocity"].points.double()
        offset = x - alpha * MEAN
        x_0 = MEAN + alpha * STD**2 / variance * offset
        eps = sigma / variance * offset
        expected = {
            "velocity": PATHS[path].d_alpha(t) * x_0 + PATHS[path].d_sigma(t) * eps,
            "score": -offset / variance,
            "denoised": x_0 - x,
        }
        near = offset.norm(dim=2) < 2 * variance.sqrt()
        for kind, field in found.items():
            error = (field.vectors - expected[kind])[near].square().mean().sqrt()
            assert error < 0.1 * expected[kind][near].square().mean().sqrt(), (kind, level)


@pytest.mark.parametrize("path", PATHS)
def test_points_that_all_coincide_are_reproduced(path: str) -> None:
    data = PlanePoints(torch.tensor([[0.5, -0.25]]), torch.zeros(1, dtype=torch.int64), ("all",))
    *_, last = train_plane(data, path=path, steps=150, width=32)
    *_, end = particle_steps(last.model, n=50, steps=20)
    assert (end.points - data.points).norm(dim=1).median() < 0.1


def weights(steps: int, seed: int, every: int) -> list[Tensor]:
    *_, last = train_plane(plane_points("rings", 100), steps=steps, seed=seed, every=every, width=16)
    return [parameter.detach() for parameter in last.model.net.parameters()]


def test_the_seed_decides_the_network_however_often_records_are_yielded() -> None:
    first, same, other = weights(7, 1, 2), weights(7, 1, 100), weights(7, 2, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_training_leaves_the_global_generator_and_the_callers_modes_alone() -> None:
    state = torch.get_rng_state()
    with torch.inference_mode():
        first = weights(3, 1, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(3, 1, 1), strict=True))


@contextmanager
def other_defaults() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def computed() -> list[Tensor]:
    data = plane_points("rings", 50)
    *_, last = train_plane(data, steps=3, width=8)
    *_, end = particle_steps(last.model, 5, 3)
    field = vector_field(last.model, 0.5, label=0, guidance=2.0, against=1)
    density = marginal_density(data, last.model.path, 0.5)
    (compared,) = compare_steps(last.model, data, (2,), 5)
    points = [plane_points(name, 20).points for name in POINT_SETS]
    return [*points, *last.model.net.parameters(), end.points, field.vectors, density, compared.points]


def test_results_do_not_depend_on_torchs_default_dtype_and_device() -> None:
    expected = computed()
    with other_defaults():
        found = computed()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_records_are_yielded_at_the_start_every_few_steps_and_at_the_end(moons: PlanePoints) -> None:
    records = list(train_plane(moons, steps=7, every=3, width=16))
    assert [record.step for record in records] == [0, 3, 6, 7]
    assert all(later.elapsed > earlier.elapsed for earlier, later in pairwise(records))
    assert all(record.loss > 0 for record in records[1:])


def test_a_run_of_no_steps_yields_the_untrained_network(moons: PlanePoints) -> None:
    (record,) = train_plane(moons, steps=0)
    *_, end = particle_steps(record.model, n=3, steps=2)
    assert end.points.shape == (3, 2)


def test_particles_are_the_samples_of_the_model(model: LoadedModel) -> None:
    expected = list(sample(model, 5, 4, seed=2, sampler="heun", labels=1, guidance=2.0, contrast=0.0))
    steps = list(particle_steps(model, 5, 4, seed=2, sampler="heun", label=1, guidance=2.0))
    assert [step.t for step in steps] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    for step, record in zip(steps, expected, strict=True):
        assert torch.equal(step.points, to_points(record.x))
    assert steps[0].denoised is None
    assert steps[1].denoised is not None
    assert torch.allclose(to_points(to_images(steps[-1].points)), steps[-1].points, atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_every_sampler_of_the_path_moves_the_particles(path: str, moons: PlanePoints) -> None:
    (record,) = train_plane(moons, path=path, steps=0, width=16)
    for sampler, info in SAMPLER_INFO.items():
        if path in info.paths:
            *_, end = particle_steps(record.model, 4, 3, sampler=sampler)
            assert bool(end.points.isfinite().all())


def test_each_class_ends_at_its_own_points(model: LoadedModel, moons: PlanePoints) -> None:
    for label in (0, 1):
        *_, end = particle_steps(model, 300, 20, label=label)
        own, other = (moons.points[moons.labels == each] for each in (label, 1 - label))
        assert energy_distance(end.points, own) < 0.1 * energy_distance(end.points, other)


def test_many_steps_end_closer_to_the_data_than_few(model: LoadedModel, moons: PlanePoints) -> None:
    one, eight, forty = compare_steps(model, moons, (1, 8, 40), n=500)
    assert (one.steps, one.evaluations, forty.evaluations) == (1, 1, 40)
    assert one.distance > 5 * forty.distance
    assert eight.distance < one.distance
    *_, last = particle_steps(model, 500, 40)
    assert torch.equal(last.points, forty.points)  # from the same noise
    assert forty.distance == energy_distance(last.points, moons.points)


def test_guidance_between_two_classes_interpolates_their_fields(model: LoadedModel) -> None:
    first, second = (vector_field(model, 0.9, label=label).vectors for label in (0, 1))
    for scale in (0.0, 0.25, 1.0, 2.0):
        guided = vector_field(model, 0.9, label=0, guidance=scale, against=1).vectors
        assert torch.allclose(guided, scale * first + (1 - scale) * second, atol=1e-4)


def test_guidance_of_scale_0_and_1_ends_at_the_one_or_the_other_class(model: LoadedModel) -> None:
    for scale, label in ((1.0, 0), (0.0, 1)):
        *_, guided = particle_steps(model, 10, 5, label=0, guidance=scale, against=1)
        *_, plain = particle_steps(model, 10, 5, label=label)
        assert torch.allclose(guided.points, plain.points, atol=1e-4)


def test_guidance_without_another_class_applies_at_the_noise_levels_of_samplers(model: LoadedModel) -> None:
    for level, applies in ((0.65, True), (0.95, False)):
        plain, guided = (vector_field(model, level, label=0, guidance=scale).vectors for scale in (1.0, 3.0))
        assert torch.equal(plain, guided) is not applies


@pytest.mark.parametrize("path", PATHS)
def test_a_step_of_eulers_method_follows_the_field(path: str, moons: PlanePoints) -> None:
    """In the units of the plane, also on the path mix, whose values lie in [0, 1]."""
    *_, last = train_plane(moons, path=path, class_conditional=False, steps=10, width=16)
    field = vector_field(last.model, 0.5, 4, 4, extent=0.5)
    start = to_images(field.points.view(-1, 2))
    _, end = sample(last.model, steps=1, start=start, start_t=0.5, sampler="euler", contrast=0.0)
    expected = field.points - 0.5 * field.vectors
    assert torch.allclose(to_points(end.x), expected.view(-1, 2), atol=1e-4)


def test_the_grid_has_its_first_cell_at_the_top_left() -> None:
    points = grid(4, 2, extent=2.0)
    assert points.shape == (2, 4, 2)
    assert points[0, 0].tolist() == [-1.5, 1.0]
    assert points[1, 3].tolist() == [1.5, -1.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model, data: next(train_plane(data, steps=-1)), "steps must lie"),
        (lambda model, data: next(train_plane(data, every=0)), "every must be at least 1"),
        (lambda model, data: next(train_plane(data, path="vp", prediction="velocity")), "the path vp supports"),
        (lambda model, data: next(train_plane(data, path="round")), "path"),
        (lambda model, data: particle_steps(model, 0), "n must lie"),
        (lambda model, data: particle_steps(model, 5, label=2), "a class must be"),
        (lambda model, data: particle_steps(model, 5, label=0, against=0), "two different classes"),
        (lambda model, data: particle_steps(model, 5, label=0, against=7), "a class must be"),
        (lambda model, data: particle_steps(model, 5, sampler="eular"), "did you mean euler"),
        (lambda model, data: vector_field(model, 1.5), "t must lie"),
        (lambda model, data: vector_field(model, 0.5, kind="force"), "kind must be"),
        (lambda model, data: vector_field(model, 0.5, label=0, against=7), "a class must be"),
        (lambda model, data: vector_field(model, 0.5, columns=1000, rows=1000), "1 to 40,000 cells"),
        (lambda model, data: vector_field(model, 0.5, extent=0), "extent must be"),
    ],
)
def test_arguments_out_of_range_are_refused(call: object, words: str, model: LoadedModel, moons: PlanePoints) -> None:
    with pytest.raises(MinidiffError, match=words):
        call(model, moons)  # type: ignore[operator]


def test_uniform_noise_has_no_score(moons: PlanePoints) -> None:
    (record,) = train_plane(moons, path="mix", steps=0, width=16)
    with pytest.raises(MinidiffError, match="no score"):
        vector_field(record.model, 0.5, kind="score")
