"""Kernels by name and as text, and the arithmetic of what they do to an image's size; without torch, for the screen."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from core.errors import MinidiffError, hint

Kernel = tuple[tuple[float, ...], ...]  # rows of numbers, from 1 to MAX_KERNEL of either

MAX_KERNEL = 7
LARGEST = 1000.0  # that a number of a kernel may be, with either sign
STRIDES, PADDINGS, DILATIONS = (1, 4), (0, 6), (1, 3)  # the least and the greatest
PADDING_MODES = ("zeros", "reflect")
SMALL_SIDES = (2, 8)  # of the map that the lab lets a transposed convolution grow

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
_LONGEST = 2000  # characters that a kernel may take, as text


def sizes_of(name: str) -> tuple[int, ...]:
    """The sizes in which the kernel `name` exists, ascending.

    Raises:
        MinidiffError: there is no kernel of that name.
    """
    if name not in _SIZES:
        raise MinidiffError(f"there is no kernel {name!r}; {hint(name, NAMED, otherwise='kernels are')}")
    return _SIZES[name]


def named_kernel(name: str, size: int = 3, seed: int = 0) -> Kernel:
    """The kernel `name`, `size` by `size`, to be laid on an image as `conv2d` does, that is, without turning it over.

    identity keeps the image. box blur is the mean. gaussian blur is binomial, [1 2 1] / 4 along each side for size 3.
    laplacian is the sum of both second differences, from size 5 on of the binomially blurred image; sharpen takes it
    away from the image. sobel x is a difference to the right of what is blurred downwards, [1 2 1] times [-1 0 1] for
    size 3 (Sobel and Feldman 1968), and is above 0 where it grows brighter to the right; sobel y likewise downwards.
    emboss adds a slope from top left to bottom right to the image. random is what torch gives a fresh layer of one
    channel: uniform within 1 / size of 0, here to three digits.

    Args:
        name: one of `NAMED`.
        size: one of `sizes_of(name)`.
        seed: of the numbers of random.

    Raises:
        MinidiffError: there is no kernel of that name, or it does not exist in that size.
    """
    sizes = sizes_of(name)
    if size not in sizes:
        raise MinidiffError(f"{name} exists in sizes {', '.join(map(str, sizes))}, not {size}; take one of these")
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
    draw = random.Random(seed)
    return tuple(tuple(round(draw.uniform(-1 / size, 1 / size), 3) for _ in range(size)) for _ in range(size))


def parse_kernel(text: str) -> Kernel:
    """A kernel from text: rows end with `;` or a line, numbers stand apart by spaces or commas; 1/9 is a number too.

    Nothing is evaluated: a number is digits, with a sign, a point, an exponent or one `/`.

    Raises:
        MinidiffError: a word is no number or too large, rows differ in length, or there are none or too many.
    """
    if len(text) > _LONGEST:
        raise MinidiffError(f"a kernel takes up to {_LONGEST} characters, not {len(text)}; leave digits out")
    words = [re.findall(r"[^\s,]+", row) for row in re.split(r"[;\n\r]", text)]
    return checked(tuple(tuple(map(_number, row)) for row in words if row))


def kernel_text(kernel: Kernel) -> str:
    """What `parse_kernel` reads as just this kernel, in one line: fractions where they are shorter, as 1/9 is."""
    return "; ".join(" ".join(map(_short, row)) for row in kernel)


def checked(kernel: Sequence[Sequence[float]]) -> Kernel:
    """The kernel itself, if it is one.

    Raises:
        MinidiffError: it has no numbers or too many, rows of different lengths, or a number that is too large or none.
    """
    rows = tuple(tuple(map(float, row)) for row in kernel)
    widths = [len(row) for row in rows]
    if not rows or 0 in widths:
        raise MinidiffError("a kernel needs a number at least; write rows such as 0 1 0; 1 -4 1; 0 1 0")
    if len(set(widths)) > 1:
        raise MinidiffError(
            f"rows of a kernel are equally long, not {', '.join(map(str, widths[:9]))}; fill the short ones"
        )
    if max(len(rows), widths[0]) > MAX_KERNEL:
        raise MinidiffError(f"a kernel has up to {MAX_KERNEL} rows and columns, not {len(rows)} by {widths[0]}; cut it")
    for value in (value for row in rows for value in row):
        if not abs(value) <= LARGEST:  # nor not a number
            raise MinidiffError(
                f"numbers of a kernel lie in -{LARGEST:g} to {LARGEST:g}, found {value:g}; scale it down"
            )
    return rows


@dataclass(frozen=True)
class Geometry:
    """How a kernel walks over an image.

    Raises:
        MinidiffError: a value lies outside its range.
    """

    stride: int = 1  # from one window to the next, 1 to 4
    padding: int = 0  # pixels added to each side, 0 to 6
    padding_mode: str = "zeros"  # what is added: "zeros", or "reflect" for the image mirrored at its edge pixels
    dilation: int = 1  # from one pixel of a window to the next, 1 to 3

    def __post_init__(self) -> None:
        for name, value, (least, most) in (
            ("stride", self.stride, STRIDES),
            ("padding", self.padding, PADDINGS),
            ("dilation", self.dilation, DILATIONS),
        ):
            if not isinstance(value, int) or not least <= value <= most:
                raise MinidiffError(f"{name} is a whole number from {least} to {most}, not {value!r}")
        if self.padding_mode not in PADDING_MODES:
            raise MinidiffError(f"the padding mode is {' or '.join(PADDING_MODES)}, not {self.padding_mode!r}")


def output_size(size: int, kernel: int, geometry: Geometry = Geometry()) -> int:
    """How long a convolution's output is along one side.

    Args:
        size: of the image along this side, at least 1.
        kernel: numbers of the kernel along this side, 1 to `MAX_KERNEL`.
        geometry: how the kernel walks.

    Raises:
        MinidiffError: the window is larger than the padded image, or the image is too small to be mirrored.

    Source: Dumoulin and Visin 2016, relationship 15.
    """
    _check_sides(size, kernel)
    if geometry.padding_mode == "reflect" and geometry.padding >= size:
        raise MinidiffError(
            f"{size} pixels leave {size - 1} to mirror at an edge, not {geometry.padding}; pad less, or with zeros"
        )
    window, padded = geometry.dilation * (kernel - 1) + 1, size + 2 * geometry.padding
    if window > padded:
        raise MinidiffError(
            f"a window of {window} does not fit into a padded image of {padded}; pad more, or dilate less"
        )
    return (padded - window) // geometry.stride + 1


def output_formula(size: int, kernel: int, geometry: Geometry = Geometry()) -> str:
    """`output_size` written out with its numbers: ⌊(28 + 2·1 - 1·(3 - 1) - 1) / 2⌋ + 1 = 14.

    Raises:
        MinidiffError: as `output_size`.
    """
    found = output_size(size, kernel, geometry)
    padding, dilation, stride = geometry.padding, geometry.dilation, geometry.stride
    return f"⌊({size} + 2·{padding} - {dilation}·({kernel} - 1) - 1) / {stride}⌋ + 1 = {found}"


def grown_size(size: int, kernel: int, stride: int = 2, padding: int = 0, dilation: int = 1) -> int:
    """How long a transposed convolution's output is along one side.

    Args:
        size: of the image along this side, at least 1.
        kernel: numbers of the kernel along this side, 1 to `MAX_KERNEL`.
        stride: pixels of the output from one kernel to the next, 1 to 4.
        padding: pixels cut off each side of the output, 0 to 6.
        dilation: from one number of a kernel to the next, 1 to 3.

    Raises:
        MinidiffError: a value lies outside its range, or nothing would be left.

    Source: Dumoulin and Visin 2016, chapter 4, with dilation.
    """
    _check_sides(size, kernel)
    Geometry(stride, padding, dilation=dilation)
    whole = (size - 1) * stride + dilation * (kernel - 1) + 1
    if whole <= 2 * padding:
        raise MinidiffError(f"an output of {whole} has nothing left without {padding} on each side; take less padding")
    return whole - 2 * padding


def grown_formula(size: int, kernel: int, stride: int = 2, padding: int = 0, dilation: int = 1) -> str:
    """`grown_size` written out with its numbers: (14 - 1)·2 - 2·1 + 1·(4 - 1) + 1 = 28.

    Raises:
        MinidiffError: as `grown_size`.
    """
    found = grown_size(size, kernel, stride, padding, dilation)
    return f"({size} - 1)·{stride} - 2·{padding} + {dilation}·({kernel} - 1) + 1 = {found}"


def _check_sides(size: int, kernel: int) -> None:
    if size < 1:
        raise MinidiffError(f"an image has at least one pixel along each side, not {size}")
    if not 1 <= kernel <= MAX_KERNEL:
        raise MinidiffError(f"a kernel has 1 to {MAX_KERNEL} rows and columns, not {kernel}")


def _number(word: str) -> float:
    found = _NUMBER.fullmatch(word)
    if found is None:
        raise MinidiffError(f"{_shown(word)} is not a number; write numbers such as 2, -0.5 or 1/9")
    above, below = float(found[1]), float(found[2] or 1)
    if below == 0:
        raise MinidiffError(f"{_shown(word)} divides by zero; write another number below the line")
    return above / below


def _shown(word: str) -> str:
    return repr(word if len(word) <= 24 else word[:23] + "…")


def _short(value: float) -> str:
    if value == round(value):
        return str(round(value))
    plain, fraction = repr(value), Fraction(value).limit_denominator(4096)
    part = f"{fraction.numerator}/{fraction.denominator}"
    return part if float(fraction) == value and len(part) < len(plain) else plain


def _binomial(size: int) -> list[float]:
    """Row `size` of Pascal's triangle, scaled to a sum of 1."""
    return [math.comb(size - 1, index) / 2 ** (size - 1) for index in range(size)]


