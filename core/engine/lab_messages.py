"""The messages of the Lab's benches on one image, between the UI and the engine. Nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.convolution import Kernel
from core.engine.protocol import Array, EngineReply, EngineRequest, LabReply, LabRequest


@dataclass(frozen=True, slots=True)
class LayerKernel:
    """One kernel of a convolution layer of the model."""

    layer: str
    out_channel: int
    in_channel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionRequest(LabRequest):
    """Convolve the image with a kernel, one position at a time."""

    channel: int | None = None  # of an RGB image; None: its luminance
    kernel: Kernel | LayerKernel
    stride: int
    padding: int
    padding_mode: str
    dilation: int
    flip: bool  # True convolves, False cross-correlates as conv2d does


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedRequest(LabRequest):
    """Shrink the image to at most `side` pixels a side and apply a transposed convolution, one value at a time."""

    channel: int | None = None  # of an RGB image; None: its luminance
    kernel: Kernel | LayerKernel
    side: int
    stride: int
    padding: int
    dilation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionRequest(LabRequest):
    """Corrupt the image at all noise levels and restore it, in one step and by sampling."""

    steps: int  # of each sampling trajectory
    label: int | None  # -1 for any class; None: the image's own
    first: int  # index of the noise level to sample from first


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideRequest(LabRequest):
    """Run the network on the noisy image and return what one layer computes."""

    t: float  # noise level, 0 to 1
    label: int | None  # as in `CorruptionRequest`
    layer: str | None  # "" is the network itself; None: its first convolution
    pixel: tuple[int, int]  # row and column whose receptive field is computed
    skips: bool  # whether skip connections are on


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionReply(LabReply):
    """Every position of the kernel; arrays have one entry per position where they say `steps`."""

    dilation: int
    flip: bool
    formula: str  # of the output size
    origins: tuple[tuple[int, int], ...]  # row and column of the kernel's corner, in the padded image
    image: Array  # luminance, (H, W)
    padded: Array  # with the padding
    kernel: Array  # (k, k), as written
    windows: Array  # (steps, k, k)
    products: Array  # (steps, k, k)
    output: Array
    flipped_output: Array  # with the kernel flipped if `output` is without, and vice versa


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedReply(LabReply):
    """Every value of the small image, spread by the kernel."""

    padding: int
    dilation: int
    formula: str  # of the output size
    origins: tuple[tuple[int, int], ...]  # row and column of the kernel's corner, in the padded output
    image: Array  # (h, w), the longer one `side`
    kernel: Array  # (k, k)
    spreads: Array  # (steps, k, k): value times kernel
    outputs: Array  # (steps, H, W): the output after each step
    overlaps: Array  # (H, W): how many kernels reach each pixel
    upsampled: Array  # (H, W): nearest-neighbor upsampling, then a convolution


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionReply(LabReply):
    """The image at all noise levels on every path, and the model's one-step predictions."""

    noise_levels: tuple[float, ...]  # L of them, ascending
    path: str  # the model's
    condition: int | None  # the class given to the model, -1 for any; None: it is unconditional
    drawing_read: tuple[int, int] | None  # class and confidence in percent that the classifier read in a drawing
    errors: tuple[float, ...]  # mean squared error of each prediction
    read: tuple[tuple[int, int], ...] | None  # class and confidence in percent for each prediction
    image: Array  # (H, W, C)
    noisy: dict[str, Array]  # (L, H, W, C) by path
    coefficients: dict[str, Array]  # (L, 2) by path: alpha and sigma
    predictions: Array  # (L, H, W, C)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionSample(LabReply):
    """The image sampled from one of the noise levels; one for each follows a `CorruptionReply`."""

    index: int  # of the noise level
    error: float  # mean squared error
    read: tuple[int, int] | None  # class and confidence in percent
    sampled: Array  # (H, W, C)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One module of a network, with all that it contains."""

    name: str  # as in `named_modules`; "" for the network itself
    depth: int  # 0 for the network itself
    kind: str  # its class
    shape: tuple[int, ...] | None  # of its output, without the batch; None: it was not called by itself
    parameters: int
    operations: int  # floating-point operations per image


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideReply(LabReply):
    """What the network and one of its layers compute for the noisy image."""

    t: float
    class_conditional: bool
    drawing_read: tuple[int, int] | None  # as in `CorruptionReply`
    layer: str
    pixel: tuple[int, int]
    layers: tuple[LayerInfo, ...]
    attention_layers: tuple[str, ...]  # names of the layers with attention
    kernel_count: int  # of the layer, of which `kernels` holds the first
    image: Array  # luminance, (H, W)
    noisy: Array  # luminance, (H, W)
    prediction: Array  # luminance, (H, W)
    receptive_field: Array  # (H, W): gradient magnitude of the pixel's prediction
    maps: Array | None  # (C, H, W), if the layer's output has that shape
    kernels: Array | None  # (K, h, w), if the layer is a convolution
    attention: Array | None  # (heads, side, side): from the pixel's position to all others, if the layer has attention


LAB_REQUESTS: tuple[type[EngineRequest], ...] = (
    ConvolutionRequest,
    TransposedRequest,
    CorruptionRequest,
    InsideRequest,
)
LAB_REPLIES: tuple[type[EngineReply], ...] = (
    ConvolutionReply,
    TransposedReply,
    CorruptionReply,
    CorruptionSample,
    InsideReply,
)
