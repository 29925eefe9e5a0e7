"""Expected layout of a weights file: names, types and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from core.errors import CheckpointError
from core.system.safe_io import opened

T = TypeVar("T")
HEADER_BYTES = 1_048_576  # at most; the presets need up to 45,000
WEIGHTS = ("F32", "F16", "BF16")  # safetensors' names of the dtypes allowed for weights
EXACT = ("F32",)  # of a state, which is restored bit for bit
DTYPES = {  # safetensors' names of the supported dtypes
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def check_opening(path: Path, *, follow: bool) -> None:
    """Check that a file is regular, looks like safetensors, and has a header of at most `HEADER_BYTES`.

    Args:
        path: The file.
        follow: Whether symbolic links are followed.

    Raises:
        OSError: The file cannot be read, is not regular, or is a symbolic link and `follow` is False.
        CheckpointError: The file is truncated or not safetensors, or its header is too long.
    """
    with opened(path, follow=follow) as file:
        start = file.read(9)  # length of the header, and its opening brace
    if start[8:] not in (b"{", b""):
        raise CheckpointError(f"{path} is not a safetensors file; name a run, a built-in model or a .safetensors file")
    if len(start) < 9:
        raise CheckpointError(f"{path} is truncated: it has {len(start)} bytes; use another checkpoint")
    if int.from_bytes(start[:8], "little") > HEADER_BYTES:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file: its header would have more than {HEADER_BYTES:,} bytes; "
            "use another checkpoint"
        )


class TensorInfo(NamedTuple):
    """Type and shape of a stored tensor."""

    dtype: str  # safetensors' name
    shape: tuple[int, ...]


class ExpectedTensor(NamedTuple):
    """Allowed types and shape of a tensor."""

    dtypes: tuple[str, ...]
    shape: tuple[int, ...]


def expected_layout(net: nn.Module, floats: tuple[str, ...] = WEIGHTS) -> dict[str, ExpectedTensor]:
    """Layout of a network's `state_dict`; floating-point tensors may have any of the dtypes `floats`."""
    return {
        name: ExpectedTensor(floats if value.is_floating_point() else (DTYPES[value.dtype],), tuple(value.shape))
        for name, value in net.state_dict().items()
    }


def tensor_infos(tensors: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    """Types and shapes of tensors in memory."""
    return {
        name: TensorInfo(DTYPES.get(value.dtype, str(value.dtype)), tuple(value.shape))
        for name, value in tensors.items()
    }


def file_tensor_infos(file: Any) -> dict[str, TensorInfo]:
    """Types and shapes in the header of a file opened with `safetensors.safe_open`."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return {name: TensorInfo(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def check_layout(path: Path, expected: Mapping[str, ExpectedTensor], infos: Mapping[str, TensorInfo]) -> None:
    """Compare a file's layout with the expected one.

    Raises:
        CheckpointError: A tensor is missing or unexpected, or has another type or shape.
    """
    for name in sorted(expected.keys() | infos.keys()):
        wanted, actual = expected.get(name), infos.get(name)
        if wanted is None or actual is None or wanted.shape != actual.shape:
            raise CheckpointError(
                f"{path} holds another model: {name} is {'missing' if actual is None else actual.shape}, but its "
                f"config needs {'nothing' if wanted is None else wanted.shape}; use the checkpoint of this config"
            )
        if actual.dtype not in wanted.dtypes:
            raise CheckpointError(
                f"{path} has {name} as {actual.dtype} instead of {' or '.join(wanted.dtypes)}; use another checkpoint"
            )


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that all values are finite.

    Raises:
        CheckpointError: A value is NaN or infinite.
    """
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path} has NaN or infinite values in {name}; use an earlier checkpoint")
