"""Samplers against diffusers schedulers, step by step, and against the exact solution for Gaussian data."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from core.config.datasets import DIGITS
from core.config.sampling import (
    DIFFUSERS,
    SAMPLER_NAMES,
    SCHEDULERS,
    Sampling,
    evaluations,
    incompatibility,
    noise_levels,
)
from core.config.training import PREDICTIONS, TrainConfig
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, ProbPath, training_target
from core.diffusion.samplers import SAMPLERS, Denoiser, Sampler, step_generators
from core.diffusion.sampling import sample

MEAN, SPREAD = 0.2, 0.5  # of the Gaussian data
SHAPE = (4, 1, 4, 4)
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # diffusers with NumPy 2


class Ideal(nn.Module):
    """The optimal network for data from N(MEAN, SPREAD^2), in closed form."""

    def __init__(self, path: ProbPath, prediction: str) -> None:
        super().__init__()
        self.path, self.prediction = path, prediction

    def forward(self, x: Tensor, amount: Tensor, labels: Tensor | None) -> Tensor:
        signal, noise = (coefficient(amount).view(-1, 1, 1, 1) for coefficient in (self.path.alpha, self.path.sigma))
        total = signal.square() * SPREAD**2 + noise.square()
        away = x - signal * MEAN
        clean = MEAN + signal * SPREAD**2 / total * away
        return training_target(self.path, self.prediction, clean, noise / total * away, amount)


class Wavy(nn.Module):
    """An arbitrary smooth float32 network: two solvers agree on it only if they are the same."""

    def forward(self, x: Tensor, amount: Tensor, labels: Tensor | None) -> Tensor:
        return torch.sin(3 * x + 2 * amount.view(-1, 1, 1, 1)) * 0.8


def exact_flow(path: ProbPath, x: Tensor, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Exact probability flow of N(MEAN, SPREAD^2) from x at noise level `start` to `end`."""
    (signal, noise), (signal_end, noise_end) = path.alpha_sigma(start), path.alpha_sigma(end)
    away = (x - signal * MEAN) / math.sqrt(signal**2 * SPREAD**2 + noise**2)
    return signal_end * MEAN + math.sqrt(signal_end**2 * SPREAD**2 + noise_end**2) * away


def start_noise(path: ProbPath, dtype: torch.dtype = torch.float32) -> Tensor:
    return path.sample_noise(SHAPE, torch.Generator().manual_seed(3)).to(dtype)


def states(sampler: Sampler, denoiser: Denoiser, x: Tensor, falling: Sequence[float]) -> list[Tensor]:
    generators = step_generators(torch.Generator().manual_seed(0))
    return [state for state, _ in sampler(denoiser, x, falling, generators)]


# Over the full range dpm2m loses its second order at the ends, where log(signal / noise) is infinite.
@pytest.mark.parametrize(
    ("name", "path", "prediction", "start", "end", "order"),
    [
        ("mix", "mix", "clean", 1, 0, 1),
        ("mix", "flow", "clean", 1, 0, 1),
        ("euler", "mix", "velocity", 1, 0, 1),
        ("euler", "flow", "velocity", 1, 0, 1),
        ("euler", "flow", "clean", 1, 0, 1),
        ("ddim", "flow", "velocity", 1, 0, 1),
        ("ddim", "vp", "noise", 1, 0, 1),
        ("ddim", "vp", "v", 1, 0, 1),
        ("heun", "mix", "clean", 1, 0, 2),
        ("heun", "flow", "velocity", 1, 0, 2),
        ("heun", "flow", "clean", 1, 0, 2),
        ("dpm2m", "flow", "velocity", 0.9, 0.1, 2),
        ("dpm2m", "flow", "noise", 0.9, 0.1, 2),
        ("dpm2m", "vp", "v", 0.9, 0.3, 2),
        ("dpm2m", "vp", "clean", 0.9, 0.3, 2),
    ],
)
def test_the_error_falls_with_the_expected_order(
    name: str, path: str, prediction: str, start: float, end: float, order: int
) -> None:
    prob_path = PATHS[path]
    denoiser = Denoiser(Ideal(prob_path, prediction), prob_path, prediction)
    x = start_noise(prob_path, torch.float64) / 2  # so no clean prediction leaves the image range and is clipped
    errors = []
    for steps in (64, 128, 256):
        falling = [end + (start - end) * a for a in noise_levels(steps)]
        errors.append(
            (states(SAMPLERS[name], denoiser, x, falling)[-1] - exact_flow(prob_path, x, start, end)).norm().item()
        )
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes == pytest.approx([order, order], abs=0.06)


