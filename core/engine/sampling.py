"""What a `SampleRequest` asks for: resolved options, and a trajectory from noise, from images, or between two ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.config.sampling import Sampling, SamplingOptions, evaluations, resolve_sampling
from core.data.input_image import read_image
from core.diffusion.editing import RESAMPLINGS, inpainting, unlabelled
from core.diffusion.frames import to_uint8
from core.diffusion.interpolation import (
    INVERSION_STEPS,
    InversionStep,
    ddim_options,
    interpolate_seeds,
    invert_and_interpolate,
)
from core.diffusion.sampling import SampleStep, merged, sample_batches
from core.engine.protocol import DrawnImage, Interpolation, SampleRequest, Start
from core.errors import MinidiffError

if TYPE_CHECKING:
    from core.data.datasets import LabeledImages
    from core.diffusion.loaded_model import LoadedModel

TestImages = Callable[[int, int], "LabeledImages"]  # from an index on, a number of images
# Class and confidence in percent of (B, C, H, W) images in [0, 1]; None if there is no classifier.
Read = Callable[[Tensor], tuple[tuple[int, int], ...] | None]


@dataclass(frozen=True)
class Plan:
    """How to sample, before any step is taken."""

    sampling: Sampling
    classes: tuple[int, ...] | None  # of each image; None: the model is unconditional
    steps: Iterator[SampleStep | InversionStep]  # first those of an inversion, if any
    nfe: int  # network function evaluations per image, without those of an inversion
    start: bytes | None = None  # as in `SamplingInfo`, and so is
    drawing_read: tuple[int, int] | None = None


def options_of(request: SampleRequest) -> SamplingOptions:
    """The sampling options of a request; None for the model's defaults."""
    return {
        "sampler": request.sampler,
        "guidance": request.guidance,
        "shift": request.shift,
        "contrast": request.contrast,
    }


def plan_sampling(model: LoadedModel, request: SampleRequest, test_images: TestImages, read: Read) -> Plan:
    """Read the images that a request names, and resolve its options.

    Args:
        model: The requested model.
        request: What to sample.
        test_images: Returns test images of the model's dataset.
        read: Reads the class of a drawing.

    Raises:
        MinidiffError: A value is out of range, an image cannot be read, or the model does not support an option.
    """
    options = options_of(request)
    match request.start:
        case Start():
            return _from_images(model, request, request.start, options, test_images, read)
        case Interpolation():
            return _between(model, request, request.start, options)
    sampling, classes = resolve_sampling(model.config, request.n, steps=request.steps, labels=request.label, **options)
    batches = sample_batches(model, request.n, steps=request.steps, seed=request.seed, labels=request.label, **options)
    return Plan(sampling, classes, merged(batches), evaluations(sampling, model.config.path))


def _from_images(
    model: LoadedModel,
    request: SampleRequest,
    start: Start,
    options: SamplingOptions,
    test_images: TestImages,
    read: Read,
) -> Plan:
    config, n, labels = model.config, request.n, request.label
    labels_of: int | list[int] | None = labels
    drawing_read = None
    if isinstance(start.image, str):
        images = read_image(start.image, config.info.shape)
    elif isinstance(start.image, DrawnImage):
        images = drawn(start.image, config.info.shape)
        if labels is None and config.class_conditional:
            labels_of = start.image.label
            if labels_of is None and (found_classes := read(images)) is not None:
                drawing_read = found_classes[0]
                labels_of = drawing_read[0]
    else:
        found = test_images(start.image, n if start.mask is None else 1)
        images = found.images.float() / 255
        if labels is None and config.class_conditional:
            labels_of = found.labels.tolist() if start.mask is None else int(found.labels[0])
    labels_of = unlabelled(model, labels_of)  # type: ignore[assignment]
    edit, resamplings = None, 1
    if start.mask is not None:
        mask = _mask(start.mask, config.info.shape)
        edit, resamplings = inpainting(model, images, mask, n, sampler=request.sampler), RESAMPLINGS
    sampling, classes = resolve_sampling(config, n, steps=request.steps, labels=labels_of, **options)
    batches = sample_batches(
        model,
        n,
        steps=request.steps,
        seed=request.seed,
        labels=labels_of,
        images=images,
        start_t=start.t,
        edit=edit,
        **options,
    )
    nfe = evaluations(sampling, config.path, start.t, resamplings)
    return Plan(sampling, classes, merged(batches), nfe, to_uint8(images), drawing_read)


def _between(model: LoadedModel, request: SampleRequest, ends: Interpolation, options: SamplingOptions) -> Plan:
    n, labels, path = request.n, unlabelled(model, request.label), model.config.path
    if isinstance(ends.first, int) and isinstance(ends.last, int):
        sampling, classes = resolve_sampling(model.config, n, steps=request.steps, labels=labels, **options)
        steps = interpolate_seeds(model, ends.first, ends.last, n, request.steps, labels=labels, **options)
        return Plan(sampling, classes, steps, evaluations(sampling, path))
    if isinstance(ends.first, str) and isinstance(ends.last, str):
        count = INVERSION_STEPS if request.steps is None else request.steps
        sampling, classes = ddim_options(model, n, count, labels)
        a, b = (read_image(end, model.config.info.shape) for end in (ends.first, ends.last))
        records = invert_and_interpolate(model, a, b, n, count, labels=labels)
        return Plan(sampling, classes, records, evaluations(sampling, path))
    raise MinidiffError(f"interpolate between two seeds or two image files, not between {ends.first} and {ends.last}")


def drawn(image: DrawnImage, shape: tuple[int, int, int]) -> Tensor:
    """A drawing as an image of the given shape, (1, C, H, W) in [0, 1].

    Raises:
        MinidiffError: It has another number of pixels.
    """
    channels, height, width = shape
    pixels = bytearray.fromhex(image.pixels)
    if len(pixels) != height * width:
        raise MinidiffError(f"a drawn image needs {height * width} pixels, not {len(pixels)}; draw another")
    values = torch.frombuffer(pixels, dtype=torch.uint8).reshape(1, 1, height, width)
    return values.float().div(255).expand(1, channels, height, width)


def _mask(rows: tuple[str, ...], shape: tuple[int, int, int]) -> Tensor:
    """The mask, (H, W) bool."""
    _, height, width = shape
    if len(rows) != height or any(len(row) != width for row in rows):
        raise MinidiffError(
            f"the mask has {len(rows)} rows of {len(rows[0]) if rows else 0} pixels, but the model's images are "
            f"{height}x{width}; draw another mask, or start from something else"
        )
    return torch.tensor([[cell == "1" for cell in row] for row in rows])
