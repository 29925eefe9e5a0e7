"""Replies to the requests of the ideal denoiser's bench."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compute.torch_settings import one_thread
from core.config.sampling import NO_CLASS
from core.config.training import TrainConfig
from core.data.datasets import LabeledImages
from core.diffusion.frames import quantized, to_bytes, to_uint8
from core.diffusion.ideal_denoiser import ideal_model
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import SampleStep
from core.engine.ideal_messages import (
    IDEAL,
    LOCAL,
    NETWORK,
    TRAINING_IMAGES,
    IdealEnd,
    IdealPredictions,
    IdealReply,
    IdealRequest,
    IdealStep,
    NearestImage,
)
from core.engine.lab import NOISE_LEVELS, ClassifyFor, LabImage, condition_of, read_drawing
from core.engine.protocol import LabReply
from core.errors import DatasetError, MinidiffError
from core.evaluation.nearest import nearest_training_images
from core.lab.ideal import IdealPoint, ideal_sweep, sample_together

LoadTraining = Callable[[TrainConfig], LabeledImages]

LEVELS = tuple(reversed(NOISE_LEVELS))
PATCHES = (1, 15)  # sides of local patches
PATCH_IMAGES = 2_000  # training images of the denoiser with local patches, whose weights at every pixel take long
FALLBACK, FALLBACK_IMAGES = "glyphs", 10_000  # in place of training images that are not on this machine


@dataclass(frozen=True)
class _Known:
    """Training images, and the ideal denoiser made from them."""

    key: tuple[object, ...]
    dataset: str
    is_own: bool
    images: LabeledImages
    model: LoadedModel


class IdealComparison:
    """Replies to requests, and keeps the newest ideal denoiser from one request to the next."""

    def __init__(self, load_training: LoadTraining, classify: ClassifyFor) -> None:
        self._load_training, self._classify = load_training, classify
        self._known: _Known | None = None

    def replies(self, request: IdealRequest, image: LabImage, model: LoadedModel) -> Iterator[LabReply]:
        """The replies to a request; the caller may stop before the last one.

        Raises:
            MinidiffError: The training images are unknown or not on this machine, the path's noise is not Gaussian, or
                a value of the request is out of its range.
        """
        if request.patch is not None and not PATCHES[0] <= request.patch <= PATCHES[1]:
            raise MinidiffError(f"patch must lie between {PATCHES[0]} and {PATCHES[1]}, not {request.patch}")
        with one_thread():
            yield from self._replies(request, read_drawing(image, model, self._classify)[0], model)

    def _replies(self, request: IdealRequest, image: LabImage, model: LoadedModel) -> Iterator[LabReply]:
        known = self._known_of(model)
        label = condition_of(model, image, request.label)
        count = _count(known.images, label)
        local = _local(request, known, model.config, label)
        sweep = functools.partial(
            self._predictions, request, image, model, known, local=local, label=label, k=min(TRAINING_IMAGES, count)
        )
        nearest_first = sorted(range(len(LEVELS)), key=lambda index: abs(index - request.first))
        first = list(sweep(nearest_first[:1]))  # which is what the user sees; alone, it takes less time
        channels, height, width = model.config.info.shape
        yield IdealReply(
            label=image.label,
            noise_levels=LEVELS,
            condition=label,
            dataset=known.dataset,
            is_own=known.is_own,
            total=len(known.images.images),
            count=count,
            patch=request.patch,
            patch_images=0 if local is None else min(PATCH_IMAGES, count),
            height=height,
            width=width,
            channels=channels,
            image=to_uint8(image.pixels[None]),
        )
        yield from first
        yield from sweep(nearest_first[1:])
        models = {IDEAL: known.model, NETWORK: model} | ({} if local is None else {LOCAL: local})
        steps: tuple[SampleStep, ...] = ()
        for steps in sample_together(list(models.values()), len(LEVELS) - 1, label=label, seed=request.seed):
            images = {name: to_uint8(step.x) for name, step in zip(models, steps, strict=True)}
            yield IdealStep(label=image.label, index=steps[0].index, images=images)
        nearest = _nearest(torch.cat([step.x for step in steps]), known.images)
        yield IdealEnd(label=image.label, nearest=dict(zip(models, nearest, strict=True)))

    def _predictions(
        self,
        request: IdealRequest,
        image: LabImage,
        model: LoadedModel,
        known: _Known,
        indices: Sequence[int],
        *,
        local: LoadedModel | None,
        label: int | None,
        k: int,
    ) -> Iterator[IdealPredictions]:
        levels = [LEVELS[index] for index in indices]
        points = ideal_sweep(model, known.model, image.pixels, levels, local=local, label=label, seed=request.seed, k=k)
        for index, point in zip(indices, points, strict=True):
            yield _predictions_at(index, point, known.images, image.label)

    def _known_of(self, model: LoadedModel) -> _Known:
        config = model.config
        key = (config.dataset, config.image_options, config.limit, config.path, config.class_conditional)
        if self._known is None or self._known.key != key:
            self._known = None  # free its memory first
            images, is_own = self._training(config)
            ideal = ideal_model(config, *images)
            self._known = _Known(key, config.dataset if is_own else FALLBACK, is_own, images, ideal)
        return self._known

    def _training(self, config: TrainConfig) -> tuple[LabeledImages, bool]:
        """The model's training images, or others of their shape if they are not on this machine."""
        try:
            return self._load_training(config), True
        except DatasetError as error:
            if "not on this machine" not in str(error):
                raise
            other = config.changed(dataset=FALLBACK, limit=FALLBACK_IMAGES)
            if other.info.shape != config.info.shape:
                raise
            return self._load_training(other), False