@pytest.mark.parametrize("path", ["flow", "vp"])
def test_dpm2m_is_more_accurate_than_ddim_over_the_full_trajectory(path: str) -> None:
    prob_path = PATHS[path]
    x = start_noise(prob_path, torch.float64)
    denoiser = Denoiser(Ideal(prob_path, "clean"), prob_path, "clean")
    expected = exact_flow(prob_path, x)
    t = noise_levels(32)
    errors = {name: (states(SAMPLERS[name], denoiser, x, t)[-1] - expected).abs().max() for name in ("dpm2m", "ddim")}
    assert errors["dpm2m"] < 0.02
    assert errors["dpm2m"] < errors["ddim"] / 5


@pytest.mark.parametrize(("path", "prediction"), [("vp", "v"), ("flow", "velocity")])
def test_ddpm_gives_the_mean_and_variance_of_the_data(path: str, prediction: str) -> None:
    prob_path = PATHS[path]
    x = prob_path.sample_noise((1000, 1, 4, 4), torch.Generator().manual_seed(1)).double()
    *_, last = states(
        SAMPLERS["ddpm"], Denoiser(Ideal(prob_path, prediction), prob_path, prediction), x, noise_levels(400)
    )
    assert last.mean().item() == pytest.approx(MEAN, abs=0.015)
    assert last.std().item() == pytest.approx(SPREAD, rel=0.03)  # the relative error is about 8 / steps


def vp_options() -> dict[str, Any]:
    """Options that give a diffusers scheduler the variance-preserving path: timestep i is noise level (i + 1)/1000."""
    shares = [math.exp(-0.1 * k / 1000 - 9.95 * (k / 1000) ** 2) for k in range(1001)]
    betas = [1 - after / before for before, after in pairwise(shares)]
    return {"trained_betas": betas, "prediction_type": "epsilon", "timestep_spacing": "trailing"}


def diffusers_states(
    scheduler: Any, denoiser: Denoiser, x: Tensor, divisor: Callable[[int], float] = lambda _: 1.0
) -> Any:
    """The states of the diffusers loop on vp; `divisor` converts states in another scale to that of the path."""
    twin = step_generators(torch.Generator().manual_seed(0))  # the same generators that our sampler gets
    actual = []
    for index, t in enumerate(scheduler.timesteps):
        eps = denoiser(x / divisor(index), (float(t) + 1) / 1000).noise
        extra = {"generator": next(twin)} if isinstance(scheduler, diffusers.DDPMScheduler) else {}
        x = scheduler.step(eps, t, x, return_dict=False, **extra)[0]
        actual.append(x / divisor(index + 1))
    return actual


def assert_same(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("ddpm", diffusers.DDPMScheduler, {"clip_sample": False, "variance_type": "fixed_small"}),
        ("ddim", diffusers.DDIMScheduler, {"clip_sample": False}),
        ("dpm2m", diffusers.DPMSolverMultistepScheduler, {"solver_order": 2, "algorithm_type": "dpmsolver++"}),
    ],
)
def test_on_vp_every_state_matches_diffusers(name: str, kind: Any, options: dict[str, Any], steps: int) -> None:
    prob_path = PATHS["vp"]
    denoiser = Denoiser(Wavy(), prob_path, "v")
    scheduler = kind(**vp_options(), **options)
    scheduler.set_timesteps(steps)
    x = start_noise(prob_path)
    assert_same(
        states(SAMPLERS[name], denoiser, x, noise_levels(steps)), diffusers_states(scheduler, denoiser, x), 2e-4
    )


@pytest.mark.parametrize("steps", [1, 10])
def test_ddim_matches_diffusers_euler_on_the_variance_exploding_scale(steps: int) -> None:
    prob_path = PATHS["vp"]
    denoiser = Denoiser(Wavy(), prob_path, "v")
    scheduler = diffusers.EulerDiscreteScheduler(**vp_options())
    scheduler.set_timesteps(steps)
    scheduler.is_scale_input_called = True
    x = start_noise(prob_path)

    def scale(index: int) -> float:
        return math.sqrt(float(scheduler.sigmas[index]) ** 2 + 1)

    expected = diffusers_states(scheduler, denoiser, x * scale(0), scale)
    assert_same(states(SAMPLERS["ddim"], denoiser, x, noise_levels(steps)), expected, 2e-4)


