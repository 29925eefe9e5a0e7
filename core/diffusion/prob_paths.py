"""Probability paths between images and noise, and conversions between all prediction types on a path.

Notation, as in the papers: t is the noise level, (B,), in [0, 1]: 0 is the image, 1 is noise. x_0 is the clean image,
eps the noise, and x_t = alpha(t) x_0 + sigma(t) eps, all (B, C, H, W), in the value range of the path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from core.config.sampling import noise_levels
from core.config.training import PREDICTIONS
from core.errors import MinidiffError

LOGIT_MEAN = 0.4
EDGE = 1e-3  # lower bound of every alpha or sigma that is divided by, so that nothing is infinite


@dataclass(frozen=True)
class ProbPath:
    """The linear path x_t = (1 - t) x_0 + t eps, and base class of all paths.

    The coefficients take floating-point tensors of any shape and are computed in float32, or in float64 if t is
    float64.
    """

    name: str
    low: float  # value range of images on this path
    high: float
    gaussian: bool  # eps is standard normal; otherwise uniform in [low, high)

    def alpha(self, t: Tensor) -> Tensor:
        """Coefficient of the image: 1 at t = 0."""
        return 1 - _at_least_float32(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Coefficient of the noise: 0 at t = 0."""
        return _at_least_float32(t)

    def d_alpha(self, t: Tensor) -> Tensor:
        """Derivative of `alpha` with respect to t."""
        return -torch.ones_like(_at_least_float32(t))

    def d_sigma(self, t: Tensor) -> Tensor:
        """Derivative of `sigma` with respect to t."""
        return torch.ones_like(_at_least_float32(t))

    def alpha_sigma(self, t: float) -> tuple[float, float]:
        """`alpha` and `sigma` at one noise level, computed in float64."""
        at = torch.tensor(t, dtype=torch.float64, device="cpu")
        return self.alpha(at).item(), self.sigma(at).item()

    def half_log_snr(self, t: float) -> float:
        """log(alpha / sigma): infinite at t = 0, minus infinity where alpha is 0."""
        at = torch.tensor(t, dtype=torch.float64, device="cpu")
        return (self.alpha(at) / self.sigma(at)).log().item()

    def normalize(self, images: Tensor) -> Tensor:
        """Scale images from [0, 1] to the path's value range."""
        return images * (self.high - self.low) + self.low

    def denormalize(self, x: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return (x - self.low) / (self.high - self.low)

    @property
    def noise_mean(self) -> float:
        """Mean of each value of the noise eps."""
        return 0.0 if self.gaussian else (self.low + self.high) / 2

    def clip_range(self, prediction: str) -> tuple[float, float] | None:
        """Range that a sampler clips the denoised image to; None: it is not clipped.

        Where alpha is small, a small error in the noise is a large one in the image (clipped as in Ho et al. 2020).
        """
        return (self.low, self.high) if prediction == "noise" else None

    def noise_levels(self, steps: int) -> list[float]:
        """The `steps` + 1 noise levels of a sampling trajectory from noise, without a shift."""
        return noise_levels(steps)

    def sample_noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Noise eps, (B, C, H, W) float32, on the generator's device; on a CPU, image k does not depend on B."""
        if self.gaussian:
            return standard_normal(shape, generator)
        return self.normalize(torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32))

    def interpolate(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t, (B, C, H, W), from images and noise in the path's value range, and t, (B,)."""
        return x_0 * _broadcast(self.alpha(t), x_0) + eps * _broadcast(self.sigma(t), x_0)


@dataclass(frozen=True)
class VariancePreserving(ProbPath):
    """alpha(t)^2 + sigma(t)^2 = 1: DDPM's linear schedule in the limit of many steps.

    Even at t = 1 alpha is 0.0066. Source: Song et al. 2021, equation 33, with beta from 0.1 to 20.
    """

    def alpha(self, t: Tensor) -> Tensor:
        return (self._log_alpha_squared(t) / 2).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return self._log_alpha_squared(t).expm1().abs().sqrt()  # not -0.0 at t = 0

    def d_alpha(self, t: Tensor) -> Tensor:
        return -self._beta(t) / 2 * self.alpha(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """Unbounded toward t = 0; stops growing once `sigma` is below EDGE (t below 1e-5)."""
        return self._beta(t) / 2 * self._log_alpha_squared(t).exp() / self.sigma(t).clamp(min=EDGE)

    def _log_alpha_squared(self, t: Tensor) -> Tensor:
        t = _at_least_float32(t)
        return -0.1 * t - 0.5 * 19.9 * t.square()

    def _beta(self, t: Tensor) -> Tensor:
        """Minus the derivative of log(alpha^2)."""
        return 0.1 + 19.9 * _at_least_float32(t)


def standard_normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard normal noise, (B, ...) float32, on the generator's device; on a CPU, item k does not depend on B.

    torch.randn draws its last 16 numbers again if there is a remainder, so each item is padded to a multiple of 16.
    """
    size = math.prod(shape[1:])
    padded = torch.randn(
        (shape[0], -(-size // 16) * 16), generator=generator, device=generator.device, dtype=torch.float32
    )
    return padded[:, :size].reshape(tuple(shape))


@dataclass(frozen=True)
class DiscreteSchedule(VariancePreserving):
    """The variance-preserving path through the noise levels of a scheduler of diffusers with timesteps 0 to T - 1.

    Timestep i is at noise level t = (i + 1) / T, with alpha^2 = alphas_cumprod[i]. Between two levels log(alpha^2) is
    linear in t.
    """

    log_alphas_cumprod: Tensor = field(repr=False, compare=False)  # (T + 1,) float64: at t = 0, 1 / T, ..., 1
    timesteps: Callable[[int], Sequence[int]]  # the timesteps of so many sampling steps, in descending order
    clip: float | None  # the denoised image is clipped to [-clip, clip]

    def clip_range(self, prediction: str) -> tuple[float, float] | None:
        return None if self.clip is None else (-self.clip, self.clip)

    def noise_levels(self, steps: int) -> list[float]:
        """Those of the scheduler's timesteps; equal steps from 1 if there are more than T."""
        count = len(self.log_alphas_cumprod) - 1
        if steps > count:
            return noise_levels(steps)
        return [*((i + 1) / count for i in self.timesteps(steps)), 0.0]

    def _log_alpha_squared(self, t: Tensor) -> Tensor:
        position, index, levels = self._position(t)
        return torch.lerp(levels[index], levels[index + 1], position - index)

    def _beta(self, t: Tensor) -> Tensor:
        _, index, levels = self._position(t)
        return (levels[index] - levels[index + 1]) * (len(levels) - 1)

    def _position(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Position between the levels, index of the level below it, and all levels, on the device of t."""
        t = _at_least_float32(t)
        count = len(self.log_alphas_cumprod) - 1
        position = t * count
        return position, position.long().clamp(0, count - 1), self.log_alphas_cumprod.to(t.dtype).to(t.device)


PATHS: dict[str, ProbPath] = {
    "mix": ProbPath("mix", 0.0, 1.0, gaussian=False),
    "flow": ProbPath("flow", -1.0, 1.0, gaussian=True),
    "vp": VariancePreserving("vp", -1.0, 1.0, gaussian=True),
}


class Prediction(NamedTuple):
    """A network's output at x_t in every form: each (B, C, H, W), in the path's value range."""

    denoised: Tensor  # x_0
    noise: Tensor  # eps
    velocity: Tensor  # dx_t/dt


def sample_times(time_sampling: str, n: int, generator: torch.Generator) -> Tensor:
    """Noise levels to train at, (n,) float32 in [0, 1], on the generator's device.

    Args:
        time_sampling: "uniform" or "logit_normal": the sigmoid of a normal distribution around 0.4 (Esser et al. 2024,
            eq. 19), slightly biased toward high noise levels.

    Raises:
        MinidiffError: `time_sampling` is neither.
    """
    if time_sampling == "uniform":
        return torch.rand(n, generator=generator, device=generator.device, dtype=torch.float32)
    if time_sampling == "logit_normal":
        normal = torch.randn(n, generator=generator, device=generator.device, dtype=torch.float32)
        return (normal + LOGIT_MEAN).sigmoid()
    raise MinidiffError(f"time_sampling must be uniform or logit_normal, not {time_sampling!r}")


def time_quantiles(time_sampling: str, n: int) -> Tensor:
    """The n quantiles of `sample_times` at the middles of n equal parts, (n,) float32, ascending.

    The mean of a function over them approximates its mean over the noise levels of the training.
    """
    fractions = (torch.arange(n, dtype=torch.float32, device="cpu") + 0.5) / n
    return fractions if time_sampling == "uniform" else (torch.special.ndtri(fractions) + LOGIT_MEAN).sigmoid()


def check_prediction(path: ProbPath, prediction: str) -> None:
    """Raise MinidiffError unless the path supports this prediction type."""
    if prediction not in PREDICTIONS[path.name]:
        raise MinidiffError(
            f"the path {path.name} supports the predictions {', '.join(PREDICTIONS[path.name])}, not {prediction}"
        )


def training_target(path: ProbPath, prediction: str, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """The network's training target, (B, C, H, W).

    `clean` is x_0, `noise` is eps, `velocity` is dx_t/dt, `v` is alpha eps - sigma x_0 (Salimans and Ho 2022).

    Raises:
        MinidiffError: the path does not support this prediction type.
    """
    check_prediction(path, prediction)
    if prediction == "clean":
        return x_0
    if prediction == "noise":
        return eps
    if prediction == "velocity":
        return _broadcast(path.d_alpha(t), x_0) * x_0 + _broadcast(path.d_sigma(t), x_0) * eps
    return _broadcast(path.alpha(t), x_0) * eps - _broadcast(path.sigma(t), x_0) * x_0


def convert_output(path: ProbPath, prediction: str, output: Tensor, x_t: Tensor, t: Tensor) -> Prediction:
    """Convert a network's output at x_t and t to the clean image, the noise and the velocity.

    Finite everywhere. `velocity` and `v` need no division. `clean` does not determine the noise at t = 0: where sigma
    is below EDGE the noise falls to (x_t - alpha x_0) / EDGE, which is 0 if x_0 is exact. `noise` does not determine
    the image where alpha is 0 (t = 1 on a linear path): where alpha is below EDGE the image falls to (x_t - eps) /
    EDGE, which is 0 if eps is exact. On vp nothing is lost at t = 1.

    Raises:
        MinidiffError: the path does not support this prediction type.
    """
    check_prediction(path, prediction)
    alpha, sigma = _broadcast(path.alpha(t), x_t), _broadcast(path.sigma(t), x_t)
    if prediction == "clean":
        x_0, eps = output, (x_t - alpha * output) / sigma.clamp(min=EDGE)
    elif prediction == "noise":
        x_0, eps = (x_t - sigma * output) / alpha.clamp(min=EDGE), output
    elif prediction == "velocity":  # on a linear path
        return Prediction(x_t - sigma * output, x_t + alpha * output, output)
    else:
        x_0, eps = alpha * x_t - sigma * output, sigma * x_t + alpha * output
    velocity = _broadcast(path.d_alpha(t), x_t) * x_0 + _broadcast(path.d_sigma(t), x_t) * eps
    return Prediction(x_0, eps, velocity)


def loss_weight(path: ProbPath, prediction: str, weighting: str, t: Tensor) -> Tensor:
    """The factor, (B,), that turns the squared error of `prediction` into that of `weighting`; 1 for "prediction".

    Given x_t, an error d in the clean image is an error of -(alpha / sigma) d in the noise, and so on. Divisors are at
    least EDGE, which bounds the factor.

    Raises:
        MinidiffError: the path does not support this prediction type.
    """
    check_prediction(path, prediction)
    if weighting in ("prediction", prediction):
        return torch.ones_like(_at_least_float32(t))
    return (_error_scale(path, weighting, t) / _error_scale(path, prediction, t)).square()


def squared_errors(
    path: ProbPath, prediction: str, weighting: str, output: Tensor, x_0: Tensor, eps: Tensor, t: Tensor
) -> Tensor:
    """Squared errors of a network's output in the form `weighting`, (B, C, H, W); their mean is the training loss.

    Args:
        path, prediction, weighting: As in the run's config.
        output: The network's output at x_t and t, (B, C, H, W).
        x_0, eps, t: Images and noise, (B, C, H, W), and noise levels, (B,).

    Raises:
        MinidiffError: The path does not support this prediction type.
    """
    target = training_target(path, prediction, x_0, eps, t)
    errors = functional.mse_loss(output.float(), target, reduction="none")
    if weighting == "prediction":
        return errors
    return errors * _broadcast(loss_weight(path, prediction, weighting, t), errors)


def _error_scale(path: ProbPath, form: str, t: Tensor) -> Tensor:
    """The size of the error in `form` that an error of size 1 in the clean image causes."""
    alpha, sigma = path.alpha(t).clamp(min=EDGE), path.sigma(t).clamp(min=EDGE)
    if form == "clean":
        return torch.ones_like(sigma)
    if form == "noise":
        return alpha / sigma
    if form == "velocity":
        return path.d_sigma(t) * alpha / sigma - path.d_alpha(t)
    if form == "v":
        return alpha.square() / sigma + sigma
    raise MinidiffError(f"weighting must be prediction, clean, noise, velocity or v, not {form!r}")


def _at_least_float32(t: Tensor) -> Tensor:
    return t.to(torch.promote_types(t.dtype, torch.float32))


def _broadcast(coefficient: Tensor, x: Tensor) -> Tensor:
    return coefficient.view(-1, *(1,) * (x.dim() - 1))  # (B, 1, 1, 1)
