"""Arrays and numbers of any library are accepted; anything else is a one-line error."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from core import MinidiffError
from core.compute.arrays import as_tensor
from core.config.numbers import number, whole_number

WHOLE = (8, 8.0, np.int64(8), np.float32(8), np.array(8), torch.tensor(8), torch.tensor(8.0), torch.tensor([8]))
NOT_WHOLE: tuple[Any, ...] = (
    *(True, np.True_, torch.tensor(True), None, "8", b"8", 8.5, float("nan"), float("inf"), 1j, [8], {}, Ellipsis),
    *(np.array([8, 8]), torch.tensor([8, 8]), torch.tensor(8.5), "x" * 10_000),
)


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_integers_of_any_type_are_accepted(value: Any) -> None:
    result = whole_number(value, "n")
    assert (result, type(result)) == (8, int)


@pytest.mark.parametrize("value", NOT_WHOLE, ids=lambda value: repr(value)[:30])
def test_a_non_integer_is_refused_in_one_short_line(value: Any) -> None:
    with pytest.raises(MinidiffError, match=r"^n must be a whole number, not ") as caught:
        whole_number(value, "n")
    assert len(str(caught.value)) < 120
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [*WHOLE, Fraction(8)], ids=repr)
def test_numbers_of_any_type_are_accepted(value: Any) -> None:
    result = number(value, "guidance")
    assert (result, type(result)) == (8.0, float)


@pytest.mark.parametrize("value", [True, np.False_, None, "2", [2], 2j, torch.zeros(2)], ids=repr)
def test_a_non_number_is_refused(value: Any) -> None:
    with pytest.raises(MinidiffError, match="guidance must be a number, not"):
        number(value, "guidance")


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", "float16", "uint8", "int64", "bool"])
def test_an_array_of_any_layout_is_copied_to_a_tensor(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)[:, ::-1]
    array.flags.writeable = False
    tensor = as_tensor(array, "x")
    assert tensor.numpy().tolist() == array.tolist()
    assert tensor.dtype != torch.float64
    tensor.zero_()
    assert array.any()


def test_a_tensor_is_returned_unchanged() -> None:
    tensor = torch.zeros(2, dtype=torch.float64)
    assert as_tensor(tensor, "x") is tensor


@pytest.mark.parametrize("value", [[1.0], 1.0, None, "x", np.array([None]), np.array(["x"]), np.zeros(1, "M8[s]")])
def test_a_non_numeric_array_is_refused(value: Any) -> None:
    with pytest.raises(MinidiffError, match=r"^x "):
        as_tensor(value, "x")
