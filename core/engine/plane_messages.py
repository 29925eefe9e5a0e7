"""The messages of the 2-D bench between the UI and the engine. Nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.config.plane import EXTENT, TRAINING_STEPS
from core.engine.protocol import Array, DrawnImage, EngineReply, EngineRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneRequest(EngineRequest):
    """Train a small network on points in the plane, unless it is trained already, and send what it computes.

    The engine keeps the newest network, also while it is trained: a request with the same values up to
    `training_steps` continues its training, or sends only what is to be shown. Densities, fields and particles are sent
    for all noise levels of the sampler's steps.
    """

    points: (
        str | DrawnImage
    )  # one of POINT_SETS, a dataset, whose first two principal components are used, or a drawing
    seed: int = 0  # of the training
    path: str = "flow"
    prediction: str | None = None  # None: the velocity, or v on the path vp
    class_conditional: bool = True
    training_steps: int = TRAINING_STEPS
    extent: float = EXTENT  # half the side of the square that the grids cover
    field: tuple[int, int] = (20, 20)  # columns and rows of the vector field
    kind: str = "velocity"  # of the vectors: velocity, score or denoised
    density: tuple[int, int] | None = (72, 72)  # columns and rows of the density map; None: none
    smoothing: float = 0.0  # least scale of the density's noise
    n: int = 400  # particles; 0: none
    steps: int = 60  # of the particles' sampler
    sampler: str = "euler"
    shift: float = 1.0
    particle_seed: int = 0
    label: int | None = None  # class, -1 for any; None: any in the field, the classes in turn for the particles
    guidance: float = 1.0
    against: int | None = None  # the class that guidance leads away from; None: no class
    compare: tuple[int, ...] = ()  # numbers of steps to compare, without `against`


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneReply(EngineReply):
    """What all replies share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneData(PlaneReply):
    """The points; the first part of the reply."""

    points: Array  # (N, 2) in [-1, 1]; x points to the right and y up
    labels: bytes  # class of each point
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneDensity(PlaneReply):
    """The density of the data, or of the class in the request, with noise."""

    times: tuple[float, ...]  # noise levels, from 1 to 0
    density: Array  # (times, rows, columns), per unit of area; row 0 is the top


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneProgress(PlaneReply):
    """The state of the training. The parts of the reply that follow are of this network."""

    step: int
    steps: int
    loss: float | None  # mean of the last steps; None before the first
    elapsed: float  # seconds of training
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneVectors(PlaneReply):
    """The vector field at all noise levels."""

    times: tuple[float, ...]  # noise levels, from 1 to 0
    kind: str
    vectors: Array  # (times, rows, columns, 2), at the centres of the cells; row 0 is the top


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneParticles(PlaneReply):
    """The particles at every step of the sampler; during training only the first ones."""

    times: tuple[float, ...]  # noise levels, from 1 to 0
    points: Array  # (steps + 1, n, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneComparison(PlaneReply):
    """The samples of one number of steps, from the same noise; one for each number of `compare`."""

    steps: int
    evaluations: int  # network evaluations for each particle
    distance: float  # energy distance to the data
    points: Array  # (n, 2)


PLANE_REQUESTS: tuple[type[EngineRequest], ...] = (PlaneRequest,)
PLANE_REPLIES: tuple[type[PlaneReply], ...] = (
    PlaneData,
    PlaneDensity,
    PlaneProgress,
    PlaneVectors,
    PlaneParticles,
    PlaneComparison,
)
