"""The messages between the UI and the engine process, except those of the Lab's benches. Nothing here loads torch.

`core.engine.codec` encodes them, decodes them and checks their types; the server checks the values. Images are uint8,
row by row; arrays are float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.config.sampling import Sampling
from core.runs.description import RunDescription
from core.runs.snapshots import SnapshotFrame
from core.runs.trajectory import Denoising, Frame

TEST_IMAGES = 1_000  # that the engine loads of a dataset, at most


@dataclass(frozen=True, slots=True)
class Array:
    """A float32 array of any shape."""

    shape: tuple[int, ...]
    values: Sequence[float]  # in row-major order

    def __getitem__(self, index: int) -> Array:
        """The subarray at `index` of the first axis; negative indices count from the end."""
        shape = self.shape[1:]
        size = math.prod(shape)
        index %= self.shape[0]
        return Array(shape, self.values[index * size : (index + 1) * size])

    def at(self, row: int, column: int) -> float:
        """An element of a 2-D array."""
        return self.values[row * self.shape[1] + column]

    @property
    def rows(self) -> list[Sequence[float]]:
        """The rows of a 2-D array."""
        height, width = self.shape
        return [self.values[row * width : (row + 1) * width] for row in range(height)]

    @property
    def max_abs(self) -> float:
        """The largest absolute value; 0 for an empty array."""
        return max(map(abs, self.values), default=0.0)


# Requests, from the UI to the engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """What all requests share. A request cancels the one before it."""

    id: int = 0  # chosen by the client; replies carry it


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionRequest(EngineRequest):
    """Describe a run before it starts: data, network, and an estimate of time and memory."""

    options: dict[str, str | int | float | bool | tuple[int, ...] | None]  # of `TrainConfig`, as in JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest(EngineRequest):
    """What the requests that need a model share."""

    model: str  # a built-in model or a run
    root: str = ""  # directory of the runs; empty for the default
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """A gray image that the user drew."""

    pixels: str  # one byte for each pixel, in hexadecimal; the Lab's are 28x28
    label: int | None = None  # its class, -1 for no class; None: the class that the feature classifier reads


@dataclass(frozen=True, slots=True)
class Start:
    """Images that samples start from, with noise added."""

    # Index of the first of the model's test images, one for each sample; or a file or a drawing, one for all.
    image: int | str | DrawnImage
    t: float = 1.0  # noise level, 1e-4 to 1
    # Only this part of the image is generated: a text for each row, with "1" where pixels are generated and "0" where
    # they are kept. With a mask, all samples start from the first image.
    mask: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Samples on the way from one end to another: from seed to seed, or from image file to image file."""

    first: int | str
    last: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest(ModelRequest):
    """Generate samples. Options that are None take the model's defaults."""

    n: int = 8
    steps: int | None = None
    seed: int = 0
    sampler: str | None = None
    guidance: float | None = None
    shift: float | None = None
    contrast: float | None = None
    label: int | None = None  # of all images, -1 for any; None: the classes in turn, or those of the start images
    start: Start | Interpolation | None = None  # None: noise of the seed


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestRequest(SampleRequest):
    """Find the training image that is nearest to each sample of a `SampleRequest`, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsRequest(SampleRequest):
    """Sample the same noise with several snapshots of a run; the reply has their last step only."""

    training_steps: tuple[int, ...]  # of the snapshots, in the order in which they are sampled
    validate: bool = True  # whether to measure their validation losses, if the test images are on this machine


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """One of a dataset's test images."""

    dataset: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRequest(ModelRequest):
    """What the requests of the Lab's benches share."""

    image: DatasetImage | DrawnImage
    seed: int = 0  # of the noise


# Replies, from the engine to the UI


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReply:
    """What all replies share."""

    id: int | None = None  # of the request; None: of no request


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(EngineReply):
    """torch is loaded."""

    device: str
    seconds: float  # that loading took


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive(EngineReply):
    """Sent every second while the engine is busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(EngineReply):
    """The request failed; `message` is one line."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(EngineReply):
    """A newer request arrived before this one was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(EngineReply):
    """The last part of the reply has been sent."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionReply(EngineReply):
    """What is known so far about the run; several follow one another, each more complete."""

    description: RunDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingInfo(EngineReply):
    """What is being sampled and how; the first part of the reply to a `SampleRequest` or a `SnapshotsRequest`."""

    denoising: Denoising  # without frames
    sampling: Sampling
    labels: tuple[int, ...] | None  # of each image, -1 for any; None: the model is unconditional
    class_names: tuple[str, ...]
    start: bytes | None  # the clean images to start from, (1 or n, height, width, channels) uint8
    drawing_read: tuple[int, int] | None  # class and confidence in percent that the classifier read in a drawing
    nfe: int  # network function evaluations per image
    parameters: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InversionProgress(EngineReply):
    """How many steps of the inversion of two images are done; sent before the frames of their interpolation."""

    done: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledFrame(EngineReply):
    """One step of the sampling trajectory."""

    frame: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSampled(EngineReply):
    """The samples of one snapshot; `SamplingInfo` comes before the first."""

    frame: SnapshotFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestProgress(EngineReply):
    """How many training images were compared; both numbers are 0 while they are loaded."""

    compared: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestReply(EngineReply):
    """The nearest training image of each sample; see `core.nearest_training_images`."""

    height: int
    width: int
    channels: int
    images: bytes  # (n, height, width, channels) uint8
    indices: tuple[int, ...]  # of the training images
    labels: tuple[int, ...]  # their classes, -1 if the dataset has none
    distances: tuple[float, ...]  # root mean square difference of pixel values in [0, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabReply(EngineReply):
    """What the replies to the Lab's benches share."""

    label: int | None  # class of the image, -1 for a drawing of no class; None: unknown


REQUESTS: tuple[type[EngineRequest], ...] = (DescriptionRequest, SampleRequest, NearestRequest, SnapshotsRequest)
REPLIES: tuple[type[EngineReply], ...] = (
    Ready,
    Alive,
    Refused,
    Cancelled,
    Done,
    SamplingInfo,
    InversionProgress,
    SampledFrame,
    SnapshotSampled,
    NearestProgress,
    NearestReply,
    DescriptionReply,
)
