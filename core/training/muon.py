"""The Muon optimizer, for the weights of hidden convolutions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic Newton-Schulz iteration
ITERATIONS = 5


class Muon:
    """Nesterov momentum, orthogonalized for each weight as a matrix (out, in * height * width).

    Weights of the same shape are batched. Updates are scaled by max(1, rows / columns)^1/2. Source: Jordan et al. 2024
    (kellerjordan.github.io/posts/muon).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        momentum: float,
        weight_decay: float,
        precision: torch.dtype = torch.bfloat16,  # of the iteration; bfloat16 amplifies differences in the last digits
    ) -> None:
        self.parameters = list(parameters)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.precision = precision
        self.averages = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._indices_by_shape: dict[tuple[int, int], list[int]] = {}  # indices of the weights, by matrix shape
        for index, parameter in enumerate(self.parameters):
            self._indices_by_shape.setdefault((len(parameter), parameter[0].numel()), []).append(index)

    @torch.no_grad()
    def step(self, rate: float | Tensor, finite: Tensor) -> None:
        """Update the weights, unless `finite`, a scalar on the device, is False."""
        learning_rate = rate * finite.float()
        for (rows, columns), indices in self._indices_by_shape.items():
            weights: list[Tensor] = [self.parameters[index] for index in indices]
            averages = [self.averages[index] for index in indices]
            gradients = [torch.where(finite, _gradient(weight), 0) for weight in weights]
            torch._foreach_lerp_(averages, gradients, 1 - self.momentum)
            ahead = torch._foreach_lerp(gradients, averages, self.momentum)
            updates = orthogonalized(torch.stack([matrix.reshape(rows, columns) for matrix in ahead]), self.precision)
            updates *= learning_rate * max(1.0, rows / columns) ** 0.5
            torch._foreach_mul_(weights, 1 - learning_rate * self.weight_decay)
            torch._foreach_sub_(
                weights, [update.view(weight.shape) for update, weight in zip(updates, weights, strict=True)]
            )


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None, "a step follows a backward pass"
    return weight.grad


def orthogonalized(matrices: Tensor, precision: torch.dtype = torch.bfloat16) -> Tensor:
    """Matrices, (N, rows, columns), with singular values moved to about 1 (0.7 to 1.2), float32.

    Computed in `precision` with the Newton-Schulz iteration; a matrix of zeros stays zero.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(precision)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True).to(precision) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()
