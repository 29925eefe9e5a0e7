"""Memory of the device that computes: how much of it is held, and what to say when there is no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import torch

from core.errors import MinidiffError, TrainingError

if TYPE_CHECKING:
    from core.config.training import TrainConfig


def too_large(config: TrainConfig) -> TrainingError:
    """What to say where a batch finds no memory, in whole or in the smallest parts that the config allows."""
    if config.fit_memory:
        return TrainingError(
            "memory runs out although --fit-memory computes batches in parts; start again with fewer --channels"
        )
    return TrainingError(
        f"a batch of {config.batch_size} does not fit into memory; start again with --fit-memory, which computes it in "
        "parts, or with a smaller --batch-size"
    )


@contextmanager
def within_memory(error: MinidiffError) -> Iterator[None]:
    """Raise `error` where torch finds no memory; on a CPU it says so in a plain RuntimeError."""
    try:
        yield
    except RuntimeError as failure:
        if is_out_of_memory(failure):
            raise error from None
        raise


def is_out_of_memory(failure: RuntimeError) -> bool:
    """Whether torch raised `failure` for want of memory."""
    return isinstance(failure, torch.OutOfMemoryError) or "allocate memory" in str(failure)


def memory_free(device: torch.device) -> int:
    """Bytes that this process could still take on a GPU, or of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free: int = psutil.virtual_memory().available
    return free


def memory_held(device: torch.device) -> int | None:
    """Bytes that tensors hold on a GPU, or that the process holds when computing on the CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    memory: int = psutil.Process().memory_info().rss
    return memory
