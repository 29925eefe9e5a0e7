"""Convolution, window by window, against conv2d, which sums in another order."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from core import MinidiffError, convolve_steps
from core.convolution import Geometry, named_kernel, output_formula, output_size

CLOSE = {"rtol": 0.0, "atol": 1e-12}  # of float64, for sums of up to 49 products of numbers within 1


def random_tensor(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Geometry]:
    geometry = Geometry(
        draw(st.integers(1, 4)),
        draw(st.integers(0, 6)),
        draw(st.sampled_from(["zeros", "reflect"])),
        draw(st.integers(1, 3)),
    )
    sides, kernel = ((draw(st.integers(1, maximum)), draw(st.integers(1, maximum))) for maximum in (11, 7))
    for side, wide in zip(sides, kernel, strict=True):
        assume(geometry.dilation * (wide - 1) < side + 2 * geometry.padding)
        assume(geometry.padding_mode == "zeros" or geometry.padding < side)
    seed = draw(st.integers(0, 2**20))
    return random_tensor(seed, *sides), random_tensor(seed + 1, *kernel), geometry


def by_torch(image: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    mode = {"zeros": "constant"}.get(geometry.padding_mode, geometry.padding_mode)
    padded = functional.pad(image[None, None], [geometry.padding] * 4, mode)
    return functional.conv2d(padded, kernel[None, None], stride=geometry.stride, dilation=geometry.dilation)[0, 0]


@given(cases())
@settings(max_examples=300, deadline=None)
def test_windows_products_and_sums_match_conv2d(case: tuple[Tensor, Tensor, Geometry]) -> None:
    image, kernel, geometry = case
    expected = by_torch(image, kernel, geometry)
    steps = list(convolve_steps(image, kernel, geometry))
    assert expected.shape == tuple(
        output_size(*sides, geometry) for sides in zip(image.shape, kernel.shape, strict=True)
    )
    assert [step.position for step in steps] == [
        (i, j) for i in range(expected.shape[0]) for j in range(expected.shape[1])
    ]
    torch.testing.assert_close(steps[-1].output, expected, **CLOSE)
    products = torch.stack([step.products for step in steps])
    totals = torch.tensor([step.total for step in steps], dtype=torch.float64)
    torch.testing.assert_close(products.sum(dim=(1, 2)), totals, **CLOSE)
    torch.testing.assert_close(totals, expected.flatten(), **CLOSE)
    torch.testing.assert_close(products, torch.stack([step.window for step in steps]) * kernel, **CLOSE)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_a_window_is_at_its_origin_in_the_padded_image(case: tuple[Tensor, Tensor, Geometry]) -> None:
    image, kernel, geometry = case
    mode = {"zeros": "constant"}.get(geometry.padding_mode, geometry.padding_mode)
    padded = functional.pad(image[None, None], [geometry.padding] * 4, mode)[0, 0]
    reach = [geometry.dilation * (side - 1) + 1 for side in kernel.shape]
    for step in convolve_steps(image, kernel, geometry):
        row, column = step.origin
        there = padded[row : row + reach[0] : geometry.dilation, column : column + reach[1] : geometry.dilation]
        assert torch.equal(step.window, there)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_a_flipped_kernel_gives_the_mathematical_convolution(case: tuple[Tensor, Tensor, Geometry]) -> None:
    image, kernel, geometry = case
    *_, last = convolve_steps(image, kernel, geometry, flip=True)
    torch.testing.assert_close(last.output, by_torch(image, torch.flip(kernel, (0, 1)), geometry), **CLOSE)


@given(cases())
@settings(max_examples=200, deadline=None)
def test_the_formula_gives_the_output_size_of_torch(case: tuple[Tensor, Tensor, Geometry]) -> None:
    image, kernel, geometry = case
    output_shape = by_torch(image, kernel, geometry).shape
    for side, wide, size in zip(image.shape, kernel.shape, output_shape, strict=True):
        sum_, _, result = output_formula(side, wide, geometry).partition(" = ")
        assert int(result) == size
        inside, _, after = sum_.replace("·", "*").partition("⌋")
        assert eval(inside.replace("⌊", "int(").replace("/", "//") + ")" + after) == size


def test_convolving_an_impulse_gives_the_kernel_only_when_flipped() -> None:
    impulse, kernel = torch.zeros(3, 3), torch.arange(1.0, 10).reshape(3, 3)
    impulse[1, 1] = 1
    plain, flipped = (
        list(convolve_steps(impulse, kernel, Geometry(padding=1), flip=flip))[-1] for flip in (False, True)
    )
    assert torch.equal(flipped.output, kernel)
    assert torch.equal(plain.output, kernel.flip(0, 1))


def test_the_map_fills_one_pixel_per_step_and_earlier_steps_do_not_change() -> None:
    steps = list(convolve_steps(torch.rand(5, 6), named_kernel("sobel x")))
    assert [int(step.output.isfinite().sum()) for step in steps] == list(range(1, 13))
    assert all(float(step.output[step.position]) == step.total for step in steps)


def test_tensors_that_require_grad_are_detached() -> None:
    image, kernel = torch.rand(4, 4, requires_grad=True), torch.rand(3, 3, requires_grad=True)
    *_, last = convolve_steps(image, kernel)
    assert not last.output.requires_grad


def test_convolving_an_image_takes_milliseconds() -> None:
    image, kernel = torch.rand(28, 28), named_kernel("random", 7)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(list(convolve_steps(image, kernel, Geometry(padding=3)))) == 784
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05


@pytest.mark.parametrize(
    ("image", "kernel", "geometry", "words"),
    [
        (torch.rand(1, 4, 4), ((1.0,),), {}, "needs shape \\(H, W\\)"),
        (torch.ones(4, 4, dtype=torch.uint8), ((1.0,),), {}, "floating-point values, not \\(4, 4\\) of torch.uint8"),
        (torch.rand(0, 4), ((1.0,),), {}, "not \\(0, 4\\)"),
        (torch.rand(4, 4), torch.rand(1, 3, 3), {}, "select one channel"),
        (torch.rand(4, 4), torch.rand(8, 8), {}, "not 8 by 8"),
        (torch.rand(4, 4), ((1.0, 2.0), (3.0,)), {}, "equal lengths"),
        (torch.rand(4, 4), ((float("nan"),),), {}, "not nan"),
        (torch.rand(4, 4), torch.rand(5, 5), {}, "a window of 5 does not fit"),
        (
            torch.rand(4, 9),
            torch.rand(1, 1),
            {"padding": 4, "padding_mode": "reflect"},
            "can be reflected by up to 3",
        ),
    ],
)
def test_invalid_input_is_refused_at_the_call(image: Tensor, kernel: Any, geometry: dict[str, Any], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        convolve_steps(image, kernel, Geometry(**geometry))
