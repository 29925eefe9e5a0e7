"""Replies to the requests of the Lab's benches."""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.compute.torch_settings import one_thread
from core.config.sampling import NO_CLASS
from core.convolution import SMALL_SIDES, Geometry, Kernel, grown_formula, output_formula
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS
from core.diffusion.sampling import class_tensor
from core.engine.lab_messages import (
    ConvolutionReply,
    ConvolutionRequest,
    CorruptionReply,
    CorruptionRequest,
    CorruptionSample,
    InsideReply,
    InsideRequest,
    LayerInfo,
    LayerKernel,
    TransposedReply,
    TransposedRequest,
)
from core.engine.protocol import Array, LabReply, LabRequest
from core.errors import MinidiffError
from core.lab.channels import luminance
from core.lab.convolution import convolve_steps, kernel_tensor, padded
from core.lab.hooks import without_skips
from core.lab.inside import attention_layers, attention_maps, feature_maps, layer_kernels, receptive_field
from core.lab.layers import LayerRow, layer_table
from core.lab.sweep import corruption_sweep, one_step
from core.lab.transposed import overlap_counts, transposed_convolve_steps, upsample_convolve

LoadModel = Callable[[], LoadedModel]  # loads the model of the request
Reading = tuple[int, int]  # class and confidence in percent
# Class and confidence of (B, C, H, W) images in [0, 1], or None if the model's dataset has no feature classifier.
ClassifyFor = Callable[[LoadedModel, Tensor], tuple[Reading, ...] | None]

NOISE_LEVELS = tuple(index / 40 for index in range(41))
MAX_STEPS = 100  # of a trajectory from each noise level
MAX_TILES = 64  # feature maps or kernels of a layer in one reply
_layer_tables: WeakKeyDictionary[nn.Module, tuple[LayerRow, ...]] = WeakKeyDictionary()


class LabImage(NamedTuple):
    """The image that a bench works on."""

    pixels: Tensor  # (C, H, W) in [0, 1]
    label: int | None  # -1: a drawing of no class; None: unknown
    drawn: bool = False  # if the class is unknown, the classifier reads it

    @property
    def gray(self) -> Tensor:
        """Its luminance, (H, W)."""
        return luminance(self.pixels)

    def channel(self, index: int | None) -> Tensor:
        """A channel, (H, W); None is the luminance.

        Raises:
            MinidiffError: there is no such channel.
        """
        if index is None:
            return self.gray
        if not 0 <= index < len(self.pixels):
            raise MinidiffError(f"the image has channels 0 to {len(self.pixels) - 1}, not {index}")
        return self.pixels[index]


def lab_replies(
    request: LabRequest, image: LabImage, load_model: LoadModel, classify: ClassifyFor
) -> Iterator[LabReply]:
    """The replies to a bench's request.

    Raises:
        MinidiffError: a value of the request is out of its range.
    """
    with one_thread():
        match request:
            case ConvolutionRequest():
                yield _convolution(request, image, load_model)
            case TransposedRequest():
                yield _transposed(request, image, load_model)
            case CorruptionRequest():
                model = load_model()
                yield from _corruption(request, *read_drawing(image, model, classify), model, classify)
            case InsideRequest():
                model = load_model()
                yield _inside(request, *read_drawing(image, model, classify), model)


def read_drawing(image: LabImage, model: LoadedModel, classify: ClassifyFor) -> tuple[LabImage, Reading | None]:
    """A drawing of unknown class with the class that the classifier reads, and its confidence in percent."""
    if not image.drawn or image.label is not None or image.pixels.shape != model.config.info.shape:
        return image, None
    read = classify(model, image.pixels[None])
    return (image, None) if read is None else (image._replace(label=read[0][0]), read[0])


