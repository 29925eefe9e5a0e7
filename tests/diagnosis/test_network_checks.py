"""Checks of networks: broken ones are found by name, and the ideal denoiser has no finding."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core import IdealDenoiser, TrainConfig, diagnose, load_dataset
from core.diagnosis import measurements
from core.diagnosis.learning_rate import check_learning_rate
from core.diagnosis.measurements import gradient_statistics, noisy_images
from core.diagnosis.network_checks import (
    check_conditioning,
    check_ema,
    check_gap,
    check_modes,
    check_precision,
    check_target,
    check_weights,
)
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS
from core.runs.findings import CheckResult, Finding


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Sprites reduced to 8x8 pixels, as fed to the network."""
    sprites = load_dataset("sprites", limit=48).images / 127.5 - 1
    return nn.functional.avg_pool2d(sprites, 2)


def results(net: Any, images: Tensor, *arguments: Any, **options: Any) -> dict[str, CheckResult]:
    checks = diagnose(net, images, *arguments, **options)
    return {step.check: step for step in checks if isinstance(step, CheckResult)}


def check(name: str, net: Any, images: Tensor, *arguments: Any, **options: Any) -> CheckResult:
    """The result of one check; the checks after it are not done."""
    for step in diagnose(net, images, *arguments, **options):
        if isinstance(step, CheckResult) and step.check == name:
            return step
    raise AssertionError(f"there is no check {name}")


def found(name: str, net: Any, images: Tensor, *arguments: Any, **options: Any) -> Finding:
    """The only finding of one check."""
    (finding,) = check(name, net, images, *arguments, **options).findings
    return finding


def ideal(images: Tensor, path: str = "flow", prediction: str = "velocity") -> IdealDenoiser:
    return IdealDenoiser(path, (images + 1) / 2, prediction=prediction)


@pytest.mark.parametrize(("path", "prediction"), [("flow", "velocity"), ("flow", "noise"), ("vp", "v")])
def test_the_ideal_denoiser_has_no_finding(images: Tensor, path: str, prediction: str) -> None:
    checks = results(ideal(images, path, prediction), images, path=path, prediction=prediction)
    assert [finding for result in checks.values() for finding in result.findings] == []
    passed = {name for name, result in checks.items() if result.passed}
    assert {"value range", "training target", "conditioning", "noise", "contrast", "variety", "sampler"} <= passed
    assert checks["learning rate"].skipped == "the learning rate is not known"
    assert checks["memorization"].skipped == "there are no validation images"


class Reversed(nn.Module):
    """A flow matching network with noise at 0, as in Lipman et al. 2023."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.ideal = ideal(images)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return -self.ideal(x, (1 - t).clamp(1e-4, 1 - 1e-4))


class Thousand(nn.Module):
    """A network that is given the number of one of a thousand timesteps."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.ideal = ideal(images, "vp", "noise")

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.ideal(x, (t / 1000).clamp(1e-4, 1 - 1e-4))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda images: ideal(images, "vp", "noise"), "noise on the path vp"),
        (lambda images: ideal(images, "flow", "clean"), "clean on the path flow"),
        (Reversed, "minus the velocity on the path flow, given 1 - t as noise level"),
        (Thousand, "noise on the path vp, given 1000 t as noise level"),
    ],
)
def test_a_network_for_another_target_is_found_with_that_target(images: Tensor, make: Any, words: str) -> None:
    finding = found("training target", make(images), images)
    assert words in finding.cause
    assert finding.severity == "error"


def test_the_errors_of_a_network_are_in_units_of_the_variance() -> None:
    assert check_target("a", {"a": 0.3}) == []
    assert check_target("a", {"a": 0.6, "b": 0.4}) == []
    assert "trained for b" in check_target("a", {"a": 0.6, "b": 0.1})[0].cause
    assert "1.02 of the variance" in check_target("a", {"a": 1.02, "b": 1.3})[0].evidence
    assert len(check_target("a", {"a": torch.nan})) == 1


class Small(nn.Module):
    """A small network that is given everything."""

    def __init__(self, channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.into, self.out = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, channels, 3, padding=1)
        self.level, self.labels = nn.Linear(1, width), nn.Embedding(3, width)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.into(x) + self.level(t[:, None])[..., None, None]
        h = h if labels is None else h + self.labels(labels)[..., None, None]
        return self.out(torch.relu(h))


class Deaf(Small):
    """Ignores the noise level and the class."""

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.out(torch.relu(self.into(x)))


def small(kind: type[Small] = Small) -> Small:
    torch.manual_seed(0)
    return kind()


def test_an_untrained_network_is_found(images: Tensor) -> None:
    finding = found("training target", small(), images)
    assert "not trained" in finding.cause


def test_a_network_that_ignores_noise_level_and_class_is_found(images: Tensor) -> None:
    labels = torch.arange(48) % 3
    checks = check("conditioning", small(Deaf), images, labels).findings
    assert [finding.severity for finding in checks] == ["warning", "error"]
    assert check("conditioning", small(), images, labels).passed
    assert check_conditioning(None, None) == []
    assert check_conditioning(0.2, 0.01) == []


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


def test_running_statistics_of_other_weights_are_found(images: Tensor) -> None:
    torch.manual_seed(0)
    net = Normalized()
    for _ in range(60):
        net(images + torch.randn_like(images))
    healthy = check("evaluation mode", net, images)
    net.norm.running_var.fill_(1e-3)
    broken = check("evaluation mode", net, images)
    assert healthy.passed
    assert "BatchNorm" in broken.findings[0].cause
    assert net.training, "its mode is restored"
    assert check_modes(0.2, 0.19) == []


