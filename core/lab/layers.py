"""A table of a network's modules: output shapes, parameters and operations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from core.config.datasets import DIGITS
from core.lab.hooks import first_tensor, forward_hooks, prepare_inputs, run_network


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One module, including its children."""

    name: str  # as in `named_modules`; "" for the network itself
    depth: int  # 0 for the network itself
    kind: str  # class name
    shape: tuple[int, ...] | None  # of its last output, without the batch; None if it was not called
    parameters: int
    operations: int  # floating-point operations for one image


def layer_table(net: nn.Module, shape: tuple[int, int, int] = DIGITS.shape) -> tuple[LayerRow, ...]:
    """List all modules of a network, parents before children.

    Operations are the multiplications and additions of convolutions and matrix products, including attention, as
    counted by torch's FlopCounterMode; norms, activations, biases and sums are not counted. Values of a module include
    its children, so the first row is the whole network.

    Args:
        net: A network of the registry; it runs once, on zeros.
        shape: Channels, height and width of an image.

    Raises:
        MinidiffError: The network does not support this shape.
    """
    modules = dict(net.named_modules())
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def store(module: nn.Module, output: object) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            shapes[module] = tuple(tensor.shape[1:])

    inputs = prepare_inputs(net, torch.zeros(1, *shape, dtype=torch.float32, device="cpu"), 0.5, None)
    counter = FlopCounterMode(display=False)
    # FlopCounterMode does not count the fused attention of CPUs, only matrix products.
    with torch.no_grad(), forward_hooks(dict.fromkeys(modules.values(), store)), sdpa_kernel(SDPBackend.MATH), counter:
        run_network(net, *inputs)
    counted = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    operations = partial(_operations, counted=counted, root=type(net).__name__)
    return tuple(
        LayerRow(
            name,
            name.count(".") + 1 if name else 0,
            type(module).__name__,
            shapes.get(module),
            sum(parameter.numel() for parameter in module.parameters()),
            operations(module, name),
        )
        for name, module in modules.items()
    )


def _operations(module: nn.Module, name: str, *, counted: dict[str, int], root: str) -> int:
    """Operations of a module; a ModuleList is not called, so its children are summed."""
    count = counted.get(f"{root}.{name}" if name else root)
    if count is not None:
        return count
    return sum(
        _operations(child, f"{name}.{part}" if name else part, counted=counted, root=root)
        for part, child in module.named_children()
    )