def to_array(tensor: Tensor) -> Array:
    """A tensor as a float32 array of the protocol."""
    values = array("f")
    values.frombytes(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return Array(tuple(tensor.shape), values)


def channels_last(images: Tensor) -> Array:
    """Images, (..., C, H, W), as an array of shape (..., H, W, C)."""
    return to_array(images.movedim(-3, -1))


def _convolution(request: ConvolutionRequest, image: LabImage, load_model: LoadModel) -> ConvolutionReply:
    geometry = Geometry(request.stride, request.padding, request.padding_mode, request.dilation)
    values = image.channel(request.channel)
    kernel = kernel_tensor(_kernel(request.kernel, load_model), values)
    steps = list(convolve_steps(values, kernel, geometry, flip=request.flip))
    *_, flipped = convolve_steps(values, kernel, geometry, flip=not request.flip)
    return ConvolutionReply(
        label=image.label,
        dilation=geometry.dilation,
        flip=request.flip,
        formula=output_formula(values.shape[0], kernel.shape[0], geometry),
        origins=tuple(step.origin for step in steps),
        image=to_array(values),
        padded=to_array(padded(values, geometry)),
        kernel=to_array(kernel),
        windows=to_array(torch.stack([step.window for step in steps])),
        products=to_array(torch.stack([step.products for step in steps])),
        output=to_array(steps[-1].output),
        flipped_output=to_array(flipped.output),
    )


def _transposed(request: TransposedRequest, image: LabImage, load_model: LoadModel) -> TransposedReply:
    values = image.channel(request.channel)
    kernel = kernel_tensor(_kernel(request.kernel, load_model), values)
    side, (smallest, largest) = request.side, SMALL_SIDES
    if not smallest <= side <= largest:
        raise MinidiffError(f"side must lie between {smallest} and {largest}, not {side}")
    height, width = (max(1, round(side * pixels / max(values.shape))) for pixels in values.shape)
    small = functional.adaptive_avg_pool2d(values[None], (height, width))[0]
    stride, padding, dilation = request.stride, request.padding, request.dilation
    steps = list(transposed_convolve_steps(small, kernel, stride=stride, padding=padding, dilation=dilation))
    rows, columns = kernel.shape
    overlaps = overlap_counts((height, width), (rows, columns), stride=stride, padding=padding, dilation=dilation)
    return TransposedReply(
        label=image.label,
        padding=padding,
        dilation=dilation,
        formula=grown_formula(height, rows, stride=stride, padding=padding, dilation=dilation),
        origins=tuple(step.origin for step in steps),
        image=to_array(small),
        kernel=to_array(kernel),
        spreads=to_array(torch.stack([step.spread for step in steps])),
        outputs=to_array(torch.stack([step.output for step in steps])),
        overlaps=to_array(overlaps),
        upsampled=to_array(upsample_convolve(small, kernel, stride)),
    )


def _corruption(
    request: CorruptionRequest,
    image: LabImage,
    drawing_read: Reading | None,
    model: LoadedModel,
    classify: ClassifyFor,
) -> Iterator[LabReply]:
    if request.steps > MAX_STEPS:
        raise MinidiffError(f"steps must be at most {MAX_STEPS}, not {request.steps}")
    pixels, label, seed = image.pixels, condition_of(model, image, request.label), request.seed
    sweeps = {
        path: list(corruption_sweep(model, pixels, NOISE_LEVELS, path=path, label=label, seed=seed)) for path in PATHS
    }
    own = sweeps[model.config.path]
    predictions = torch.stack([point.prediction for point in own if point.prediction is not None])
    yield CorruptionReply(
        label=image.label,
        noise_levels=NOISE_LEVELS,
        path=model.config.path,
        condition=label,
        drawing_read=drawing_read,
        errors=tuple(point.error for point in own if point.error is not None),
        read=classify(model, predictions),
        image=channels_last(pixels),
        noisy={path: channels_last(torch.stack([point.x for point in points])) for path, points in sweeps.items()},
        coefficients={
            path: to_array(torch.tensor([(point.alpha, point.sigma) for point in points], device="cpu"))
            for path, points in sweeps.items()
        },
        predictions=channels_last(predictions),
    )
    nearest_first = sorted(range(len(NOISE_LEVELS)), key=lambda index: abs(index - request.first))
    for index in nearest_first:
        level = NOISE_LEVELS[index : index + 1]
        (point,) = corruption_sweep(model, pixels, level, label=label, seed=seed, steps=request.steps)
        assert point.sampled is not None
        assert point.sampled_error is not None
        read = classify(model, point.sampled[None])
        yield CorruptionSample(
            label=image.label,
            index=index,
            error=point.sampled_error,
            read=None if read is None else read[0],
            sampled=channels_last(point.sampled),
        )


def _inside(request: InsideRequest, image: LabImage, drawing_read: Reading | None, model: LoadedModel) -> InsideReply:
    net, t = model.net, request.t
    label = condition_of(model, image, request.label)
    labels = class_tensor(None if label is None else (label,), model.config.info.null_class, model.device)
    (point,) = corruption_sweep(model, image.pixels, [t], label=label, seed=request.seed)
    x = model.path.normalize(point.x[None])
    given_t = t if model.config.time_conditioning else 0.0
    kernels, table = layer_kernels(net), _layer_table(model)
    layer = request.layer
    if layer is None:  # the first convolution, or the first part of a network without one
        layer = next(iter(kernels), table[-1].name)
    with_attention = attention_layers(net)
    with nullcontext() if request.skips else without_skips(net):
        maps = feature_maps(net, x, given_t, labels, layers=[layer]).get(layer)
        prediction = luminance(one_step(model, point.x[None], t, label)[0])
        field = receptive_field(model, x, request.pixel, t, labels)
        attention = attention_maps(net, x, given_t, labels)[layer] if layer in with_attention else None
    kernel = kernels.get(layer)
    return InsideReply(
        label=image.label,
        t=t,
        class_conditional=model.config.class_conditional,
        drawing_read=drawing_read,
        layer=layer,
        pixel=request.pixel,
        layers=tuple(LayerInfo(**dataclasses.asdict(row)) for row in table),
        attention_layers=tuple(with_attention),
        kernel_count=0 if kernel is None else kernel.shape[:2].numel(),
        image=to_array(image.gray),
        noisy=to_array(luminance(point.x)),
        prediction=to_array(prediction),
        receptive_field=to_array(field),
        maps=to_array(maps[0, :MAX_TILES]) if maps is not None and maps.dim() == 4 else None,
        kernels=None if kernel is None else to_array(kernel.reshape(-1, *kernel.shape[2:])[:MAX_TILES]),
        attention=None if attention is None else to_array(_attention_from(attention, request.pixel, image.gray.shape)),
    )


def _layer_table(model: LoadedModel) -> tuple[LayerRow, ...]:
    """The layers of a model; cached, since counting the operations of a large network takes long."""
    if model.net not in _layer_tables:
        _layer_tables[model.net] = layer_table(model.net, model.config.info.shape)
    return _layer_tables[model.net]


def _attention_from(attention: Tensor, pixel: tuple[int, int], image: Sequence[int]) -> Tensor:
    """The attention, (heads, n, n), from the position that contains a pixel of an (H, W) image, as (heads, h, w)."""
    scale = (math.prod(image) / attention.shape[1]) ** 0.5
    height, width = (round(side / scale) for side in image)
    row, column = (at * new // old for at, new, old in zip(pixel, (height, width), image, strict=True))
    return attention[:, row * width + column].reshape(-1, height, width)


def condition_of(model: LoadedModel, image: LabImage, requested: int | None) -> int | None:
    """The class to give to the model: the requested one, else the image's; None if the model is unconditional."""
    if not model.config.class_conditional:
        return None
    if requested is not None:
        return requested
    return NO_CLASS if image.label is None else image.label


def _kernel(kernel: Kernel | LayerKernel, load_model: LoadModel) -> Kernel | Tensor:
    if not isinstance(kernel, LayerKernel):
        return kernel
    kernels = layer_kernels(load_model().net)
    if kernel.layer not in kernels:
        raise MinidiffError(f"the model has no convolution {kernel.layer!r}; it has {', '.join(kernels)}")
    weights = kernels[kernel.layer]
    outs, ins = weights.shape[:2]
    if not (0 <= kernel.out_channel < outs and 0 <= kernel.in_channel < ins):
        raise MinidiffError(f"{kernel.layer} has output channels 0 to {outs - 1} and input channels 0 to {ins - 1}")
    return weights[kernel.out_channel, kernel.in_channel]
