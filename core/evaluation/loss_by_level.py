"""The loss at each noise level: a model's, the least possible one, and the excess of the first over the second."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.compute.device_memory import memory_free
from core.compute.precision import in_precision
from core.compute.seeding import LOSS, generator_for
from core.config.numbers import number, whole_number
from core.config.sampling import MAX_IMAGES
from core.config.training import TrainConfig
from core.data.datasets import LabeledImages
from core.diffusion.ideal_denoiser import IdealDenoiser
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, ProbPath, loss_weight, squared_errors, time_quantiles
from core.diffusion.samplers import call_network
from core.diffusion.sampling import batch_size
from core.errors import MinidiffError
from core.generators import WithResult, result_of

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

LEVELS = 16
N = 48  # noisy images per level
MIN_N = 4
OPERATIONS = 1.5e11  # of the ideal denoiser in a comparison: about 2 s on two cores
ROWS = 256  # noisy images at once
QUANTILES = 4096  # of the training distribution of the noise levels


@dataclass(frozen=True, slots=True)
class LossCurve:
    """A loss at several noise levels, in the units of the run's training loss."""

    levels: tuple[float, ...]  # noise levels, ascending
    values: tuple[float, ...]
    errors: tuple[float, ...]  # standard error of each value
    mean: float  # under the training distribution of the noise levels, interpolated linearly between levels
    mean_error: float  # standard error of the mean


@dataclass(frozen=True, slots=True)
class LossComparison:
    """Losses of a network and of the ideal denoiser of its training images, for the same noisy images."""

    network: LossCurve
    ideal: LossCurve  # on training images the floor: no network has a smaller loss
    excess: LossCurve  # network - ideal, with the standard error of the paired difference


@dataclass(frozen=True, slots=True)
class LossReport:
    """The comparison on the training images and on images that the network was not trained on."""

    training: LossComparison
    validation: LossComparison
    memorising_below: float | None
    """Noise level below which the ideal denoiser's validation loss is larger than the network's: there, knowing the
    training images better only means to repeat them. None if it is not larger even at the lowest level."""
    n: int  # noisy images per level, of each set


def loss_floor(
    config: TrainConfig,
    images: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    levels: Sequence[float] | None = None,
    n: int = N,
    seed: int = 0,
) -> LossCurve:
    """The least possible training loss at each noise level: that of the ideal denoiser of the training images.

    It is the expected squared error of the posterior mean, which is the expected posterior variance, in the config's
    prediction and weighting, estimated from `n` random training images and noises per level. A class-conditional config
    gives the ideal denoiser the class; labels are never dropped.

    Args:
        config: The run's options: path, prediction, weighting and distribution of noise levels.
        images: All training images, (N, C, H, W), uint8 or floating point in [0, 1].
        labels: Their classes, (N,) int64, for a class-conditional config.
        levels: Noise levels in [0, 1]; None: 16 levels of equal probability in training.
        n: Noisy images per level, at least 2.
        seed: Seed of the images and the noise.

    Raises:
        MinidiffError: The path's noise is not Gaussian, the run is a distilled one, or an argument is out of range.
    """
    if reason := _no_floor(config):
        raise MinidiffError(f"there is no loss floor: {reason}")
    ideal = _ideal(config, PATHS[config.path], images, labels)
    data = LabeledImages(ideal.images, torch.empty(0) if ideal.labels is None else ideal.labels)
    chosen = _checked_levels(levels, config.time_sampling)
    seed = whole_number(seed, "seed")
    losses, _ = result_of(_losses(ideal, None, config, data, chosen, _checked_n(n), seed, own=True))
    return _curve(losses, chosen, config.time_sampling)


def compare_losses(
    model: LoadedModel,
    training: LabeledImages,
    validation: LabeledImages,
    *,
    levels: Sequence[float] | None = None,
    n: int | None = None,
    seed: int = 0,
) -> Generator[tuple[int, int], None, LossReport]:
    """Compare a model's loss with that of the ideal denoiser of its training images, at each noise level.

    Args:
        model: A model from `load_model`.
        training: All images that it was trained on, (N, C, H, W) uint8, and labels.
        validation: Images that it was not trained on, likewise; for a class-conditional model only those of classes
            that are among the training images.
        levels, seed: As for `loss_floor`.
        n: Noisy images per level; None: at most 48, fewer for large training sets, so that it takes a few seconds.

    Yields:
        (noisy images done, total).

    Raises:
        MinidiffError: As for `loss_floor`; `loss_unavailable` says so before.
    """
    if reason := loss_unavailable(model):
        raise MinidiffError(f"there is no loss floor: {reason}")
    config, path = model.config, model.path
    ideal = _ideal(config, path, training.images, training.labels)
    device = model.device
    if device.type == "cuda" and ideal.images.nbytes < memory_free(device) / 2:
        ideal.to(device)
    chosen = _checked_levels(levels, config.time_sampling)
    n = _affordable(ideal, len(chosen)) if n is None else _checked_n(n)

    if config.class_conditional:
        known = torch.isin(validation.labels, training.labels)
        if not bool(known.any()):
            raise MinidiffError("none of the validation images has a class of the training images; pass others")
        if not bool(known.all()):
            validation = LabeledImages(validation.images[known], validation.labels[known])
    comparisons: list[LossComparison] = []
    total, network = 2 * len(chosen) * n, _Network(model)
    for data in (training, validation):
        with WithResult(_compare(ideal, network, data, chosen, n, seed, own=data is training)) as comparison:
            for done in comparison:
                yield len(comparisons) * total // 2 + done, total
        comparisons.append(comparison.result)
    return LossReport(comparisons[0], comparisons[1], _first_crossing(comparisons[1].excess), n)


