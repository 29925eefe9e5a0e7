"""Labeled points in the plane: random shapes, a drawing, and the first two principal components of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.compute.arrays import as_tensor
from core.config.numbers import whole_number
from core.config.plane import DRAWING_CLASSES, POINT_SETS
from core.errors import MinidiffError, hint

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

MAX_POINTS = 100_000


@dataclass(frozen=True, slots=True)
class PlanePoints:
    """Points in the plane with their classes; x is to the right and y up."""

    points: Tensor  # (N, 2) float32 in [-1, 1]; the longer side of their bounding box has the length 2
    labels: Tensor  # (N,) int64, from 0
    class_names: tuple[str, ...]


def standardized(points: Tensor) -> Tensor:
    """Move and scale points, (N, 2), so that their bounding box is centered and its longer side is [-1, 1].

    Both axes are scaled alike. Points that all coincide are moved to 0.
    """
    low, high = points.amin(0), points.amax(0)
    half = ((high - low) / 2).max()
    return (points - (low + high) / 2) / half if half > 0 else torch.zeros_like(points)


def plane_points(name: str, n: int = 2000, seed: int = 0) -> PlanePoints:
    """Random points of one of the shapes in `core.config.plane.POINT_SETS`, standardized.

    Args:
        name: The shape.
        n: Number of points, 1 to `MAX_POINTS`. The sizes of the classes differ by at most one; those of the
            checkerboard are random.
        seed: Seed of the points.

    Raises:
        MinidiffError: There is no such shape, or `n` is out of range.
    """
    if name not in POINT_SETS:
        raise MinidiffError(f"there are no points {name!r}; {hint(name, POINT_SETS, otherwise='choose one of:')}")
    n, generator = _count(n), _generator(seed)
    classes = POINT_SETS[name]
    labels = torch.arange(n, device="cpu") % len(classes)
    points, labels = _SHAPES[name](labels, len(classes), generator)
    return PlanePoints(standardized(points), labels, classes)


def drawn_points(image: ArrayLike, n: int = 2000, seed: int = 0) -> PlanePoints:
    """Random points of a drawn shape, standardized; the probability of a pixel is proportional to its value.

    Classes are the left and the right half of the shape.

    Args:
        image: (H, W), 0 where nothing is drawn; row 0 is the top. A tensor or a NumPy array.
        n: Number of points, 1 to `MAX_POINTS`.
        seed: Seed of the points.

    Raises:
        MinidiffError: The image has another shape, or no pixel above 0; or `n` is out of range.
    """
    weights = as_tensor(image, "image").detach().cpu().double()
    n, generator = _count(n), _generator(seed)
    if weights.dim() != 2:
        raise MinidiffError(f"a drawing needs shape (H, W), not {tuple(weights.shape)}")
    if not (weights.isfinite().all() and (weights >= 0).all() and weights.any()):
        raise MinidiffError("nothing is drawn: the image needs finite values of at least 0, and one above 0")
    chosen = torch.multinomial(weights.flatten(), n, replacement=True, generator=generator)
    row, column = chosen // weights.shape[1], chosen % weights.shape[1]
    offset = _uniform((n, 2), generator)  # within the pixel
    points = standardized(torch.stack((column + offset[:, 0], -row - offset[:, 1]), 1))
    return PlanePoints(points, (points[:, 0] > 0).long(), DRAWING_CLASSES)


def principal_points(images: ArrayLike, labels: ArrayLike, class_names: Sequence[str]) -> PlanePoints:
    """The first two principal components of images, standardized.

    Args:
        images: (N, C, H, W), as `load_dataset` returns them; N at least 2.
        labels: (N,), the class of each.
        class_names: Names of the classes.

    Raises:
        MinidiffError: The shapes do not match, or a label is not one of the classes.
    """
    values, classes = as_tensor(images, "images").detach().cpu(), as_tensor(labels, "labels").detach().cpu().long()
    if values.dim() < 2 or len(values) < 2 or classes.shape != values.shape[:1]:
        raise MinidiffError(
            f"principal components need at least 2 images and a label each, not {tuple(values.shape)} and "
            f"{tuple(classes.shape)}"
        )
    if not ((classes >= 0) & (classes < len(class_names))).all():
        raise MinidiffError(f"labels must lie between 0 and {len(class_names) - 1}")
    return PlanePoints(standardized(principal_components(values.flatten(1))), classes, tuple(class_names))


def principal_components(x: Tensor, k: int = 2) -> Tensor:
    """The first k principal components of vectors, (N, D), as (N, k) float32; 0 beyond the D-th.

    Exact, from the eigenvectors of the covariance matrix in float64. The largest entry of each eigenvector is positive.
    """
    centered = x.double() - x.double().mean(0)
    _, vectors = torch.linalg.eigh(centered.T @ centered)  # eigenvalues ascend
    vectors = vectors[:, -k:].flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    components = centered @ (vectors * largest.sign())
    return torch.nn.functional.pad(components, (0, k - components.shape[1])).float()


# Each shape maps the class of each point, (N,), and the number of classes to points, (N, 2), and their classes.
_Shape = Callable[[Tensor, int, torch.Generator], tuple[Tensor, Tensor]]


def _two_moons(labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    angle = math.pi * _uniform((len(labels),), generator)
    side = 1 - 2 * labels
    center = labels[:, None] * torch.tensor([1.0, 0.5], dtype=torch.float32, device="cpu")
    arc = torch.stack((side * angle.cos(), side * angle.sin()), 1)
    return arc + center + 0.06 * _normal((len(labels), 2), generator), labels


def _rings(labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    angle = 2 * math.pi * _uniform((len(labels),), generator)
    radius = (labels + 1).float() / classes + 0.02 * _normal((len(labels),), generator)
    return _polar(radius, angle), labels


def _spiral(labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    along = _uniform((len(labels),), generator).sqrt()  # evenly along the arm
    angle = 3 * math.pi * along + 2 * math.pi * labels.float() / classes
    return _polar(0.08 + along, angle) + 0.02 * _normal((len(labels), 2), generator), labels


def _checkerboard(labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The 8 dark squares of a 4x4 board."""
    square = torch.randint(8, (len(labels),), generator=generator, device="cpu")
    row = square // 2
    column = square % 2 * 2 + row % 2
    points = torch.stack((column, row), 1) + _uniform((len(labels), 2), generator)
    return points, (row < 2).long()


