"""A network whose forward pass is replayed as a CUDA graph, for samplers, which call it with the same shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.compute.cuda_graph import CudaGraph

EAGER_CALLS = 2  # with inputs of one shape before the recording, in which libraries choose and load their kernels
MAX_GRAPHS = 8  # each keeps the memory of a forward pass
TOLERANCE = 0.01  # difference between a replayed and an eager pass, relative to the largest output


class GraphedNetwork:
    """Calls a network; from the third call with inputs of the same shapes on by replaying a CUDA graph.

    Calls that need gradients are not recorded. If the recording fails, or gives another output, the network is called
    as usual from then on.

    Args:
        net: The network, in evaluation mode on a CUDA device. Its forward pass must not depend on values. Weights may
            change in place between calls.
        record: Records a forward pass. Tests on a CPU pass another function than `CudaGraph`.
    """

    def __init__(
        self, net: Callable[..., Any], record: Callable[[Callable[[], Tensor]], CudaGraph] = CudaGraph
    ) -> None:
        self._net, self._record = net, record
        self._calls: dict[object, int] = {}
        self._graphs: dict[object, tuple[list[Tensor], CudaGraph]] = {}
        self.problem: str | None = None  # why no graph is used

    def __call__(self, *inputs: Tensor | float | None) -> Tensor:
        """The network's output for these inputs."""
        if torch.is_grad_enabled():
            return self._eager(*inputs)
        device = next(value.device.type for value in inputs if isinstance(value, Tensor))
        autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        key = (autocast, *(_kind(value) for value in inputs))
        if key in self._graphs:
            static, graph = self._graphs[key]
            _copy(inputs, static)
            return graph.replay()
        output = self._eager(*inputs)
        if self.problem is None and len(self._graphs) < MAX_GRAPHS:
            self._calls[key] = self._calls.get(key, 0) + 1
            if self._calls[key] > EAGER_CALLS:
                self._add(key, inputs, output)
        return output

    def _eager(self, *inputs: Tensor | float | None) -> Tensor:
        output = self._net(*inputs)
        result: Tensor = output if isinstance(output, Tensor) else output.sample  # as diffusers' networks return it
        return result

    def _add(self, key: object, inputs: tuple[Tensor | float | None, ...], expected: Tensor) -> None:
        """Record a graph for inputs like these, if it gives the expected output."""
        with torch.inference_mode(False), torch.no_grad():
            copies = [value.clone() if isinstance(value, Tensor) else value for value in inputs]
            static = [value for value in copies if isinstance(value, Tensor)]
            try:
                graph = self._record(lambda: self._eager(*copies))
                replayed = graph.replay()
            except RuntimeError as error:
                self.problem = f"recording it failed: {str(error).splitlines()[0]}"
                return
            largest = expected.abs().max()
            if bool(((replayed - expected).abs() <= TOLERANCE * largest).all()):
                self._graphs[key] = static, graph
            else:
                self.problem = "the recorded network's output is not that of the network itself"


def _kind(value: Tensor | float | None) -> object:
    return (value.shape, value.dtype, value.stride()) if isinstance(value, Tensor) else value


def _copy(inputs: tuple[Tensor | float | None, ...], static: list[Tensor]) -> None:
    tensors = (value for value in inputs if isinstance(value, Tensor))
    for own, value in zip(static, tensors, strict=True):
        own.copy_(value)
