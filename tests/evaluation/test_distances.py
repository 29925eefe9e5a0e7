"""Distances between sets of feature vectors, against closed forms and plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from core import MinidiffError
from core.evaluation.distances import energy_distance, frechet_distance, kernel_distance, precision_recall

ALL = [frechet_distance, kernel_distance, energy_distance, precision_recall]


def normal(n: int, features: int, seed: int) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(n: int, mean: Tensor, covariance: Tensor, seed: int) -> Tensor:
    """Vectors with exactly the given sample mean and covariance, up to rounding."""
    x = normal(n, len(mean), seed)
    x = x - x.mean(0)
    x = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T @ x / (n - 1)), x.T, upper=False)
    return (torch.linalg.cholesky(covariance) @ x).T + mean


def some_covariance(features: int, seed: int) -> Tensor:
    x = normal(features, features, seed)
    return x @ x.T + 0.1 * torch.eye(features, dtype=torch.float64)


def plain_kernel(x: Tensor, y: Tensor) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def plain_fraction_within(vectors: np.ndarray, others: np.ndarray) -> float:
    inside = 0
    for vector in vectors:
        for centre in others:
            reach = np.sort(np.sqrt(((others - centre) ** 2).sum(1)))[3]  # the nearest, [0], is the vector itself
            if np.sqrt(((vector - centre) ** 2).sum()) <= reach:
                inside += 1
                break
    return inside / len(vectors)


# Frechet distance


def test_frechet_distance_of_gaussians_in_one_dimension_is_the_closed_form() -> None:
    mean_a, mean_b = torch.tensor([2.0]).double(), torch.tensor([-1.0]).double()
    a = exactly(50, mean_a, torch.tensor([[9.0]]).double(), seed=0)
    b = exactly(70, mean_b, torch.tensor([[0.25]]).double(), seed=1)
    assert frechet_distance(a, b) == pytest.approx(3**2 + (3 - 0.5) ** 2, rel=1e-10)


def test_frechet_distance_of_axis_aligned_gaussians_is_the_sum_over_axes() -> None:
    mean_a, mean_b = normal(2, 6, seed=0)
    sigma_a, sigma_b = normal(2, 6, seed=1).abs() + 0.1
    a = exactly(100, mean_a, torch.diag(sigma_a**2), seed=2)
    b = exactly(80, mean_b, torch.diag(sigma_b**2), seed=3)
    expected = (mean_a - mean_b).square().sum() + (sigma_a - sigma_b).square().sum()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_frechet_distance_of_correlated_gaussians_follows_from_the_eigenvalues_of_the_product() -> None:
    """Computes tr (A B)^1/2 from the eigenvalues of the non-symmetric A B, unlike the tested code."""
    mean_a, mean_b = normal(2, 8, seed=0)
    cov_a, cov_b = some_covariance(8, seed=1), some_covariance(8, seed=2)
    overlap = float(np.sqrt(np.linalg.eigvals((cov_a @ cov_b).numpy()).real).sum())
    expected = float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace()) - 2 * overlap
    actual = frechet_distance(exactly(60, mean_a, cov_a, seed=3), exactly(90, mean_b, cov_b, seed=4))
    assert actual == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_is_symmetric_and_zero_only_for_equal_sets() -> None:
    a, b = normal(40, 5, seed=0), normal(50, 5, seed=1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)
    assert frechet_distance(a, b) > 0.1
    assert 0 <= frechet_distance(a, a.clone()) < 1e-10


def test_frechet_distance_works_with_singular_covariances() -> None:
    """Fewer vectors than features, and constant features: as with few or collapsed samples."""
    a = normal(5, 16, seed=0)
    assert 0 <= frechet_distance(a, a.flip(0)) < 1e-6
    constant = torch.ones(5, 16)
    expected = float((a.mean(0) - 1).square().sum() + torch.cov(a.T).trace())
    assert frechet_distance(a, constant) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_float32_features_is_computed_in_float64() -> None:
    a, b = normal(60, 5, seed=0).float() + 1000, normal(60, 5, seed=1).float() + 1000
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a.double() - 1000, b.double() - 1000), rel=1e-6)


# Kernel distance


def test_kernel_distance_matches_a_double_loop_over_all_pairs() -> None:
    a, b = normal(7, 4, seed=0), normal(5, 4, seed=1) + 0.5
    within_a = [plain_kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    within_b = [plain_kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    between = [plain_kernel(x, y) for x in a for y in b]
    expected = np.mean(within_a) + np.mean(within_b) - 2 * np.mean(between)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased_at_any_size() -> None:
    """Its mean over many pairs from one distribution is 0, while the biased estimate would be far above."""
    for n in (3, 12):
        actual = torch.tensor([kernel_distance(normal(n, 4, 2 * i), normal(n, 4, 2 * i + 1)) for i in range(2000)])
        error = float(actual.std()) / len(actual) ** 0.5
        bias = 2 / n * (plain_kernel(*normal(1, 4, 0).repeat(2, 1)) - 1)
        assert abs(float(actual.mean())) < 4 * error < bias


def test_kernel_distance_does_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(23, 4, seed=0), normal(17, 4, seed=1)
    whole = kernel_distance(a, b)
    monkeypatch.setattr("core.evaluation.distances._ROWS", 5)
    assert kernel_distance(a, b) == pytest.approx(whole, rel=1e-12)


def test_kernel_distance_is_negative_for_the_same_set_and_positive_for_a_shifted_one() -> None:
    a = normal(30, 4, seed=0)
    assert -1 < kernel_distance(a, a.clone()) < 0
    assert kernel_distance(a, a + 2) > 1


# Energy distance


def test_energy_distance_is_zero_for_identical_sets_in_any_order() -> None:
    a = normal(50, 3, 1)
    assert energy_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-12)
    assert energy_distance(a, a + 0.5) > 0.1


def test_energy_distance_of_two_points_is_twice_their_distance() -> None:
    a, b = torch.zeros(4, 2), torch.tensor([[3.0, 4.0]]).expand(7, 2)
    assert energy_distance(a, b) == pytest.approx(10)


def test_energy_distance_in_one_dimension_is_twice_the_integral_between_the_distribution_functions() -> None:
    a, b = normal(40, 1, 1), 1.5 * normal(60, 1, 2) + 0.3
    edges = torch.cat((a, b)).flatten().sort().values
    below = [(edges[:-1, None] >= x.flatten()).double().mean(1) for x in (a, b)]
    integral = float(((below[0] - below[1]).square() * edges.diff()).sum())
    assert energy_distance(a, b) == pytest.approx(2 * integral, abs=1e-12)


def test_energy_distance_does_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(37, 2, 1), normal(21, 2, 2)
    whole = energy_distance(a, b)
    monkeypatch.setattr("core.evaluation.distances._ROWS", 5)
    assert energy_distance(a, b) == pytest.approx(whole, abs=1e-12)


# Precision and recall


@pytest.mark.parametrize(("n", "m", "shift", "scale"), [(40, 40, 0.0, 1.0), (30, 50, 0.5, 1.0), (40, 35, 0.0, 0.3)])
def test_precision_and_recall_match_the_definition(n: int, m: int, shift: float, scale: float) -> None:
    real, samples = normal(n, 3, seed=0), normal(m, 3, seed=1) * scale + shift
    expected = (
        plain_fraction_within(samples.numpy(), real.numpy()),
        plain_fraction_within(real.numpy(), samples.numpy()),
    )
    assert precision_recall(real, samples) == pytest.approx(expected, abs=1e-12)


def test_precision_and_recall_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    real, samples = normal(40, 3, seed=0), normal(35, 3, seed=1) + 0.5
    whole = precision_recall(real, samples)
    monkeypatch.setattr("core.evaluation.distances._ROWS", 6)
    assert precision_recall(real, samples) == whole


def test_samples_of_one_mode_have_precision_without_recall() -> None:
    left, right = normal(50, 3, seed=0), normal(50, 3, seed=1) + 100
    precision, recall = precision_recall(torch.cat([left, right]), normal(100, 3, seed=2) * 0.8)
    assert precision > 0.8
    assert recall < 0.55


def test_equal_sets_cover_one_another_and_distant_sets_do_not() -> None:
    a = normal(30, 128, seed=0).float()
    assert precision_recall(a, a.clone()) == (1, 1)
    assert precision_recall(a, a + 100) == (0, 0)


def test_sets_smaller_than_the_neighbourhood_use_all_their_neighbours() -> None:
    a = torch.tensor([[0.0], [1.0]])
    assert precision_recall(a, torch.tensor([[0.5], [3.0]])) == (0.5, 1.0)


@pytest.mark.parametrize("distance", ALL)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3)),
        (torch.zeros(5, 3), torch.zeros(0, 3)),
        (torch.zeros(5, 3), torch.zeros(5, 4)),
        (torch.zeros(5), torch.zeros(5)),
    ],
    ids=["one vector", "no vector", "other lengths", "no vectors at all"],
)
def test_too_few_vectors_or_mismatched_lengths_are_a_one_line_error(distance: object, a: Tensor, b: Tensor) -> None:
    assert callable(distance)
    with pytest.raises(MinidiffError, match="N and M at least 2") as error:
        distance(a, b)
    assert len(str(error.value).splitlines()) == 1
