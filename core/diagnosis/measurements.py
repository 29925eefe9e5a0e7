"""What a diagnosis measures of a network: losses on fixed noisy images, errors by target, and gradients."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from core.compute.seeding import LOSS, generator_for
from core.compute.torch_settings import training_mode
from core.config.training import PREDICTIONS, TrainConfig
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, ProbPath, squared_errors, time_quantiles, training_target
from core.diffusion.samplers import call_network
from core.training.muon import orthogonalized
from core.training.optimizer import MUON_SCALE, hidden_convolutions

BATCH = 64  # images per forward pass
PARTS = 8  # of a batch, whose gradients are compared
LEVEL = 0.5  # noise level at which conditioning is measured
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class NoisyImages(NamedTuple):
    """Images with the noise and the noise levels that losses are measured on."""

    x_0: Tensor  # (n, C, H, W), as fed to the network
    eps: Tensor  # like x_0
    t: Tensor  # (n,), quantiles of the noise levels in training, in random order
    labels: Tensor | None  # (n,) int64; None for an unconditional network

    def x_t(self, path: ProbPath) -> Tensor:
        """The noisy images on a path, (n, C, H, W)."""
        return path.interpolate(self.x_0, self.eps, self.t)


def noisy_images(model: LoadedModel, x_0: Tensor, labels: Tensor | None, seed: int = 0) -> NoisyImages:
    """Noise for images, (n, C, H, W) as fed to the network; the same for every call with as many images."""
    generator, device = generator_for(seed, LOSS, len(x_0)), device_of(model.net)
    order = torch.randperm(len(x_0), generator=generator, device="cpu")
    t = time_quantiles(model.config.time_sampling, len(x_0))[order].to(device)
    eps = model.path.sample_noise(x_0.shape, generator).to(device)
    given = None if labels is None or not model.config.class_conditional else labels.to(device)
    return NoisyImages(x_0.float().to(device), eps, t, given)


def predict(
    net: nn.Module, config: TrainConfig, x_t: Tensor, t: Tensor, labels: Tensor | None, precision: str = "float32"
) -> Tensor:
    """A network's output, (n, C, H, W) float32, in batches and without gradients."""
    weight = next(net.parameters(), x_t)
    outputs = []
    for start in range(0, len(x_t), BATCH):
        some = slice(start, start + BATCH)
        given = None if labels is None else labels[some]
        with torch.no_grad(), _in_precision(precision, x_t.device):
            output = call_network(
                net,
                x_t[some].to(weight.dtype),
                t[some].to(weight.dtype),
                given,
                time_conditioning=config.time_conditioning,
            )
        outputs.append(output.float())
    return torch.cat(outputs)


def _in_precision(precision: str, device: torch.device) -> torch.autocast:
    """Autocast to `precision`, float16 too; weights are cast each time."""
    dtype = DTYPES.get(precision, torch.bfloat16)
    return torch.autocast(device.type, dtype, enabled=precision in DTYPES, cache_enabled=False)


def losses(model: LoadedModel, net: nn.Module, noisy: NoisyImages, precision: str = "float32") -> Tensor:
    """The training loss of each image, (n,) on the CPU."""
    config, path = model.config, model.path
    output = predict(net, config, noisy.x_t(path), noisy.t, noisy.labels, precision)
    errors = squared_errors(path, config.prediction, config.weighting, output, noisy.x_0, noisy.eps, noisy.t)
    return errors.detach().flatten(1).mean(1).cpu()


def full_precision(net: nn.Module) -> nn.Module:
    """A copy of a network with weights in float32; the network itself if it has no others."""
    if all(weight.dtype == torch.float32 for weight in net.parameters()):
        return net
    return copy.deepcopy(net).float()


# Targets


def describe_target(path: str, prediction: str, level: str = "t") -> str:
    """A path, a prediction and how the noise level is given to the network, in words."""
    return f"{prediction} on the path {path}" + ("" if level == "t" else f", given {level} as noise level")


LEVELS: dict[str, Callable[[Tensor], Tensor]] = {
    "t": lambda t: t,
    "1 - t": lambda t: 1 - t,
    "1000 t": lambda t: 1000 * t,
}


