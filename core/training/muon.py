"""Muon: steps whose directions are all of one size, for the weights of hidden convolutions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, chosen there for the fastest growth near 0
ITERATIONS = 5


class Muon:
    """Momentum whose direction is made orthogonal, for each weight seen as a matrix (out, in * height * width).

    Weights of one shape are computed together. Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with
    Nesterov's momentum and the scale max(1, rows / columns)^1/2.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        momentum: float,
        weight_decay: float,
        precision: torch.dtype = torch.bfloat16,  # of the iteration, which in bfloat16 makes much of a last digit
    ) -> None:
        self.parameters = list(parameters)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.precision = precision
        self.averages = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._alike: dict[tuple[int, int], list[int]] = {}  # positions of the weights of one matrix shape
        for index, parameter in enumerate(self.parameters):
            self._alike.setdefault((len(parameter), parameter[0].numel()), []).append(index)

    @torch.no_grad()
    def step(self, rate: float, finite: Tensor) -> None:
        """Move the weights by their gradients; where `finite`, a scalar on the device, is False they stay."""
        size = rate * finite.float()
        for (rows, columns), positions in self._alike.items():
            weights: list[Tensor] = [self.parameters[index] for index in positions]
            averages = [self.averages[index] for index in positions]
            gradients = [torch.where(finite, _gradient(weight), 0) for weight in weights]
            torch._foreach_lerp_(averages, gradients, 1 - self.momentum)
            ahead = torch._foreach_lerp(gradients, averages, self.momentum)
            moves = orthogonalized(torch.stack([matrix.reshape(rows, columns) for matrix in ahead]), self.precision)
            moves *= size * max(1.0, rows / columns) ** 0.5
            torch._foreach_mul_(weights, 1 - size * self.weight_decay)
            torch._foreach_sub_(weights, [move.view(weight.shape) for move, weight in zip(moves, weights, strict=True)])


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None, "a step follows a backward pass"
    return weight.grad


def orthogonalized(matrices: Tensor, precision: torch.dtype = torch.bfloat16) -> Tensor:
    """Each of (N, rows, columns) with its singular values moved to about 1 (0.7 to 1.2), float32.

    Computed in `precision` by Newton and Schulz's iteration; a matrix of zeros stays one.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(precision)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True).to(precision) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()