@pytest.mark.parametrize(("steps", "shift"), [(1, 1), (10, 1), (10, 2.5)])
@pytest.mark.parametrize("name", ["euler", "ddim", "mix"])
def test_on_flow_every_state_matches_diffusers_euler(name: str, steps: int, shift: float) -> None:
    prob_path = PATHS["flow"]
    denoiser = Denoiser(Wavy(), prob_path, "velocity")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    falling = noise_levels(steps, shift)
    scheduler.set_timesteps(sigmas=falling[:-1])
    x = start_noise(prob_path)
    expected, moved = [], x
    for t, a in zip(scheduler.timesteps, falling[:-1], strict=True):
        moved = scheduler.step(denoiser(moved, a).velocity, t, moved, return_dict=False)[0]
        expected.append(moved)
    assert_same(states(SAMPLERS[name], denoiser, x, falling), expected, 5e-6)


@pytest.mark.parametrize("steps", [2, 10])
def test_heun_matches_diffusers_heun(steps: int) -> None:
    prob_path = PATHS["flow"]
    denoiser = Denoiser(Wavy(), prob_path, "velocity")
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(steps)
    falling = [*(float(t) / 1000 for t in scheduler.timesteps[::2]), 0.0]  # the scheduler chooses its own timesteps
    x = moved = start_noise(prob_path)
    expected = []
    for index, t in enumerate(scheduler.timesteps):
        moved = scheduler.step(denoiser(moved, float(t) / 1000).velocity, t, moved, return_dict=False)[0]
        if index % 2 or index == len(scheduler.timesteps) - 1:
            expected.append(moved)
    assert_same(states(SAMPLERS["heun"], denoiser, x, falling), expected, 5e-5)  # heun divides by 0.001


@pytest.mark.parametrize("name", SAMPLER_NAMES)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shift", [0.4, 1, 3])
def test_every_compatible_sampler_yields_one_state_per_step_with_the_documented_evaluations(
    name: str, path: str, shift: float
) -> None:
    if incompatibility(name, path):
        pytest.skip("does not fit")
    received = []

    class Counting(Wavy):
        def forward(self, x: Tensor, amount: Tensor, labels: Tensor | None) -> Tensor:
            received.append(amount[0].item())
            return super().forward(x, amount, labels)

    prob_path = PATHS[path]
    for prediction in PREDICTIONS[path]:
        for steps in (1, 2, 5):
            received.clear()
            trajectory = SAMPLERS[name](
                Denoiser(Counting(), prob_path, prediction),
                start_noise(prob_path),
                noise_levels(steps, shift),
                step_generators(torch.Generator()),
            )
            actual = list(trajectory)
            assert len(actual) == steps
            assert len(received) == evaluations(Sampling(name, steps, 1.0, shift), path)
            assert received[0] == 1
            assert all(a > 0 for a in received)
            assert all(bool(torch.isfinite(part).all()) for pair in actual for part in pair)
    x, clean = actual[-1]
    if name in ("mix", "ddpm", "ddim", "dpm2m"):  # their last state is the last input of the network
        torch.testing.assert_close(x, clean, atol=1e-6, rtol=0)


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("name", [*SAMPLERS, *(DIFFUSERS + name for names in SCHEDULERS.values() for name in names)])
@pytest.mark.parametrize("steps", [1, 6, 20, 33])
def test_guidance_costs_the_documented_evaluations(name: str, path: str, steps: int) -> None:
    if incompatibility(name, path):
        pytest.skip(f"{name} does not support {path}")
    if name.endswith("LMSDiscreteScheduler"):
        pytest.importorskip("scipy")
    rows = []

    class Counting(nn.Module):
        def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            rows.append(len(x))
            return x * 0.5

    prediction = "v" if path == "vp" else "velocity"
    config = TrainConfig(path=path, prediction=prediction, precision="float32")
    model = LoadedModel(Counting(), config, 0, "counting")
    for _ in sample(model, n=1, steps=steps, sampler=name, guidance=2.0, contrast=0.0):
        pass
    assert sum(rows) == evaluations(Sampling(name, steps, 2.0, 1.0), path)


