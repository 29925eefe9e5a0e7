"""What callers give: tensors or NumPy arrays, and whole numbers and other numbers of any library's type."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from core.errors import MinidiffError
from core.foreign import harmless

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    ArrayLike = Tensor | np.ndarray[Any, Any]


def as_tensor(value: ArrayLike, name: str) -> Tensor:
    """A tensor as it is; a NumPy array as a new tensor on the CPU, with float64 as float32.

    Raises:
        MinidiffError: it is something else, or an array of a type that torch does not have.
    """
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if not isinstance(value, np.ndarray):
        raise MinidiffError(f"{name} must be a tensor or a NumPy array, not {type(value).__name__}")
    try:
        found = torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))  # a copy, in C order
    except TypeError:
        raise MinidiffError(f"{name} cannot be an array of {value.dtype}; give it as float32") from None
    return found.float() if found.dtype == torch.float64 else found


def whole_number(value: Any, name: str) -> int:
    """Any whole number as an int, also 8.0 and those of NumPy and torch; no truth value and no text.

    Raises:
        MinidiffError: it is something else.
    """
    if not _is_truth_or_text(value):
        try:
            return operator.index(value)
        except TypeError:
            found = _float(value)
        if found is not None and found.is_integer():
            return int(found)
    raise MinidiffError(f"{name} must be a whole number, not {_shown(value)}")


def number(value: Any, name: str) -> float:
    """Any real number as a float, also those of NumPy and torch; no truth value and no text.

    Raises:
        MinidiffError: it is something else.
    """
    found = None if _is_truth_or_text(value) else _float(value)
    if found is None:
        raise MinidiffError(f"{name} must be a number, not {_shown(value)}")
    return found


def _is_truth_or_text(value: Any) -> bool:
    return isinstance(value, bool | str | bytes) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last from a tensor of several values
        return None


def _shown(value: Any) -> str:
    words = harmless(repr(value))
    return words if len(words) <= 60 else f"{words[:59]}…"
