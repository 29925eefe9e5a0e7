"""Training on one image, taken apart: what each step computes, and the loss over the noise level."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.compute.device_memory import within_memory
from core.compute.precision import in_precision
from core.compute.seeding import CORRUPTION, NETWORK, generator_for, mixed_seed
from core.compute.torch_settings import training_mode
from core.config.numbers import number, whole_number
from core.diffusion.loaded_model import LoadedModel, as_loaded
from core.diffusion.prob_paths import loss_weight, sample_times, squared_errors, training_target
from core.diffusion.samplers import call_network
from core.diffusion.sampling import class_tensor
from core.errors import MinidiffError
from core.lab.sweep import image_for, resolve_label
from core.models.custom import seeded
from core.training.optimizer import Optimizer

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

BINS = 20
WINDOW = 8  # steps whose losses are in the bins while the weights change


@dataclass(frozen=True, slots=True)
class LayerGradient:
    """The gradient of the weights of one layer, without those of layers inside it."""

    name: str  # as in `named_modules`; "" for the network itself
    norm: float  # Euclidean
    weight_norm: float  # of the weights themselves

    @property
    def relative(self) -> float | None:
        """The norm relative to that of the weights; None if all of them are 0."""
        return self.norm / self.weight_norm if self.weight_norm else None


@dataclass(frozen=True, slots=True)
class LossBin:
    """The losses at noise levels in one part of [0, 1]."""

    low: float  # least noise level
    high: float  # greatest
    count: int  # number of losses, at least 1
    mean: float
    std: float  # standard deviation, of a single loss 0


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """What one step computes; images are (C, H, W) float32 on the CPU, in the scale of the model's path."""

    step: int  # from 0
    label: int | None  # class given to the network, -1 for no class; None: it is unconditional
    t: float  # noise level of the first item of the batch; the next fields up to `loss` are of this item
    alpha: float  # coefficient of the image
    sigma: float  # coefficient of the noise
    image: Tensor  # x_0
    noise: Tensor  # eps
    noisy: Tensor  # x_t = alpha x_0 + sigma eps, the network's input
    target: Tensor  # of the network's prediction type
    output: Tensor  # the network's prediction
    weight: float  # of its squared errors; 1 if the config's weighting is "prediction"
    errors: Tensor  # weighted squared errors of `output`, (C, H, W)
    loss: float  # mean of `errors`
    batch_loss: float  # mean loss of the batch, whose gradient is computed
    gradients: tuple[LayerGradient, ...]  # of all layers that have weights
    gradient_norm: float  # of all weights together
    bins: tuple[LossBin, ...]  # losses of all steps so far; if the weights change, of the last `WINDOW` steps
    first_bins: tuple[LossBin, ...]  # losses of the given model for the same noise; empty if the weights do not change


