"""Paths from image to noise, and the translation between all that a net can predict on one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from core.config.training import PREDICTIONS
from core.errors import MinidiffError

LOGIT_MEAN = 0.4
EDGE = 1e-3  # no share of image or noise that something is divided by counts as less, so that nothing is ever infinite

# Legend: a is the amount of noise, (B,), in [0, 1]: 0 is the image, 1 is noise; shares of image and noise are (B,) too.
# x0 is the clean image, eps the noise, x what lies between: all (B, C, H, W), in the path's own range.


@dataclass(frozen=True)
class Path:
    """The straight path x = (1 - a) x0 + a eps; what every path has in common.

    Shares and slopes take floating-point tensors of any shape and compute in float32 at least, float64 if a is so.
    """

    name: str
    low: float  # of an image's values while it is on this path
    high: float
    gaussian: bool  # standard normal noise; else uniform in [low, high)

    def signal(self, a: Tensor) -> Tensor:
        """The image's share of x: 1 at a = 0."""
        return 1 - _wide(a)

    def noise(self, a: Tensor) -> Tensor:
        """The noise's share of x: 0 at a = 0."""
        return _wide(a)

    def signal_slope(self, a: Tensor) -> Tensor:
        """The derivative of `signal` by a."""
        return -torch.ones_like(_wide(a))

    def noise_slope(self, a: Tensor) -> Tensor:
        """The derivative of `noise` by a."""
        return torch.ones_like(_wide(a))

    def at(self, a: float) -> tuple[float, float]:
        """`signal` and `noise` for one amount, computed in float64."""
        amount = torch.tensor(a, dtype=torch.float64, device="cpu")
        return self.signal(amount).item(), self.noise(amount).item()

    def half_log_snr(self, a: float) -> float:
        """log(signal / noise): infinite at the image, and minus infinity where there is no signal at all."""
        amount = torch.tensor(a, dtype=torch.float64, device="cpu")
        return (self.signal(amount) / self.noise(amount)).log().item()

    def inward(self, images: Tensor) -> Tensor:
        """Images in [0, 1] brought into the path's range."""
        return images * (self.high - self.low) + self.low

    def outward(self, x: Tensor) -> Tensor:
        """What `inward` undoes."""
        return (x - self.low) / (self.high - self.low)

    def source(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Noise to start from, float32, where the generator lives."""
        draw = torch.randn if self.gaussian else torch.rand
        noise = draw(shape, generator=generator, device=generator.device, dtype=torch.float32)
        return noise if self.gaussian else self.inward(noise)

    def mix(self, x0: Tensor, eps: Tensor, a: Tensor) -> Tensor:
        """What lies at `a`, (B,), between images and noise, both (B, C, H, W) in the path's range."""
        return x0 * _over(self.signal(a), x0) + eps * _over(self.noise(a), x0)


@dataclass(frozen=True)
class VariancePreserving(Path):
    """Squared shares that add up to 1: the limit of DDPM's linear schedule for many steps.

    Even at a = 1 the image keeps a share of 0.0066. Source: Song et al. 2021, equation 33, with beta from 0.1 to 20.
    """

    def signal(self, a: Tensor) -> Tensor:
        return (_log_share(a) / 2).exp()

    def noise(self, a: Tensor) -> Tensor:
        return (-_log_share(a).expm1()).sqrt()

    def signal_slope(self, a: Tensor) -> Tensor:
        return -self._beta(a) / 2 * self.signal(a)

    def noise_slope(self, a: Tensor) -> Tensor:
        """Without bound towards a = 0, where it stops growing once `noise` is below EDGE (a below 1e-5)."""
        return self._beta(a) / 2 * _log_share(a).exp() / self.noise(a).clamp(min=EDGE)

    @staticmethod
    def _beta(a: Tensor) -> Tensor:
        return 0.1 + 19.9 * _wide(a)


PATHS: dict[str, Path] = {
    "mix": Path("mix", 0.0, 1.0, gaussian=False),
    "flow": Path("flow", -1.0, 1.0, gaussian=True),
    "vp": VariancePreserving("vp", -1.0, 1.0, gaussian=True),
}


class Estimate(NamedTuple):
    """What a net's output says about x, in every form: each (B, C, H, W), in the path's range."""

    clean: Tensor
    noise: Tensor
    velocity: Tensor  # dx/da


def draw_amounts(times: str, n: int, generator: torch.Generator) -> Tensor:
    """Amounts of noise to train at, (n,) float32 in [0, 1], where the generator lives.

    Args:
        times: "uniform", or "logit_normal": the logistic function of a normal around 0.4 (Esser et al. 2024, eq. 19),
            so that there is rather more noise than image.

    Raises:
        MinidiffError: `times` is neither.
    """
    if times == "uniform":
        return torch.rand(n, generator=generator, device=generator.device, dtype=torch.float32)
    if times == "logit_normal":
        normal = torch.randn(n, generator=generator, device=generator.device, dtype=torch.float32)
        return (normal + LOGIT_MEAN).sigmoid()
    raise MinidiffError(f"times are uniform or logit_normal, not {times!r}")


def check(path: Path, prediction: str) -> None:
    """Raise MinidiffError unless a net can predict `prediction` on `path`."""
    if prediction not in PREDICTIONS[path.name]:
        raise MinidiffError(
            f"the path {path.name} is learned by predicting {', '.join(PREDICTIONS[path.name])}, not {prediction}"
        )


def target(path: Path, prediction: str, x0: Tensor, eps: Tensor, a: Tensor) -> Tensor:
    """What the net should answer, (B, C, H, W).

    `clean` is x0, `noise` is eps, `velocity` is dx/da, `v` is signal eps - noise x0 (Salimans & Ho 2022).

    Raises:
        MinidiffError: the path is not learned by this prediction.
    """
    check(path, prediction)
    if prediction == "clean":
        return x0
    if prediction == "noise":
        return eps
    if prediction == "velocity":
        return _over(path.signal_slope(a), x0) * x0 + _over(path.noise_slope(a), x0) * eps
    return _over(path.signal(a), x0) * eps - _over(path.noise(a), x0) * x0


def estimate(path: Path, prediction: str, output: Tensor, x: Tensor, a: Tensor) -> Estimate:
    """Translate a net's output at x and a into clean image, noise and velocity.

    Finite everywhere. `velocity` and `v` need no division. `clean` leaves the noise open at a = 0: within EDGE of
    there, what it gives for the noise falls to (x - signal x0) / EDGE, which is 0 if x0 is right. `noise` leaves the
    image open where there is no signal (a = 1 on a straight path): within EDGE of there, what it gives for the image
    falls to (x - eps) / EDGE, which is 0 if eps is right. On vp it loses nothing at a = 1.

    Raises:
        MinidiffError: the path is not learned by this prediction.
    """
    check(path, prediction)
    signal, noise = _over(path.signal(a), x), _over(path.noise(a), x)
    if prediction == "clean":
        clean, eps = output, (x - signal * output) / noise.clamp(min=EDGE)
    elif prediction == "noise":
        clean, eps = (x - noise * output) / signal.clamp(min=EDGE), output
    elif prediction == "velocity":  # of a straight path
        return Estimate(x - noise * output, x + signal * output, output)
    else:
        clean, eps = signal * x - noise * output, noise * x + signal * output
    velocity = _over(path.signal_slope(a), x) * clean + _over(path.noise_slope(a), x) * eps
    return Estimate(clean, eps, velocity)


def weight(path: Path, prediction: str, counted_as: str, a: Tensor) -> Tensor:
    """The factor, (B,), that turns the squared error of `prediction` into that of `counted_as`; 1 for "prediction".

    With x given, an error d in the clean image is an error of -(signal / noise) d in the noise, and so on. Shares that
    something is divided by count as at least EDGE, which bounds the factor.

    Raises:
        MinidiffError: the path is not learned by this prediction.
    """
    check(path, prediction)
    if counted_as in ("prediction", prediction):
        return torch.ones_like(_wide(a))
    return (_error(path, counted_as, a) / _error(path, prediction, a)).square()


def _error(path: Path, form: str, a: Tensor) -> Tensor:
    """The size of the error in `form` that an error of size 1 in the clean image means."""
    signal, noise = path.signal(a).clamp(min=EDGE), path.noise(a).clamp(min=EDGE)
    if form == "clean":
        return torch.ones_like(noise)
    if form == "noise":
        return signal / noise
    if form == "velocity":
        return path.noise_slope(a) * signal / noise - path.signal_slope(a)
    if form == "v":
        return signal.square() / noise + noise
    raise MinidiffError(f"an error is counted as that of clean, noise, velocity or v, not {form!r}")


def _log_share(a: Tensor) -> Tensor:
    """The logarithm of the image's share of the variance on the variance-preserving path."""
    a = _wide(a)
    return -0.1 * a - 0.5 * 19.9 * a.square()


def _wide(a: Tensor) -> Tensor:
    return a.to(torch.promote_types(a.dtype, torch.float32))


def _over(share: Tensor, x: Tensor) -> Tensor:
    return share.view(-1, *(1,) * (x.dim() - 1))  # (B, 1, 1, 1)
