"""Samplers, each written like its paper's algorithm, and the denoiser they call."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from core.compute.precision import in_precision
from core.config.datasets import CLASSES
from core.config.sampling import SAMPLER_INFO, is_guided
from core.diffusion.prob_paths import Prediction, ProbPath, convert_output, standard_normal


@dataclass(frozen=True)
class Denoiser:
    """Evaluates a network at x_t, (B, C, H, W), and a noise level t in [0, 1]."""

    net: Callable[..., Any]  # the network
    path: ProbPath
    prediction: str
    time_conditioning: bool = True  # whether the network is given the noise level; else it is given 0
    precision: str = "float32"  # or "bfloat16", of the network itself
    labels: Tensor | None = None  # (B,) int64, classes or null_class; None for an unconditional network
    guidance: float = 1.0  # Ho and Salimans 2022; 1: off; otherwise the network runs twice where `is_guided`
    contrast: float = 0.0  # extrapolation of the velocity away from that of `mean_image`, on the path flow
    mean_image: Tensor | None = None  # (1, C, H, W), the network's prediction for the mean of all images
    null_class: int = CLASSES  # label of the null class

    def __call__(self, x_t: Tensor, t: float) -> Prediction:
        """The prediction at x_t, (B, C, H, W) in the path's value range."""
        guidance = self.guidance if is_guided(self.path.name, t) else 1.0
        return self.predict(x_t, x_t.new_full((len(x_t),), t), guidance)

    def predict(self, x_t: Tensor, t: Tensor, guidance: float = 1.0) -> Prediction:
        """The prediction at a noise level per image, (B,); `guidance` applies at every noise level."""
        predicted = convert_output(self.path, self.prediction, self._run(x_t, t, guidance), x_t, t)
        d_alpha = self.path.d_alpha(t).view(-1, *(1,) * (x_t.dim() - 1))
        if self.mean_image is not None:
            # Stoica et al. 2025 train for this. It moves the velocity away from its mean over all images and noise,
            # which also works with standard velocity training.
            velocity = predicted.velocity + self.contrast * (predicted.velocity - d_alpha * self.mean_image)
            return convert_output(self.path, "velocity", velocity, x_t, t)
        limits = self.path.clip_range(self.prediction)
        if limits is None:
            return predicted
        denoised = predicted.denoised.clamp(*limits)
        velocity = predicted.velocity + d_alpha * (denoised - predicted.denoised)
        return Prediction(denoised, predicted.noise, velocity)

    def _run(self, x_t: Tensor, t: Tensor, guidance: float) -> Tensor:
        labels = self.labels
        guided = labels is not None and guidance != 1
        if labels is not None and guided:
            x_t, t = torch.cat((x_t, x_t)), torch.cat((t, t))
            labels = torch.cat((labels, torch.full_like(labels, self.null_class)))
        output = self._output(x_t, t, labels)
        if not guided:
            return output
        conditional, unconditional = output.chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    def _output(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        with in_precision(self.precision, x_t.device):
            output = call_network(self.net, x_t, t, labels, time_conditioning=self.time_conditioning)
        return output.to(x_t.dtype)


def call_network(
    net: Callable[..., Any], x_t: Tensor, t: Tensor, labels: Tensor | None, *, time_conditioning: bool
) -> Tensor:
    """The network's output, (B, C, H, W), at x_t, t, (B,), and labels, (B,), for a class-conditional network.

    A network without time conditioning is given 0.
    """
    level = t if time_conditioning else 0
    output = net(x_t, level) if labels is None and not time_conditioning else net(x_t, level, labels)
    result: Tensor = output if isinstance(output, Tensor) else output.sample  # bare diffusers networks wrap the output
    return result


# The model contract. Every sampler is called as sampler(denoiser, x, times, generators):
#   denoiser    denoiser(x, t) returns the denoised image, the noise and the velocity at x, (B, C, H, W), and t
#   x           starting point, (B, C, H, W), in the path's value range
#   times       noise levels in descending order; the first is that of x, the last 0
#   generators  on the CPU, one for the noise of each step; only stochastic samplers use them
# It yields (x at t_next, denoised at t) once per step.
Steps = Iterator[tuple[Tensor, Tensor]]
Generators = Iterator[torch.Generator]
Sampler = Callable[[Denoiser, Tensor, Sequence[float], Generators], Steps]


def interpolate_to_denoised(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """The sampler of the preset `tutorial`: interpolate toward the denoised image. Linear paths only."""
    for t, t_next in pairwise(times):
        denoised = denoiser(x, t).denoised
        amount = 1 - t_next / t
        x = x * (1 - amount) + denoised * amount
        yield x, denoised


def euler(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """Euler's method for dx/dt."""
    for t, t_next in pairwise(times):
        predicted = denoiser(x, t)
        x = x + (t_next - t) * predicted.velocity
        yield x, predicted.denoised


def heun(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """Heun's method for dx/dt, with an Euler step at the end. Karras et al. 2022, algorithm 1."""
    for t, t_next in pairwise(times):
        predicted = denoiser(x, t)
        d = predicted.velocity
        if t_next > 0:
            d = (d + denoiser(x + (t_next - t) * d, t_next).velocity) / 2
        x = x + (t_next - t) * d
        yield x, predicted.denoised


def ddpm(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """Ancestral sampling with the posterior variance, for any Gaussian path. Ho et al. 2020, algorithm 2."""
    for t, t_next in pairwise(times):
        denoised = denoiser(x, t).denoised
        (alpha, sigma), (alpha_next, sigma_next) = denoiser.path.alpha_sigma(t), denoiser.path.alpha_sigma(t_next)
        ratio = alpha / alpha_next
        variance = max(sigma**2 - (ratio * sigma_next) ** 2, 0.0)  # between the two noise levels
        mean = (ratio * sigma_next**2 / sigma**2) * x + (alpha_next * variance / sigma**2) * denoised
        z = standard_normal(x.shape, next(generators)).to(x)
        x = mean + math.sqrt(variance) * sigma_next / sigma * z
        yield x, denoised


def ddim(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """Song et al. 2021 (DDIM), equation 12 with sigma = 0."""
    for t, t_next in pairwise(times):
        predicted = denoiser(x, t)
        alpha_next, sigma_next = denoiser.path.alpha_sigma(t_next)
        x = alpha_next * predicted.denoised + sigma_next * predicted.noise
        yield x, predicted.denoised


def consistency(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """Multistep consistency sampling: new noise is added to each denoised image. Song et al. 2023, algorithm 1."""
    for t, t_next in pairwise(times):
        denoised = denoiser(x, t).denoised
        alpha_next, sigma_next = denoiser.path.alpha_sigma(t_next)
        z = standard_normal(x.shape, next(generators)).to(x)
        x = alpha_next * denoised + sigma_next * z
        yield x, denoised


def dpm2m(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2; first order where log(alpha / sigma) is or was infinite."""
    old_denoised, h_last = None, math.inf
    for t, t_next in pairwise(times):
        denoised = denoiser(x, t).denoised
        (_, sigma), (alpha_next, sigma_next) = denoiser.path.alpha_sigma(t), denoiser.path.alpha_sigma(t_next)
        h = denoiser.path.half_log_snr(t_next) - denoiser.path.half_log_snr(t)
        d = denoised
        if old_denoised is not None and math.isfinite(h):
            c = h / (2 * h_last)  # 1 / (2 r) in the paper; 0 after an infinite step
            d = (1 + c) * denoised - c * old_denoised
        x = (sigma_next / sigma) * x - (alpha_next * math.expm1(-h)) * d
        old_denoised, h_last = denoised, h
        yield x, denoised


SAMPLERS: dict[str, Sampler] = {name: globals()[info.function] for name, info in SAMPLER_INFO.items()}


def step_generators(generator: torch.Generator) -> Generators:
    """One generator per step, so that an image does not depend on the batch size."""
    while True:
        seed = torch.randint(2**62, (), generator=generator, device="cpu").item()
        yield torch.Generator().manual_seed(int(seed))


class SharedNoise:
    """Step generators shared by several batches: each step continues its generator from the previous batch.

    The batches together use the same random numbers as one large batch.
    """

    def __init__(self, generators: Generators) -> None:
        self._source = generators
        self._generators: list[torch.Generator] = []

    def __iter__(self) -> Generators:
        """The generators of all steps, for the next batch."""
        for index in itertools.count():
            if index == len(self._generators):
                self._generators.append(next(self._source))
            yield self._generators[index]
