"""A CUDA graph of some work: recorded once, then replayed without launching its kernels one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class CudaGraph:
    """Recorded work, whose inputs are tensors on the device that are filled before each replay.

    Args:
        work: Returns a tensor on the device. It must not wait for the device, and must use the same tensors each time.
        generators: Those that it uses; each replay continues from their current seeds.

    Raises:
        RuntimeError: The work cannot be recorded.

    Source: PyTorch's notes on CUDA semantics, section "CUDA Graphs".
    """

    def __init__(self, work: Callable[[], Tensor], generators: Iterable[torch.Generator] = ()) -> None:
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._result = work()

    def replay(self) -> Tensor:
        """Do the work; returns its result."""
        self._graph.replay()
        return self._result.clone()  # the next replay overwrites it
