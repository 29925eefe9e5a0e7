"""Vector fields of a model of points in the plane, and densities of points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compute.torch_settings import one_thread
from core.config.numbers import number, whole_number
from core.config.plane import EXTENT, MAX_CELLS
from core.config.sampling import NO_CLASS, resolve_sampling
from core.diffusion.editing import ClassMix
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import EDGE, ProbPath
from core.diffusion.samplers import Denoiser
from core.diffusion.sampling import class_tensor
from core.errors import MinidiffError
from core.lab.plane.network import to_images, to_points
from core.lab.plane.points import PlanePoints

MIN_SIGMA = 1e-6  # so that a point without noise is in one cell
KINDS = ("velocity", "score", "denoised")


@dataclass(frozen=True, slots=True)
class PlaneField:
    """Vectors at the centers of a grid of cells that covers the square [-extent, extent]; row 0 is the top."""

    t: float  # noise level
    kind: str  # one of `KINDS`
    points: Tensor  # (rows, columns, 2) float32: the centers
    vectors: Tensor  # (rows, columns, 2) float32; a velocity is in units of the plane per unit of t


def grid(columns: int, rows: int, extent: float = EXTENT) -> Tensor:
    """The centers of a grid of cells that covers the square [-extent, extent]: (rows, columns, 2), the top row first.

    Raises:
        MinidiffError: There is no cell, or there are more than `MAX_CELLS`; or `extent` is not a positive number.
    """
    columns, rows, extent = _checked_grid(columns, rows, extent)
    x = (torch.arange(columns, dtype=torch.float32, device="cpu") + 0.5) / columns * 2 - 1
    y = 1 - (torch.arange(rows, dtype=torch.float32, device="cpu") + 0.5) / rows * 2
    return extent * torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), 2)


def vector_field(
    model: LoadedModel,
    t: float,
    columns: int = 24,
    rows: int = 16,
    *,
    kind: str = "velocity",
    label: int | None = None,
    guidance: float = 1.0,
    against: int | None = None,
    extent: float = EXTENT,
) -> PlaneField:
    """What the network predicts at the points of a grid, as vectors.

    Args:
        model: The model of a `PlaneTraining` record.
        t: Noise level in [0, 1].
        columns, rows: Size of the grid, at most `MAX_CELLS` cells.
        kind: "velocity", dx_t/dt, which points from the data to the noise; "score", the gradient of log p(x_t), for
            Gaussian noise; or "denoised", from the point to the predicted clean point.
        label: Class, from 0; -1 or None for unconditional.
        guidance, against: As for `particle_steps`.
        extent: Half the side of the square, above 0.

    Raises:
        MinidiffError: An argument is out of range, or the model does not support it.
    """
    t = number(t, "t")
    if not 0 <= t <= 1:
        raise MinidiffError(f"t must lie in [0, 1], not {t:g}")
    if kind not in KINDS:
        raise MinidiffError(f"kind must be one of {', '.join(KINDS)}; found {kind!r}")
    path = model.path
    if kind == "score" and not path.gaussian:
        raise MinidiffError(f"the noise of the path {path.name} is uniform, so it has no score; choose velocity")
    points = grid(columns, rows, extent)
    flat = points.view(-1, 2)
    x = path.normalize(to_images(flat))
    with one_thread(), torch.no_grad():
        predicted = _denoiser(model, x, label, guidance, against)(x, t)
        if kind == "denoised":
            vectors = to_points(path.denormalize(predicted.denoised)) - flat
        elif kind == "score":
            vectors = -predicted.noise.flatten(1) / max(path.alpha_sigma(t)[1], EDGE)
        else:
            vectors = predicted.velocity.flatten(1) * (2 / (path.high - path.low))
    return PlaneField(t, kind, points, vectors.view_as(points))


def density_map(points: Tensor, columns: int = 60, rows: int = 40, extent: float = EXTENT) -> Tensor:
    """The density of points, (N, 2), per unit of area, (rows, columns) float32: a histogram over the cells of `grid`.

    Its sum times the area of a cell is the fraction of the points inside the square.

    Raises:
        MinidiffError: As for `grid`, or there is no point.
    """
    columns, rows, extent = _checked_grid(columns, rows, extent)
    if points.dim() != 2 or points.shape[1] != 2 or not len(points):
        raise MinidiffError(f"a density needs points of shape (N, 2), not {tuple(points.shape)}")
    inside = points[(points.abs() < extent).all(1)]
    column = ((inside[:, 0] / extent + 1) / 2 * columns).long().clamp(0, columns - 1)
    row = ((1 - inside[:, 1] / extent) / 2 * rows).long().clamp(0, rows - 1)
    counts = torch.bincount(row * columns + column, minlength=rows * columns).view(rows, columns).float()
    return counts / (len(points) * (2 * extent / columns) * (2 * extent / rows))


def marginal_density(
    data: PlanePoints,
    path: ProbPath,
    t: float,
    columns: int = 60,
    rows: int = 40,
    extent: float = EXTENT,
    *,
    smoothing: float = 0.0,
) -> Tensor:
    """The density of x_t for the data, per unit of area, (rows, columns) float32: the mean over each cell.

    Exact for the finite set of points: it is a mixture of one component per point, whose coordinates are independent,
    so the probability of a cell is the product of those of its column and its row.

    Args:
        data: The points.
        path: The path, such as that of a model.
        t: Noise level in [0, 1].
        columns, rows, extent: As for `grid`.
        smoothing: Lower bound of sigma, so that at small t the density of few points is smooth; 0: none.

    Raises:
        MinidiffError: An argument is out of range, or there is no point.
    """
    columns, rows, extent = _checked_grid(columns, rows, extent)
    t, smoothing = number(t, "t"), number(smoothing, "smoothing")
    if not 0 <= t <= 1:
        raise MinidiffError(f"t must lie in [0, 1], not {t:g}")
    if not len(data.points):
        raise MinidiffError("a density needs at least one point")
    if not 0 <= smoothing < math.inf:
        raise MinidiffError(f"smoothing must be a number from 0, not {smoothing:g}")
    alpha, sigma = path.alpha_sigma(t)
    probabilities = []  # of the columns, (columns, N), and of the rows, (rows, N), for each point
    with one_thread():
        for axis, cells in ((0, columns), (1, rows)):
            edges = torch.linspace(-extent, extent, cells + 1, dtype=torch.float32, device="cpu")
            z = (edges[:, None] - alpha * data.points[:, axis]) / max(sigma, smoothing, MIN_SIGMA)  # (cells + 1, N)
            cdf = torch.special.ndtr(z) if path.gaussian else (z.clamp(-1, 1) + 1) / 2  # uniform in [-1, 1)
            probabilities.append(cdf.diff(dim=0))
        in_column, in_row = probabilities
        total: Tensor = in_row.flip(0) @ in_column.T
    return total / (len(data.points) * (2 * extent / columns) * (2 * extent / rows))


def guidance_weights(label: int | None, guidance: float, against: int) -> dict[int, float]:
    """Guidance from the class `against` towards the class `label`, as weights of both for `core.mix_classes`.

    Raises:
        MinidiffError: They are not two different classes.
    """
    if label is None or len({label, against, NO_CLASS}) < 3:
        raise MinidiffError("guidance between two classes needs two different classes")
    return {label: guidance, against: 1 - guidance}


def _denoiser(model: LoadedModel, x: Tensor, label: int | None, guidance: float, against: int | None) -> Denoiser:
    n = len(x)
    unconditional = NO_CLASS if model.config.class_conditional and label is None else label
    scale = guidance if against is None else 1.0
    chosen, classes = resolve_sampling(model.config, n, labels=unconditional, guidance=scale, contrast=0.0)
    if against is not None:
        resolve_sampling(model.config, n, labels=against)
    denoiser = model.denoiser(class_tensor(classes, model.config.info.null_class, x.device), chosen.guidance)
    if against is None:
        return denoiser
    return ClassMix(**vars(denoiser), mix=tuple(guidance_weights(label, guidance, against).items()))


def _checked_grid(columns: int, rows: int, extent: float) -> tuple[int, int, float]:
    columns, rows, extent = whole_number(columns, "columns"), whole_number(rows, "rows"), number(extent, "extent")
    if min(columns, rows) < 1 or columns * rows > MAX_CELLS:
        raise MinidiffError(f"a grid has 1 to {MAX_CELLS:,} cells, not {columns} by {rows}")
    if not 0 < extent < float("inf"):
        raise MinidiffError(f"extent must be a positive number, not {extent:g}")
    return columns, rows, extent
