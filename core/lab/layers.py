"""A net layer by layer, as a table: what each puts out, how many weights it has, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from core.config.datasets import IMAGE_SIZE
from core.lab.hooks import first_tensor, put, run, watched


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One module of a net, with all that it holds."""

    name: str  # as in `named_modules`; "" for the net itself
    depth: int  # 0 for the net itself
    kind: str  # its class
    shape: tuple[int, ...] | None  # of its last output, without the batch; None: it never ran by itself
    parameters: int
    operations: int  # floating-point operations for one image


def layer_table(net: nn.Module, shape: tuple[int, int, int] = (1, IMAGE_SIZE, IMAGE_SIZE)) -> tuple[LayerRow, ...]:
    """Every module of a net in the order of its parts, each before what it holds.

    Operations are the multiplications and additions of convolutions and matrix products, attention included, as
    torch's FlopCounterMode counts them; norms, activations, biases and sums are left out. A module that holds others
    counts theirs too, so that the first row's numbers are those of the whole net.

    Args:
        net: a net of the registry; it is run once, on zeros.
        shape: channels, height and width of an image.

    Raises:
        MinidiffError: the net cannot take images of this shape.
    """
    modules = dict(net.named_modules())
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, output: object) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            shapes[module] = tuple(tensor.shape[1:])

    given = put(net, torch.zeros(1, *shape, dtype=torch.float32, device="cpu"), 0.5, None)
    counter = FlopCounterMode(display=False)
    # The fused attention of a CPU is not counted; that of plain matrix products is.
    with torch.no_grad(), watched(dict.fromkeys(modules.values(), note)), sdpa_kernel(SDPBackend.MATH), counter:
        run(net, *given)
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
    """What was counted for a module; a list of modules never runs by itself, and has what its members have."""
    known = counted.get(f"{root}.{name}" if name else root)
    if known is not None:
        return known
    return sum(
        _operations(child, f"{name}.{part}" if name else part, counted=counted, root=root)
        for part, child in module.named_children()
    )
