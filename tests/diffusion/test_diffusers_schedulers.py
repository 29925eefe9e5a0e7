"""Diffusers schedulers as samplers: compatible ones follow our path and noise levels, others are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import diffusers
import pytest
import torch
from torch import Tensor, nn

from core import load_model, sample
from core.config.sampling import DIFFUSERS, SCHEDULERS, Sampling, evaluations, incompatibility, noise_levels
from core.diffusion.diffusers_schedulers import scheduler_sampler
from core.diffusion.frames import quantized
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, ProbPath, training_target
from core.diffusion.samplers import SAMPLERS, Denoiser, step_generators
from core.errors import MinidiffError
from core.evaluation.feature_classifiers import available_classifier, classify
from core.runs.directory import BUILTIN, builtin_directories

MEAN, SPREAD = 0.2, 0.5
STEPS = 40
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # diffusers with NumPy 2
KINDS = sorted(name for name in dir(diffusers) if name.endswith("Scheduler") and hasattr(diffusers, name))


def require_scheduler(name: str) -> None:
    """Skip a test if the installed diffusers lacks a scheduler or one of its dependencies."""
    if "_backends" in dir(getattr(diffusers, name, object)):
        pytest.skip(f"{name} needs {getattr(diffusers, name)._backends}")
    if not hasattr(diffusers, name):
        pytest.skip(f"diffusers {diffusers.__version__} has no {name}")


class Ideal(nn.Module):
    """The optimal network for data from N(MEAN, SPREAD^2); records the noise levels it is called with."""

    def __init__(self, path: ProbPath, prediction: str) -> None:
        super().__init__()
        self.path, self.prediction, self.times = path, prediction, list[float]()

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        self.times.append(t[0].item())
        signal, noise = (coefficient(t).view(-1, 1, 1, 1) for coefficient in (self.path.alpha, self.path.sigma))
        total = signal.square() * SPREAD**2 + noise.square()
        away = x - signal * MEAN
        clean = MEAN + signal * SPREAD**2 / total * away
        return training_target(self.path, self.prediction, clean, noise / total * away, t)


def trajectory(
    name: str, path: str, falling: Sequence[float], n: int = 200
) -> tuple[list[tuple[Tensor, Tensor]], Ideal]:
    prob_path = PATHS[path]
    net = Ideal(prob_path, "v" if path == "vp" else "velocity")
    x = prob_path.sample_noise((n, 1, 4, 4), torch.Generator().manual_seed(1))
    sampler = SAMPLERS.get(name) or scheduler_sampler(name)
    generators = step_generators(torch.Generator().manual_seed(0))
    return list(sampler(Denoiser(net, prob_path, net.prediction), x, falling, generators)), net


@pytest.mark.parametrize("name", SCHEDULERS["vp"])
def test_on_vp_a_scheduler_recovers_the_data_at_the_requested_noise_levels(name: str) -> None:
    require_scheduler(name)
    assert incompatibility(DIFFUSERS + name, "vp") is None
    states, net = trajectory(name, "vp", noise_levels(STEPS))
    assert len(states) == STEPS
    assert len(net.times) == evaluations(Sampling(DIFFUSERS + name, STEPS, 1.0, 1.0), "vp")
    once_a_step = net.times[:: 1 if len(net.times) == STEPS else 2]
    assert once_a_step == pytest.approx(noise_levels(STEPS)[:-1], abs=0.001)
    x, _ = states[-1]
    assert x.mean().item() == pytest.approx(MEAN, abs=0.04)
    assert x.std().item() == pytest.approx(SPREAD, rel=0.15)  # with added noise the error is 5 / STEPS
    for index in (STEPS // 4, STEPS // 2):  # states are scaled like our path, not like the scheduler
        signal, noise = PATHS["vp"].alpha_sigma(noise_levels(STEPS)[index + 1])
        assert states[index][0].std().item() == pytest.approx((signal**2 * SPREAD**2 + noise**2) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("name", "path", "native", "shift"),
    [
        ("DDIMScheduler", "vp", "ddim", 1),
        ("DPMSolverMultistepScheduler", "vp", "dpm2m", 1),
        ("DDPMScheduler", "vp", "ddpm", 1),
        ("FlowMatchEulerDiscreteScheduler", "flow", "euler", 1),
        ("FlowMatchEulerDiscreteScheduler", "flow", "euler", 3),
    ],
)
def test_an_adapted_scheduler_matches_the_native_sampler(name: str, path: str, native: str, shift: float) -> None:
    theirs, _ = trajectory(name, path, noise_levels(10, shift), n=2)
    ours, _ = trajectory(native, path, noise_levels(10, shift), n=2)
    for (x, clean), (our_x, our_clean) in zip(theirs, ours, strict=True):
        torch.testing.assert_close(x, our_x, atol=2e-4, rtol=0)
        torch.testing.assert_close(clean, our_clean, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("name", "path"), [("DDPMScheduler", "vp"), ("FlowMatchLCMScheduler", "flow")])
def test_noise_added_by_a_scheduler_comes_from_the_seed(name: str, path: str) -> None:
    if not hasattr(diffusers, name):
        pytest.skip(f"diffusers {diffusers.__version__} has no {name}")
    first, again = (trajectory(name, path, noise_levels(4), n=2)[0] for _ in range(2))
    assert torch.equal(first[-1][0], again[-1][0])


def test_the_schedulers_named_in_an_error_exist() -> None:
    with pytest.raises(MinidiffError) as refusal:
        scheduler_sampler("NothingScheduler")
    named = re.findall(r"diffusers:(\w+)", str(refusal.value))
    assert len(named) >= 8
    assert [name for name in named if not hasattr(diffusers, name)] == []


@pytest.mark.parametrize("name", ["NothingScheduler", "UNet2DModel", "", "__version__", "PNDM"])
def test_an_unknown_scheduler_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(MinidiffError, match=r"no scheduler .*diffusers:UniPCMultistepScheduler") as error:
        scheduler_sampler(name)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("path", SCHEDULERS)
def test_every_diffusers_scheduler_is_accepted_or_refused_by_name(path: str) -> None:
    assert len(KINDS) > 20
    for name in KINDS:
        reason = incompatibility(DIFFUSERS + name, path)
        if name in SCHEDULERS[path]:
            assert reason is None
        else:
            assert reason is not None
            assert reason.startswith(f"{name} ")
            assert reason.endswith(f"; use {DIFFUSERS}{SCHEDULERS[path][0]}")


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("CogVideoXDDIMScheduler", "vp", "shifts the noise levels itself"),
        ("CogVideoXDPMScheduler", "vp", "needs more than the last prediction for a step"),
        ("DPMSolverSDEScheduler", "vp", "adds noise that does not follow from the seed"),
        ("PNDMScheduler", "vp", "does not take the requested steps"),
        ("DDIMInverseScheduler", "vp", "maps images to noise"),
        ("FlowMatchEulerDiscreteScheduler", "vp", "does not support the path vp"),
        ("DDIMScheduler", "flow", "does not support the path flow"),
        ("EDMEulerScheduler", "vp", "is not tested on the path vp"),
        ("NothingScheduler", "flow", "is not tested on the path flow"),
        ("DDIMScheduler", "mix", "need Gaussian noise"),
    ],
)
def test_an_error_gives_the_reason(name: str, path: str, words: str) -> None:
    assert words in (incompatibility(DIFFUSERS + name, path) or "")


class OnVP(nn.Module):
    """A network trained on the path flow, used on vp at the same signal-to-noise ratio."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        signal, noise = PATHS["vp"].alpha(t), PATHS["vp"].sigma(t)
        a = noise / (signal + noise)
        coefficient = a.view(-1, 1, 1, 1)
        moved = x / (signal + noise).view(-1, 1, 1, 1)
        velocity = self.net(moved, a, labels)
        return training_target(
            PATHS["vp"], "v", moved - coefficient * velocity, moved + (1 - coefficient) * velocity, t
        )