def _pinwheel(labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    noise = _normal((len(labels), 2), generator)
    along, across = 1 + 0.3 * noise[:, 0], 0.1 * noise[:, 1]
    angle = 2 * math.pi * labels.float() / classes + 0.25 * along.exp()  # bent more at the end
    return torch.stack(
        (along * angle.cos() - across * angle.sin(), along * angle.sin() + across * angle.cos()), 1
    ), labels


def _eight_gaussians(labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    center = _polar(torch.ones(len(labels), dtype=torch.float32, device="cpu"), 2 * math.pi * labels.float() / classes)
    return center + 0.06 * _normal((len(labels), 2), generator), labels


_SHAPES: dict[str, _Shape] = {
    "two moons": _two_moons,
    "rings": _rings,
    "spiral": _spiral,
    "checkerboard": _checkerboard,
    "pinwheel": _pinwheel,
    "eight gaussians": _eight_gaussians,
}


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack((radius * angle.cos(), radius * angle.sin()), 1)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device="cpu", dtype=torch.float32)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device="cpu", dtype=torch.float32)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(whole_number(seed, "seed") % 2**63)


def _count(n: int) -> int:
    n = whole_number(n, "n")
    if not 1 <= n <= MAX_POINTS:
        raise MinidiffError(f"n must lie between 1 and {MAX_POINTS:,}, not {n:,}")
    return n
