"""Converts array arguments to tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import MinidiffError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    ArrayLike = Tensor | np.ndarray[Any, Any]


def as_tensor(value: ArrayLike, name: str) -> Tensor:
    """Convert a NumPy array to a new CPU tensor, float64 to float32; tensors are returned as they are.

    Args:
        value: A tensor or a NumPy array.
        name: Name of the argument, for the error message.

    Raises:
        MinidiffError: `value` is something else, or has a dtype that torch lacks.
    """
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if not isinstance(value, np.ndarray):
        raise MinidiffError(f"{name} must be a tensor or a NumPy array, not {type(value).__name__}")
    try:
        tensor = torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))  # a copy, in C order
    except TypeError:
        raise MinidiffError(f"{name} cannot be an array of {value.dtype}; convert it to float32") from None
    return tensor.float() if tensor.dtype == torch.float64 else tensor
