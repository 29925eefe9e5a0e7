"""diffusers' schedulers as samplers: one adapter for any that knows the path and takes its steps as we space them."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.compute.torch_settings import standard_defaults
from core.config.sampling import DIFFUSERS, SCHEDULERS
from core.diffusion.prob_paths import PATHS, ProbPath
from core.diffusion.samplers import Denoiser, Generators, Sampler, Steps
from core.errors import MinidiffError

TRAIN_STEPS = 1000  # diffusers counts noise in steps: timestep t stands for the amount (t + 1) / TRAIN_STEPS


def scheduled(name: str) -> Sampler:
    """The sampler that steps as diffusers' scheduler of class `name` does, with its own defaults but for the path.

    On vp it takes equal steps from amount 1, each rounded to a thousandth; on flow, any.

    Raises:
        MinidiffError: there is no such scheduler, or it needs a package that is not installed.
    """
    kind = _found(name)
    if kind is None:
        if missing := _missing_packages(name):
            raise MinidiffError(
                f"diffusers' {name} needs {' and '.join(missing)}: pip install {' '.join(missing)}; {_what_fits('vp')}"
            )
        raise MinidiffError(f"diffusers has no scheduler {name!r} here; {_what_fits('vp')}; {_what_fits('flow')}")

    def walk(denoiser: Denoiser, x: Tensor, noise_levels: Sequence[float], generators: Generators) -> Steps:
        with standard_defaults():
            scheduler = _flow(kind, noise_levels) if denoiser.path.name == "flow" else _preserving(kind, noise_levels)
        return _walk(scheduler, denoiser, x, generators)

    return walk


def _found(name: str) -> type | None:
    import diffusers

    kind = _named(name)
    return kind if isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin) else None


def _missing_packages(name: str) -> list[str]:
    """What has to be installed for a scheduler, in whose place diffusers has a dummy that lists what it needs."""
    needed = getattr(_named(name), "_backends", ())
    return [package for package in needed if importlib.util.find_spec(package) is None]


def _named(name: str) -> object:
    import diffusers

    try:
        return getattr(diffusers, name)
    except (AttributeError, ImportError):
        return None


def variance_preserving_betas(path: ProbPath | None = None) -> list[float]:
    """DDPM's beta of each of TRAIN_STEPS steps, so that after step t (from 0) the path is at (t + 1) / TRAIN_STEPS."""
    path = path or PATHS["vp"]
    a = torch.linspace(0, 1, TRAIN_STEPS + 1, dtype=torch.float64, device="cpu")
    shares = path.alpha(a).square()
    betas: list[float] = (1 - shares[1:] / shares[:-1]).tolist()
    return betas


def _preserving(kind: type, noise_levels: Sequence[float]) -> Any:
    steps, takes = len(noise_levels) - 1, _parameters(kind)
    if not {"trained_betas", "prediction_type", "timestep_spacing"} <= takes or "order" not in dir(kind):
        raise MinidiffError(f"{kind.__name__} does not support the path vp; {_what_fits('vp')}")
    if steps > TRAIN_STEPS or any(abs(a - (1 - i / steps)) > 1e-9 for i, a in enumerate(noise_levels)):
        raise MinidiffError(
            f"on the path vp diffusers' schedulers take at most {TRAIN_STEPS} equal steps from pure noise; "
            "leave shift at 1 and start from noise, or use another sampler"
        )
    options: dict[str, Any] = {"trained_betas": variance_preserving_betas(), "prediction_type": "epsilon"}
    if "clip_sample" in takes:
        options["clip_sample"] = False
    scheduler = kind(num_train_timesteps=TRAIN_STEPS, timestep_spacing="trailing", **options)
    scheduler.set_timesteps(steps)
    found = scheduler.timesteps[:: scheduler.order].tolist()
    wanted = [TRAIN_STEPS * a - 1 for a in noise_levels[:-1]]
    if len(found) != steps or any(abs(t - w) > 1 for t, w in zip(found, wanted, strict=True)):
        raise MinidiffError(f"{kind.__name__} does not take the requested steps; {_what_fits('vp')}")
    return scheduler


def _flow(kind: type, noise_levels: Sequence[float]) -> Any:
    if not kind.__name__.startswith("FlowMatch") or "sigmas" not in inspect.signature(kind.set_timesteps).parameters:  # type: ignore[attr-defined]
        raise MinidiffError(f"{kind.__name__} does not take steps on the path flow as given; {_what_fits('flow')}")
    scheduler = kind(num_train_timesteps=TRAIN_STEPS)
    scheduler.set_timesteps(sigmas=list(noise_levels[:-1]))
    return scheduler


def _walk(scheduler: Any, denoiser: Denoiser, x: Tensor, generators: Generators) -> Steps:
    flow = denoiser.path.name == "flow"
    noisy = "generator" in inspect.signature(scheduler.step).parameters
    last = len(scheduler.timesteps) - 1
    x = x * getattr(scheduler, "init_noise_sigma", 1.0)  # some walk on a multiple of x, which scale_model_input undoes
    for index, t in enumerate(scheduler.timesteps):
        seen = x if flow else _scaled(scheduler, x, t)
        found = denoiser(seen, (float(t) + (not flow)) / TRAIN_STEPS)
        if index % scheduler.order == 0:
            clean = found.denoised
        extra = {"generator": next(generators)} if noisy else {}
        with standard_defaults():
            x = scheduler.step(found.velocity if flow else found.noise, t, x, return_dict=False, **extra)[0]
        if index == last:
            yield x, clean
        elif (index + 1) % scheduler.order == 0:
            yield (x if flow else _scaled(scheduler, x, scheduler.timesteps[index + 1])), clean


def _scaled(scheduler: Any, x: Tensor, t: Any) -> Tensor:
    """x as the net takes it at timestep t."""
    with standard_defaults():
        scaled: Tensor = scheduler.scale_model_input(x, t)
    return scaled


def _parameters(kind: type) -> set[str]:
    return set(inspect.signature(kind).parameters)


def _what_fits(path: str) -> str:
    names = (name for name in SCHEDULERS[path] if _found(name))  # an older diffusers has not all of them
    return f"on the path {path} take " + ", ".join(DIFFUSERS + name for name in names)
