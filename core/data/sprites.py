"""Draws pixel-art figures in color, for training without a downloaded dataset.

Each image is a figure of `sprite_characters` or `sprite_objects` with random variants of its parts, random colors and
a plain background. Outline and shading follow from the parts, with light from the top left.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from core.config.datasets import INFO
from core.data.sprite_characters import CHARACTERS
from core.data.sprite_figure import BACKGROUNDS, COLORS, GRID, Figure, Part
from core.data.sprite_objects import OBJECTS

SEED = 0
COUNTS = {"train": 30_000, "test": 6_000}
CHUNK = 1_200  # images per random stream; chunks are independent of one another
_SPLIT_STREAM = {"train": 0, "test": 1}
_INFO = INFO["sprites"]
_SIDE = _INFO.height
_FIGURES = tuple({**CHARACTERS, **OBJECTS}[name] for name in _INFO.class_names)

# A palette has the background, five fixed colors, and four tones of each material: shadow, base, light and highlight.
_FIXED = {"k": 1, "w": 2, "x": 3, "y": 4, "p": 5}  # k: outline
_WHITE, _BLACK, _YELLOW, _PINK = 0xFBFAF4, 0x1E1A2E, 0xFFDE6B, 0xF58FA0
_MATERIALS, _TONES = "abcde", 4
_FIRST = len(_FIXED) + 1  # position of the first material
_SHADED = 64  # in the code of a pixel whose tone depends on its place
_CODES = {  # of a pattern's characters: position in the palette, for shaded pixels that of the shadow plus _SHADED
    ".": 0,
    **_FIXED,
    **{letter: _FIRST + _TONES * n + _SHADED for n, letter in enumerate(_MATERIALS)},
    **{letter.upper(): _FIRST + _TONES * n + _TONES - 1 for n, letter in enumerate(_MATERIALS)},
    **{str(n + 1): _FIRST + _TONES * n for n in range(len(_MATERIALS))},
}

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]


def draw(split: str, count: int, seed: int = SEED) -> tuple[Bytes, Bytes]:
    """The first `count` images and labels of a split; a function of `seed`.

    Returns:
        Images (count, 3, 16, 16) uint8, RGB, and labels (count,) uint8, in the order of the class names.
    """
    chunks = [draw_chunk(split, index, seed) for index in range(-(-count // CHUNK))]
    return (
        np.concatenate([images for images, _ in chunks])[:count],
        np.concatenate([labels for _, labels in chunks])[:count],
    )


def draw_chunk(split: str, index: int, seed: int = SEED) -> tuple[Bytes, Bytes]:
    """Images `index * CHUNK` to `(index + 1) * CHUNK` of a split, with equal counts of all figures."""
    random = np.random.default_rng((seed, _SPLIT_STREAM[split], index))
    labels = random.permutation(np.arange(CHUNK) % len(_FIGURES)).astype(np.uint8)
    images = np.empty((CHUNK, *_INFO.shape), np.uint8)
    for label, figure in enumerate(_FIGURES):
        images[labels == label] = _draw_figure(figure, int((labels == label).sum()), random)
    return images, labels


def digest(split: str, count: int) -> str:
    """SHA-256 of the bytes of the first `count` images of a split."""
    return hashlib.sha256(draw(split, count)[0].tobytes()).hexdigest()


def _draw_figure(figure: Figure, count: int, random: np.random.Generator) -> Bytes:
    """`count` random images of a figure: (count, 3, 16, 16)."""
    codes, depth = _place(figure, *_compose(figure, count, random), random)
    colors = np.where(codes & _SHADED, (codes & ~np.uint8(_SHADED)) + _tones(depth), codes)
    colors[(depth == 0) & _beside(depth)] = _FIXED["k"]
    palettes = _palettes(figure, count, random)
    return palettes[np.arange(count)[:, None, None], colors].transpose(0, 3, 1, 2)


def _compose(figure: Figure, count: int, random: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Random variants of all parts: codes and depths, (count, 12, 12). Depth 0 is empty, the largest is in front."""
    codes = np.zeros((count, GRID, GRID), np.uint8)
    depth = np.zeros_like(codes)
    for number, part in enumerate(figure.parts, start=1):
        variants = _variants(part)
        chosen = variants[random.integers(len(variants), size=count)]
        drawn = chosen > 0
        if part.on:
            drawn &= np.isin(codes, [_CODES[letter] for letter in part.on])
        else:
            depth[drawn] = number
        codes[drawn] = chosen[drawn]
    return codes, depth


