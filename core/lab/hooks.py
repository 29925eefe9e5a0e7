"""Watching a net while it runs: hooks that are always taken off again, and one way to ask any net of the registry."""

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

Watcher = Callable[[nn.Module, Any], None]  # told a module and its output, after each of its calls


@contextmanager
def watched(watchers: Mapping[nn.Module, Watcher]) -> Iterator[None]:
    """Tell each watcher what its module puts out; whatever happens, nothing of it stays on the net."""
    hooks = []
    try:
        for module, watcher in watchers.items():
            hooks.append(module.register_forward_hook(lambda m, _, output, tell=watcher: tell(m, output)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def without_skips(net: nn.Module) -> Iterator[None]:
    """Run a net of the registry as if its skips carried nothing; whatever happens, they are put back afterwards.

    Raises:
        MinidiffError: the net has no skips to switch.
    """
    before = getattr(net, "skips", None)
    if not isinstance(before, bool):
        raise MinidiffError(f"{type(net).__name__} has no skips to switch off; take a net of the registry")
    net.skips = False  # type: ignore[assignment] # torch takes every attribute for a tensor or a module
    try:
        yield
    finally:
        net.skips = before  # type: ignore[assignment]


def put(net: nn.Module, x: ArrayLike, t: Tensor | float, labels: Tensor | None) -> tuple[Any, ...]:
    """What a net is called with, where its weights are and of their type; x has its shape checked.

    Raises:
        MinidiffError: x is not (B, C, H, W) with floating-point values.
    """
    x = as_tensor(x, "x")
    if x.dim() != 4 or x.numel() == 0 or not x.is_floating_point():
        raise MinidiffError(
            f"a net needs shape (B, C, H, W) and floating-point values, not {tuple(x.shape)} of {x.dtype}"
        )
    weight = next(net.parameters(), x)
    told = t.to(weight.device) if isinstance(t, Tensor) else t
    return x.detach().to(weight.device, weight.dtype), told, None if labels is None else labels.to(weight.device)


def run(net: nn.Module, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
    """The net's answer to what `put` made of x, with gradients as the caller has them and without autocast.

    Raises:
        MinidiffError: the net cannot take x: its channels, its size, or more than fits into memory.
    """
    try:
        with torch.autocast(x.device.type, enabled=False):
            answer: Tensor = net(x, t, labels)
    except (RuntimeError, ValueError) as error:  # torch's and diffusers' way to refuse a shape
        said = str(error).strip().partition("\n")[0]
        raise MinidiffError(
            f"{type(net).__name__} cannot run on shape {tuple(x.shape)}: {said}; give it the images it was made for"
        ) from None
    return answer


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that a module puts out, the first if there are several, None if there is none."""
    if isinstance(output, (tuple, list)) and output:
        return first_tensor(output[0])
    return output if isinstance(output, Tensor) else None
