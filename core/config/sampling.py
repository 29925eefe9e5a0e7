"""What can be asked of a sampler, known without torch: names, defaults, what fits which path, and what it costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from core.config.datasets import CLASSES
from core.config.numbers import number, whole_number
from core.errors import MinidiffError, hint

if TYPE_CHECKING:
    from core.config.training import TrainConfig

SAMPLER_NAMES = ("mix", "euler", "heun", "ddpm", "ddim", "dpm2m")
DIFFUSERS = "diffusers:"  # before the class name of a scheduler
# Between which amounts guidance is applied: from as much noise as image to four times as much. Elsewhere it costs
# evaluations and variety and gains nothing (Kynkaanniemi et al. 2024).
GUIDED = {"mix": (0.5, 0.8), "flow": (0.5, 0.8), "vp": (0.2589, 0.5284)}
CONTRAST, GUIDANCE = 0.04, 1.35  # of the default recipe, from docs/recipe.md
MOST_STEPS = 100_000  # more than anyone waits for
MOST_IMAGES = 100_000  # of one sampling: a record of them takes 600 MB
LEAST_NOISE_LEVEL = 1e-4  # of noise that images to start from may hold
SHIFTS = (0.001, 1000.0)  # the least and the greatest: beyond, steps become too small for float32
NO_CLASS = -1  # asks a model with classes for an image of any class

_STRAIGHT, _GAUSSIAN = ("mix", "flow"), ("flow", "vp")
# diffusers' schedulers by path, each tested to end in the data and to pass through the amounts asked for; the first is
# the one that refusals suggest.
SCHEDULERS: dict[str, tuple[str, ...]] = {
    "vp": (
        *("UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DEISMultistepScheduler", "SASolverScheduler"),
        *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"),
        *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "LMSDiscreteScheduler"),
        *("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler"),
    ),
    "flow": ("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"),
}
_OTHER_STEPS = "chooses other steps than were asked for"
_REFUSED = {
    **dict.fromkeys(("PNDMScheduler", "LCMScheduler", "TCDScheduler", "FlowMatchHeunDiscreteScheduler"), _OTHER_STEPS),
    **dict.fromkeys(("DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler"), "goes from images to noise"),
    "CogVideoXDDIMScheduler": "shifts the amounts of noise by itself",
    "CogVideoXDPMScheduler": "takes steps that need more than the last prediction",
    "DPMSolverSDEScheduler": "adds noise that does not follow from the seed",
}
# These look twice a step, but for the last.
_SECOND_ORDER = ("heun", *(f"{DIFFUSERS}{name}Scheduler" for name in ("HeunDiscrete", "KDPM2Discrete")))
_SECOND_ORDER += (f"{DIFFUSERS}KDPM2AncestralDiscreteScheduler",)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How images are drawn."""

    sampler: str  # one of SAMPLER_NAMES, or "diffusers:" and the class name of a scheduler
    steps: int
    guidance: float  # classifier-free guidance scale (Ho and Salimans 2022); 1: off
    shift: float  # of the noise schedule; 1: equal steps; above 1, more steps at high noise
    contrast: float = 0.0  # extrapolation away from the mean image; 0: off


class SamplingOptions(TypedDict, total=False):
    """What can be asked of a sampler beside the steps; what is left out, or None, is the model's own.

    Attributes:
        sampler: mix, euler, heun, ddpm, ddim, dpm2m, or diffusers:NAME of a scheduler; default: depends on the model
        guidance: classifier-free guidance scale; 1: off
        shift: shift of the noise schedule, 0.001 to 1,000; 1: equal steps; above 1, more steps at high noise
        contrast: extrapolation away from the mean image, 0: off; for the path flow
    """

    sampler: str | None
    guidance: float | None
    shift: float | None
    contrast: float | None


def defaults_for(config: TrainConfig) -> Sampling:
    """What suits a model that was trained with `config`."""
    if config.path == "mix":
        return Sampling("mix", 40, 1.0, 1.0)  # the tutorial's
    contrast = 0.0 if _without_contrast(config) else CONTRAST
    if config.class_conditional:
        return Sampling("dpm2m", 12, GUIDANCE, 1.0, contrast)
    return Sampling("dpm2m", 16, 1.0, 1.0, contrast)


def is_guided(path: str, t: float) -> bool:
    """Whether guidance is applied at this amount of noise."""
    least, most = GUIDED[path]
    return least - 1e-6 <= t <= most + 1e-6


def _without_contrast(config: TrainConfig) -> str | None:
    """Why contrast cannot be asked of a model that was trained with `config`; None if it can."""
    if config.path != "flow":
        return f"contrast is for the path flow, not {config.path}"
    if config.prediction == "noise":  # which says nothing of the average image
        return "contrast is for nets that predict the clean image or the velocity, not the noise"
    return None


def fits(sampler: str, path: str) -> str | None:
    """Why `sampler` cannot walk along `path`; None if it can."""
    if sampler.startswith(DIFFUSERS):
        name = sampler.removeprefix(DIFFUSERS)
        if path == "mix":
            return "diffusers' schedulers start from Gaussian noise, and the path mix from uniform noise; use mix"
        if name in SCHEDULERS[path]:
            return None
        if any(name in names for names in SCHEDULERS.values()):
            reason = f"does not know the path {path}"
        else:
            reason = _REFUSED.get(name, f"is not one of the schedulers that are tested on the path {path}")
        return f"{name} {reason}; use {DIFFUSERS}{SCHEDULERS[path][0]}"
    if sampler not in SAMPLER_NAMES:
        return (
            f"there is no sampler {sampler!r}; {hint(sampler, (*SAMPLER_NAMES, f'{DIFFUSERS}NAME'), otherwise='take')}"
        )
    if sampler == "mix" and path not in _STRAIGHT:
        return f"the sampler mix walks straight paths ({', '.join(_STRAIGHT)}), not {path}; use ddim"
    if sampler == "ddpm" and path not in _GAUSSIAN:
        return f"the sampler ddpm adds Gaussian noise, and the path {path} has uniform noise; use mix"
    return None