def test_ddpm_noise_does_not_depend_on_the_batch_size() -> None:
    prob_path = PATHS["vp"]
    x = prob_path.sample_noise((5, 1, 4, 4), torch.Generator().manual_seed(0))
    many = states(SAMPLERS["ddpm"], Denoiser(Wavy(), prob_path, "v"), x, noise_levels(4))
    few = states(SAMPLERS["ddpm"], Denoiser(Wavy(), prob_path, "v"), x[:2], noise_levels(4))
    assert_same([state[:2] for state in many], few, 1e-6)
    assert not torch.equal(many[0], states(SAMPLERS["ddim"], Denoiser(Wavy(), prob_path, "v"), x, noise_levels(4))[0])


class Labelled(nn.Module):
    """Outputs its label, and records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, object, Tensor | None]] = []

    def forward(self, x: Tensor, amount: Tensor | int, labels: Tensor | None = None) -> Tensor:
        self.calls.append((x, amount, labels))
        return x * 0 if labels is None else x * 0 + labels.view(-1, 1, 1, 1).to(x)


def test_guidance_evaluates_both_in_one_batch_and_extrapolates() -> None:
    net, x = Labelled(), start_noise(PATHS["flow"])
    labels = torch.tensor([0, 3, 9, DIGITS.null_class])
    actual = Denoiser(net, PATHS["flow"], "velocity", labels=labels, guidance=2.5)(x, 0.5)
    ((inputs, amount, received),) = net.calls
    assert torch.equal(inputs, torch.cat((x, x)))
    assert torch.equal(amount, torch.full((8,), 0.5))
    assert received is not None
    assert received.tolist() == [
        0,
        3,
        9,
        DIGITS.null_class,
        DIGITS.null_class,
        DIGITS.null_class,
        DIGITS.null_class,
        DIGITS.null_class,
    ]
    expected = [DIGITS.null_class + 2.5 * (label - DIGITS.null_class) for label in (0, 3, 9, DIGITS.null_class)]
    torch.testing.assert_close(actual.velocity[:, 0, 0, 0], torch.tensor(expected))


@pytest.mark.parametrize(("labels", "guidance"), [(torch.tensor([1, 2, 3, 4]), 1.0), (None, 1.0), (None, 2.0)])
def test_without_guidance_each_image_is_evaluated_once(labels: Tensor | None, guidance: float) -> None:
    net, x = Labelled(), start_noise(PATHS["flow"])
    Denoiser(net, PATHS["flow"], "velocity", labels=labels, guidance=guidance)(x, 0.5)
    ((inputs, _, received),) = net.calls
    assert inputs is x
    assert received is labels


def test_a_model_without_time_conditioning_gets_timestep_0() -> None:
    net, x = Labelled(), start_noise(PATHS["mix"])
    Denoiser(net, PATHS["mix"], "clean", time_conditioning=False)(x, 0.5)
    labels = torch.tensor([1, 2, 3, 4])
    Denoiser(net, PATHS["mix"], "clean", time_conditioning=False, labels=labels)(x, 0.5)
    assert [(amount, received) for _, amount, received in net.calls] == [(0, None), (0, labels)]


@pytest.mark.parametrize(("precision", "inside"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_only_the_network_runs_in_reduced_precision(precision: str, inside: torch.dtype) -> None:
    inputs = []

    class Convolving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor, amount: Tensor, labels: Tensor | None) -> Tensor:
            output: Tensor = self.convolution(x)
            inputs.append((x.dtype, amount.dtype, output.dtype))
            return output

    actual = Denoiser(Convolving(), PATHS["flow"], "velocity", precision=precision)(start_noise(PATHS["flow"]), 0.5)
    assert inputs == [(torch.float32, torch.float32, inside)]
    assert {part.dtype for part in actual} == {torch.float32}


def test_a_noise_prediction_is_clipped_to_the_image_range() -> None:
    prob_path = PATHS["flow"]
    actual = Denoiser(Wavy(), prob_path, "noise")(start_noise(prob_path), 1.0)
    assert actual.denoised.abs().max() == 1
    torch.testing.assert_close(actual.velocity, actual.noise - actual.denoised, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_a_generator_of_at_most_30_lines_with_the_common_signature(name: str) -> None:
    assert inspect.isgeneratorfunction(SAMPLERS[name])
    assert len(inspect.getsource(SAMPLERS[name]).splitlines()) <= 30
    assert inspect.signature(SAMPLERS[name]) == inspect.signature(SAMPLERS["euler"])
