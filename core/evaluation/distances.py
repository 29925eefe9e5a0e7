"""Distances between two sets of feature vectors: how far samples are from real images, and how much they cover."""

from __future__ import annotations

import torch
from torch import Tensor

from core.errors import MinidiffError

NEIGHBOURS = 3
_ROWS = 1000  # of a matrix of all pairs at a time


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The Frechet distance of two Gaussians fitted to feature vectors, (N, D) and (M, D).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), in float64. It falls as N and M grow: compare figures of
    the same size only. Source: Heusel et al. 2017, eq. 6 (FID), with Dowson and Landau 1982.
    """
    _check(a, b)
    a, b = a.double(), b.double()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = (torch.cov(x.T).reshape(x.shape[1], -1) for x in (a, b))  # of one feature, cov gives a number
    root = _square_root(cov_a)
    overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((shift + cov_a.trace() + cov_b.trace() - 2 * overlap).clamp(min=0))


def _square_root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a covariance matrix; what rounding made negative counts as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """The squared maximum mean discrepancy under the kernel (x.y / D + 1)^3, over all pairs of (N, D) and (M, D).

    Unbiased, so its mean does not depend on N and M, and it may fall slightly below 0 for equal distributions.
    Source: Binkowski et al. 2018, eq. 4 (KID), without their subsets.
    """
    _check(a, b)
    a, b = a.double(), b.double()
    n, m = len(a), len(b)
    within_a = (_kernel_sum(a, a) - float(_kernel(a, a).sum())) / (n * (n - 1))
    within_b = (_kernel_sum(b, b) - float(_kernel(b, b).sum())) / (m * (m - 1))
    return within_a + within_b - 2 * _kernel_sum(a, b) / (n * m)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of each row of `a` with the same row of `b`."""
    return ((a * b).sum(1) / a.shape[1] + 1) ** 3


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    """The kernel summed over all pairs."""
    return sum(float(((rows @ b.T) / a.shape[1] + 1).pow_(3).sum()) for rows in torch.split(a, _ROWS))


def precision_recall(real: Tensor, samples: Tensor) -> tuple[float, float]:
    """The share of samples that lie among the real vectors, and of real vectors that lie among the samples.

    A vector lies among others if it is within the distance of one of them to its third nearest neighbour. For (N, D)
    and (M, D) of the same distribution and size both are somewhat below 1. Source: Kynkaanniemi et al. 2019, eq. 1-2.
    """
    _check(real, samples)
    return _share_among(samples, real), _share_among(real, samples)


def _share_among(asked: Tensor, others: Tensor) -> float:
    k = min(NEIGHBOURS, len(others) - 1)
    reach = torch.cat([torch.cdist(rows, others).kthvalue(k + 1, dim=1).values for rows in torch.split(others, _ROWS)])
    inside = [(torch.cdist(rows, others) <= reach).any(1) for rows in torch.split(asked, _ROWS)]
    return float(torch.cat(inside).double().mean())


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise MinidiffError(
            f"two sets of at least 2 feature vectors of one length are compared, (N, D) and (M, D), "
            f"not {tuple(a.shape)} and {tuple(b.shape)}"
        )
