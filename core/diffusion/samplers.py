"""Samplers: each walks from noise towards an image along given amounts, and reads like its paper's algorithm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from core.compute.precision import in_precision
from core.config.datasets import NULL
from core.config.sampling import is_guided
from core.diffusion.prob_paths import Estimate, Path, estimate


@dataclass(frozen=True)
class Denoiser:
    """A net with all that is needed to ask it: called with x, (B, C, H, W), and the amount of noise in it."""

    net: nn.Module
    path: Path
    prediction: str
    time_conditioning: bool = True  # whether the network is given the noise level; else it is given 0
    precision: str = "float32"  # "bfloat16": the net itself runs in that
    labels: Tensor | None = None  # (B,) int64 where the net is, 0 to 9, or NULL for none; None: the net knows no class
    guidance: float = 1.0  # Ho & Salimans 2022, with 1 for none; any other asks the net twice where `is_guided`
    contrast: float = 0.0  # how far the velocity is pushed away from that of `average`, on the path flow
    average: Tensor | None = None  # (1, C, H, W), what the net takes for the mean of all images

    def __call__(self, x: Tensor, a: float) -> Estimate:
        """What the net makes of x, (B, C, H, W) in the path's range, of which a, in [0, 1], is noise."""
        return self.at(x, x.new_full((len(x),), a), self.guidance if is_guided(self.path.name, a) else 1.0)

    def at(self, x: Tensor, amount: Tensor, guidance: float = 1.0) -> Estimate:
        """As a call, for an amount for each image, (B,); `guidance` is applied whatever the amounts."""
        found = estimate(self.path, self.prediction, self._ask(x, amount, guidance), x, amount)
        slope = self.path.signal_slope(amount).view(-1, *(1,) * (x.dim() - 1))
        if self.average is not None:
            # Stoica et al. 2025 train for this. It only moves the velocity away from its mean over all images and
            # noise, so a net that learned the velocity itself will do.
            velocity = found.velocity + self.contrast * (found.velocity - slope * self.average)
            return estimate(self.path, "velocity", velocity, x, amount)
        if self.prediction != "noise":
            return found
        # Where there is hardly any signal, a small error in the noise is a huge one in the image (Ho et al. 2020 clip).
        clean = found.clean.clamp(self.path.low, self.path.high)
        lost = clean - found.clean
        return Estimate(clean, found.noise, found.velocity + slope * lost)

    def _ask(self, x: Tensor, amount: Tensor, guidance: float) -> Tensor:
        labels = self.labels
        guided = labels is not None and guidance != 1
        if labels is not None and guided:
            x, amount = torch.cat((x, x)), torch.cat((amount, amount))
            labels = torch.cat((labels, torch.full_like(labels, NULL)))
        with in_precision(self.precision, x.device):
            output = ask(self.net, x, amount, labels, time_conditioning=self.time_conditioning)
        output = output.to(x.dtype)
        if not guided:
            return output
        conditional, free = output.chunk(2)
        return free + guidance * (conditional - free)


def ask(
    net: Callable[..., Any], x: Tensor, amount: Tensor, labels: Tensor | None, *, time_conditioning: bool
) -> Tensor:
    """The net's own output, (B, C, H, W), for x at the amounts, (B,), and for labels, (B,), if it knows classes.

    A network without time conditioning is given 0, as the tutorial's are.
    """
    told = amount if time_conditioning else 0
    output = net(x, told) if labels is None and not time_conditioning else net(x, told, labels)
    found: Tensor = output if isinstance(output, Tensor) else output.sample  # a bare diffusers net wraps its result
    return found


Steps = Iterator[tuple[Tensor, Tensor]]  # x after the step, and the clean images that were seen before it
Generators = Iterator[torch.Generator]  # on the CPU: one for the noise of each step
Sampler = Callable[[Denoiser, Tensor, Sequence[float], Generators], Steps]

# Every sampler takes amounts in falling order, of which the first is that of x and the last 0, and yields once for
# each pair of neighbours. Only those that add noise use the generators.


