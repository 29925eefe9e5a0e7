"""Kernels: named and typed ones, and output sizes."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.convolution import (
    MAX_KERNEL,
    MAX_VALUE,
    NAMED,
    Geometry,
    check_kernel,
    grown_formula,
    grown_size,
    kernel_text,
    named_kernel,
    output_formula,
    output_size,
    parse_kernel,
    sizes_of,
)
from core.errors import MinidiffError

EVERY = [(name, size) for name in NAMED for size in sizes_of(name)]
numbers = st.floats(-MAX_VALUE, MAX_VALUE) | st.integers(-9, 9).map(float) | st.integers(1, 64).map(lambda n: 1 / n)


@st.composite
def kernels(draw: st.DrawFn) -> tuple[tuple[float, ...], ...]:
    width = draw(st.integers(1, MAX_KERNEL))
    row = st.lists(numbers, min_size=width, max_size=width).map(tuple)
    return tuple(draw(st.lists(row, min_size=1, max_size=MAX_KERNEL)))


def test_kernels_need_no_torch() -> None:
    program = "import sys, core.convolution; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_kernel_names_are_in_order() -> None:
    assert ", ".join(NAMED) == (
        "identity, box blur, gaussian blur, sharpen, sobel x, sobel y, laplacian, emboss, random"
    )


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_a_named_kernel_is_square_and_survives_a_round_trip_through_text(name: str, size: int) -> None:
    kernel = named_kernel(name, size)
    assert [len(row) for row in kernel] == [size] * size
    assert parse_kernel(kernel_text(kernel)) == kernel


@pytest.mark.parametrize(
    ("name", "total"),
    [
        *(("identity", 1), ("box blur", 1), ("gaussian blur", 1), ("sharpen", 1), ("emboss", 1)),
        *(("sobel x", 0), ("sobel y", 0), ("laplacian", 0)),
    ],
)
def test_blurs_keep_a_constant_image_and_difference_kernels_give_0(name: str, total: int) -> None:
    for size in sizes_of(name):
        assert sum(map(sum, named_kernel(name, size))) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("identity", 3, "0 0 0; 0 1 0; 0 0 0"),
        ("box blur", 3, "1/9 1/9 1/9; 1/9 1/9 1/9; 1/9 1/9 1/9"),
        ("gaussian blur", 3, "1/16 1/8 1/16; 1/8 1/4 1/8; 1/16 1/8 1/16"),
        ("sharpen", 3, "0 -1 0; -1 5 -1; 0 -1 0"),
        ("sobel x", 3, "-1 0 1; -2 0 2; -1 0 1"),
        ("sobel y", 3, "-1 -2 -1; 0 0 0; 1 2 1"),
        ("sobel x", 5, "-1 -2 0 2 1; -4 -8 0 8 4; -6 -12 0 12 6; -4 -8 0 8 4; -1 -2 0 2 1"),
        ("laplacian", 3, "0 1 0; 1 -4 1; 0 1 0"),
        ("emboss", 3, "-2 -1 0; -1 1 1; 0 1 2"),
    ],
)
def test_well_known_kernels_have_their_usual_values(name: str, size: int, text: str) -> None:
    assert kernel_text(named_kernel(name, size)) == text


def test_random_kernels_depend_on_the_seed_and_stay_within_bounds() -> None:
    assert named_kernel("random", 4, seed=3) == named_kernel("random", 4, seed=3) != named_kernel("random", 4, seed=4)
    assert max(abs(value) for row in named_kernel("random", 7) for value in row) <= 1 / 7 + 5e-4


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("sobel x", 2, "sobel x has sizes 3, 5, 7, not 2"),
        ("identity", 4, "sizes 1, 3, 5, 7"),
        ("box blur", 8, "not 8"),
        ("sobel", 3, "did you mean sobel"),
        ("zigzag", 3, "kernels are identity, box blur"),
    ],
)
def test_an_unknown_name_or_size_is_refused_with_the_choices(name: str, size: int, words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        named_kernel(name, size)


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        ("1", ((1,),)),
        ("1 2; 3 4", ((1, 2), (3, 4))),
        ("1,2\n3,4\n", ((1, 2), (3, 4))),
        (" -1 , +.5 ;; 2. 1e-1 ;", ((-1, 0.5), (2, 0.1))),
        ("1/9 -2/4", ((1 / 9, -0.5),)),
    ],
)
def test_rows_and_numbers_can_be_separated_in_several_ways(text: str, kernel: tuple[tuple[float, ...], ...]) -> None:
    assert parse_kernel(text) == kernel


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os')", "is not a number; write numbers such as"),
        ("1+1", "'1\\+1' is not a number"),
        ("nan", "'nan' is not a number"),
        ("0x10", "not a number"),
        ("1_0", "not a number"),
        ("٣", "not a number"),
        ("1/0", "divides by zero"),
        ("1/2/3", "not a number"),
        ("1e999", "must be from -1000 to 1000, not inf"),
        ("1 -1001", "not -1001"),
        ("", "at least one number"),
        (" ; \n", "at least one number"),
        ("1 2; 3", "equal lengths, not 2, 1"),
        ("1 2 3 4 5 6 7 8", "up to 7 rows and columns, not 1 by 8"),
        (";".join("1" * 8), "not 8 by 1"),
        ("1" * 2001, "up to 2000 characters, not 2001"),
        ("x" * 300, "x…' is not a number"),
    ],
)
def test_an_invalid_kernel_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(MinidiffError, match=words) as error:
        parse_kernel(text)
    assert len(str(error.value).splitlines()) == 1


@given(kernels())
@settings(max_examples=200, deadline=None)
def test_every_kernel_survives_a_round_trip_through_text(kernel: tuple[tuple[float, ...], ...]) -> None:
    assert parse_kernel(kernel_text(kernel)) == kernel


@given(st.text(max_size=60) | st.text("0123456789+-./eE,; \n", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    refusal = ""
    try:
        kernel = parse_kernel(text)
    except MinidiffError as error:
        refusal = str(error)
    else:
        assert check_kernel(kernel) == kernel
    assert len(refusal.splitlines()) <= 1


def test_a_non_finite_kernel_is_refused() -> None:
    with pytest.raises(MinidiffError, match="not nan"):
        check_kernel(((math.nan,),))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stride": 0}, "stride must be a whole number from 1 to 4, not 0"),
        ({"stride": 1.5}, "not 1.5"),
        ({"padding": 7}, "padding must be a whole number from 0 to 6, not 7"),
        ({"dilation": 4}, "dilation must be a whole number from 1 to 3, not 4"),
        ({"padding_mode": "circular"}, "zeros or reflect, not 'circular'"),
    ],
)
def test_a_geometry_out_of_range_is_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        Geometry(**options)  # type: ignore[arg-type] # that is what is tried


def test_formulas_contain_their_numbers() -> None:
    assert output_formula(28, 3, Geometry(2, 1)) == "⌊(28 + 2·1 - 1·(3 - 1) - 1) / 2⌋ + 1 = 14"
    assert grown_formula(14, 4, 2, 1) == "(14 - 1)·2 - 2·1 + 1·(4 - 1) + 1 = 28"


def test_incompatible_sizes_are_refused() -> None:
    with pytest.raises(MinidiffError, match="a window of 5 does not fit into a padded image of 4"):
        output_size(2, 3, Geometry(padding=1, dilation=2))
    with pytest.raises(MinidiffError, match="3 pixels can be reflected by up to 2, not 3"):
        output_size(3, 3, Geometry(padding=3, padding_mode="reflect"))
    with pytest.raises(MinidiffError, match="an output of 3 is empty"):
        grown_size(1, 3, padding=2)
    with pytest.raises(MinidiffError, match="at least one pixel"):
        output_size(0, 1)
    with pytest.raises(MinidiffError, match="1 to 7 rows and columns, not 8"):
        grown_size(4, 8)
    with pytest.raises(MinidiffError, match="stride must be a whole number"):
        grown_size(4, 3, stride=5)
