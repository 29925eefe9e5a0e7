"""Memorization check: whether samples are closer to the training images than fresh real images are."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compute.seeding import SPLIT, generator_for
from core.evaluation.nearest import NearestImages, nearest

NEIGHBOURS = 50  # training images for a relative distance
EXPECTED_CLOSER, EXPECTED_COPIES = 0.5, 0.01  # of images that are as new as the real ones
CLOSEST = 3  # samples that are named
MIN_REAL = 1000  # real images to compare with, if there are as many
_SEED = 1


@dataclass(frozen=True, slots=True)
class Memorisation:
    """How close a set of images is to the training images, in pixels or features.

    Distances are those of `nearest_training_images`; fresh real images are images of the test split.
    """

    closer: float
    """Probability that one of the images is closer to its nearest training image than a fresh real image is to its own;
    ties count half. 50% for fresh images, toward 100% for copies, but also for smooth or typical images.

    Source: Meehan et al. 2020, section 3 (data-copying test): 1 - Delta_T(P, Q), the Mann-Whitney statistic.
    """
    copies: float
    """Fraction of the images with a smaller relative distance than 99% of fresh real images: 1% for fresh images.

    The relative distance is d_1 / mean(d_1 ... d_50), over the distances d_i of the nearest training images. It is
    small only for an image that is much closer to one training image than to the next ones.

    Source of the relative distance: Carlini et al. 2023, section 5.1.
    """


@dataclass(frozen=True, slots=True)
class MemorisationCheck:
    """The check of samples beside its baseline."""

    samples: Memorisation
    baseline: Memorisation  # half of the fresh real images, against the other half
    real: int  # fresh real images used, in both halves
    closest: tuple[tuple[int, int, float], ...]  # three samples with the smallest relative distances: sample, its
    # nearest training image, and their distance


def check_memorisation(
    images: Tensor, training: Tensor, fresh: Tensor
) -> Generator[tuple[int, int], None, MemorisationCheck]:
    """Compare images with fresh real images, by their distances to the training images.

    Args:
        images: (n, C, H, W) uint8, or their features, (n, D) float32.
        training: The images that the model was trained on, likewise.
        fresh: At least two real images that it was not trained on, likewise.

    Yields:
        (training images compared, total).
    """
    order = torch.randperm(len(fresh), generator=generator_for(_SEED, SPLIT, 0), device="cpu")
    chosen = order[: max(2 * len(images), MIN_REAL)]
    together = torch.cat((images, fresh[chosen]))
    found = yield from nearest(together, training, min(NEIGHBOURS, len(training)))
    n, half = len(images), len(chosen) // 2
    of_images, baseline, standard = found[:n], found[n : n + half], found[n + half :]
    closest = tuple(
        (sample, int(of_images.indices[sample, 0]), float(of_images.distances[sample, 0]))
        for sample in relative_distances(of_images).argsort(stable=True)[:CLOSEST].tolist()
    )
    return MemorisationCheck(_compared(of_images, standard), _compared(baseline, standard), len(chosen), closest)


def _compared(images: NearestImages, real: NearestImages) -> Memorisation:
    a, b = images.distances[:, 0].contiguous(), real.distances[:, 0].sort().values
    below, up_to = torch.searchsorted(b, a), torch.searchsorted(b, a, right=True)
    farther = len(b) - (below + up_to).double() / 2  # real images that are farther; ties count half
    threshold = relative_distances(real).quantile(EXPECTED_COPIES)
    copies = relative_distances(images) <= threshold
    return Memorisation(closer=float(farther.mean()) / len(b), copies=float(copies.double().mean()))


def relative_distances(nearest: NearestImages) -> Tensor:
    """d_1 / mean(d_1 ... d_k), (n,): 0 for a copy, 1 for an image with equally distant training images."""
    mean = nearest.distances.mean(1)
    return torch.where(mean > 0, nearest.distances[:, 0] / mean, 0.0)