def mix(denoiser: Denoiser, x: Tensor, amounts: Sequence[float], generators: Generators) -> Steps:
    """The tutorial's section 3.6: move part of the way to the clean prediction. Straight paths only."""
    for now, then in pairwise(amounts):
        clean = denoiser(x, now).clean
        share = 1 - then / now
        x = x * (1 - share) + clean * share
        yield x, clean


def euler(denoiser: Denoiser, x: Tensor, amounts: Sequence[float], generators: Generators) -> Steps:
    """Euler's method for dx/da."""
    for now, then in pairwise(amounts):
        found = denoiser(x, now)
        x = x + (then - now) * found.velocity
        yield x, found.clean


def heun(denoiser: Denoiser, x: Tensor, amounts: Sequence[float], generators: Generators) -> Steps:
    """Karras et al. 2022, algorithm 1, for dx/da: Heun's method, whose last step is Euler's."""
    for now, then in pairwise(amounts):
        found = denoiser(x, now)
        slope = found.velocity
        if then > 0:
            slope = (slope + denoiser(x + (then - now) * slope, then).velocity) / 2
        x = x + (then - now) * slope
        yield x, found.clean


def ddpm(denoiser: Denoiser, x: Tensor, amounts: Sequence[float], generators: Generators) -> Steps:
    """Ho et al. 2020, algorithm 2, with the posterior's variance, for any Gaussian path."""
    for now, then in pairwise(amounts):
        clean = denoiser(x, now).clean
        (signal, noise), (signal_then, noise_then) = denoiser.path.at(now), denoiser.path.at(then)
        ratio = signal / signal_then
        added = max(noise**2 - (ratio * noise_then) ** 2, 0.0)  # the variance between the two amounts
        mean = (ratio * noise_then**2 / noise**2) * x + (signal_then * added / noise**2) * clean
        fresh = torch.randn(x.shape, generator=next(generators), device="cpu", dtype=torch.float32).to(x)
        x = mean + math.sqrt(added) * noise_then / noise * fresh
        yield x, clean


def ddim(denoiser: Denoiser, x: Tensor, amounts: Sequence[float], generators: Generators) -> Steps:
    """Song et al. 2021 (DDIM), equation 12 without its noise."""
    for now, then in pairwise(amounts):
        found = denoiser(x, now)
        signal, noise = denoiser.path.at(then)
        x = signal * found.clean + noise * found.noise
        yield x, found.clean


def dpm2m(denoiser: Denoiser, x: Tensor, amounts: Sequence[float], generators: Generators) -> Steps:
    """DPM-Solver++ 2M, Lu et al. 2022, algorithm 2, of first order where log(signal / noise) is or was infinite."""
    before, width_before = None, math.inf
    for now, then in pairwise(amounts):
        clean = denoiser(x, now).clean
        (_, noise), (signal_then, noise_then) = denoiser.path.at(now), denoiser.path.at(then)
        width = denoiser.path.half_log_snr(then) - denoiser.path.half_log_snr(now)  # h in the paper
        ahead = clean
        if before is not None and math.isfinite(width):
            share = width / (2 * width_before)  # 1 / 2r in the paper; 0 after an infinite step
            ahead = (1 + share) * clean - share * before
        x = (noise_then / noise) * x - (signal_then * math.expm1(-width)) * ahead
        before, width_before = clean, width
        yield x, clean


SAMPLERS: dict[str, Sampler] = {
    "mix": mix,
    "euler": euler,
    "heun": heun,
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm2m": dpm2m,
}


def step_generators(generator: torch.Generator) -> Generators:
    """A generator for the noise of each step, so that an image does not depend on how many are sampled with it."""
    while True:
        seed = torch.randint(2**62, (), generator=generator, device="cpu").item()
        yield torch.Generator().manual_seed(int(seed))


class SharedNoise:
    """Generators of steps for images in several batches: in each batch a step goes on where the batch before left it.

    So the batches together use the numbers that all images at once would have used.
    """

    def __init__(self, generators: Generators) -> None:
        self._fresh = generators
        self._kept: list[torch.Generator] = []

    def __iter__(self) -> Generators:
        """The generators of all steps, for the next batch."""
        for index in itertools.count():
            if index == len(self._kept):
                self._kept.append(next(self._fresh))
            yield self._kept[index]
