"""Memory use of the device, and errors for running out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import torch

from core.errors import MinidiffError, TrainingError

if TYPE_CHECKING:
    from core.config.training import TrainConfig


def out_of_memory_error(config: TrainConfig) -> TrainingError:
    """The error for a batch that does not fit into memory, even with the smallest allowed micro-batch."""
    if config.fit_memory:
        return TrainingError("memory runs out even with --fit-memory; start again with fewer --channels")
    return TrainingError(
        f"a batch of {config.batch_size} does not fit into memory; start again with --fit-memory, which splits it, "
        "or with a smaller --batch-size"
    )


@contextmanager
def within_memory(error: MinidiffError) -> Iterator[None]:
    """Raise `error` in place of Python's and torch's out-of-memory errors; torch's is a plain RuntimeError on a CPU."""
    try:
        yield
    except MemoryError:
        raise error from None
    except RuntimeError as failure:
        if is_out_of_memory(failure):
            raise error from None
        raise


def is_out_of_memory(failure: RuntimeError) -> bool:
    """Whether `failure` is an out-of-memory error."""
    return isinstance(failure, torch.OutOfMemoryError) or "allocate memory" in str(failure)


def memory_free(device: torch.device) -> int:
    """Free memory of a GPU, or available memory of the machine, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free: int = psutil.virtual_memory().available
    return free


def memory_held(device: torch.device) -> int | None:
    """Memory of tensors on a GPU, or of this process on a CPU, in bytes."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    memory: int = psutil.Process().memory_info().rss
    return memory
