"""Sampling options, their defaults and limits, and which samplers support which path; without torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from core.config.numbers import number, whole_number
from core.errors import MinidiffError, hint

if TYPE_CHECKING:
    from core.config.datasets import DatasetInfo
    from core.config.training import TrainConfig

PATH_NAMES = ("mix", "flow", "vp")


@dataclass(frozen=True, slots=True)
class SamplerInfo:
    """A sampler of `core.diffusion.samplers`.

    A second-order sampler evaluates the network at t, then at t + second_at * (t_next - t); its last step is an Euler
    step with one evaluation.
    """

    function: str  # its function there
    title: str  # in lists
    summary: str  # for the documentation
    paths: tuple[str, ...] = PATH_NAMES  # that it supports
    evaluations: int = 1  # of the network per step, except in the last
    second_at: float = 1.0  # where the second of two evaluations is, as a fraction of the step


# Every sampler is registered here, and only here.
SAMPLER_INFO = {
    "mix": SamplerInfo(
        "interpolate_to_denoised",
        "interpolation to the denoised image",
        "of the preset `tutorial`: interpolates toward the denoised image",
        ("mix", "flow"),
    ),
    "euler": SamplerInfo("euler", "Euler's method", "Euler's method for the probability flow ODE"),
    "heun": SamplerInfo(
        "heun", "Heun's method, 2nd order", "Heun's method, second order (Karras et al. 2022)", evaluations=2
    ),
    "ddpm": SamplerInfo("ddpm", "DDPM, stochastic", "ancestral sampling, stochastic (Ho et al. 2020)", ("flow", "vp")),
    "ddim": SamplerInfo("ddim", "DDIM", "DDIM without noise (Song et al. 2021)"),
    "consistency": SamplerInfo(
        "consistency",
        "multistep consistency, stochastic",
        "multistep consistency sampling, stochastic, for distilled models (Song et al. 2023)",
        ("flow", "vp"),
    ),
    "dpm2m": SamplerInfo("dpm2m", "DPM-Solver++(2M), 2nd order", "DPM-Solver++(2M), second order (Lu et al. 2022)"),
}
SAMPLER_NAMES = tuple(SAMPLER_INFO)
DIFFUSERS = "diffusers:"  # prefix of a scheduler's class name
# Guidance interval of noise levels: from sigma = alpha to sigma = 4 alpha. Outside it guidance costs evaluations and
# diversity without improving quality (Kynkaanniemi et al. 2024).
GUIDED = {"mix": (0.5, 0.8), "flow": (0.5, 0.8), "vp": (0.2589, 0.5284)}
CONSISTENCY_STEPS = 4  # of distilled models; 1 and 2 are possible too
CONTRAST, GUIDANCE = 0.04, 1.35  # of the preset `default`; see docs/recipe.md
MAX_STEPS = 100_000
MAX_IMAGES = 100_000  # per call of sample(); one SampleStep of them takes 600 MB
MIN_NOISE_LEVEL = 1e-4  # of a start image
SHIFT_RANGE = (0.001, 1000.0)  # outside it, steps become too small for float32
NO_CLASS = -1  # requests an unconditional sample from a class-conditional model

# diffusers' schedulers by path. Tests check that each ends in the data and visits the requested noise levels. Error
# messages suggest the first one.
SCHEDULERS: dict[str, tuple[str, ...]] = {
    "vp": (
        *("UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DEISMultistepScheduler", "SASolverScheduler"),
        *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"),
        *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "LMSDiscreteScheduler"),
        *("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler"),
    ),
    "flow": ("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"),
}
_OTHER_STEPS = "does not take the requested steps"
_REFUSED = {
    **dict.fromkeys(("PNDMScheduler", "LCMScheduler", "TCDScheduler", "FlowMatchHeunDiscreteScheduler"), _OTHER_STEPS),
    **dict.fromkeys(("DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler"), "maps images to noise"),
    "CogVideoXDDIMScheduler": "shifts the noise levels itself",
    "CogVideoXDPMScheduler": "needs more than the last prediction for a step",
    "DPMSolverSDEScheduler": "adds noise that does not follow from the seed",
}
# These evaluate the network twice per step, except in the last.
_SECOND_ORDER = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Resolved sampling options."""

    sampler: str  # one of SAMPLER_NAMES, or "diffusers:" and the class name of a scheduler
    steps: int
    guidance: float  # classifier-free guidance scale (Ho and Salimans 2022); 1: off
    shift: float  # of the noise schedule; 1: equal steps; above 1, more steps at high noise
    contrast: float = 0.0  # extrapolation away from the mean image; 0: off


class SamplingOptions(TypedDict, total=False):
    """Sampling options besides the steps; the model's default applies to those left out or None.

    Attributes:
        sampler: {samplers}, or diffusers:NAME of a scheduler; default: depends on the model
        guidance: classifier-free guidance scale; 1: off
        shift: shift of the noise schedule, 0.001 to 1,000; 1: equal steps; above 1, more steps at high noise
        contrast: extrapolation away from the mean image, 0: off; for the path flow
    """

    sampler: str | None
    guidance: float | None
    shift: float | None
    contrast: float | None


