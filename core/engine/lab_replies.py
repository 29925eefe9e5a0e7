"""What the engine answers when the lab's screen asks: what a bench shows, as a message and arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.config.datasets import IMAGE_SIZE
from core.config.sampling import NO_CLASS
from core.convolution import SMALL_SIDES, Geometry, grown_formula, output_formula
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS
from core.diffusion.sampling import class_tensor
from core.errors import MinidiffError
from core.lab.convolution import convolve_steps, kernel_tensor, padded
from core.lab.hooks import without_skips
from core.lab.inside import attention_layers, attention_maps, feature_maps, layer_kernels, receptive_field
from core.lab.layers import LayerRow, layer_table
from core.lab.sweep import corruption_sweep, one_step
from core.lab.transposed import overlap_counts, transposed_convolve_steps, upsample_convolve

Answer = tuple[dict[str, Any], dict[str, Tensor]]
Load = Callable[[], LoadedModel]  # the model that the request names
Read = Callable[[LoadedModel, Tensor], Any]  # what a classifier takes (B, 1, 28, 28) images in [0, 1] for, or None

NOISE_LEVELS = tuple(index / 40 for index in range(41))  # of a sweep
_tables: WeakKeyDictionary[nn.Module, tuple[LayerRow, ...]] = WeakKeyDictionary()
WALK_STEPS = 100  # from each amount
TILES = 64  # maps of a layer, or kernels of it, that are shown at most


class Digit(NamedTuple):
    """The digit that a bench works on."""

    image: Tensor  # (28, 28) in [0, 1]
    label: int | None  # None: it was drawn by hand


def answers(request: dict[str, Any], digit: Digit, load: Load, read: Read) -> Iterator[Answer]:
    """What the bench that `request` names shows of the digit.

    Raises:
        MinidiffError: there is no such bench, or what the request says makes no sense.
        KeyError: the request lacks something.
    """
    benches = {"convolution": _convolution, "transposed": _transposed, "corruption": _corruption, "inside": _inside}
    bench = request["bench"]
    if bench not in benches:
        raise MinidiffError(f"there is no bench {bench!r}; benches are {', '.join(benches)}")
    with _one_thread():
        for message, arrays in benches[bench](request, digit, load, read):
            yield {"bench": bench, "label": digit.label, **message}, arrays


@contextmanager
def _one_thread() -> Iterator[None]:
    """For one image: more threads gain little, and where others compute as well they wait for each other for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _convolution(request: dict[str, Any], digit: Digit, load: Load, read: Read) -> Iterator[Answer]:
    kernel = _kernel(request["kernel"], load)
    geometry = Geometry(
        int(request["stride"]), int(request["padding"]), str(request["padding_mode"]), int(request["dilation"])
    )
    image, weight = digit.image, kernel_tensor(kernel, digit.image)
    flip = bool(request["flip"])
    steps = list(convolve_steps(image, weight, geometry, flip=flip))
    *_, other = convolve_steps(image, weight, geometry, flip=not flip)
    message = {
        "dilation": geometry.dilation,
        "flip": flip,
        "formula": output_formula(IMAGE_SIZE, weight.shape[0], geometry),
        "origins": [step.origin for step in steps],
    }
    yield (
        message,
        {
            "digit": image,
            "image": padded(image, geometry),
            "kernel": weight,
            "windows": torch.stack([step.window for step in steps]),
            "products": torch.stack([step.products for step in steps]),
            "output": steps[-1].output,
            "other": other.output,  # with the kernel turned the other way
        },
    )


def _transposed(request: dict[str, Any], digit: Digit, load: Load, read: Read) -> Iterator[Answer]:
    kernel = kernel_tensor(_kernel(request["kernel"], load), digit.image)
    side, (least, most) = int(request["side"]), SMALL_SIDES
    if not least <= side <= most:
        raise MinidiffError(f"the small map has from {least} to {most} pixels along a side, not {side}")
    small = functional.adaptive_avg_pool2d(digit.image[None], side)[0]
    options = {name: int(request[name]) for name in ("stride", "padding", "dilation")}
    steps = list(transposed_convolve_steps(small, kernel, **options))
    rows, columns = kernel.shape
    yield (
        {
            "padding": options["padding"],
            "dilation": options["dilation"],
            "formula": grown_formula(side, rows, **options),
            "origins": [step.origin for step in steps],
        },
        {
            "image": small,
            "kernel": kernel,
            "spreads": torch.stack([step.spread for step in steps]),
            "outputs": torch.stack([step.output for step in steps]),
            "overlaps": overlap_counts((side, side), (rows, columns), **options),
            "upsampled": upsample_convolve(small, kernel, options["stride"]),
        },
    )


