"""Forward hooks that are always removed, and a common way to call the registry's networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.errors import MinidiffError

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

Hook = Callable[[nn.Module, Any], None]  # called with a module and its output after each forward pass


@contextmanager
def forward_hooks(hooks: Mapping[nn.Module, Hook]) -> Iterator[None]:
    """Register forward hooks, and remove them on exit."""
    handles = []
    try:
        for module, hook in hooks.items():
            handles.append(module.register_forward_hook(lambda m, _, output, call=hook: call(m, output)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def without_skips(net: nn.Module) -> Iterator[None]:
    """Disable the skip connections of a network of the registry; they are restored on exit.

    Raises:
        MinidiffError: The network has no skip connections to disable.
    """
    before = {part: part.skips for part in net.modules() if isinstance(getattr(part, "skips", None), bool)}
    if net not in before:
        raise MinidiffError(f"{type(net).__name__} has no skip connections to disable; use a network of the registry")
    for part in before:
        part.skips = False  # type: ignore[assignment] # torch types every attribute as a tensor or a module
    try:
        yield
    finally:
        for part, skips in before.items():
            part.skips = skips


def prepare_inputs(net: nn.Module, x: ArrayLike, t: Tensor | float, labels: Tensor | None) -> tuple[Any, ...]:
    """Validate x, and move (x, t, labels) to the device of the weights, x also to their dtype.

    Raises:
        MinidiffError: x does not have shape (B, C, H, W) and a floating-point dtype.
    """
    x = as_tensor(x, "x")
    if x.dim() != 4 or x.numel() == 0 or not x.is_floating_point():
        raise MinidiffError(
            f"a network needs shape (B, C, H, W) and floating-point values, not {tuple(x.shape)} of {x.dtype}"
        )
    weight = next(net.parameters(), x)
    t = t.to(weight.device) if isinstance(t, Tensor) else t
    return x.detach().to(weight.device, weight.dtype), t, None if labels is None else labels.to(weight.device)


def run_network(net: nn.Module, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
    """Call a network with inputs from `prepare_inputs`, in the caller's grad mode and without autocast.

    Raises:
        MinidiffError: The network does not support x's channels or size, or memory runs out.
    """
    try:
        with torch.autocast(x.device.type, enabled=False):
            output: Tensor = net(x, t, labels)
    except (RuntimeError, ValueError) as error:  # from torch and diffusers, for an unsupported shape
        reason = str(error).strip().partition("\n")[0]
        raise MinidiffError(
            f"{type(net).__name__} cannot run on shape {tuple(x.shape)}: {reason}; use images of another shape"
        ) from None
    return output


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor in a module's output; None if there is none."""
    if isinstance(output, (tuple, list)) and output:
        return first_tensor(output[0])
    return output if isinstance(output, Tensor) else None
