"""Named kernels, kernels as text, and output sizes of convolutions; without torch, for the UI."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from core.errors import MinidiffError, hint

Kernel = tuple[tuple[float, ...], ...]  # rows of numbers; 1 to MAX_KERNEL rows and columns

MAX_KERNEL = 7
MAX_VALUE = 1000.0  # largest absolute value in a kernel
STRIDES, PADDINGS, DILATIONS = (1, 4), (0, 6), (1, 3)  # minimum and maximum
PADDING_MODES = ("zeros", "reflect")
SMALL_SIDES = (2, 8)  # minimum and maximum side of the Lab's input of a transposed convolution

_ALL, _ODD, _FROM_3 = tuple(range(1, MAX_KERNEL + 1)), (1, 3, 5, 7), (3, 5, 7)
_SIZES = {
    "identity": _ODD,
    "box blur": _ALL,
    "gaussian blur": _ALL,
    "sharpen": _FROM_3,
    "sobel x": _FROM_3,
    "sobel y": _FROM_3,
    "laplacian": _FROM_3,
    "emboss": _FROM_3,
    "random": _ALL,
}
NAMED = tuple(_SIZES)

_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_NUMBER = re.compile(rf"([+-]?{_DECIMAL})(?:/({_DECIMAL}))?")
_MAX_TEXT = 2000  # characters


def sizes_of(name: str) -> tuple[int, ...]:
    """Available sizes of a named kernel, ascending.

    Raises:
        MinidiffError: There is no such kernel.
    """
    if name not in _SIZES:
        raise MinidiffError(f"there is no kernel {name!r}; {hint(name, NAMED, otherwise='kernels are')}")
    return _SIZES[name]


def named_kernel(name: str, size: int = 3, seed: int = 0) -> Kernel:
    """A named kernel of shape (size, size), for cross-correlation as in `torch.nn.functional.conv2d`.

    - identity: returns the image.
    - box blur: the mean.
    - gaussian blur: binomial, [1 2 1] / 4 along each axis for size 3.
    - laplacian: sum of the second differences along both axes; from size 5 of the binomially blurred image.
    - sharpen: identity minus laplacian.
    - sobel x: horizontal difference, blurred vertically, [1 2 1] times [-1 0 1] for size 3 (Sobel and Feldman 1968);
      positive where brightness grows to the right. sobel y: its transpose.
    - emboss: identity plus a slope from top left to bottom right.
    - random: torch's initialization of a layer with one channel, uniform in [-1 / size, 1 / size], to three decimals.

    Args:
        name: One of `NAMED`.
        size: One of `sizes_of(name)`.
        seed: Seed of `random`.

    Raises:
        MinidiffError: There is no such kernel, or not in that size.
    """
    sizes = sizes_of(name)
    if size not in sizes:
        raise MinidiffError(f"{name} has sizes {', '.join(map(str, sizes))}, not {size}; use one of these")
    middle = size // 2
    blur, unit = _binomial(size), [float(index == middle) for index in range(size)]
    if name == "identity":
        return _outer(unit, unit)
    if name == "box blur":
        return ((1 / size**2,) * size,) * size
    if name == "gaussian blur":
        return _outer(blur, blur)
    if name == "sobel x":
        return _sobel(size)
    if name == "sobel y":
        return _transposed(_sobel(size))
    if name == "laplacian":
        return _laplacian(size)
    if name == "sharpen":
        return _combined(_outer(unit, unit), _laplacian(size), -1)
    if name == "emboss":
        slope = tuple(tuple(float(row + column - 2 * middle) for column in range(size)) for row in range(size))
        return _combined(_outer(unit, unit), slope, 1)
    rng = random.Random(seed)
    return tuple(tuple(round(rng.uniform(-1 / size, 1 / size), 3) for _ in range(size)) for _ in range(size))


def parse_kernel(text: str) -> Kernel:
    """Parse a kernel: rows separated by `;` or newlines, numbers by spaces or commas; 1/9 is valid.

    Raises:
        MinidiffError: A number is invalid or too large, rows differ in length, or there are no or too many numbers.
    """
    if len(text) > _MAX_TEXT:
        raise MinidiffError(f"a kernel can have up to {_MAX_TEXT} characters, not {len(text)}; use fewer digits")
    words = [re.findall(r"[^\s,]+", row) for row in re.split(r"[;\n\r]", text)]
    return check_kernel(tuple(tuple(map(_number, row)) for row in words if row))


def kernel_text(kernel: Kernel) -> str:
    """Inverse of `parse_kernel`, in one line; fractions such as 1/9 where they are shorter."""
    return "; ".join(" ".join(map(_short, row)) for row in kernel)


def check_kernel(kernel: Sequence[Sequence[float]]) -> Kernel:
    """Validate a kernel.

    Raises:
        MinidiffError: There are no or too many numbers, rows differ in length, or a number is too large or NaN.
    """
    rows = tuple(tuple(map(float, row)) for row in kernel)
    widths = [len(row) for row in rows]
    if not rows or 0 in widths:
        raise MinidiffError("a kernel needs at least one number; write rows such as 0 1 0; 1 -4 1; 0 1 0")
    if len(set(widths)) > 1:
        raise MinidiffError(
            f"rows of a kernel need equal lengths, not {', '.join(map(str, widths[:9]))}; fill the short ones"
        )
    if max(len(rows), widths[0]) > MAX_KERNEL:
        raise MinidiffError(
            f"a kernel can have up to {MAX_KERNEL} rows and columns, not {len(rows)} by {widths[0]}; use a smaller one"
        )
    for value in (value for row in rows for value in row):
        if not abs(value) <= MAX_VALUE:  # also true for NaN
            raise MinidiffError(
                f"numbers of a kernel must be from -{MAX_VALUE:g} to {MAX_VALUE:g}, not {value:g}; scale it down"
            )
    return rows


@dataclass(frozen=True)
class Geometry:
    """Stride, padding and dilation of a convolution, as in `torch.nn.Conv2d`.

    Raises:
        MinidiffError: A value is out of range.
    """

    stride: int = 1  # 1 to 4
    padding: int = 0  # on each side, 0 to 6
    padding_mode: str = "zeros"  # or "reflect"
    dilation: int = 1  # 1 to 3

    def __post_init__(self) -> None:
        for name, value, (low, high) in (
            ("stride", self.stride, STRIDES),
            ("padding", self.padding, PADDINGS),
            ("dilation", self.dilation, DILATIONS),
        ):
            if not isinstance(value, int) or not low <= value <= high:
                raise MinidiffError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        if self.padding_mode not in PADDING_MODES:
            raise MinidiffError(f"padding_mode must be {' or '.join(PADDING_MODES)}, not {self.padding_mode!r}")


def output_size(size: int, kernel: int, geometry: Geometry = Geometry()) -> int:
    """Output size of a convolution along one axis.

    Args:
        size: Image size along the axis, at least 1.
        kernel: Kernel size along the axis, 1 to `MAX_KERNEL`.
        geometry: Stride, padding and dilation.

    Raises:
        MinidiffError: The window is larger than the padded image, or the image is too small for reflection padding.

    Source: Dumoulin and Visin 2016, relationship 15.
    """
    _check_sides(size, kernel)
    if geometry.padding_mode == "reflect" and geometry.padding >= size:
        raise MinidiffError(
            f"{size} pixels can be reflected by up to {size - 1}, not {geometry.padding}; pad less, or with zeros"
        )
    window, padded = geometry.dilation * (kernel - 1) + 1, size + 2 * geometry.padding
    if window > padded:
        raise MinidiffError(
            f"a window of {window} does not fit into a padded image of {padded}; pad more or dilate less"
        )
    return (padded - window) // geometry.stride + 1


def output_formula(size: int, kernel: int, geometry: Geometry = Geometry()) -> str:
    """The formula of `output_size` with its values: ⌊(28 + 2·1 - 1·(3 - 1) - 1) / 2⌋ + 1 = 14.

    Raises:
        MinidiffError: As for `output_size`.
    """
    result = output_size(size, kernel, geometry)
    padding, dilation, stride = geometry.padding, geometry.dilation, geometry.stride
    return f"⌊({size} + 2·{padding} - {dilation}·({kernel} - 1) - 1) / {stride}⌋ + 1 = {result}"


def grown_size(size: int, kernel: int, stride: int = 2, padding: int = 0, dilation: int = 1) -> int:
    """Output size of a transposed convolution along one axis.

    Args:
        size: Input size along the axis, at least 1.
        kernel: Kernel size along the axis, 1 to `MAX_KERNEL`.
        stride: 1 to 4.
        padding: Pixels cropped from each side of the output, 0 to 6.
        dilation: 1 to 3.

    Raises:
        MinidiffError: A value is out of range, or the output would be empty.

    Source: Dumoulin and Visin 2016, chapter 4, with dilation.
    """
    _check_sides(size, kernel)
    Geometry(stride, padding, dilation=dilation)
    whole = (size - 1) * stride + dilation * (kernel - 1) + 1
    if whole <= 2 * padding:
        raise MinidiffError(f"an output of {whole} is empty after cropping {padding} on each side; reduce the padding")
    return whole - 2 * padding


def grown_formula(size: int, kernel: int, stride: int = 2, padding: int = 0, dilation: int = 1) -> str:
    """The formula of `grown_size` with its values: (14 - 1)·2 - 2·1 + 1·(4 - 1) + 1 = 28.

    Raises:
        MinidiffError: As for `grown_size`.
    """
    result = grown_size(size, kernel, stride, padding, dilation)
    return f"({size} - 1)·{stride} - 2·{padding} + {dilation}·({kernel} - 1) + 1 = {result}"


def _check_sides(size: int, kernel: int) -> None:
    if size < 1:
        raise MinidiffError(f"an image needs at least one pixel along each side, not {size}")
    if not 1 <= kernel <= MAX_KERNEL:
        raise MinidiffError(f"a kernel can have 1 to {MAX_KERNEL} rows and columns, not {kernel}")


def _number(word: str) -> float:
    match = _NUMBER.fullmatch(word)
    if match is None:
        raise MinidiffError(f"{_quoted(word)} is not a number; write numbers such as 2, -0.5 or 1/9")
    numerator, denominator = float(match[1]), float(match[2] or 1)
    if denominator == 0:
        raise MinidiffError(f"{_quoted(word)} divides by zero; use another denominator")
    return numerator / denominator


def _quoted(word: str) -> str:
    return repr(word if len(word) <= 24 else word[:23] + "…")


def _short(value: float) -> str:
    if value == round(value):
        return str(round(value))
    plain, fraction = repr(value), Fraction(value).limit_denominator(4096)
    part = f"{fraction.numerator}/{fraction.denominator}"
    return part if float(fraction) == value and len(part) < len(plain) else plain


def _binomial(size: int) -> list[float]:
    """Row `size` of Pascal's triangle, normalized to a sum of 1."""
    return [math.comb(size - 1, index) / 2 ** (size - 1) for index in range(size)]


