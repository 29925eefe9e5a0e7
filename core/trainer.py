"""The state of one training and the step that moves it, apart from logs, windows and files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.config import TrainConfig
from core.corruption import mix
from core.errors import CheckpointError
from core.models import build_model
from core.randomness import HELD_OUT, WEIGHTS, epoch_order, generator_for, mixed_seed, step_draws
from core.sampling import sample

PREVIEWS, PREVIEW_STEPS, PREVIEW_SEED = 8, 40, 0
HELD_OUT_SEED = 0  # the same noise for every run, so that held-out losses compare


class Trainer:
    """A net, its optimizer and its images on one device; step k is a pure function of (config.seed, k).

    Source: the teaching document's section 3.5.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.images = torch.empty((0, 1, 28, 28), dtype=torch.uint8)
        self.step = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed(config.seed, WEIGHTS, 0))
            net = build_model(config.model, **config.model_options)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.net = net.to(device).to(memory_format=self.layout)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def take(self, images: Tensor) -> None:
        """Put the training images, (N, 1, 28, 28) uint8, on the device."""
        self.images = images.to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; the last batch may be short."""
        return -(-len(self.images) // self.config.batch_size)

    @property
    def parameters(self) -> int:
        """How many numbers the net learns."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    def batch(self, step: int) -> Tensor:
        """The images of step `step`: (B, 1, 28, 28) in [0, 1], on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = epoch_order(self.config.seed, epoch, len(self.images)).to(self.device)
            self._epoch = epoch
        chosen = self._order[position * self.config.batch_size : (position + 1) * self.config.batch_size]
        return self.images[chosen].float().div_(255)

    def advance(self) -> tuple[Tensor, int]:
        """Take one step; the loss before it, a scalar left on the device, and how many images it saw."""
        x = self.batch(self.step)
        amount, noise = step_draws(self.config.seed, self.step, x.shape, self.device)
        noisy = mix(x, amount, noise).contiguous(memory_format=self.layout)
        loss = functional.mse_loss(self.net(noisy, 0), x)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        self.optimizer.step()
        self.step += 1
        return loss.detach(), len(x)

    def held_out_errors(self, images: Tensor) -> Iterator[Tensor]:
        """Each held-out batch's summed squared error, a scalar, under amounts and noise that never change.

        Args:
            images: (N, 1, 28, 28) uint8; the sum of the results over N * 28 * 28 is the held-out loss.
        """
        for position in range(0, len(images), self.config.batch_size):
            x = images[position : position + self.config.batch_size].to(self.device).float().div_(255)
            generator = generator_for(HELD_OUT_SEED, HELD_OUT, position)
            amount = torch.rand(len(x), generator=generator).to(self.device)
            noise = torch.rand(x.shape, generator=generator).to(self.device)
            with evaluating(self.net):
                prediction = self.net(mix(x, amount, noise).contiguous(memory_format=self.layout), 0)
            yield functional.mse_loss(prediction, x, reduction="sum")

    def preview(self) -> Tensor:
        """Samples from the same noise every time: (8, 1, 28, 28) around [0, 1]."""
        with evaluating(self.net):
            *_, last = sample(self.net, n=PREVIEWS, steps=PREVIEW_STEPS, seed=PREVIEW_SEED)
        return last.x

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.net.parameters())

    def state(self) -> dict[str, Tensor]:
        """Weights and the optimizer's moments, by name: with the step, all that resuming needs."""
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{key}": value for key, value in moments.items()})
        return tensors

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Take up the state that `state` gave after `step` steps.

        Raises:
            CheckpointError: the optimizer's moments are not those of this net.
        """
        moments: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            if part == "optimizer":
                index, _, key = rest.partition(".")
                moments.setdefault(int(index), {})[key] = value
        shapes = [tuple(parameter.shape) for parameter in self.net.parameters()]
        saved = [tuple(moments.get(index, {}).get("exp_avg", torch.empty(0)).shape) for index in range(len(shapes))]
        if step > 0 and shapes != saved:
            raise CheckpointError("the optimizer's state belongs to another model; start a new run")
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step = step


@contextmanager
def evaluating(net: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode before is put back."""
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(training)