def training_steps(
    model: nn.Module | LoadedModel,
    image: ArrayLike,
    steps: int = 0,
    *,
    batch_size: int = 1,
    t: float | None = None,
    label: int | None = None,
    seed: int = 0,
    learning_rate: float | None = None,
    bins: int = BINS,
) -> Iterator[TrainingStep]:
    """Take training steps on one image, and yield what each of them computes.

    Noise levels, noise, loss and optimizer are those of the model's run: step k uses the random numbers of step k of a
    run with this seed. The label is never dropped, and the image is not augmented. The model does not change: a copy of
    its network is trained.

    Args:
        model: A model from `load_model`, or a bare network trained with the preset `tutorial`.
        image: (C, H, W), floating point, in [0, 1]; a tensor or a NumPy array.
        steps: Number of steps after the first record, at least 0.
        batch_size: Noise levels per step; the loss of a step is the mean over them.
        t: Noise level of the first item of the batch, in [0, 1], with the same noise in every step; None: random, like
            the others.
        label: Class of a class-conditional model, from 0; -1 or None for no class.
        seed: Seed of the noise levels and the noise.
        learning_rate: Learning rate of every step, in (0, 1], without a schedule; None: the weights do not change, and
            the steps only add losses.
        bins: Number of equal parts of [0, 1] whose losses are summarized, at least 1.

    Returns:
        An iterator over `steps` + 1 records; the first one is of the given weights.

    Raises:
        MinidiffError: An argument is out of range or has the wrong shape or type, the model is distilled, its loss is
            not finite, or memory runs out.
    """
    loaded = as_loaded(model)
    if loaded.config.objective == "consistency":
        raise MinidiffError(
            f"{loaded.name or 'the model'} is distilled: its steps compare it with its teacher; "
            "use a model that was trained on images"
        )
    if not any(True for _ in loaded.net.parameters()):
        raise MinidiffError("the network has no weights to train")
    pixels = image_for(loaded, image)
    steps, batch_size, bins = (
        whole_number(value, name) for value, name in ((steps, "steps"), (batch_size, "batch_size"), (bins, "bins"))
    )
    if steps < 0 or batch_size < 1 or bins < 1:
        found = f"{steps}, {batch_size} and {bins}"
        raise MinidiffError(f"steps must be at least 0, batch_size and bins at least 1, not {found}")
    if t is not None and not 0 <= (t := number(t, "t")) <= 1:
        raise MinidiffError(f"t must lie in [0, 1], not {t:g}")
    if learning_rate is not None and not 0 < (learning_rate := number(learning_rate, "learning_rate")) <= 1:
        raise MinidiffError(f"learning_rate must be above 0 and at most 1, not {learning_rate:g}")
    draws = _Draws(loaded, batch_size, whole_number(seed, "seed"), t)
    training = _ImageTraining(loaded, pixels, resolve_label(loaded, label), draws)
    return _records(training, steps, learning_rate, bins)


def _records(training: _ImageTraining, steps: int, learning_rate: float | None, bins: int) -> Iterator[TrainingStep]:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []  # noise levels, losses, and losses of the given model
    for step in range(steps + 1):
        record, losses = training.compute(step, changed=learning_rate is not None and step > 0)
        seen.append(losses)
        if learning_rate is not None:
            del seen[:-WINDOW]
        times, now, first = map(torch.cat, zip(*seen, strict=True))
        first_bins = () if learning_rate is None else _binned(times, first, bins)
        yield replace(record, bins=_binned(times, now, bins), first_bins=first_bins)
        if learning_rate is not None and step < steps:
            training.update(record.batch_loss, learning_rate)


class _Draws:
    """The random numbers of each step, as training draws them."""

    def __init__(self, loaded: LoadedModel, batch_size: int, seed: int, t: float | None) -> None:
        self._loaded, self._batch_size, self._seed = loaded, batch_size, seed
        self._t = t  # of the first noise level of every step; None: drawn

    def of_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Noise levels, (B,), and noise, (B, C, H, W), on the CPU."""
        config, generator = self._loaded.config, generator_for(self._seed, CORRUPTION, step)
        times = sample_times(config.time_sampling, self._batch_size, generator)
        noise = self._loaded.path.sample_noise((self._batch_size, *config.info.shape), generator)
        if self._t is not None:
            times[0] = self._t
            if step:
                noise[0] = self.of_step(0)[1][0]
        return times, noise

    def new(self, step: int) -> slice:
        """The part of a step's batch that earlier steps did not have: noise that is kept counts once."""
        return slice(1 if self._t is not None and step and self._batch_size > 1 else 0, None)