def _local(request: IdealRequest, known: _Known, config: TrainConfig, label: int | None) -> LoadedModel | None:
    """The ideal denoiser with local patches, of the first training images of the class."""
    if request.patch is None:
        return None
    images, labels = known.images
    if label is not None and label != NO_CLASS:
        images, labels = images[labels == label], labels[labels == label]
    return ideal_model(config, images[:PATCH_IMAGES], labels[:PATCH_IMAGES], patch=request.patch)


def _count(images: LabeledImages, label: int | None) -> int:
    """How many training images there are of the class.

    Raises:
        MinidiffError: There are none.
    """
    if label is None or label == NO_CLASS:
        return len(images.images)
    count = int((images.labels == label).sum())
    if not count:
        raise MinidiffError(f"none of the {len(images.images):,} training images has the class {label}; choose another")
    return count


def _predictions_at(index: int, point: IdealPoint, training: LabeledImages, label: int | None) -> IdealPredictions:
    denoised = {IDEAL: point.ideal, NETWORK: point.network}
    errors = {IDEAL: point.ideal_error, NETWORK: point.network_error}
    if point.local is not None and point.local_error is not None:
        denoised[LOCAL], errors[LOCAL] = point.local, point.local_error
    return IdealPredictions(
        label=label,
        index=index,
        noisy=to_uint8(point.x[None]),
        denoised={name: to_uint8(image[None]) for name, image in denoised.items()},
        errors=errors,
        images=to_bytes(training.images[point.indices]),
        indices=tuple(point.indices.tolist()),
        labels=tuple(training.labels[point.indices].tolist()),
        weights=tuple(point.weights.tolist()),
        effective=point.effective,
    )


def _nearest(samples: Tensor, training: LabeledImages) -> Iterator[NearestImage]:
    """The nearest training image of each sample, (n, C, H, W) in [0, 1]."""
    found = nearest_training_images(quantized(samples), training.images)
    for index, distance in zip(found.indices[:, 0].tolist(), found.distances[:, 0].tolist(), strict=True):
        image = to_bytes(training.images[index : index + 1])
        yield NearestImage(image, index, int(training.labels[index]), distance)