def test_weights_that_are_not_finite_are_found_and_nothing_else_is_checked(images: Tensor) -> None:
    net = small()
    assert check_weights(net.state_dict()) == []
    with torch.no_grad():
        net.out.bias[0] = torch.inf
    checks = results(net, images)
    assert list(checks) == ["finite weights"]
    assert "out.bias" in checks["finite weights"].findings[0].evidence


class Overflowing(nn.Module):
    """Exact in float32, but with values above the largest of float16."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.scale = nn.Conv2d(3, 3, 1, bias=False)
        self.scale.weight.data = torch.eye(3)[..., None, None] * size
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return self.scale(self.scale(x)) / self.size**2


def test_a_loss_that_differs_in_a_low_precision_is_found(images: Tensor) -> None:
    broken = found("precision", Overflowing(300.0).half(), images)
    assert "float16 overflows" in broken.cause
    assert check("precision", Overflowing(1.0).half(), images).passed
    assert check("precision", Overflowing(1.0), images, precision="bfloat16").passed
    assert check_precision("bfloat16", 0.1502, 0.15) == []
    assert len(check_precision("bfloat16", 0.17, 0.15)) == 1
    assert len(check_precision("float16", torch.nan, 0.15)) == 1


def test_ema_weights_that_lag_behind_are_found(images: Tensor) -> None:
    online, ema = ideal(images), small()
    finding = found("EMA", online, images, ema=ema, ema_decay=0.9999, steps=2000)
    assert finding.severity == "error"
    assert "contains 82% of its start" in finding.evidence
    assert check("EMA", online, images, ema=ideal(images), ema_decay=0.999, steps=20_000).passed
    assert check_ema(0.16, 0.15) == []
    assert check_ema(0.15, 0.15, decay=0.9999, steps=20_000)[0].severity == "warning"


def test_a_validation_loss_above_the_training_loss_is_found(images: Tensor) -> None:
    others = nn.functional.avg_pool2d(load_dataset("sprites", split="test", limit=48).images / 127.5 - 1, 2)
    learned = ideal(images, prediction="clean")
    assert "memorizes" in found("validation gap", learned, images, validation=others, prediction="clean").cause
    generator = torch.Generator().manual_seed(0)
    training, noise = torch.rand(200, generator=generator) + 0.5, torch.randn(200, generator=generator)
    assert check_gap(training, training * 1.05 + 0.1 * noise) == []
    assert len(check_gap(training, training * 1.25 + 0.1 * noise)) == 1
    assert check_gap(training, training * math.nan) == [], "the loss is checked elsewhere"
    few = check("validation gap", learned, images, validation=others[:7], prediction="clean")
    assert few.skipped == "there are too few images"


# Gradients


@pytest.mark.parametrize(("rate", "words"), [(3.0, "too high"), (1e-9, "too low")])
def test_a_wrong_learning_rate_is_found(images: Tensor, rate: float, words: str) -> None:
    assert words in found("learning rate", small(), images, learning_rate=rate).cause


def test_usual_learning_rates_have_no_finding(images: Tensor) -> None:
    for rate in (1e-4, 1e-3):
        assert check("learning rate", small(), images, learning_rate=rate).passed
    assert check_learning_rate(1e-6, 0.15, 0.15, 1e5, 64, 1e-8) == [], "with noisy gradients small steps are right"
    assert check_learning_rate(2e-3, 0.15, 0.2, torch.inf, 64, 1e-3) == []
    assert "from 0.1500 to nan" in check_learning_rate(2e-3, 0.15, torch.nan, 100, 64, 1e-3)[0].evidence


class Mean(nn.Module):
    """Predicts one constant."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.value.view(1, 1, 1, 1).expand_as(x)


def test_the_gradient_noise_scale_is_that_of_a_network_with_known_gradients() -> None:
    """The gradient of the mean squared error of a constant is -2 mean(target): variance over squared mean."""
    config = TrainConfig(dataset="glyphs", class_conditional=False, prediction="clean", time_sampling="uniform")
    model = LoadedModel(Mean(), config.changed(optimizer="adam"), 0, "mean")
    scales = []
    for seed in range(20):
        values = 0.5 + torch.randn(2048, generator=torch.Generator().manual_seed(seed))
        noisy = noisy_images(model, values.view(-1, 1, 1, 1).expand(-1, 1, 8, 8), None)
        statistics = gradient_statistics(model, model.net, noisy, 1e-3)
        scales.append(statistics.noise_scale)
        assert statistics.before == pytest.approx(1.25, rel=0.1)
        assert statistics.after < statistics.before
    error = 4 * math.sqrt(2 / 7 / 20)  # of the mean of a variance with 7 degrees of freedom
    assert sum(scales) / 20 == pytest.approx(1 / 0.25, abs=3 * error)
    assert float(model.net.value.detach()) == 0, "the network is not changed"


def test_noisy_images_are_the_same_every_time_and_cover_all_noise_levels(images: Tensor) -> None:
    model = LoadedModel(ideal(images), TrainConfig(dataset="sprites", time_sampling="uniform"), 0, "ideal")
    one, two = (noisy_images(model, images, None) for _ in range(2))
    assert torch.equal(one.eps, two.eps)
    assert torch.equal(one.t.sort().values, (torch.arange(48) + 0.5) / 48)
    assert torch.equal(one.x_t(PATHS["flow"]), PATHS["flow"].interpolate(images, one.eps, one.t))
    assert next(iter(measurements.target_error(model, one))) == "velocity on the path flow"
