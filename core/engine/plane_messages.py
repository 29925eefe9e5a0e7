"""The messages of the 2-D bench between the UI and the engine. Nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.config.plane import EXTENT, TRAINING_STEPS
from core.engine.protocol import Array, DrawnImage, EngineReply, EngineRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneRequest(EngineRequest):
    """Train a small network on points in the plane, unless it is trained already, and send what it computes.

    The engine keeps the newest network, also if a newer request interrupted its training: a request with the same
    values up to `training_steps` continues the training, if it is not complete. Densities, fields and particles are
    sent for all noise levels of the sampler's steps.
    """

    # One of `POINT_SETS`; a dataset, whose first two principal components are used; or a drawing.
    points: str | DrawnImage
    seed: int = 0  # of the training
    path: str = "flow"
    prediction: str | None = None  # None: the velocity, or v on the path vp
    class_conditional: bool = True
    training_steps: int = TRAINING_STEPS
    extent: float = EXTENT  # half the side of the square that the grids cover
    field: tuple[int, int] = (20, 20)  # columns and rows of the vector field
    kind: str = "velocity"  # of the vectors: velocity, score or denoised
    density: tuple[int, int] | None = (72, 72)  # columns and rows of the density map; None: none
    smoothing: float = 0.0  # lower bound of the density's sigma
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
    """Base class of the parts of the reply."""


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
    """The state of the training. The following parts of the reply are of this network."""

    step: int  # steps taken
    steps: int  # of the whole run
    loss: float | None  # mean since the previous report; None before the first step
    elapsed: float  # seconds spent in steps
    parameters: int  # number of parameters of the network


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneVectors(PlaneReply):
    """The vector field at all noise levels."""

    times: tuple[float, ...]  # noise levels, from 1 to 0
    kind: str  # as in the request
    vectors: Array  # (times, rows, columns, 2), at the centers of the cells; row 0 is the top


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