def target_error(model: LoadedModel, noisy: NoisyImages) -> dict[str, float]:
    """The network's errors for its declared target, the first one, and for other predictions on its path.

    In units of the target's variance.
    """
    config, path = model.config, model.path
    output = predict(model.net, config, noisy.x_t(path), noisy.t, noisy.labels)
    predictions = dict.fromkeys((config.prediction, *PREDICTIONS[path.name]))
    targets = {form: training_target(path, form, noisy.x_0, noisy.eps, noisy.t) for form in predictions}
    return {describe_target(path.name, form): _relative_error(output, target) for form, target in targets.items()}


def target_errors(model: LoadedModel, noisy: NoisyImages) -> Iterator[dict[str, float]]:
    """The same for other paths, predictions and scales of the noise level, one path at a time."""
    levels = LEVELS if model.config.time_conditioning else {"t": LEVELS["t"]}
    for path in PATHS.values():
        if path.gaussian != model.path.gaussian:
            continue
        x_t, found = noisy.x_t(path), {}
        for level, scaled in levels.items():
            output = predict(model.net, model.config, x_t, scaled(noisy.t), noisy.labels)
            for prediction in PREDICTIONS[path.name]:
                target = training_target(path, prediction, noisy.x_0, noisy.eps, noisy.t)
                found[describe_target(path.name, prediction, level)] = _relative_error(output, target)
                if prediction == "velocity":  # with noise at t = 0, the velocity is the other way round
                    found[describe_target(path.name, "minus the velocity", level)] = _relative_error(output, -target)
        yield found


def _relative_error(output: Tensor, target: Tensor) -> float:
    return float((output - target).square().mean() / target.var().clamp(min=1e-12))


# Conditioning


def change_by_level(model: LoadedModel, noisy: NoisyImages) -> float | None:
    """Change of the output if the network is given another noise level; None if it is given none."""
    if not model.config.time_conditioning:
        return None
    return _change(model, noisy, lambda t, labels: ((t + 0.3) % 1, labels))


def change_by_class(model: LoadedModel, noisy: NoisyImages) -> float | None:
    """Change of the output if the network is given another class; None if it is given none."""
    if noisy.labels is None or model.config.info.classes < 2:
        return None
    return _change(model, noisy, lambda t, labels: (t, (labels + 1) % model.config.info.classes))


def _change(model: LoadedModel, noisy: NoisyImages, changed: Callable[[Tensor, Any], tuple[Tensor, Any]]) -> float:
    """Root mean square change of the output at noise level 1/2, relative to the output."""
    t = torch.full_like(noisy.t, LEVEL)
    x_t = model.path.interpolate(noisy.x_0, noisy.eps, t)
    output = predict(model.net, model.config, x_t, t, noisy.labels)
    other = predict(model.net, model.config, x_t, *changed(t, noisy.labels))
    return float((other - output).norm() / output.norm().clamp(min=1e-12))


# Modes


def loss_in_training_mode(model: LoadedModel, noisy: NoisyImages) -> float | None:
    """The mean loss in training mode, of a copy; None if the network has no running statistics."""
    if not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.net.modules()):
        return None
    net = copy.deepcopy(model.net).train()
    for layer in net.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.eval()
    return float(losses(model, net, noisy).mean())


# Gradients


@dataclass(frozen=True, slots=True)
class GradientStatistics:
    """Gradients of parts of a batch, and one step of the optimizer with their mean."""

    noise_scale: float
    """Batch size at which the gradient's noise is as large as the gradient: tr(covariance) / |gradient|^2, infinite if
    the parts have nothing in common. McCandlish et al. 2018, equation 2.9, estimated as in appendix A.1."""
    update_ratio: float  # root mean square of an update, relative to that of the weights with two dimensions and more
    before: float  # loss of the batch before and after the step
    after: float