class _ImageTraining:
    """A copy of a model's network in training on one image."""

    def __init__(self, loaded: LoadedModel, image: Tensor, label: int | None, draws: _Draws) -> None:
        self._loaded, self._label, self._draws = loaded, label, draws
        with training_mode(loaded.device):
            self._image = loaded.path.normalize(image)[None]  # (1, C, H, W)
            self._net = copy.deepcopy(loaded.net).train()
        if not any(weight.requires_grad for weight in self._net.parameters()):
            self._net.requires_grad_(True)
        self._optimizer: Optimizer | None = None  # of the first update, since creating the first one takes a second

    def compute(self, step: int, *, changed: bool) -> tuple[TrainingStep, tuple[Tensor, Tensor, Tensor]]:
        """Compute a step's loss and gradients.

        Returns:
            The record without bins; noise levels, losses, and losses of the given model, (n,) float64 on the CPU each.
        """
        loaded, config, path = self._loaded, self._loaded.config, self._loaded.path
        too_large = MinidiffError("the batch does not fit into memory; use a smaller batch_size")
        with training_mode(loaded.device), within_memory(too_large):
            times, noise = self._draws.of_step(step)
            self._net.zero_grad(set_to_none=True)
            with seeded(mixed_seed(0, NETWORK, step), loaded.device):  # for a network with dropout
                output, errors = self._predict(self._net, times, noise)
            losses = errors.flatten(1).mean(1)  # (B,)
            loss = losses.mean()
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                first = self._predict(loaded.net, times, noise)[1].flatten(1).mean(1) if changed else losses
            x_0, eps, t = self._image, noise[:1], times[:1]
            noisy = path.interpolate(x_0, eps, t)
            target = training_target(path, config.prediction, x_0, eps, t)
        gradients = _layer_gradients(self._net)
        norm = math.hypot(*(layer.norm for layer in gradients))
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            advice = "; use a lower learning rate" if step else ""
            raise MinidiffError(f"the loss or its gradient is not finite after {step} steps{advice}")
        alpha, sigma = path.alpha_sigma(t.item())
        record = TrainingStep(
            step=step,
            label=self._label,
            t=t.item(),
            alpha=alpha,
            sigma=sigma,
            image=x_0[0],
            noise=eps[0],
            noisy=noisy[0],
            target=target[0],
            output=output[0].detach().float().cpu(),
            weight=loss_weight(path, config.prediction, config.weighting, t).item(),
            errors=errors[0].detach().float().cpu(),
            loss=losses[0].item(),
            batch_loss=loss.item(),
            gradients=gradients,
            gradient_norm=norm,
            bins=(),
            first_bins=(),
        )
        new = self._draws.new(step)
        now, before = (part.detach().double().cpu()[new] for part in (losses, first))
        return record, (times[new].double(), now, before)

    def update(self, loss: float, learning_rate: float) -> None:
        """Change the weights by the newest gradients."""
        device = self._loaded.device
        with training_mode(device):
            if self._optimizer is None:
                self._optimizer = Optimizer(self._net, self._loaded.config)
            self._optimizer.step(torch.tensor(loss, device=device), learning_rate)

    def _predict(self, net: nn.Module, times: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """A network's output and its weighted squared errors, (B, C, H, W) each."""
        loaded, config, path = self._loaded, self._loaded.config, self._loaded.path
        x_0, eps, t = (loaded.placed(part) for part in (self._image.expand_as(noise), noise, times))
        labels = None if self._label is None else (self._label,) * len(t)
        classes = class_tensor(labels, config.info.null_class, loaded.device)
        x_t = path.interpolate(x_0, eps, t)
        with in_precision(config.precision, loaded.device):
            output = call_network(net, x_t, t, classes, time_conditioning=config.time_conditioning)
        return output, squared_errors(path, config.prediction, config.weighting, output, x_0, eps, t)


def _layer_gradients(net: nn.Module) -> tuple[LayerGradient, ...]:
    """The gradients of all modules with weights of their own."""
    layers = []
    for name, module in net.named_modules():
        weights = list(module.parameters(recurse=False))
        if weights:
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            layers.append(LayerGradient(name, _norm(gradients), _norm(weights)))
    return tuple(layers)


def _norm(tensors: Sequence[Tensor]) -> float:
    """The Euclidean norm of all values together."""
    return math.hypot(*(tensor.detach().float().norm().item() for tensor in tensors))


def _binned(times: Tensor, losses: Tensor, bins: int) -> tuple[LossBin, ...]:
    """The losses, (N,), at noise levels, (N,), in `bins` parts of [0, 1]; parts without a loss are left out."""
    places = (times * bins).long().clamp(0, bins - 1)
    found = []
    for place in sorted(set(places.tolist())):
        chosen = losses[places == place]
        mean, std = chosen.mean().item(), chosen.std(correction=0).item()
        found.append(LossBin(place / bins, (place + 1) / bins, len(chosen), mean, std))
    return tuple(found)
