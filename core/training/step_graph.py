"""The training step as a CUDA graph: recorded once, then replayed, without launching its kernels one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from core.compute.cuda_graph import CudaGraph

WARMUP_STEPS = 3  # before the recording, in which libraries choose and load their kernels
TOLERANCE = 0.01  # relative difference of the loss between a replayed step and the same step without a graph


class GraphedStep:
    """Takes training steps, after some of them by replaying a CUDA graph, if that gives the same losses.

    Args:
        fill: Sets the inputs of a step, given its number.
        update: Takes the step whose inputs are set, as `CudaGraph` requires.
        state: All tensors that steps change, by name.
        generators: Those that `update` uses.
        record: Records a step. Tests on a CPU pass another function than `CudaGraph`.
    """

    def __init__(
        self,
        fill: Callable[[int], None],
        update: Callable[[], Tensor],
        state: Callable[[], Mapping[str, Tensor]],
        generators: Iterable[torch.Generator],
        record: Callable[[Callable[[], Tensor], Iterable[torch.Generator]], CudaGraph] = CudaGraph,
    ) -> None:
        self.problem: str | None = None  # why no graph is used
        self._fill, self._update, self._state = fill, update, state
        self._generators, self._record = list(generators), record
        self._graph: CudaGraph | None = None
        self._taken = 0

    def take(self, step: int) -> Tensor:
        """Take step number `step`, whose successor has inputs of the same shapes; returns its loss."""
        if self._graph is None and self.problem is None:
            self._taken += 1
            if self._taken > WARMUP_STEPS:
                self._graph, self.problem = self._recorded(step)
        self._fill(step)
        return self._update() if self._graph is None else self._graph.replay()

    def _recorded(self, step: int) -> tuple[CudaGraph | None, str | None]:
        """The graph, or why it is not used; compares the next two steps with it and without it, and undoes them."""
        before = {name: value.clone() for name, value in self._state().items()}
        losses: list[Tensor] = []
        try:
            self._fill(step)
            graph = self._record(self._update, self._generators)
            for take in (graph.replay, self._update):
                for ahead in (0, 1):
                    self._fill(step + ahead)
                    losses.append(take())
                for name, value in self._state().items():
                    value.copy_(before[name])
        except RuntimeError as error:
            return None, f"recording it failed: {str(error).splitlines()[0]}"
        replayed, expected = torch.stack(losses).chunk(2)
        if not bool(torch.isclose(replayed, expected, rtol=TOLERANCE, atol=0.0, equal_nan=True).all()):
            return None, "the losses of the recorded step are not those of the step itself"
        return graph, None