def _corruption(request: dict[str, Any], digit: Digit, load: Load, read: Read) -> Iterator[Answer]:
    model, seed, steps = load(), int(request["seed"]), int(request["steps"])
    if steps > WALK_STEPS:
        raise MinidiffError(f"a walk has at most {WALK_STEPS} steps here, not {steps}")
    image, label = digit.image[None], _label(model, digit, request)
    noisy, shares = {}, {}
    for name in PATHS:
        points = list(corruption_sweep(model, image, NOISE_LEVELS, path=name, label=label, seed=seed))
        noisy[name] = torch.stack([point.x[0] for point in points])
        pairs = [(point.alpha, point.sigma) for point in points]
        shares[name] = torch.tensor(pairs, dtype=torch.float32, device="cpu")
        if name == model.config.path:
            own = points
    predictions = torch.stack([point.prediction for point in own if point.prediction is not None])
    yield (
        {
            "amounts": NOISE_LEVELS,
            "paths": list(PATHS),
            "own": model.config.path,
            "told": label,  # the class, None for a model that knows none
            "errors": [point.error for point in own],
            "read": read(model, predictions),
        },
        {
            "digit": digit.image,
            **{f"noisy {name}": images for name, images in noisy.items()},
            **{f"shares {name}": table for name, table in shares.items()},
            "predictions": predictions[:, 0],
        },
    )
    first = int(request["first"])
    for index in sorted(range(len(NOISE_LEVELS)), key=lambda index: abs(index - first)):
        (point,) = corruption_sweep(model, image, NOISE_LEVELS[index : index + 1], label=label, seed=seed, steps=steps)
        assert point.sampled is not None
        seen = read(model, point.sampled[None])
        yield {"walk": index, "error": point.sampled_error, "read": seen and seen[0]}, {"walked": point.sampled[0]}


def _inside(request: dict[str, Any], digit: Digit, load: Load, read: Read) -> Iterator[Answer]:
    model = load()
    seed, t = int(request["seed"]), float(request["amount"])
    label = _label(model, digit, request)
    path = PATHS[model.config.path]
    (point,) = corruption_sweep(model, digit.image[None], [t], label=label, seed=seed)
    x = path.normalize(point.x[None])
    told = t if model.config.time_conditioning else 0.0
    classes = class_tensor((label,) if label is not None and model.config.class_conditional else None, model.device)
    kernels, table = layer_kernels(model.net), _table(model)
    asked = request["layer"]  # None: the first convolution; "" is the net itself
    name = _first(table, kernels) if asked is None else str(asked)
    attending = attention_layers(model.net)
    pixel = (int(request["pixel"][0]), int(request["pixel"][1]))

    def look() -> dict[str, Tensor]:
        maps = feature_maps(model.net, x, told, classes, layers=[name])
        shown = maps.get(name)
        arrays = {
            "digit": digit.image,
            "noisy": point.x[0],
            "prediction": one_step(model, point.x[None], t, label)[0, 0],
            "field": receptive_field(model, x, pixel, t, classes),  # of the clean image,
        }
        if shown is not None and shown.dim() == 4:
            arrays["maps"] = shown[0, :TILES]
        if name in kernels:
            weights = kernels[name]
            arrays["kernels"] = weights.reshape(-1, *weights.shape[2:])[:TILES]
        if name in attending:
            arrays["attention"] = _places(attention_maps(model.net, x, told, classes)[name], pixel)
        return arrays

    if request["skips"]:
        arrays = look()
    else:
        with without_skips(model.net):
            arrays = look()
    rows = [(row.name, row.depth, row.kind, row.shape, row.parameters, row.operations) for row in table]
    yield (
        {
            "amount": t,
            "attending": attending,
            "classes": model.config.class_conditional,
            "kernels": kernels[name].shape[:2].numel() if name in kernels else 0,  # of which some are shown
            "layer": name,
            "pixel": pixel,
            "table": rows,
        },
        arrays,
    )


def _table(model: LoadedModel) -> tuple[LayerRow, ...]:
    """The layers of a model, counted once: on a large net that takes longer than all else."""
    if model.net not in _tables:
        _tables[model.net] = layer_table(model.net)
    return _tables[model.net]


def _first(table: tuple[LayerRow, ...], kernels: dict[str, Tensor]) -> str:
    """The first convolution of a net, or its first part."""
    return next(iter(kernels), table[-1].name)


def _places(attention: Tensor, pixel: tuple[int, int]) -> Tensor:
    """(heads, side, side): what the place that holds a pixel of the image attends to; attention is (heads, n, n)."""
    side = round(attention.shape[1] ** 0.5)
    row, column = (at * side // IMAGE_SIZE for at in pixel)
    return attention[:, row * side + column].reshape(-1, side, side)


def _label(model: LoadedModel, digit: Digit, request: dict[str, Any]) -> int | None:
    """The class that a model is told, None for one that knows none: the one asked for, else the digit's own."""
    if not model.config.class_conditional:
        return None
    asked = request.get("class")
    if asked is not None:
        return int(asked)
    return NO_CLASS if digit.label is None else digit.label


def _kernel(asked: Any, load: Load) -> Any:
    """A kernel given as rows of numbers, or as one channel of a model's layer."""
    if not isinstance(asked, dict):
        return asked
    kernels = layer_kernels(load().net)
    name, at = str(asked["layer"]), (int(asked["out"]), int(asked["in"]))
    if name not in kernels:
        raise MinidiffError(f"the model has no convolution {name!r}; it has {', '.join(kernels)}")
    weights = kernels[name]
    if not all(0 <= index < most for index, most in zip(at, weights.shape, strict=False)):
        outs, ins = weights.shape[:2]
        raise MinidiffError(f"{name} has output channels 0 to {outs - 1} and input channels 0 to {ins - 1}")
    return weights[at]
