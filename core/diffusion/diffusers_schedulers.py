"""diffusers' schedulers as samplers."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.compute.torch_settings import standard_defaults
from core.config.sampling import DIFFUSERS, SCHEDULERS
from core.diffusion.prob_paths import PATHS, DiscreteSchedule, ProbPath
from core.diffusion.samplers import Denoiser, Generators, Sampler, Steps
from core.errors import CheckpointError, MinidiffError

MIN_ALPHA_SQUARED = 1e-12  # of a schedule that ends in pure noise, so that log(alpha) is finite
TRAIN_STEPS = 1000  # diffusers' timestep i stands for noise level (i + 1) / TRAIN_STEPS


def scheduler_sampler(name: str) -> Sampler:
    """A sampler that uses a scheduler of diffusers, with its default options except for the noise schedule.

    On vp it supports equal steps from noise level 1, each rounded to a thousandth; on flow, any steps.

    Args:
        name: Class name of the scheduler.

    Raises:
        MinidiffError: There is no such scheduler, or it needs a package that is not installed.
    """
    scheduler_class = _scheduler_class(name)
    if scheduler_class is None:
        if missing := _missing_packages(name):
            raise MinidiffError(
                f"diffusers' {name} needs {' and '.join(missing)}: pip install {' '.join(missing)}; {_supported('vp')}"
            )
        raise MinidiffError(f"diffusers has no scheduler {name!r}; {_supported('vp')}; {_supported('flow')}")

    def sampler(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
        create = _flow_scheduler if denoiser.path.name == "flow" else _variance_preserving_scheduler
        with standard_defaults():
            scheduler = create(scheduler_class, denoiser.path, times)
        return _run_scheduler(scheduler, denoiser, x, generators)

    return sampler


def _scheduler_class(name: str) -> type | None:
    import diffusers

    value = _attribute(name)
    return value if isinstance(value, type) and issubclass(value, diffusers.SchedulerMixin) else None


def _missing_packages(name: str) -> list[str]:
    """Missing packages of a scheduler for which diffusers has a dummy class that lists its requirements."""
    needed = getattr(_attribute(name), "_backends", ())
    return [package for package in needed if importlib.util.find_spec(package) is None]


def _attribute(name: str) -> object:
    import diffusers

    try:
        return getattr(diffusers, name)
    except (AttributeError, ImportError):
        return None


def discrete_schedule(folder: Path, options: dict[str, Any]) -> DiscreteSchedule:
    """The path of a scheduler of diffusers, given its config as in `core.runs.pipelines.Pipeline`.

    Raises:
        CheckpointError: The config is not valid; the message names `folder`.
    """
    import diffusers

    try:
        with standard_defaults():
            scheduler = getattr(diffusers, options["_class_name"]).from_config(options)
        alphas_cumprod = torch.cat((torch.ones(1), scheduler.alphas_cumprod.cpu())).double()
    except (TypeError, ValueError, LookupError, RuntimeError, ArithmeticError, AttributeError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{folder} has an invalid scheduler_config.json: {message}") from None
    count = scheduler.config.num_train_timesteps
    # NaN fails, too. With zero terminal SNR the last is 0 exactly.
    valid = bool(((alphas_cumprod >= 0) & (alphas_cumprod <= 1)).all() and (alphas_cumprod.diff() <= 0).all())
    if len(alphas_cumprod) != count + 1 or not valid:
        raise CheckpointError(
            f"{folder} has an invalid scheduler_config.json: its betas must be {count:,} numbers from 0 to 1"
        )
    alphas_cumprod[0] = getattr(scheduler, "final_alpha_cumprod", 1.0)  # at the end of a trajectory

    def timesteps(steps: int) -> list[int]:
        with standard_defaults():
            scheduler.set_timesteps(steps)
        return [min(int(i), count - 1) for i in scheduler.timesteps]

    clip = float(scheduler.config.clip_sample_range) if scheduler.config.clip_sample else None
    return DiscreteSchedule("vp", -1.0, 1.0, True, alphas_cumprod.clamp(min=MIN_ALPHA_SQUARED).log(), timesteps, clip)


def variance_preserving_betas(path: ProbPath = PATHS["vp"]) -> list[float]:
    """DDPM's betas, TRAIN_STEPS in number: after step i (from 0) the path is at noise level (i + 1) / TRAIN_STEPS."""
    t = torch.linspace(0, 1, TRAIN_STEPS + 1, dtype=torch.float64, device="cpu")
    alphas_cumprod = path.alpha(t).square()
    betas: list[float] = (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).tolist()
    return betas


