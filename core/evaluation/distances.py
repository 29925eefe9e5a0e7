"""Distances between two sets of vectors: Frechet, kernel and energy distance, precision and recall."""

from __future__ import annotations

import torch
from torch import Tensor

from core.errors import MinidiffError

NEIGHBOURS = 3
_ROWS = 1000  # of the pairwise matrix per chunk


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Frechet distance of Gaussians fitted to two sets of feature vectors.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), in float64. Biased: it falls as N and M grow, so compare
    only values of the same sizes.

    Args:
        a: (N, D), N at least 2.
        b: (M, D), M at least 2.

    Raises:
        MinidiffError: The shapes do not match.

    Source: Heusel et al. 2017, eq. 6 (FID), with Dowson and Landau 1982.
    """
    _check(a, b)
    a, b = a.double(), b.double()
    mean_term = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = (torch.cov(x.T).reshape(x.shape[1], -1) for x in (a, b))  # torch.cov of one feature is a scalar
    root = _square_root(cov_a)
    cross_term = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((mean_term + cov_a.trace() + cov_b.trace() - 2 * cross_term).clamp(min=0))


def _square_root(matrix: Tensor) -> Tensor:
    """Symmetric square root of a covariance matrix; negative eigenvalues, from rounding, count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, over all pairs.

    Unbiased: its mean does not depend on N and M, and it can be slightly negative for equal distributions.

    Args:
        a: (N, D), N at least 2.
        b: (M, D), M at least 2.

    Raises:
        MinidiffError: The shapes do not match.

    Source: Binkowski et al. 2018, eq. 4 (KID), without subsets.
    """
    _check(a, b)
    a, b = a.double(), b.double()
    n, m = len(a), len(b)
    within_a = (_kernel_sum(a, a) - float(_kernel(a, a).sum())) / (n * (n - 1))
    within_b = (_kernel_sum(b, b) - float(_kernel(b, b).sum())) / (m * (m - 1))
    return within_a + within_b - 2 * _kernel_sum(a, b) / (n * m)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of corresponding rows."""
    return ((a * b).sum(1) / a.shape[1] + 1) ** 3


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    """The sum of the kernel over all pairs."""
    return sum(float(((rows @ b.T) / a.shape[1] + 1).pow_(3).sum()) for rows in torch.split(a, _ROWS))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'| over all pairs, in float64; 0 for identical sets, else positive.

    Biased: for samples of one distribution its mean is (1/N + 1/M) E|a - a'| for independent a and a'. In one
    dimension it is twice the integral of the squared difference of the distribution functions.

    Args:
        a: (N, D), N at least 2.
        b: (M, D), M at least 2.

    Raises:
        MinidiffError: The shapes do not match.

    Source: Szekely and Rizzo 2013 (energy statistics), as a V-statistic.
    """
    _check(a, b)
    a, b = a.double(), b.double()
    return max(2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b), 0.0)


def _mean_distance(a: Tensor, b: Tensor) -> float:
    """The mean Euclidean distance of all pairs."""
    exact = "donot_use_mm_for_euclid_dist"  # the matrix product loses digits of small distances
    total = sum(float(torch.cdist(rows, b, compute_mode=exact).sum()) for rows in torch.split(a, _ROWS))
    return total / (len(a) * len(b))


def precision_recall(real: Tensor, samples: Tensor) -> tuple[float, float]:
    """Precision (fraction of samples in the real manifold) and recall (fraction of real vectors in the samples').

    The manifold of a set is the union of balls around its vectors, each with the radius of the third nearest
    neighbor. For equal distributions and sizes both values are slightly below 1.

    Args:
        real: (N, D), N at least 2.
        samples: (M, D), M at least 2.

    Raises:
        MinidiffError: The shapes do not match.

    Source: Kynkaanniemi et al. 2019, eq. 1-2.
    """
    _check(real, samples)
    return _fraction_in_manifold(samples, real), _fraction_in_manifold(real, samples)


def _fraction_in_manifold(vectors: Tensor, others: Tensor) -> float:
    k = min(NEIGHBOURS, len(others) - 1)
    radii = torch.cat([torch.cdist(rows, others).kthvalue(k + 1, dim=1).values for rows in torch.split(others, _ROWS)])
    inside = [(torch.cdist(rows, others) <= radii).any(1) for rows in torch.split(vectors, _ROWS)]
    return float(torch.cat(inside).double().mean())


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise MinidiffError(
            f"features must have shapes (N, D) and (M, D) with N and M at least 2, "
            f"not {tuple(a.shape)} and {tuple(b.shape)}"
        )