# The command line's help is made from this docstring.
SamplingOptions.__doc__ = (SamplingOptions.__doc__ or "").replace("{samplers}", ", ".join(SAMPLER_NAMES))


def defaults_for(config: TrainConfig) -> Sampling:
    """Default sampling options of a model trained with `config`."""
    if config.path == "mix":
        return Sampling("mix", 40, 1.0, 1.0)  # of the preset `tutorial`
    if config.objective == "consistency":
        return Sampling("consistency", CONSISTENCY_STEPS, 1.0, 1.0)
    contrast = 0.0 if _contrast_unsupported(config) else CONTRAST
    if config.class_conditional and config.label_dropout:
        return Sampling("dpm2m", 12, GUIDANCE, 1.0, contrast)
    return Sampling("dpm2m", 16, 1.0, 1.0, contrast)


def is_guided(path: str, t: float) -> bool:
    """Whether guidance is applied at noise level `t`."""
    low, high = GUIDED[path]
    return low - 1e-6 <= t <= high + 1e-6


def _contrast_unsupported(config: TrainConfig) -> str | None:
    """Why a model trained with `config` does not support contrast; None if it does."""
    if config.path != "flow":
        return f"contrast needs the path flow, not {config.path}"
    if config.prediction == "noise":  # does not determine the mean image
        return "contrast needs a network that predicts the clean image or the velocity, not the noise"
    return None


def incompatibility(sampler: str, path: str) -> str | None:
    """Why `sampler` does not support `path`, as the text of an error; None if it does."""
    if sampler.startswith(DIFFUSERS):
        name = sampler.removeprefix(DIFFUSERS)
        if path == "mix":
            return "diffusers' schedulers need Gaussian noise, and the path mix has uniform noise; use the sampler mix"
        if name in SCHEDULERS[path]:
            return None
        if any(name in names for names in SCHEDULERS.values()):
            reason = f"does not support the path {path}"
        else:
            reason = _REFUSED.get(name, f"is not tested on the path {path}")
        return f"{name} {reason}; use {DIFFUSERS}{SCHEDULERS[path][0]}"
    if sampler not in SAMPLER_NAMES:
        known = (*SAMPLER_NAMES, f"{DIFFUSERS}NAME")
        return f"there is no sampler {sampler!r}; {hint(sampler, known, otherwise='choose one of:')}"
    supported = SAMPLER_INFO[sampler].paths
    if path in supported:
        return None
    other = next(name for name, info in SAMPLER_INFO.items() if path in info.paths)
    return f"the sampler {sampler} supports the path {' or '.join(supported)}, not {path}; use {other}"


def image_count(n: int) -> int:
    """Validate a number of images.

    Raises:
        MinidiffError: `n` is not a whole number from 1 to `MAX_IMAGES`.
    """
    n = whole_number(n, "n")
    if n < 1:
        raise MinidiffError(f"n must be at least 1, not {n}")
    if n > MAX_IMAGES:
        raise MinidiffError(f"n must be at most {MAX_IMAGES:,}, not {n:,}; use several seeds for more")
    return n


def _second_level(sampler: str, t: float, t_next: float) -> float | None:
    """Noise level of a second-order sampler's second evaluation in the step from t to t_next; None for others."""
    name = sampler.removeprefix(DIFFUSERS)
    if name == "KDPM2DiscreteScheduler":  # at the geometric mean of sigma / alpha (Karras et al. 2022, algorithm 2)
        return _vp_level(math.sqrt(_vp_ratio(t) * _vp_ratio(t_next)))
    if name in _SECOND_ORDER:
        return t_next
    info = SAMPLER_INFO.get(sampler)
    return t + info.second_at * (t_next - t) if info is not None and info.evaluations == 2 else None


def _vp_ratio(t: float) -> float:
    """Sigma over alpha on the path vp; the integral of beta is 0.1 t + 9.95 t^2."""
    return math.sqrt(math.expm1(0.1 * t + 9.95 * t * t))


def _vp_level(ratio: float) -> float:
    """The inverse of `_vp_ratio`."""
    return (math.sqrt(0.01 + 39.8 * math.log1p(ratio * ratio)) - 0.1) / 19.9


def evaluations(chosen: Sampling, path: str, start_t: float = 1.0, resamplings: int = 1) -> int:
    """Network evaluations per image; each counts twice where guidance is applied.

    Args:
        chosen: Resolved options.
        path: The model's path.
        start_t: Noise level of the start.
        resamplings: How often each step but the last is taken, as for `inpaint`.
    """
    count = 0
    for t, t_next in itertools.pairwise(noise_levels(chosen.steps, chosen.shift, start_t)):
        second = _second_level(chosen.sampler, t, t_next) if t_next > 0 else None
        levels = [t] if second is None else [t, second]
        guided = sum(is_guided(path, level) for level in levels) if chosen.guidance != 1 else 0
        count += (len(levels) + guided) * (resamplings if t_next > 0 else 1)
    return count