def _outer(column: Iterable[float], row: Sequence[float]) -> Kernel:
    return tuple(tuple(a * b for b in row) for a in column)


def _transposed(kernel: Kernel) -> Kernel:
    return tuple(zip(*kernel, strict=True))


def _combined(first: Kernel, second: Kernel, factor: float) -> Kernel:
    """First + factor * second."""
    return tuple(tuple(a + factor * b for a, b in zip(*rows, strict=True)) for rows in zip(first, second, strict=True))


def _sobel(size: int) -> Kernel:
    """Outer product of a binomial column and the difference of two binomial rows; integers."""
    narrow = [math.comb(size - 3, index) for index in range(size - 2)]
    step = [float(a - b) for a, b in zip([0, 0, *narrow], [*narrow, 0, 0], strict=True)]
    return _outer([float(math.comb(size - 1, index)) for index in range(size)], step)


def _laplacian(size: int) -> Kernel:
    """The binomial kernel of size - 2, convolved with [0 1 0; 1 -4 1; 0 1 0]."""
    narrow = _binomial(size - 2)
    smooth, bent = [0.0, *narrow, 0.0], [0.0] * size
    for index, value in enumerate(narrow):
        for offset, factor in enumerate((1, -2, 1)):
            bent[index + offset] += factor * value
    return _combined(_outer(bent, smooth), _outer(smooth, bent), 1)
