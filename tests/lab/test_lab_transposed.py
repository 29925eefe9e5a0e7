"""Transposed convolution, value by value, against conv_transpose2d, which sums in another order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from core import MinidiffError, transposed_convolve_steps
from core.convolution import grown_formula, grown_size, named_kernel
from core.lab import overlap_counts, upsample_convolve

CLOSE = {"rtol": 0.0, "atol": 1e-12}  # of float64, for sums of up to 49 products of numbers within 1


def random_tensor(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, dict[str, int]]:
    options = {
        "stride": draw(st.integers(1, 4)),
        "padding": draw(st.integers(0, 6)),
        "dilation": draw(st.integers(1, 3)),
    }
    sides, kernel = ((draw(st.integers(1, 7)), draw(st.integers(1, 7))) for _ in range(2))
    for side, wide in zip(sides, kernel, strict=True):
        assume((side - 1) * options["stride"] + options["dilation"] * (wide - 1) + 1 > 2 * options["padding"])
    seed = draw(st.integers(0, 2**20))
    return random_tensor(seed, *sides), random_tensor(seed + 1, *kernel), options


@given(cases())
@settings(max_examples=300, deadline=None)
def test_the_contributions_add_up_to_conv_transpose2d(case: tuple[Tensor, Tensor, dict[str, int]]) -> None:
    image, kernel, options = case
    expected = functional.conv_transpose2d(image[None, None], kernel[None, None], **options)[0, 0]  # type: ignore[arg-type]
    steps = list(transposed_convolve_steps(image, kernel, **options))
    torch.testing.assert_close(steps[-1].output, expected, **CLOSE)
    assert [step.position for step in steps] == [(i, j) for i in range(image.shape[0]) for j in range(image.shape[1])]
    for step in steps:
        assert step.value == float(image[step.position])
        assert step.origin == tuple(options["stride"] * place for place in step.position)
        torch.testing.assert_close(step.spread, kernel * step.value, **CLOSE)
    counts = overlap_counts(tuple(image.shape), tuple(kernel.shape), **options)  # type: ignore[arg-type]
    assert torch.equal(steps[-1].overlaps, counts)
    for side, wide, size in zip(image.shape, kernel.shape, expected.shape, strict=True):
        assert grown_size(side, wide, **options) == size
        sum_, _, result = grown_formula(side, wide, **options).partition(" = ")
        assert int(result) == eval(sum_.replace("·", "*")) == size


@given(cases())
@settings(max_examples=60, deadline=None)
def test_each_step_adds_its_contribution_at_its_position(case: tuple[Tensor, Tensor, dict[str, int]]) -> None:
    image, kernel, options = case
    padding, dilation = options["padding"], options["dilation"]
    before = torch.zeros(())
    for step in transposed_convolve_steps(image, kernel, **options):
        whole = functional.pad(torch.zeros_like(step.output), [padding] * 4)
        (top, left), (tall, wide) = step.origin, kernel.shape
        for i in range(tall):
            for j in range(wide):
                whole[top + dilation * i, left + dilation * j] = step.spread[i, j]
        height, width = step.output.shape
        expected = before + whole[padding : padding + height, padding : padding + width]
        torch.testing.assert_close(step.output, expected, **CLOSE)
        before = step.output


def test_it_is_the_transpose_of_the_convolution() -> None:
    """<conv(x), y> = <x, conv^T(y)>, hence the name."""
    x, y, kernel = random_tensor(0, 9, 9), random_tensor(1, 4, 4), random_tensor(2, 3, 3)
    *_, grown = transposed_convolve_steps(y, kernel, stride=2)
    shrunk = functional.conv2d(x[None, None], kernel[None, None], stride=2)[0, 0]
    torch.testing.assert_close((shrunk * y).sum(), (x * grown.output).sum(), **CLOSE)


def test_a_kernel_that_the_stride_divides_overlaps_evenly_and_another_makes_a_checkerboard() -> None:
    even = overlap_counts((6, 6), (4, 4), stride=2, padding=3)
    assert even.unique().tolist() == [4]
    uneven = overlap_counts((6, 6), (3, 3), stride=2, padding=2)
    assert uneven[:3, :3].tolist() == [[4, 2, 4], [2, 1, 2], [4, 2, 4]]


def test_upsampling_before_convolving_keeps_a_constant_image_constant() -> None:
    grown = upsample_convolve(torch.ones(6, 6), named_kernel("box blur"))
    assert grown.shape == (12, 12)
    torch.testing.assert_close(grown[1:-1, 1:-1], torch.ones(10, 10), rtol=0, atol=1e-6)
    *_, step = transposed_convolve_steps(torch.ones(6, 6), named_kernel("box blur"))
    assert step.output[2:-2, 2:-2].std() > 0.05
    *_, balanced = transposed_convolve_steps(torch.ones(6, 6), named_kernel("gaussian blur"))
    assert balanced.output[2:-2, 2:-2].std() < 1e-6


@pytest.mark.parametrize("sides", [(1, 1), (3, 3), (2, 4), (7, 1)])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_upsampling_and_convolving_scales_the_size(sides: tuple[int, int], scale: int) -> None:
    image, kernel = random_tensor(0, 4, 5), random_tensor(1, *sides)
    large = image.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    tall, wide = sides
    padded = functional.pad(large, ((wide - 1) // 2, wide // 2, (tall - 1) // 2, tall // 2))
    expected = functional.conv2d(padded[None, None], kernel[None, None])[0, 0]
    torch.testing.assert_close(upsample_convolve(image, kernel, scale), expected, **CLOSE)


def test_invalid_input_is_refused_at_the_call() -> None:
    image, kernel = torch.rand(2, 2), torch.rand(3, 3)
    with pytest.raises(MinidiffError, match="stride must be a whole number from 1 to 4, not 5"):
        transposed_convolve_steps(image, kernel, stride=5)
    with pytest.raises(MinidiffError, match="empty after cropping 3 on each side"):
        transposed_convolve_steps(image, kernel, padding=3)
    with pytest.raises(MinidiffError, match="needs shape \\(H, W\\)"):
        transposed_convolve_steps(image[None], kernel)
    with pytest.raises(MinidiffError, match="a kernel can have 1 to 7"):
        overlap_counts((2, 2), (8, 3))
    with pytest.raises(MinidiffError, match="scale must be a whole number from 1 to 4, not 0"):
        upsample_convolve(image, kernel, 0)
