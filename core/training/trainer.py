"""The network in training, its optimizer and data, and the training step."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.compute.compile_cache import secure_compile_cache
from core.compute.device_memory import is_out_of_memory, memory_free
from core.compute.precision import in_precision
from core.compute.seeding import (
    CORRUPTION,
    FLIP,
    LABELS,
    NETWORK,
    SHIFT,
    VALIDATION,
    VALIDATION_SEED,
    WEIGHTS,
    epoch_order,
    generator_for,
    mixed_seed,
)
from core.compute.torch_settings import training_mode
from core.config.training import TrainConfig
from core.data.augmentation import flipped, padded, shifted
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, sample_times, squared_errors
from core.diffusion.samplers import call_network
from core.diffusion.sampling import sample
from core.models.custom import CustomNetwork, Network, build, seeded
from core.models.weights import fill
from core.training.consistency import ConsistencyLoss
from core.training.distributed import DistributedContext
from core.training.optimizer import Optimizer
from core.training.state import state_parts
from core.training.step_graph import GraphedStep

PREVIEWS, PREVIEW_SEED = 8, 0
MAX_DATA_SHARE = 0.5  # of the free memory of a GPU that training images may take
MAX_PROCESSES = 1024  # of a distributed run


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and the noise, noise levels and labels that a step uses; can be sliced."""

    x0: Tensor  # (B, C, H, W), in the path's value range
    noise: Tensor  # like x0
    t: Tensor  # (B,)
    labels: Tensor | None  # (B,) int64; None for an unconditional network

    def __len__(self) -> int:
        return len(self.x0)

    def __getitem__(self, some: slice) -> Batch:
        labels = None if self.labels is None else self.labels[some]
        return Batch(self.x0[some], self.noise[some], self.t[some], labels)