@pytest.fixture(scope="module")
def shipped() -> Iterator[dict[str, LoadedModel]]:
    """The built-in model on each path, in one thread: many small steps are slow in several threads on busy machines."""
    if BUILTIN[0] not in builtin_directories():
        pytest.skip("the built-in model is not in this tree")
    model = load_model(BUILTIN[0], "cpu")
    on_vp = model.config.changed(path="vp", prediction="v")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {"flow": model, "vp": LoadedModel(OnVP(model.net), on_vp, model.step, "on vp")}
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in SCHEDULERS.items() for name in names])
def test_samples_of_every_scheduler_are_recognised(shipped: dict[str, LoadedModel], path: str, name: str) -> None:
    """At least 19 of 20 are recognized as the requested class; with few steps images are at least finite."""
    require_scheduler(name)
    classifier = available_classifier("conv", "mnist")
    assert classifier is not None
    *_, last = sample(shipped[path], n=20, steps=10, seed=0, sampler=DIFFUSERS + name)
    read = [label for label, _ in classify(classifier, quantized(last.x))]
    assert sum(label == index % 10 for index, label in enumerate(read)) >= 19
    for steps in (1, 2, 3):
        *_, last = sample(shipped[path], n=1, steps=steps, sampler=DIFFUSERS + name)
        assert bool(last.x.isfinite().all())


def test_a_scheduler_that_needs_a_package_names_it() -> None:
    lacking = [
        name for names in SCHEDULERS.values() for name in names if "_backends" in dir(getattr(diffusers, name, 0))
    ]
    if not lacking:
        pytest.skip("every package that a scheduler needs is installed")
    for name in lacking:
        with pytest.raises(
            MinidiffError, match=f"diffusers' {name} needs scipy: pip install scipy; on the path vp use"
        ):
            scheduler_sampler(name)


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("PNDMScheduler", "vp", "does not take the requested steps"),
        ("DDIMInverseScheduler", "vp", "does not take the requested steps"),
        ("IPNDMScheduler", "vp", "does not support the path vp"),
        ("EDMEulerScheduler", "vp", "does not support the path vp"),
        ("FlowMatchEulerDiscreteScheduler", "vp", "does not support the path vp"),
        ("FlowMatchHeunDiscreteScheduler", "flow", "does not take the requested steps"),
        ("DDIMScheduler", "flow", "does not take the requested steps"),
    ],
)
def test_an_incompatible_scheduler_is_refused_before_the_first_step(name: str, path: str, words: str) -> None:
    denoiser = Denoiser(Ideal(PATHS[path], "clean"), PATHS[path], "clean")
    with pytest.raises(MinidiffError, match=words) as error:
        scheduler_sampler(name)(denoiser, torch.zeros(1, 1, 4, 4), noise_levels(10), iter([]))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("falling", [noise_levels(10, 2.0), noise_levels(10, 1.0, 0.5), noise_levels(1001)])
def test_on_vp_only_evenly_spaced_steps_from_pure_noise_are_accepted(falling: list[float]) -> None:
    denoiser = Denoiser(Ideal(PATHS["vp"], "clean"), PATHS["vp"], "clean")
    with pytest.raises(MinidiffError, match="leave shift at 1"):
        scheduler_sampler("DDIMScheduler")(denoiser, torch.zeros(1, 1, 4, 4), falling, iter([]))