def compare_training_losses(
    model: LoadedModel, training: LabeledImages, *, n: int, batch: int | None = None, seed: int = 0
) -> Generator[int, None, LossComparison]:
    """As `compare_losses`, but only on the training images, and where these are.

    Args:
        model, training, seed: As for `compare_losses`.
        n: Noisy images per level.
        batch: Images per forward pass, at most; None: as many as are sampled at once.

    Yields:
        Noisy images done, of `LEVELS` times n.

    Raises:
        MinidiffError: As for `loss_floor`.
    """
    if reason := loss_unavailable(model):
        raise MinidiffError(f"there is no loss floor: {reason}")
    ideal = _ideal(model.config, model.path, training.images, training.labels)
    chosen = _checked_levels(None, model.config.time_sampling)
    return (yield from _compare(ideal, _Network(model, batch), training, chosen, _checked_n(n), seed, own=True))


def _compare(
    ideal: IdealDenoiser,
    network: _Network,
    data: LabeledImages,
    levels: tuple[float, ...],
    n: int,
    seed: int,
    *,
    own: bool,
) -> Generator[int, None, LossComparison]:
    """The losses of both on one set of images; arguments as for `_losses`."""
    config = network.model.config
    best, excess = yield from _losses(ideal, network, config, data, levels, n, whole_number(seed, "seed"), own=own)
    parts = (best + excess, best, excess)
    return LossComparison(*(_curve(part, levels, config.time_sampling) for part in parts))


class _Network:
    """Calls a model's network in its precision, in batches of at most `batch` images."""

    def __init__(self, model: LoadedModel, batch: int | None = None) -> None:
        self.model, self.device = model, model.device
        self.batch = min(batch_size(model.config.info.shape), batch or MAX_IMAGES)

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The network's output at x_t, (B, C, H, W), t and labels, (B,), float32."""
        outputs = []
        for rows in torch.split(torch.arange(len(x_t), device=self.device), self.batch):
            given = None if labels is None else labels[rows]
            with torch.no_grad(), in_precision(self.model.config.precision, self.device):
                output = call_network(
                    self.model.net,
                    x_t[rows],
                    t[rows],
                    given,
                    time_conditioning=self.model.config.time_conditioning,
                )
            outputs.append(output.float())
        return torch.cat(outputs)


def loss_unavailable(model: LoadedModel) -> str | None:
    """Why there is no floor for a model's loss, as the end of a sentence; None if there is one."""
    if model.schedule is not None:
        return "a folder of diffusers does not say what its training loss was"
    return _no_floor(model.config)


def _no_floor(config: TrainConfig) -> str | None:
    if not PATHS[config.path].gaussian:
        return f"the noise of the path {config.path} is not Gaussian"
    if config.objective == "consistency":
        return "a distilled model is trained on its teacher's predictions"
    if config.flip or config.augment_shift:
        return "the training images are mirrored or shifted at random"
    return None


def _ideal(config: TrainConfig, path: ProbPath, images: ArrayLike, labels: ArrayLike | None) -> IdealDenoiser:
    if config.class_conditional and labels is None:
        raise MinidiffError("a class-conditional config needs the labels of the training images; pass labels")
    given = labels if config.class_conditional else None
    return IdealDenoiser(path, images, given, config.prediction, classes=config.info.classes)


def _checked_levels(levels: Sequence[float] | None, time_sampling: str) -> tuple[float, ...]:
    if levels is None:
        return tuple(time_quantiles(time_sampling, LEVELS).tolist())
    chosen = tuple(sorted({number(t, "a noise level") for t in levels}))
    if not chosen or chosen[0] < 0 or chosen[-1] > 1:
        raise MinidiffError(f"levels must be noise levels in [0, 1], at least one, not {list(levels)}")
    return chosen


def _checked_n(n: int) -> int:
    n = whole_number(n, "n")
    if n < 2:
        raise MinidiffError(f"n must be at least 2 for a standard error, not {n}")
    return n


