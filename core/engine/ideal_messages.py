"""The messages of the ideal denoiser's bench between the UI and the engine. Nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.engine.protocol import EngineReply, EngineRequest, LabReply, LabRequest

IDEAL, NETWORK, LOCAL = "ideal", "network", "local"  # the denoisers
TRAINING_IMAGES = 8  # of largest weight, at each noise level


@dataclass(frozen=True, slots=True, kw_only=True)
class IdealRequest(LabRequest):
    """Compare the ideal denoiser of the model's training images with the network, at all noise levels and from noise.

    The replies are one `IdealReply`, one `IdealPredictions` for each noise level, one `IdealStep` for each step from
    noise, and one `IdealEnd`.
    """

    label: int | None  # -1 for any class; None: the image's own
    patch: int | None = None  # side in pixels of the local patches of a third denoiser; None: without it
    first: int = 0  # index of the noise level to compute first


@dataclass(frozen=True, slots=True, kw_only=True)
class IdealReply(LabReply):
    """The image, the training images and the options; the first part of the reply."""

    noise_levels: tuple[float, ...]  # descending from 1 to 0; also those of the steps from noise
    condition: int | None  # the class given to all denoisers, -1 for any; None: the model is unconditional
    dataset: str  # whose training images are used
    is_own: bool  # whether they are the model's own; False: those are not on this machine
    total: int  # number of training images
    count: int  # number of those of the class
    patch: int | None  # as in the request
    patch_images: int  # number of training images of the denoiser with local patches; 0 without it
    height: int
    width: int
    channels: int
    image: bytes  # (height, width, channels) uint8


@dataclass(frozen=True, slots=True, kw_only=True)
class IdealPredictions(LabReply):
    """The predictions at one noise level. Images are (height, width, channels) uint8."""

    index: int  # of the noise level
    noisy: bytes
    denoised: dict[str, bytes]  # predicted clean image by denoiser
    errors: dict[str, float]  # mean squared error by denoiser, of values in [0, 1]
    images: bytes  # (k, height, width, channels): the training images of largest weight in the ideal denoiser's mean
    indices: tuple[int, ...]  # their indices in the dataset
    labels: tuple[int, ...]  # their classes, -1 if the dataset has none
    weights: tuple[float, ...]  # their weights, in descending order
    effective: float  # effective number of training images in the mean, exp(entropy of the weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdealStep(LabReply):
    """One step of sampling with each denoiser from the same noise, at the noise level of the same index."""

    index: int
    images: dict[str, bytes]  # (height, width, channels) uint8 by denoiser


@dataclass(frozen=True, slots=True)
class NearestImage:
    """The training image that is nearest to a sample."""

    image: bytes  # (height, width, channels) uint8
    index: int  # in the dataset
    label: int  # its class, -1 if the dataset has none
    distance: float  # root mean square difference of pixel values in [0, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdealEnd(LabReply):
    """The nearest training image of each sample; the last part of the reply."""

    nearest: dict[str, NearestImage]  # by denoiser


IDEAL_REQUESTS: tuple[type[EngineRequest], ...] = (IdealRequest,)
IDEAL_REPLIES: tuple[type[EngineReply], ...] = (IdealReply, IdealPredictions, IdealStep, IdealEnd)
