"""Validation of numeric arguments, including NumPy and torch scalars."""

from __future__ import annotations

import operator
from typing import Any

from core.errors import MinidiffError
from core.text import sanitize


def whole_number(value: Any, name: str) -> int:
    """Convert a whole number of any type, such as 8.0 or a NumPy or torch scalar, to int.

    Raises:
        MinidiffError: `value` is not a whole number, or is a bool or a string.
    """
    if not _is_bool_or_text(value):
        try:
            return operator.index(value)
        except TypeError:
            result = _float(value)
        if result is not None and result.is_integer():
            return int(result)
    raise MinidiffError(f"{name} must be a whole number, not {_short_repr(value)}")


def number(value: Any, name: str) -> float:
    """Convert a real number of any type, such as a NumPy or torch scalar, to float.

    Raises:
        MinidiffError: `value` is not a number, or is a bool or a string.
    """
    result = None if _is_bool_or_text(value) else _float(value)
    if result is None:
        raise MinidiffError(f"{name} must be a number, not {_short_repr(value)}")
    return result


def _is_bool_or_text(value: Any) -> bool:
    return isinstance(value, bool | str | bytes) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor with several values
        return None


def _short_repr(value: Any) -> str:
    text = sanitize(repr(value))
    return text if len(text) <= 60 else f"{text[:59]}…"