def _affordable(ideal: IdealDenoiser, levels: int) -> int:
    """Noisy images per level for which the ideal denoiser needs about `OPERATIONS`, for both sets."""
    return max(MIN_N, min(N, int(OPERATIONS / (2 * levels * _operations(ideal.images, ideal.labels)))))


def floor_operations(config: TrainConfig, training: LabeledImages, n: int) -> float:
    """Operations of `compare_training_losses`, without the network: about 7e10 take a second on two cores."""
    return LEVELS * n * _operations(training.images, training.labels if config.class_conditional else None)


def _operations(images: Tensor, labels: Tensor | None) -> float:
    """Operations of the ideal denoiser for one noisy image."""
    count = float(len(images))
    if labels is not None:  # the mean number of training images of the same class
        count = float(labels.bincount().double().square().sum()) / count
    return 4 * count * images[0].numel()


def _losses(
    ideal: IdealDenoiser,
    network: _Network | None,
    config: TrainConfig,
    data: LabeledImages,
    levels: Sequence[float],
    n: int,
    seed: int,
    *,
    own: bool,
) -> Generator[int, None, tuple[Tensor, Tensor]]:
    """Losses of the ideal denoiser, and the network's excess over them, for n random images and noises per level.

    On the ideal denoiser's own images, both are expected values over the training images that x_t may come from: the
    posterior variance, and the squared difference of the two predictions. They vary less than squared errors do.

    Yields:
        Noisy images done.

    Returns:
        (levels, n) float64 each.
    """
    path, form = ideal.path, (config.prediction, config.weighting)
    target = config.prediction if config.weighting == "prediction" else config.weighting
    device = ideal.images.device if network is None else network.device
    indices, noise = [], []
    for index in range(len(levels)):
        generator = generator_for(seed, LOSS, index)
        indices.append(torch.randint(len(data.images), (n,), generator=generator, device="cpu"))
        noise.append(path.sample_noise((n, *data.images.shape[1:]), generator))
    every, every_noise = torch.cat(indices), torch.cat(noise)
    every_t = torch.tensor(levels, dtype=torch.float32, device="cpu").repeat_interleave(n)
    losses, excesses = [], []
    for part in torch.split(torch.arange(len(every), device="cpu"), ROWS):
        images = data.images[every[part].to(data.images.device)].to(device)
        x_0 = path.normalize(images.float() / 255 if images.dtype == torch.uint8 else images)
        labels = data.labels[every[part].to(data.labels.device)].to(device) if config.class_conditional else None
        eps, t = every_noise[part].to(device), every_t[part].to(device)
        x_t = path.interpolate(x_0, eps, t)
        best, variance = ideal.posterior(x_t, t, labels)
        output = best if network is None else network(x_t, t, labels)
        if own:
            loss = variance * loss_weight(path, "clean", target, t)
            excess = (output - best).square().flatten(1).mean(1) * loss_weight(path, *form, t)
        else:
            loss = squared_errors(path, *form, best, x_0, eps, t).flatten(1).mean(1)
            excess = squared_errors(path, *form, output, x_0, eps, t).flatten(1).mean(1) - loss
        losses.append(loss.double().cpu())
        excesses.append(excess.double().cpu())
        yield int(part[-1]) + 1
    return torch.cat(losses).view(-1, n), torch.cat(excesses).view(-1, n)


def _curve(losses: Tensor, levels: tuple[float, ...], time_sampling: str) -> LossCurve:
    """The means of the losses, (levels, n) float64."""
    values, errors = losses.mean(1), losses.std(1) / math.sqrt(losses.shape[1])
    weights = _level_weights(levels, time_sampling)
    return LossCurve(
        levels,
        tuple(values.tolist()),
        tuple(errors.tolist()),
        float((weights * values).sum()),
        float((weights * errors).square().sum().sqrt()),
    )


def _level_weights(levels: Sequence[float], time_sampling: str) -> Tensor:
    """Weights of the levels, (levels,) float64, in the mean over the noise levels of the training.

    The mean is that of a function that is linear between levels and constant outside them.
    """
    at = torch.tensor(levels, dtype=torch.float64, device="cpu")
    weights = torch.zeros_like(at)
    if len(at) == 1:
        return weights + 1
    t = time_quantiles(time_sampling, QUANTILES).double()
    above = torch.searchsorted(at, t).clamp(1, len(at) - 1)
    share = ((t - at[above - 1]) / (at[above] - at[above - 1])).clamp(0, 1)
    return weights.index_add(0, above - 1, 1 - share).index_add(0, above, share) / QUANTILES


def _first_crossing(excess: LossCurve) -> float | None:
    """The noise level below which a curve is negative, interpolated linearly; None if it is not at its lowest level."""
    last = None
    for t, value in zip(excess.levels, excess.values, strict=True):
        if value >= 0:
            return None if last is None else last[0] + (t - last[0]) * last[1] / (last[1] - value)
        last = t, value
    return excess.levels[-1]
