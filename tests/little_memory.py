"""Simulates a device with little memory; as a program, runs `minidiff` with such a device in rank 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from core.cli import main
from core.training.memory_estimate import BATCH_SIZES

ROOM = 9  # images that fit in its memory in training


@contextmanager
def little_memory() -> Iterator[list[int]]:
    """Within this context, training on more than ROOM images runs out of memory; yields the batch sizes tried."""
    batch_sizes: list[int] = []

    def enter(net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled() and isinstance(net, nn.Conv2d):
            size = len(inputs[0])
            if size not in BATCH_SIZES:  # used only to estimate the memory
                batch_sizes.append(size)
            if size > ROOM:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = nn.modules.module.register_module_forward_pre_hook(enter)
    try:
        yield batch_sizes
    finally:
        handle.remove()


if __name__ == "__main__":
    with little_memory() if os.environ["RANK"] == "1" else nullcontext():
        main()