def _outer(column: Iterable[float], row: Sequence[float]) -> Kernel:
    return tuple(tuple(a * b for b in row) for a in column)


def _transposed(kernel: Kernel) -> Kernel:
    return tuple(zip(*kernel, strict=True))


def _combined(first: Kernel, second: Kernel, factor: float) -> Kernel:
    """The first and so many times the second."""
    return tuple(tuple(a + factor * b for a, b in zip(*rows, strict=True)) for rows in zip(first, second, strict=True))


def _sobel(size: int) -> Kernel:
    """Whole numbers: a binomial column times the difference of two binomial rows."""
    narrow = [math.comb(size - 3, index) for index in range(size - 2)]
    step = [float(a - b) for a, b in zip([0, 0, *narrow], [*narrow, 0, 0], strict=True)]
    return _outer([float(math.comb(size - 1, index)) for index in range(size)], step)


def _laplacian(size: int) -> Kernel:
    """The binomial kernel of the size below, convolved with [0 1 0; 1 -4 1; 0 1 0]."""
    narrow = _binomial(size - 2)
    smooth, bent = [0.0, *narrow, 0.0], [0.0] * size
    for index, value in enumerate(narrow):
        for offset, factor in enumerate((1, -2, 1)):
            bent[index + offset] += factor * value
    return _combined(_outer(bent, smooth), _outer(smooth, bent), 1)