def gradient_statistics(
    model: LoadedModel, net: nn.Module, noisy: NoisyImages, learning_rate: float
) -> GradientStatistics:
    """Measure gradients and one step at the learning rate, on a copy of the network in float32.

    Adam's moments are replaced by the mean and the mean square of the gradients of eight parts of the batch.
    """
    with training_mode(device_of(net)):
        return _gradient_statistics(model, copy.deepcopy(net).float().eval(), noisy, learning_rate)


def _gradient_statistics(
    model: LoadedModel, net: nn.Module, noisy: NoisyImages, learning_rate: float
) -> GradientStatistics:
    """`gradient_statistics` of a copy in evaluation mode, with dropout and running statistics as in sampling."""
    named: list[Tensor] = [weight.requires_grad_() for weight in net.parameters() if weight.is_floating_point()]
    total, squares = [torch.zeros_like(weight) for weight in named], [torch.zeros_like(weight) for weight in named]
    small, before, size = 0.0, 0.0, len(noisy.x_0) // PARTS
    for start in range(0, size * PARTS, size):
        loss = _mean_loss(model, net, NoisyImages(*(_rows(part, start, size) for part in noisy)))
        gradients = torch.autograd.grad(loss, named, allow_unused=True)
        given = [torch.zeros_like(w) if g is None else g for w, g in zip(named, gradients, strict=True)]
        small += float(sum(gradient.square().sum() for gradient in given)) / PARTS
        before += float(loss.detach()) / PARTS
        for sums, values, gradient in zip(total, squares, given, strict=True):
            sums.add_(gradient, alpha=1 / PARTS)
            values.addcmul_(gradient, gradient, value=1 / PARTS)
    large = float(sum(mean.square().sum() for mean in total))
    whole = size * PARTS
    signal = (whole * large - size * small) / (whole - size)
    noise = (small - large) / (1 / size - 1 / whole)
    updates = _updates(model.config, net, named, total, squares, learning_rate)
    wide = [index for index, weight in enumerate(named) if weight.dim() > 1] or list(range(len(named)))
    moved, weights = (sum(float(part[index].detach().square().sum()) for index in wide) for part in (updates, named))
    with torch.no_grad():
        for weight, update in zip(named, updates, strict=True):
            weight.sub_(update)
    some = NoisyImages(*(_rows(part, 0, whole) for part in noisy))
    after = float(losses(model, net, some).mean())
    return GradientStatistics(
        noise / signal if signal > 0 else float("inf"), (moved / max(weights, 1e-20)) ** 0.5, before, after
    )


def _rows(part: Any, start: int, size: int) -> Any:
    return None if part is None else part[start : start + size]


def _mean_loss(model: LoadedModel, net: nn.Module, noisy: NoisyImages) -> Tensor:
    config, path = model.config, model.path
    output = call_network(net, noisy.x_t(path), noisy.t, noisy.labels, time_conditioning=config.time_conditioning)
    return squared_errors(path, config.prediction, config.weighting, output, noisy.x_0, noisy.eps, noisy.t).mean()


@torch.no_grad()
def _updates(
    config: TrainConfig,
    net: nn.Module,
    weights: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    learning_rate: float,
) -> list[Tensor]:
    """What a step of the config's optimizer subtracts from each weight, without weight decay."""
    hidden = {id(weight) for weight in hidden_convolutions(net)} if config.optimizer == "muon" else set()
    updates = []
    for weight, mean, square in zip(weights, means, squares, strict=True):
        if id(weight) in hidden:
            rows = len(weight)
            matrix = orthogonalized(mean.reshape(1, rows, -1), torch.float32)
            scale = MUON_SCALE * max(1.0, rows / (weight.numel() / rows)) ** 0.5
            updates.append(learning_rate * scale * matrix.view(weight.shape))
        else:
            updates.append(learning_rate * mean / (square.sqrt() + 1e-8))
    return updates


def device_of(net: nn.Module) -> torch.device:
    """The device of a network, which may have buffers but no weights."""
    return next(itertools.chain(net.parameters(), net.buffers()), torch.empty(0, device="cpu")).device


@contextmanager
def evaluated(net: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the `with` block, in place of the modes of all layers, which are restored."""
    modes = {layer: layer.training for layer in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