def image_count(n: int) -> int:
    """How many images, as an int.

    Raises:
        MinidiffError: it is not a whole number from 1 to `MOST_IMAGES`.
    """
    n = whole_number(n, "n")
    if n < 1:
        raise MinidiffError(f"n must be at least 1, not {n}")
    if n > MOST_IMAGES:
        raise MinidiffError(f"n must be at most {MOST_IMAGES:,}, not {n:,}; take other seeds for more")
    return n


def evaluations(chosen: Sampling, path: str) -> int:
    """How often the net is evaluated for each image; where guidance is applied, twice."""
    passed = noise_levels(chosen.steps, chosen.shift)
    asked = passed[:-1]
    if chosen.sampler in _SECOND_ORDER:
        asked = asked + passed[1:-1]
    return len(asked) + (sum(is_guided(path, t) for t in asked) if chosen.guidance != 1 else 0)


def in_words(chosen: Sampling, path: str) -> str:
    """How images are drawn, and what each costs."""
    guided = f", guidance {chosen.guidance:g}" if chosen.guidance != 1 else ""
    shifted = f", shift {chosen.shift:g}" if chosen.shift != 1 else ""
    pushed = f", contrast {chosen.contrast:g}" if chosen.contrast != 0 else ""
    asked = evaluations(chosen, path)
    return f"{chosen.sampler}, {chosen.steps} steps{guided}{shifted}{pushed}, {asked} evaluations each"


def noise_levels(steps: int, shift: float = 1.0, start: float = 1.0) -> list[float]:
    """The `steps` + 1 amounts of noise that a sampler passes through, from `start` down to 0.

    Source: Esser et al. 2024, equation 23.
    """
    uniform = (1 - index / steps for index in range(steps + 1))
    return [start * (shift * u / (1 + (shift - 1) * u)) for u in uniform]


def resolve_sampling(
    config: TrainConfig,
    n: int,
    *,
    steps: int | None = None,
    labels: int | Iterable[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> tuple[Sampling, tuple[int, ...] | None]:
    """Check what was asked of a model and fill what was not with the model's own defaults.

    Args:
        config: what the model was trained with.
        n: how many images.
        steps: 1 to `MOST_STEPS`.
        labels: None takes the classes in turn; a number is the class of all; -1 leaves the class open; or n of these.
        options: a sampler that `fits` the model's path; guidance other than 1 only for a model with classes; contrast
            other than 0 only on the path flow, for a net that does not predict the noise.

    Returns:
        How the images are drawn, and the class of each: n numbers from -1 to 9, or None for a model without classes.

    Raises:
        MinidiffError: a value lies outside its range, or the model cannot do what was asked.
    """
    asked: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if not isinstance(asked.get("sampler", ""), str):
        raise MinidiffError(f"sampler must be a name, not {type(asked['sampler']).__name__}")
    asked |= {name: number(value, name) for name, value in asked.items() if name != "sampler"}
    if steps is not None:
        asked["steps"] = whole_number(steps, "steps")
    chosen = replace(defaults_for(config), **asked)
    if chosen.steps < 1:
        raise MinidiffError(f"steps must be at least 1, not {chosen.steps}")
    if chosen.steps > MOST_STEPS:
        raise MinidiffError(f"steps must be at most {MOST_STEPS:,}, not {chosen.steps}")
    if reason := fits(chosen.sampler, config.path):
        raise MinidiffError(reason)
    if not 0 <= chosen.guidance < math.inf:
        raise MinidiffError(f"guidance must be a number from 0, not {chosen.guidance:g}")
    least, most = SHIFTS
    if not least <= chosen.shift <= most:
        raise MinidiffError(f"shift must be a number from {least:g} to {most:g}, not {chosen.shift:g}")
    if not 0 <= chosen.contrast < math.inf:
        raise MinidiffError(f"contrast must be a number from 0, not {chosen.contrast:g}")
    if chosen.contrast and (reason := _without_contrast(config)):
        raise MinidiffError(f"{reason}; leave it at 0")
    if not config.class_conditional:
        if labels is not None:
            raise MinidiffError("this model was trained without classes and cannot draw one; leave the class out")
        if chosen.guidance != 1:
            raise MinidiffError("this model was trained without classes, which guidance needs; leave guidance at 1")
        return chosen, None
    classes = _classes(n, labels)
    if set(classes) == {NO_CLASS}:  # both answers would be the same
        chosen = replace(chosen, guidance=1.0)
    return chosen, classes


def _classes(n: int, labels: int | Iterable[int] | None) -> tuple[int, ...]:
    if labels is None:
        return tuple(index % CLASSES for index in range(n))
    try:
        several = iter(labels)  # type: ignore[arg-type] # a number has none, nor has a tensor of no dimension
    except TypeError:
        several = itertools.repeat(labels, n)  # type: ignore[arg-type] # one number for all
    classes = tuple(whole_number(label, "a class") for label in several)
    if len(classes) != n:
        raise MinidiffError(f"{n} images need {n} labels, not {len(classes)}; or give one number for all")
    for label in classes:
        if label != NO_CLASS and not 0 <= label < CLASSES:
            raise MinidiffError(f"a class is a number from 0 to {CLASSES - 1}, or {NO_CLASS} for any, not {label}")
    return classes