def describe_sampling(chosen: Sampling, path: str) -> str:
    """Sampling options and network evaluations per image, in words."""
    guided = f", guidance {chosen.guidance:g}" if chosen.guidance != 1 else ""
    shifted = f", shift {chosen.shift:g}" if chosen.shift != 1 else ""
    contrast = f", contrast {chosen.contrast:g}" if chosen.contrast != 0 else ""
    steps = "1 step" if chosen.steps == 1 else f"{chosen.steps} steps"
    count = evaluations(chosen, path)
    evaluated = "1 evaluation" if count == 1 else f"{count} evaluations"
    return f"{chosen.sampler}, {steps}{guided}{shifted}{contrast}, {evaluated} each"


def noise_levels(steps: int, shift: float = 1.0, start: float = 1.0) -> list[float]:
    """The `steps` + 1 noise levels of a sampling trajectory, from `start` down to 0.

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
    """Validate sampling options and fill in the model's defaults.

    Args:
        config: Config that the model was trained with.
        n: Number of images.
        steps: 1 to `MAX_STEPS`.
        labels: One class for all images, or n classes, each from 0, or -1 for unconditional; None: all classes in
            turn.
        options: Guidance other than 1 needs a class-conditional model; contrast other than 0 needs the path flow and
            a network that does not predict the noise.

    Returns:
        The resolved options, and n classes, each -1 or more, or None for an unconditional model.

    Raises:
        MinidiffError: A value is out of range, or the model does not support an option.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if not isinstance(given.get("sampler", ""), str):
        raise MinidiffError(f"sampler must be a name, not {type(given['sampler']).__name__}")
    given |= {name: number(value, name) for name, value in given.items() if name != "sampler"}
    if steps is not None:
        given["steps"] = whole_number(steps, "steps")
    chosen = replace(defaults_for(config), **given)
    if chosen.steps < 1:
        raise MinidiffError(f"steps must be at least 1, not {chosen.steps}")
    if chosen.steps > MAX_STEPS:
        raise MinidiffError(f"steps must be at most {MAX_STEPS:,}, not {chosen.steps}")
    if reason := incompatibility(chosen.sampler, config.path):
        raise MinidiffError(reason)
    if not 0 <= chosen.guidance < math.inf:
        raise MinidiffError(f"guidance must be a number from 0, not {chosen.guidance:g}")
    low, high = SHIFT_RANGE
    if not low <= chosen.shift <= high:
        raise MinidiffError(f"shift must be a number from {low:g} to {high:g}, not {chosen.shift:g}")
    if not 0 <= chosen.contrast < math.inf:
        raise MinidiffError(f"contrast must be a number from 0, not {chosen.contrast:g}")
    if chosen.contrast and (reason := _contrast_unsupported(config)):
        raise MinidiffError(f"{reason}; leave it at 0")
    if config.objective == "consistency" and (chosen.guidance != 1 or chosen.contrast):
        raise MinidiffError(
            "guidance and contrast are part of a distilled model; leave guidance at 1 and contrast at 0"
        )
    if not config.class_conditional:
        if labels is not None:
            raise MinidiffError("this model was trained without classes; leave the class out")
        if chosen.guidance != 1:
            raise MinidiffError("this model was trained without classes, which guidance needs; leave guidance at 1")
        return chosen, None
    classes = _classes(n, labels, config.info.classes)
    if not config.label_dropout and (chosen.guidance != 1 or NO_CLASS in classes):
        raise MinidiffError(
            f"this model was trained without a null class, which guidance and class {NO_CLASS} need; leave guidance at "
            f"1 and choose a class from 0 to {config.info.classes - 1}"
        )
    if set(classes) == {NO_CLASS}:  # conditional and unconditional predictions are the same
        chosen = replace(chosen, guidance=1.0)
    return chosen, classes


def class_label(text: str, info: DatasetInfo) -> int:
    """The label of a class given by name or number; `NO_CLASS` is a number too.

    Raises:
        MinidiffError: There is no such class.
    """
    if text in info.class_names:
        return info.class_names.index(text)
    if text.removeprefix("-").isdecimal():
        return int(text)
    raise MinidiffError(f"there is no class {text!r}; {hint(text, info.class_names, otherwise='classes are')}")


def _classes(n: int, labels: int | Iterable[int] | None, count: int) -> tuple[int, ...]:
    if labels is None:
        return tuple(index % count for index in range(n))
    try:
        each = iter(labels)  # type: ignore[arg-type] # TypeError for a number or a 0-d tensor
    except TypeError:
        each = itertools.repeat(labels, n)  # type: ignore[arg-type]
    classes = tuple(whole_number(label, "a class") for label in each)
    if len(classes) != n:
        raise MinidiffError(f"{n} images need {n} labels, not {len(classes)}; or give one number for all")
    for label in classes:
        if label != NO_CLASS and not 0 <= label < count:
            raise MinidiffError(f"a class must be a number from 0 to {count - 1}, or {NO_CLASS} for any, not {label}")
    return classes
