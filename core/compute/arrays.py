"""Images that callers give: tensors or NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import MinidiffError

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