class Trainer:
    """A network, its optimizer and its data on one device; step k is a pure function of (config.seed, k).

    `net` is trained; `ema_net` has the EMA weights, or is `net` if the config has no EMA. In a distributed run each
    process has a trainer, and all take the same steps.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        distributed: DistributedContext | None = None,
        net: Network | None = None,
    ) -> None:
        self.config = config
        self.device = device
        self.distributed = distributed or DistributedContext()
        self.micro_batch = config.micro_batch  # halved when memory runs out, if the config allows it
        self.path = PATHS[config.path]
        self.images = torch.empty((0, *config.info.shape), dtype=torch.uint8, device=device)
        self.labels = torch.empty(0, dtype=torch.int64, device=device)
        self.step = 0
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        with training_mode(device):
            built = build(config, net, generator_for(config.seed, WEIGHTS, 0))
            self.is_custom = isinstance(built, CustomNetwork)
            self.net = built.to(device).to(memory_format=self.layout)
            self.ema_net = copy.deepcopy(self.net).requires_grad_(False) if config.ema else self.net
            self._weights: list[Tensor] = list(self.net.parameters())
            self._averages: list[Tensor] = list(self.ema_net.parameters())
            self._buffers = list(zip(self.ema_net.buffers(), self.net.buffers(), strict=True)) if self.is_custom else []
            self.optimizer = Optimizer(self.net, config)
            self._wrapped: nn.Module = self.distributed.wrap(self.net, may_skip_weights=self.is_custom)
            self.distillation: ConsistencyLoss | None = None
            if config.objective == "consistency":
                teacher = copy.deepcopy(self.net).requires_grad_(False).eval()
                self.distillation = ConsistencyLoss(teacher, config)
            # The inputs of a step, on the device, so that a CUDA graph of it can be replayed with others.
            self._chosen = torch.zeros(config.batch_size, dtype=torch.int64, device=device)  # numbers of its images
            dtype = torch.float32 if device.type == "cuda" else torch.float64
            self._rate, self._decay = (torch.zeros((), dtype=dtype, device=device) for _ in range(2))
        self._generators = {stream: torch.Generator(device) for stream in (CORRUPTION, LABELS, SHIFT, FLIP)}
        self._compiled: Callable[..., Any] | None = None
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64, device=device)
        self._graphed: GraphedStep | None = None

    def set_data(self, images: Tensor, labels: Tensor) -> None:
        """Use training images, (N, C, H, W) uint8, and labels, (N,) int64.

        They move to the device, unless they would fill its memory: then each batch does. Memory-mapped images stay
        where they are on a CPU.
        """
        with training_mode(self.device):
            free = memory_free(self.device)
            fits = self.device.type == "cpu" or free is None or images.nbytes < MAX_DATA_SHARE * free
            self.images = images.to(self.device) if fits else images
            self.labels = labels.to(self.device)
        if self.device.type == "cuda" and self.config.cuda_graph and self._cannot_record() is None:
            update = functools.partial(self._update, self._chosen)
            self._graphed = GraphedStep(self._fill, update, self.state, self._generators.values())

    @property
    def graph_problem(self) -> str | None:
        """Why steps are not replayed as a CUDA graph, although the config asks for it; None if they are or may be."""
        if self.device.type != "cuda" or not self.config.cuda_graph:
            return None
        return self._cannot_record() if self._graphed is None else self._graphed.problem

    def _cannot_record(self) -> str | None:
        if self.is_custom:
            return "a network of your own may depend on values"
        if self.distillation is not None:
            return "the teacher's steps depend on noise levels"
        if self.distributed.size > 1:
            return "several processes train"
        if self.config.fit_memory:
            return "--fit-memory may retry a step"
        return "the images do not fit into the GPU's memory" if self.images.device != self.device else None

    def compile(self) -> None:
        """Compile the network for full batches; the first step then waits for the compiler."""
        secure_compile_cache()
        self._compiled = torch.compile(self._wrapped)

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch; the last batch may be smaller."""
        return -(-len(self.images) // self.config.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self.optimizer.rate(self.step, self.total_steps)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images, (B, C, H, W) in [0, 1], and labels, (B,), of a step, on the device."""
        with training_mode(self.device):
            self._fill(step)
            return self._load(self._chosen[: self._batch_size(step)])

    def train_step(self) -> tuple[Tensor, int]:
        """Take one step.

        If the loss or a gradient is not finite, weights and buffers stay unchanged and the loss is NaN. If memory
        runs out, `micro_batch` is halved and the step retried, if the config allows it.

        Returns:
            The loss before the step, a scalar on the device, and the number of images.
        """
        with training_mode(self.device):
            size = self._batch_size(self.step)
            if self._graphed is not None and self.config.batch_size == size == self._batch_size(self.step + 1):
                loss = self._graphed.take(self.step)
            else:
                self._fill(self.step)
                loss = self._update(self._chosen[:size])
            self.step += 1
            return loss, size

    def _batch_size(self, step: int) -> int:
        """Number of images of a step: the last one of an epoch may have fewer."""
        return min(self.config.batch_size, len(self.images) - step % self.steps_per_epoch * self.config.batch_size)

    def _fill(self, step: int) -> None:
        """Set the inputs of a step: its images, random numbers, learning rate and EMA decay."""
        for stream, generator in self._generators.items():
            generator.manual_seed(mixed_seed(self.config.seed, stream, step))
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = epoch_order(self.config.seed, epoch, len(self.images)).to(self.device)
            self._epoch = epoch
        first, size = position * self.config.batch_size, self._batch_size(step)
        self._chosen[:size].copy_(self._order[first : first + size])
        self._rate.fill_(self.optimizer.rate(step, self.total_steps))
        # An average over the last fraction `ema` of all steps so far (Karras et al. 2024, section 3.1).
        self._decay.fill_(1 / (self.config.ema * step + 1))

    def _update(self, indices: Tensor) -> Tensor:
        """Take the step whose inputs are set; returns its loss.

        A CUDA graph can record it: it does not wait for the device, and what it does depends on no values.
        """
        batch = self._sample_batch(indices)
        before = [buffer.clone() for _, buffer in self._buffers]
        loss = None
        while loss is None:
            with self._seeded():
                loss = self._gradients(batch)
        finite = self.optimizer.step(loss, _value(self._rate))
        for (_, buffer), old in zip(self._buffers, before, strict=True):  # such as the running statistics of BatchNorm
            buffer.copy_(torch.where(finite, buffer, old))
        if self.config.ema:
            _average(self._averages, self._weights, _value(self._decay))
            for average, value in self._buffers:
                average.copy_(value)
        return torch.where(finite, loss, torch.nan)

    def _seeded(self) -> AbstractContextManager[None]:
        """Seed torch's generators from the step, for networks of the user's own, which may have dropout."""
        if not self.is_custom:
            return nullcontext()
        position = self.step * MAX_PROCESSES + self.distributed.place.rank
        return seeded(mixed_seed(self.config.seed, NETWORK, position), self.device)

    def _sample_batch(self, indices: Tensor) -> Batch:
        """The whole batch of a step with its noise and noise levels, of which this process computes a part."""
        images, labels = self._load(indices)
        return self._corrupt(images, self._drop_labels(labels), self._generators[CORRUPTION])

    def _load(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images = self.images.index_select(0, indices.to(self.images.device))
        if images.device != self.device:
            images = images.pin_memory().to(self.device, non_blocking=True)
        if shift := self.config.augment_shift:
            images = shifted(padded(images, shift), shift, self._generators[SHIFT])
        if self.config.flip:
            images = flipped(images, self._generators[FLIP])
        return images.float().div_(255), self.labels[indices]

    def _gradients(self, batch: Batch) -> Tensor | None:
        """Compute the batch's gradients on all processes; its loss, or None if the step must be retried."""
        self.optimizer.clear()
        mine = batch[self.distributed.local_slice(len(batch))]
        largest = -(-len(batch) // self.distributed.size)  # number of images of one process
        size = min(self.micro_batch or largest, largest)
        may_halve = self.config.fit_memory and size > 1
        # A process without an image of its own takes part with one that has no weight in the loss.
        parts = [mine[start : start + size] for start in range(0, len(mine), size)] or [batch[:1]]
        total = torch.zeros((), device=self.device, dtype=torch.float32)
        fits = True
        try:
            for number, part in enumerate(parts, start=1):
                weight = len(part) / len(batch) if len(mine) else 0.0
                # Gradients are averaged with the last part; if halving is allowed, only once it fits on all processes.
                with self.distributed.no_sync(self._wrapped) if number < len(parts) or may_halve else nullcontext():
                    loss = self._errors(self._network_for(part), part, self.step / self.total_steps).mean() * weight
                    (loss * self.distributed.size).backward()  # type: ignore[no-untyped-call] # averaged over the distributed
                total += loss.detach()
        except RuntimeError as failure:
            if not (may_halve and is_out_of_memory(failure)):
                raise
            fits = False
        if may_halve and not self.distributed.all_true(fits):
            self.micro_batch = -(-size // 2)
            if self.device.type == "cuda":  # out here the exception no longer holds tensors
                torch.cuda.empty_cache()
            return None
        if may_halve:
            self.distributed.all_reduce_mean(parameter.grad for parameter in self._weights)
        return self.distributed.all_reduce_sum(total)

    def _network_for(self, part: Batch) -> Callable[..., Any]:
        """The compiled network for parts of the usual size, else the eager one: each size is compiled separately."""
        whole = self.distributed.local_slice(self.config.batch_size)
        is_usual = len(part) == min(self.micro_batch or self.config.batch_size, whole.stop - whole.start)
        return self._compiled if self._compiled is not None and is_usual else self._wrapped

    def _drop_labels(self, labels: Tensor) -> Tensor | None:
        """Replace some labels by the null class, for classifier-free guidance; None for an unconditional network."""
        if not self.config.class_conditional:
            return None
        drawn = torch.rand(len(labels), generator=self._generators[LABELS], device=self.device, dtype=torch.float32)
        dropped = drawn < self.config.label_dropout
        return torch.where(dropped, self.config.info.null_class, labels)

    def _corrupt(self, images: Tensor, labels: Tensor | None, generator: torch.Generator) -> Batch:
        x0 = self.path.normalize(images)
        if self.distillation is not None:
            t = self.distillation.sample_times(len(x0), generator).to(self.device)
        else:
            t = sample_times(self.config.time_sampling, len(x0), generator).to(self.device)
        noise = self.path.sample_noise(x0.shape, generator).to(self.device)
        return Batch(x0, noise, t, labels)

    def _errors(self, net: Callable[..., Any], batch: Batch, progress: float) -> Tensor:
        """Errors of the prediction after a fraction `progress` of the run; their mean is the loss.

        Weighted squared errors, (B, C, H, W), or in a distillation the loss of each image, likewise.
        """
        config, path = self.config, self.path
        x = path.interpolate(batch.x0, batch.noise, batch.t).contiguous(memory_format=self.layout)
        if self.distillation is not None:
            steps = self.distillation.steps(progress)
            return self.distillation.errors(net, x, batch.t, batch.labels, steps).expand_as(x)
        with in_precision(config.precision, self.device):
            output = call_network(net, x, batch.t, batch.labels, time_conditioning=config.time_conditioning)
        return squared_errors(path, config.prediction, config.weighting, output, batch.x0, batch.noise, batch.t)

    def validation_errors(self, images: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """The summed squared error of each validation batch, a scalar, with the same noise and noise levels every time.

        Args:
            images: (N, C, H, W) uint8; the sum of the results over their number of values is the validation loss.
            labels: (N,) int64.
        """
        size = self.config.batch_size
        for position in range(0, len(images), size):
            x0 = images[position : position + size].to(self.device).float().div_(255)
            given_labels = labels[position : position + size].to(self.device) if self.config.class_conditional else None
            generator = generator_for(VALIDATION_SEED, VALIDATION, position)
            with evaluating(self.ema_net):
                errors = self._errors(self.ema_net, self._corrupt(x0, given_labels, generator), 1.0)
            yield errors.sum()

    def preview(self) -> Tensor:
        """Samples from the same noise every time, (8, C, H, W) around [0, 1]."""
        with evaluating(self.ema_net):
            *_, last = sample(self.ema_model(), n=PREVIEWS, seed=PREVIEW_SEED)
        return last.x

    def ema_model(self) -> LoadedModel:
        """The current EMA weights as a model for `sample`."""
        return LoadedModel(self.ema_net, self.config, self.step, self.config.name or "")

    def is_finite(self) -> bool:
        """Whether every weight is finite."""
        return all(bool(torch.isfinite(weight).all()) for weight in (*self._weights, *self._averages))

    def state(self) -> dict[str, Tensor]:
        """Weights, EMA weights and the optimizer's moments, by name: together with the step all that resuming needs."""
        averages = self.ema_net.state_dict() if self.config.ema else {}
        return state_parts(self.net.state_dict(), averages, self.optimizer.state(), self._teacher_state())

    def training_state(self) -> dict[str, Tensor]:
        """The part of `state` that the next steps depend on: all but the EMA weights."""
        return state_parts(self.net.state_dict(), {}, self.optimizer.state(), self._teacher_state())

    def _teacher_state(self) -> dict[str, Tensor]:
        return {} if self.distillation is None else self.distillation.teacher.state_dict()

    def restore(self, tensors: dict[str, Tensor], step: int, source: Path) -> None:
        """Restore what `state` returned after `step` steps; `source` is named in errors.

        Raises:
            CheckpointError: weights or moments do not fit this network.
        """
        parts: dict[str, dict[str, Tensor]] = {"net": {}, "ema": {}, "optimizer": {}, "teacher": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        with training_mode(self.device):
            fill(self.net, parts["net"], source)
            if self.config.ema:
                fill(self.ema_net, parts["ema"], source)
            if self.distillation is not None:
                fill(self.distillation.teacher, parts["teacher"], source)
            self.optimizer.restore(parts["optimizer"], step)
        self.step = step


def _value(scalar: Tensor) -> float | Tensor:
    """A number, unless reading it would wait for the device."""
    return scalar if scalar.is_cuda else scalar.item()


def _average(averages: list[Tensor], weights: list[Tensor], decay: float | Tensor) -> None:
    """Move `averages` toward `weights` by the fraction `decay`."""
    if not isinstance(decay, Tensor):
        torch._foreach_lerp_(averages, weights, decay)
        return
    differences = torch._foreach_sub(weights, averages)
    torch._foreach_mul_(differences, decay)
    torch._foreach_add_(averages, differences)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores the previous mode."""
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(training)
