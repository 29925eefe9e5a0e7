"""Confidence intervals of paired differences, over images and seeds."""

from __future__ import annotations

import functools
import math

from torch import Tensor

from core.race.records import Interval

POINTS = 200  # of the numerical integration, even


def paired_interval(differences: Tensor, confidence: float) -> Interval:
    """A t interval for the mean of paired differences, with seeds as blocks.

    With one seed it covers the choice of images and their noise, for these two networks. With several it also covers
    the seed: the squared standard error is var(means of images) / n + var(means of seeds) / S, the two-way clustered
    variance (Cameron, Gelbach and Miller 2011) without its negative term, which makes the interval slightly too wide.
    Degrees of freedom: n - 1, or those of Welch and Satterthwaite for the sum.

    Args:
        differences: One per seed and image, (S, n), n at least 2.
        confidence: Probability that the interval contains the mean, such as 0.95.
    """
    values = differences.double()
    seeds, n = values.shape
    mean = float(values.mean())
    parts = [(float(values.mean(0).var()) / n, n - 1)]
    if seeds > 1:
        parts.append((float(values.mean(1).var()) / seeds, seeds - 1))
    variance = sum(part for part, _ in parts)
    if not variance > 0:  # all differences are equal, or one is not a number
        half = variance
    else:
        freedom = variance**2 / sum(part**2 / df for part, df in parts)
        half = t_quantile((1 + confidence) / 2, freedom) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


@functools.lru_cache(maxsize=256)
def t_quantile(probability: float, df: float) -> float:
    """The quantile of Student's t distribution with `df` > 0 degrees of freedom, for a probability in (0.5, 1).

    With x = sqrt(df) tan(angle) its density is proportional to cos(angle)^(df - 1), which Simpson's rule integrates.
    Bisection finds the angle, to a relative error of about 1e-9 for df of at least 1.
    """
    total = math.exp(math.lgamma(df / 2) - math.lgamma((df + 1) / 2)) * math.sqrt(math.pi) / 2  # up to pi / 2
    target = (probability - 0.5) * 2 * total
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _cosine_integral(middle, df - 1) < target else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2)


def _cosine_integral(angle: float, power: float) -> float:
    """The integral of cos(x)^power from 0 to `angle`. Simpson's rule, up to where the integrand vanishes."""
    end = min(angle, 12 / math.sqrt(power)) if power > 60 else angle
    step = end / POINTS
    total: float = 1 + math.cos(end) ** power
    for i in range(1, POINTS):
        total += (4 if i % 2 else 2) * math.cos(i * step) ** power
    return total * step / 3