@functools.cache
def _variants(part: Part) -> Bytes:
    """Codes of a part's variants: (V, 12, 12)."""
    rows = [line.split() for line in part.text.strip().splitlines()]
    codes = np.zeros((len(rows[0]) + part.none, GRID, GRID), np.uint8)
    for row, tokens in enumerate(rows, start=part.top):
        for variant, token in zip(codes[: len(rows[0])], tokens, strict=True):
            variant[row, part.left : part.left + len(token)] = [_CODES[character] for character in token]
    return codes


def _place(figure: Figure, codes: Bytes, depth: Bytes, random: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Leave out rows and columns, mirror, and shift by up to a pixel: (count, 16, 16)."""
    count = len(codes)
    rows = _sources(figure.rows)[random.integers(len(figure.rows), size=count), random.integers(3, size=count)]
    columns = _sources(figure.columns)[random.integers(len(figure.columns), size=count), random.integers(3, size=count)]
    mirrored = random.integers(1 + figure.mirrored, size=count) == 1
    columns = np.where(mirrored[:, None], columns[:, ::-1], columns)
    at = np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
    border = ((0, 0), (0, 1), (0, 1))  # row and column GRID are empty
    return np.pad(codes, border)[at], np.pad(depth, border)[at]


@functools.cache
def _sources(choices: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
    """The grid's row at each row of an image, for three shifts: (choices, 3, 16); GRID where it is empty.

    The same for columns.
    """
    sources = np.full((len(choices), 3, _SIDE), GRID)
    for choice, left_out in zip(sources, choices, strict=True):
        kept = [row for row in range(GRID) if row not in left_out]
        for shift, row in enumerate(choice, start=1):
            start = shift + (GRID - len(kept) + 1) // 2
            row[start : start + len(kept)] = kept
    return sources


def _neighbor(depth: Bytes, down: int, right: int) -> Bytes:
    """The depth of each pixel's neighbor."""
    return np.pad(depth, ((0, 0), (1, 1), (1, 1)))[:, 1 + down : _SIDE + 1 + down, 1 + right : _SIDE + 1 + right]


def _tones(depth: Bytes) -> Bytes:
    """Tone of each pixel: 0 shadow, 1 base, 2 light.

    A part is light at its top left edge and dark at its bottom right edge, and casts a shadow on parts behind it.
    """
    tones = np.ones(depth.shape, np.int8)
    for step in ((-1, -1), (-1, 0), (0, -1)):
        tones += _neighbor(depth, *step) < depth
    for step in ((1, 1), (1, 0), (0, 1)):
        tones -= _neighbor(depth, *step) < depth
    tones[_neighbor(depth, -1, 0) > depth] = 0
    return tones.clip(0, 2).astype(np.uint8)


def _beside(depth: Bytes) -> NDArray[np.bool_]:
    """Whether a pixel above, below, left or right belongs to the figure."""
    beside = np.zeros(depth.shape, np.bool_)
    for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        beside |= _neighbor(depth, *step) > 0
    return beside


def _palettes(figure: Figure, count: int, random: np.random.Generator) -> Bytes:
    """Random palettes: (count, 26, 3)."""
    palettes = np.zeros((count, _FIRST + _TONES * len(_MATERIALS), 3))
    palettes[:, 2:_FIRST] = _rgb(_WHITE, _BLACK, _YELLOW, _PINK)
    for number, names in enumerate(figure.colors):
        choices = _rgb(*(COLORS[name] for name in names.split()))
        base = choices[random.integers(len(choices), size=count)] + random.normal(0, 6, (count, 3))
        # Shadows are bluer and lights yellower, the same for all materials, so that the colors go together.
        tones = (_mix(base * 0.74, 0x2A1F6B, 0.2), base, _mix(base, 0xFFF4D2, 0.35), _mix(base, 0xFFFCEE, 0.7))
        first = _FIRST + _TONES * number
        palettes[:, first : first + _TONES] = np.stack(tones, axis=1)
    figures = palettes[:, _FIRST + 1]  # base color of the first material
    palettes[:, _FIXED["k"]] = _mix(figures * 0.3, 0x17122B, 0.6)
    backgrounds = _rgb(*BACKGROUNDS)[random.integers(len(BACKGROUNDS), size=(2, count))]
    farther = ((backgrounds - figures) ** 2).sum(axis=-1).argmax(axis=0)  # of two, the one that differs more
    palettes[:, 0] = backgrounds[farther, np.arange(count)] + random.normal(0, 4, (count, 3))
    rounded: Bytes = np.rint(palettes.clip(0, 255)).astype(np.uint8)
    return rounded


def _rgb(*colors: int) -> Floats:
    """Colors 0xRRGGBB as (N, 3), 0 to 255."""
    return np.array([[color >> 16, color >> 8 & 255, color & 255] for color in colors], np.float64)


def _mix(color: Floats, other: int, amount: float) -> Floats:
    return color + (_rgb(other) - color) * amount
