"""Points in the plane: their shapes, principal components, drawings, and density maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core import MinidiffError, load_dataset
from core.config.plane import POINT_SETS
from core.diffusion.prob_paths import PATHS
from core.lab.plane import PlanePoints, density_map, drawn_points, marginal_density, plane_points, principal_points
from core.lab.plane.field import grid
from core.lab.plane.network import to_images, to_points
from core.lab.plane.points import principal_components, standardized


def spread(points: Tensor) -> Tensor:
    return points.std(0).mean()


@pytest.mark.parametrize("name", POINT_SETS)
def test_points_fill_a_centered_square_of_side_two_and_have_every_class(name: str) -> None:
    data = plane_points(name, n=500, seed=3)
    low, high = data.points.amin(0), data.points.amax(0)
    assert data.points.shape == (500, 2)
    assert torch.allclose(low, -high, atol=1e-6)
    assert float((high - low).max()) == pytest.approx(2, abs=1e-6)
    assert set(data.labels.tolist()) == set(range(len(data.class_names)))
    assert data.class_names == POINT_SETS[name]


@pytest.mark.parametrize("name", POINT_SETS)
def test_the_seed_decides_the_points(name: str) -> None:
    assert torch.equal(plane_points(name, 50, seed=1).points, plane_points(name, 50, seed=1).points)
    assert not torch.equal(plane_points(name, 50, seed=1).points, plane_points(name, 50, seed=2).points)


@pytest.mark.parametrize("name", POINT_SETS)
def test_a_single_point_is_at_the_center(name: str) -> None:
    assert plane_points(name, n=1).points.tolist() == [[0, 0]]


def test_each_ring_has_its_own_distance_from_the_center() -> None:
    data = plane_points("rings")
    radius = data.points.norm(dim=1)
    means = [float(radius[data.labels == label].mean()) for label in range(3)]
    assert means == pytest.approx([means[2] / 3, means[2] * 2 / 3, means[2]], rel=0.03)
    assert all(float(radius[data.labels == label].std()) < 0.05 for label in range(3))


def test_the_gaussians_lie_in_the_directions_of_their_names() -> None:
    data = plane_points("eight gaussians")
    means = torch.stack([data.points[data.labels == label].mean(0) for label in range(8)])
    east, north = data.class_names.index("east"), data.class_names.index("north")
    assert means[east, 0] > 0.7
    assert abs(means[east, 1]) < 0.05
    assert means[north, 1] > 0.7
    assert spread(data.points[data.labels == east]) < 0.1


def test_the_checkerboard_leaves_half_of_its_squares_empty() -> None:
    data = plane_points("checkerboard", n=4000)
    position = (data.points + 1) * 2  # 0 to 4, up to the distance of the outermost points from the edge
    inner = ((position - position.round()).abs() > 0.01).all(1)
    squares = position[inner].long()
    assert len({tuple(square) for square in squares.tolist()}) == 8
    assert len(set(squares.sum(1).remainder(2).tolist())) == 1
    assert bool(((data.points[:, 1] > 0.02) <= (data.labels == 0)).all())  # the class "top"


def test_points_of_a_drawing_lie_in_its_pixels_with_the_top_up() -> None:
    image = torch.zeros(28, 28)
    image[2, 4:24] = 1  # a horizontal line at the top
    image[2:26, 4] = 1  # and a vertical one at the left: the letter Gamma
    data = drawn_points(image, n=400)
    x, y = data.points.T
    assert bool(((y > 0.9) | (x < -0.7)).all())
    assert float(y.min()) == pytest.approx(-1, abs=0.02)
    assert torch.equal(data.labels, (x > 0).long())


def test_darker_pixels_have_more_points() -> None:
    image = np.zeros((8, 8), np.uint8)
    image[0, 0], image[0, 7] = 50, 200
    right = float(drawn_points(image, n=4000).labels.float().mean())
    assert right == pytest.approx(0.8, abs=0.03)


def test_principal_components_agree_with_numpy() -> None:
    images, labels = load_dataset("glyphs", split="test", limit=200)
    data = principal_points(images, labels, [str(digit) for digit in range(10)])
    x = images.flatten(1).numpy().astype(np.float64)
    x -= x.mean(0)
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    expected = left[:, :2] * values[:2]
    found = principal_components(images.flatten(1)).double().numpy()
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-3 * values[0] / len(x) ** 0.5)
    assert torch.equal(data.labels, labels)
    assert torch.allclose(data.points, standardized(torch.from_numpy(found).float()))


def test_principal_components_beyond_the_last_are_zero() -> None:
    x = torch.tensor([[1.0], [3.0], [5.0]])
    assert torch.allclose(principal_components(x), torch.tensor([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]]))


def test_a_density_map_counts_points_per_cell_with_the_top_row_first() -> None:
    points = torch.tensor([[-0.9, 0.9], [-0.8, 0.8], [0.9, -0.9], [5.0, 0.0]])
    density = density_map(points, columns=2, rows=2, extent=1.0)
    assert density.tolist() == [[0.5, 0], [0, 0.25]]  # the area of a cell is 1


def test_a_density_map_adds_up_to_the_fraction_inside() -> None:
    points = plane_points("rings").points
    density = density_map(points, columns=30, rows=20)
    assert float(density.sum()) * (3 / 30) * (3 / 20) == pytest.approx(1, abs=1e-5)


def test_without_noise_the_marginal_density_is_the_density_of_the_data() -> None:
    data = plane_points("two moons")
    expected = density_map(data.points, extent=1.47)  # so that no point lies between two cells
    for path in PATHS.values():
        assert torch.allclose(marginal_density(data, path, 0.0, extent=1.47), expected, atol=1e-3)


@pytest.mark.parametrize("name", PATHS)
def test_smoothing_is_noise_of_at_least_its_scale(name: str) -> None:
    path, center = PATHS[name], PlanePoints(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), ("one",))
    cells = {"columns": 50, "rows": 50, "extent": 1.0}
    smooth = marginal_density(center, path, 0.0, **cells, smoothing=0.25)
    centers = grid(**cells)
    if path.gaussian:
        expected = (-centers.square().sum(2) / (2 * 0.25**2)).exp() / (2 * math.pi * 0.25**2)
    else:
        expected = (centers.abs() < 0.25).all(2).float() / 0.5**2
    inside = centers.abs().sub(0.25).abs().min(2).values > 0.021  # no cell at the edge of uniform noise
    assert torch.allclose(smooth[inside], expected[inside], atol=0.02)
    exact, noisy = (marginal_density(center, path, 0.9, **cells, smoothing=scale) for scale in (0.0, 0.25))
    assert torch.equal(exact, noisy)


def test_pure_noise_has_the_density_of_the_noise() -> None:
    data = plane_points("two moons")
    cells = {"columns": 100, "rows": 100, "extent": 2.0}
    centers = grid(**cells)
    gaussian = (-centers.square().sum(2) / 2).exp() / (2 * math.pi)
    assert torch.allclose(marginal_density(data, PATHS["flow"], 1.0, **cells), gaussian, atol=1e-4)
    uniform = (centers.abs() < 1).all(2).float() / 4
    assert torch.allclose(marginal_density(data, PATHS["mix"], 1.0, **cells), uniform, atol=1e-6)


@pytest.mark.parametrize("name", PATHS)
def test_the_marginal_density_is_that_of_many_noisy_points(name: str) -> None:
    """Of 400,000 points, whose count in a cell varies by 2% of the densest ones."""
    data, path = plane_points("checkerboard", n=1000), PATHS[name]
    x_0 = path.normalize(to_images(data.points.repeat(400, 1)))
    noise = path.sample_noise(x_0.shape, torch.Generator().manual_seed(0))
    noisy = to_points(path.denormalize(path.interpolate(x_0, noise, torch.full((len(x_0),), 0.3))))
    exact = marginal_density(data, path, 0.3, 12, 12)
    assert torch.allclose(density_map(noisy, 12, 12), exact, atol=0.04 * float(exact.max()))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plane_points("two moon"), "did you mean two moons"),
        (lambda: plane_points("rings", n=0), "n must lie between 1"),
        (lambda: drawn_points(torch.zeros(4, 4)), "nothing is drawn"),
        (lambda: drawn_points(torch.ones(1, 4, 4)), "shape \\(H, W\\)"),
        (lambda: principal_points(torch.ones(1, 4), torch.zeros(1), ["a"]), "at least 2 images"),
        (lambda: principal_points(torch.ones(2, 4), torch.tensor([0, 1]), ["a"]), "labels must lie"),
        (lambda: density_map(torch.zeros(0, 2)), "points of shape"),
        (lambda: density_map(torch.zeros(1, 2), columns=0), "1 to 40,000 cells"),
        (lambda: marginal_density(plane_points("rings", 10), PATHS["mix"], 1.5), "t must lie"),
    ],
)
def test_arguments_out_of_range_are_refused(call: object, words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        call()  # type: ignore[operator]
