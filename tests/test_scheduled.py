"""diffusers' schedulers as samplers: what fits walks our path at our amounts, what does not says so in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import diffusers
import pytest
import torch
from torch import Tensor, nn

from core.errors import MinidiffError
from core.paths import PATHS, Path, target
from core.samplers import SAMPLERS, Denoiser, step_generators
from core.sampling_options import DIFFUSERS, Sampling, amounts, evaluations, fits
from core.scheduled import scheduled

MEAN, SPREAD = 0.2, 0.5
STEPS = 40
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # diffusers with NumPy 2
ON_VP = (
    *("UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DEISMultistepScheduler", "EulerDiscreteScheduler"),
    *("DDIMScheduler", "DDPMScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"),
    *("EulerAncestralDiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
)


class Ideal(nn.Module):
    """The best net for data from N(MEAN, SPREAD^2), which notes the amounts that it is asked at."""

    def __init__(self, path: Path, prediction: str) -> None:
        super().__init__()
        self.path, self.prediction, self.asked = path, prediction, list[float]()

    def forward(self, x: Tensor, amount: Tensor, labels: Tensor | None) -> Tensor:
        self.asked.append(amount[0].item())
        signal, noise = (share(amount).view(-1, 1, 1, 1) for share in (self.path.signal, self.path.noise))
        total = signal.square() * SPREAD**2 + noise.square()
        away = x - signal * MEAN
        clean = MEAN + signal * SPREAD**2 / total * away
        return target(self.path, self.prediction, clean, noise / total * away, amount)


def walked(name: str, path: str, falling: Sequence[float], n: int = 200) -> tuple[list[tuple[Tensor, Tensor]], Ideal]:
    road = PATHS[path]
    net = Ideal(road, "v" if path == "vp" else "velocity")
    x = road.source((n, 1, 4, 4), torch.Generator().manual_seed(1))
    sampler = SAMPLERS.get(name) or scheduled(name)
    generators = step_generators(torch.Generator().manual_seed(0))
    return list(sampler(Denoiser(net, road, net.prediction), x, falling, generators)), net


@pytest.mark.parametrize("name", ON_VP)
def test_on_vp_a_scheduler_gives_the_data_at_the_amounts_asked_for(name: str) -> None:
    assert fits(DIFFUSERS + name, "vp") is None
    found, net = walked(name, "vp", amounts(STEPS))
    assert len(found) == STEPS
    assert len(net.asked) == evaluations(Sampling(DIFFUSERS + name, STEPS, 1.0, 1.0), "vp")
    once_a_step = net.asked[:: 1 if len(net.asked) == STEPS else 2]
    assert once_a_step == pytest.approx(amounts(STEPS)[:-1], abs=0.001)
    x, _ = found[-1]
    assert x.mean().item() == pytest.approx(MEAN, abs=0.04)
    assert x.std().item() == pytest.approx(SPREAD, rel=0.15)  # with added noise it falls short by 5 / STEPS
    for index in (STEPS // 4, STEPS // 2):  # states lie on our path's scale, not on the scheduler's own
        signal, noise = PATHS["vp"].at(amounts(STEPS)[index + 1])
        assert found[index][0].std().item() == pytest.approx((signal**2 * SPREAD**2 + noise**2) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("name", "path", "own", "spacing"),
    [
        ("DDIMScheduler", "vp", "ddim", 1),
        ("DPMSolverMultistepScheduler", "vp", "dpm2m", 1),
        ("DDPMScheduler", "vp", "ddpm", 1),
        ("FlowMatchEulerDiscreteScheduler", "flow", "euler", 1),
        ("FlowMatchEulerDiscreteScheduler", "flow", "euler", 3),
    ],
)
def test_an_adapted_scheduler_steps_as_our_own_sampler(name: str, path: str, own: str, spacing: float) -> None:
    theirs, _ = walked(name, path, amounts(10, spacing), n=2)
    ours, _ = walked(own, path, amounts(10, spacing), n=2)
    for (x, clean), (our_x, our_clean) in zip(theirs, ours, strict=True):
        torch.testing.assert_close(x, our_x, atol=2e-4, rtol=0)
        torch.testing.assert_close(clean, our_clean, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("name", "path"), [("DDPMScheduler", "vp"), ("FlowMatchLCMScheduler", "flow")])
def test_noise_that_a_scheduler_adds_comes_from_the_seed(name: str, path: str) -> None:
    if not hasattr(diffusers, name):
        pytest.skip(f"diffusers {diffusers.__version__} has no {name}")
    first, again = (walked(name, path, amounts(4), n=2)[0] for _ in range(2))
    assert torch.equal(first[-1][0], again[-1][0])


def test_the_schedulers_that_a_refusal_names_are_there() -> None:
    with pytest.raises(MinidiffError) as refusal:
        scheduled("NothingScheduler")
    named = re.findall(r"diffusers:(\w+)", str(refusal.value))
    assert len(named) >= 8
    assert [name for name in named if not hasattr(diffusers, name)] == []


@pytest.mark.parametrize("name", ["NothingScheduler", "UNet2DModel", "", "__version__", "PNDM"])
def test_what_is_no_scheduler_is_refused_with_those_that_fit(name: str) -> None:
    with pytest.raises(MinidiffError, match=r"no scheduler .*diffusers:UniPCMultistepScheduler") as error:
        scheduled(name)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("PNDMScheduler", "vp", "chooses other steps"),
        ("DDIMInverseScheduler", "vp", "chooses other steps"),
        ("IPNDMScheduler", "vp", "does not know the path vp"),
        ("EDMEulerScheduler", "vp", "does not know the path vp"),
        ("FlowMatchEulerDiscreteScheduler", "vp", "does not know the path vp"),
        ("FlowMatchHeunDiscreteScheduler", "flow", "does not take steps"),
        ("DDIMScheduler", "flow", "does not take steps"),
    ],
)
def test_a_scheduler_that_does_not_fit_is_refused_before_the_first_step(name: str, path: str, words: str) -> None:
    denoiser = Denoiser(Ideal(PATHS[path], "clean"), PATHS[path], "clean")
    with pytest.raises(MinidiffError, match=words) as error:
        scheduled(name)(denoiser, torch.zeros(1, 1, 4, 4), amounts(10), iter([]))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("falling", [amounts(10, 2.0), amounts(10, 1.0, 0.5), amounts(1001)])
def test_on_vp_only_equal_steps_from_noise_are_taken(falling: list[float]) -> None:
    denoiser = Denoiser(Ideal(PATHS["vp"], "clean"), PATHS["vp"], "clean")
    with pytest.raises(MinidiffError, match="leave spacing at 1"):
        scheduled("DDIMScheduler")(denoiser, torch.zeros(1, 1, 4, 4), falling, iter([]))
