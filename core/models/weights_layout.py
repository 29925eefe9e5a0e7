"""What a weights file must hold: names, types and shapes of its tensors, and what a state records besides them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from core.errors import CheckpointError
from core.system.safe_io import opened

T = TypeVar("T")
HEADER_BYTES = 1_048_576  # of a file; those of the presets take 45,000 at most
WEIGHTS = ("F32", "F16", "BF16")  # safetensors' names of the types that weights may be stored in
EXACT = ("F32",)  # of a state, whose numbers must come back bit for bit
_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def check_opening(path: Path, *, follow: bool) -> None:
    """Refuse what is not a regular file, what is not safetensors, and a header that would take much memory to read.

    Raises:
        OSError: it cannot be read, is no ordinary file, or is a symbolic link that is not to be followed.
        CheckpointError: it is cut short, or its header does not begin like one or is too long.
    """
    with opened(path, follow=follow) as file:
        start = file.read(9)  # the length of the header, and the brace that it begins with
    if start[8:] not in (b"{", b""):
        raise CheckpointError(f"{path} is not a safetensors file; name a run, a built-in model or a .safetensors file")
    if len(start) < 9:
        raise CheckpointError(f"{path} is cut short: it has {len(start)} bytes; take another checkpoint")
    if int.from_bytes(start[:8], "little") > HEADER_BYTES:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file: its header would have more than {HEADER_BYTES:,} bytes; "
            "take another checkpoint"
        )


class Found(NamedTuple):
    """A tensor as a file describes it."""

    dtype: str  # in safetensors' words
    shape: tuple[int, ...]


class ExpectedTensor(NamedTuple):
    """A tensor as it should be."""

    dtypes: tuple[str, ...]
    shape: tuple[int, ...]


def net_layout(net: nn.Module, floats: tuple[str, ...] = WEIGHTS) -> dict[str, ExpectedTensor]:
    """The tensors of a net's `state_dict`; those with floating-point values may be of any of the types `floats`."""
    return {
        name: ExpectedTensor(floats if value.is_floating_point() else (_NAMES[value.dtype],), tuple(value.shape))
        for name, value in net.state_dict().items()
    }


def described(tensors: Mapping[str, Tensor]) -> dict[str, Found]:
    """Tensors in memory as a file would describe them."""
    return {
        name: Found(_NAMES.get(value.dtype, str(value.dtype)), tuple(value.shape)) for name, value in tensors.items()
    }


def described_in(file: Any) -> dict[str, Found]:
    """The tensors that the header of a file opened with `safetensors.safe_open` describes."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return {name: Found(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def check_layout(path: Path, wanted: Mapping[str, ExpectedTensor], found: Mapping[str, Found]) -> None:
    """Compare what a file holds with what it should hold.

    Raises:
        CheckpointError: a tensor is missing, has another type or shape, or belongs to something else.
    """
    for name in sorted(wanted.keys() | found.keys()):
        right, there = wanted.get(name), found.get(name)
        if right is None or there is None or right.shape != there.shape:
            raise CheckpointError(
                f"{path} holds another model: {name} is {'missing' if there is None else there.shape} where its config "
                f"asks for {'nothing' if right is None else right.shape}; take the checkpoint that goes with the config"
            )
        if there.dtype not in right.dtypes:
            raise CheckpointError(
                f"{path} holds {name} as {there.dtype} instead of {' or '.join(right.dtypes)}; take another checkpoint"
            )


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity.

    Raises:
        CheckpointError: a value is not finite.
    """
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path} holds values in {name} that are not numbers; take an earlier checkpoint")