def _variance_preserving_scheduler(scheduler_class: type, path: ProbPath, times: Sequence[float]) -> Any:
    steps, parameters = len(times) - 1, _parameters(scheduler_class)
    required = {"trained_betas", "prediction_type", "timestep_spacing"}
    if not required <= parameters or "order" not in dir(scheduler_class):
        raise MinidiffError(f"{scheduler_class.__name__} does not support the path vp; {_supported('vp')}")
    if steps > TRAIN_STEPS or any(abs(t - (1 - i / steps)) > 1e-9 for i, t in enumerate(times)):
        raise MinidiffError(
            f"on the path vp diffusers' schedulers take at most {TRAIN_STEPS} equal steps from pure noise; "
            "leave shift at 1 and start from noise, or use another sampler"
        )
    options: dict[str, Any] = {"trained_betas": variance_preserving_betas(path), "prediction_type": "epsilon"}
    if "clip_sample" in parameters:
        options["clip_sample"] = False
    scheduler = scheduler_class(num_train_timesteps=TRAIN_STEPS, timestep_spacing="trailing", **options)
    scheduler.set_timesteps(steps)
    actual = scheduler.timesteps[:: scheduler.order].tolist()
    expected = [TRAIN_STEPS * t - 1 for t in times[:-1]]
    if len(actual) != steps or any(abs(a - b) > 1 for a, b in zip(actual, expected, strict=True)):
        raise MinidiffError(f"{scheduler_class.__name__} does not take the requested steps; {_supported('vp')}")
    return scheduler


def _flow_scheduler(scheduler_class: type, path: ProbPath, times: Sequence[float]) -> Any:
    name = scheduler_class.__name__
    set_timesteps = getattr(scheduler_class, "set_timesteps", None)
    if not name.startswith("FlowMatch") or "sigmas" not in inspect.signature(set_timesteps).parameters:  # type: ignore[arg-type]
        raise MinidiffError(f"{name} does not take the requested steps on the path flow; {_supported('flow')}")
    scheduler = scheduler_class(num_train_timesteps=TRAIN_STEPS)
    scheduler.set_timesteps(sigmas=list(times[:-1]))
    return scheduler


def _run_scheduler(scheduler: Any, denoiser: Denoiser, x: Tensor, generators: Generators) -> Steps:
    flow = denoiser.path.name == "flow"
    stochastic = "generator" in inspect.signature(scheduler.step).parameters
    last = len(scheduler.timesteps) - 1
    x = x * getattr(scheduler, "init_noise_sigma", 1.0)  # some schedulers scale x; scale_model_input reverts it
    for index, t in enumerate(scheduler.timesteps):
        x_t = x if flow else _model_input(scheduler, x, t)
        predicted = denoiser(x_t, (float(t) + (not flow)) / TRAIN_STEPS)
        if index % scheduler.order == 0:
            denoised = predicted.denoised
        extra = {"generator": next(generators)} if stochastic else {}
        with standard_defaults():
            x = scheduler.step(predicted.velocity if flow else predicted.noise, t, x, return_dict=False, **extra)[0]
        if index == last:
            yield x, denoised
        elif (index + 1) % scheduler.order == 0:
            yield (x if flow else _model_input(scheduler, x, scheduler.timesteps[index + 1])), denoised


def _model_input(scheduler: Any, x: Tensor, t: Any) -> Tensor:
    """X scaled as input of the network at timestep t."""
    with standard_defaults():
        scaled: Tensor = scheduler.scale_model_input(x, t)
    return scaled


def _parameters(scheduler_class: type) -> set[str]:
    return set(inspect.signature(scheduler_class).parameters)


def _supported(path: str) -> str:
    names = (name for name in SCHEDULERS[path] if _scheduler_class(name))  # older versions of diffusers lack some
    return f"on the path {path} use " + ", ".join(DIFFUSERS + name for name in names)
