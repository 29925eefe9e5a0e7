"""The optimizer of a run, its learning-rate schedule, and skipped steps if a gradient is not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.config.training import TrainConfig
from core.errors import CheckpointError
from core.training.muon import Muon

BETAS = {"adam": (0.9, 0.999), "adamw": (0.9, 0.95), "muon": (0.9, 0.95)}
MUON_MOMENTUM = 0.95
MUON_SCALE = 10.0  # Muon's learning rate relative to AdamW's: all directions of a weight move equally far
MIN_CHANNELS = 16
WARMUP_STEPS, WARMUP_FRACTION = 100, 0.05  # by default: this many steps, but at most this fraction of the run
FUSED = ("cpu", "cuda")  # device types whose fused step takes `found_inf`


def warmup_steps(config: TrainConfig, total: int) -> int:
    """Steps of learning-rate warmup in a run of `total` steps: as configured, else 100, but at most 5% of the run."""
    return min(WARMUP_STEPS, int(total * WARMUP_FRACTION)) if config.warmup_steps is None else config.warmup_steps


class Optimizer:
    """Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019), fused if the device supports it.

    "muon" updates the weights of hidden convolutions with Muon and all others with AdamW.
    """

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        self.config = config
        self.hidden = hidden_convolutions(net) if config.optimizer == "muon" else []
        among = {id(weight) for weight in self.hidden}
        self.parameters = [weight for weight in net.parameters() if weight.requires_grad]
        rest = [parameter for parameter in self.parameters if id(parameter) not in among]
        precision = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        self._muon = Muon(self.hidden, momentum=MUON_MOMENTUM, weight_decay=config.weight_decay, precision=precision)
        device = self.parameters[0].device.type
        self._fused = device in FUSED
        options: dict[str, Any] = {"lr": config.learning_rate, "betas": BETAS[config.optimizer], "fused": self._fused}
        options["capturable"] = device == "cuda"  # a CUDA graph can record its step
        if config.optimizer == "adam":
            self._adam: torch.optim.Optimizer = torch.optim.Adam(rest, **options)
        else:
            self._adam = torch.optim.AdamW(rest, weight_decay=config.weight_decay, **options)

    def rate(self, step: int, total: int) -> float:
        """The learning rate of step `step` (from 0) of `total`: linear warmup, then constant or a linear decay to 0."""
        warmup = warmup_steps(self.config, total)
        warmup_factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
        decay_factor = 1 - step / total if self.config.lr_schedule == "linear" else 1.0
        return self.config.learning_rate * warmup_factor * max(decay_factor, 0.0)

    def clear(self) -> None:
        """Reset the gradients to None."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, loss: Tensor, rate: float | Tensor) -> Tensor:
        """Update the weights if the loss and all gradients are finite.

        Args:
            loss: A scalar on the device.
            rate: The learning rate, as returned by `rate`; on CUDA it may be a scalar on the device.

        Returns:
            Whether they are, a scalar on the device.
        """
        gradients = []
        for parameter in self.parameters:
            if parameter.grad is None:  # a weight of a user's network that this step did not use
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        norms = torch.stack([loss.detach(), *torch._foreach_norm(gradients)])
        finite = norms.isfinite().all()
        if self.config.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_grad_norm)
        for group in self._adam.param_groups:
            group["lr"] = rate
        if self._fused:  # without synchronizing with the device
            self._adam.found_inf = (~finite).float()  # type: ignore[attr-defined] # as torch.amp's scaler does
            self._adam.step()
        elif bool(finite):
            self._adam.step()
        self._muon.step(rate * MUON_SCALE, finite)
        return finite

    def state(self) -> dict[str, Tensor]:
        """The moments, by optimizer and position of their parameter."""
        moments = self._adam.state_dict()["state"]
        adam = {f"adam.{index}.{key}": value for index, parts in moments.items() for key, value in parts.items()}
        return adam | {f"muon.{index}": average for index, average in enumerate(self._muon.averages)}

    def layout(self, step: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors of `state` after `step` steps; Adam has no moments before the first."""
        shapes: dict[str, tuple[int, ...]] = {}
        for index, weight in enumerate(self._adam.param_groups[0]["params"] if step else ()):
            moments = {f"adam.{index}.{part}": tuple(weight.shape) for part in ("exp_avg", "exp_avg_sq")}
            shapes |= {f"adam.{index}.step": (), **moments}
        return shapes | {f"muon.{index}": tuple(average.shape) for index, average in enumerate(self._muon.averages)}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Restore the moments that `state` returned after `step` steps.

        Raises:
            CheckpointError: they do not fit this network, or have impossible values.
        """
        if self.layout(step) != {name: tuple(value.shape) for name, value in tensors.items()}:
            raise CheckpointError("the optimizer's state belongs to another model; start a new run")
        for name, value in tensors.items():
            if not _is_possible(name.rpartition(".")[2], value, step):
                raise CheckpointError(f"the optimizer's state has impossible values in {name}; start a new run")
        state: dict[int, dict[str, Tensor]] = {}
        for index, weight in enumerate(self._adam.param_groups[0]["params"] if step else ()):
            # Copies in the memory layout of the weight, as the fused step requires.
            moments = {part: torch.empty_like(weight) for part in ("exp_avg", "exp_avg_sq")}
            for part, moment in moments.items():
                moment.copy_(tensors[f"adam.{index}.{part}"])
            state[index] = {"step": tensors[f"adam.{index}.step"].clone(), **moments}
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": state, "param_groups": groups})
        for index, average in enumerate(self._muon.averages):
            average.copy_(tensors[f"muon.{index}"])


def _is_possible(part: str, value: Tensor, step: int) -> bool:
    """Whether a moment, or Adam's step count, can have this value after `step` steps."""
    if not bool(value.isfinite().all()):
        return False
    if part == "step":
        return 0 <= value.item() <= step
    return part != "exp_avg_sq" or bool((value >= 0).all())


def hidden_convolutions(net: nn.Module) -> list[nn.Parameter]:
    """The weights of all convolutions with at least `MIN_CHANNELS` input and output channels."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    wide = [layer for layer in layers if min(layer.in_channels, layer.out_channels) >= MIN_CHANNELS]
    weights = (weight for layer in wide for weight in layer.parameters() if weight.dim() == 4 and weight.requires_grad)
    return list(dict.fromkeys(weights))
