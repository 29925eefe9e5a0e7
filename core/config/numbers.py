"""Numbers that callers give: whole numbers and real numbers of any library's type."""

from __future__ import annotations

import operator
from typing import Any

from core.errors import MinidiffError
from core.text import sanitize


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
    words = sanitize(repr(value))
    return words if len(words) <= 60 else f"{words[:59]}…"
