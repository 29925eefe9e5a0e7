"""Probability paths and predictions: coefficients and derivatives, conversions, and the end points."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from core.config.training import PREDICTIONS
from core.diffusion.prob_paths import EDGE, PATHS, ProbPath, convert_output, loss_weight, sample_times, training_target
from core.errors import MinidiffError

PAIRS = [(path, prediction) for path, predictions in PREDICTIONS.items() for prediction in predictions]
INNER = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
each_pair = pytest.mark.parametrize(("name", "prediction"), PAIRS)


def drawn(path: ProbPath, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((n, 1, 4, 4), generator=generator)
    return path.normalize(images).double(), path.sample_noise((n, 1, 4, 4), generator).double()


@each_path
def test_t_0_is_the_image_and_t_1_is_noise(path: ProbPath) -> None:
    assert path.alpha_sigma(0.0) == (1.0, 0.0)
    signal, noise = path.alpha_sigma(1.0)
    assert noise == pytest.approx(1, abs=3e-5)
    assert signal == pytest.approx(math.exp(-5.025) if path.name == "vp" else 0, abs=1e-12)


@each_path
def test_d_alpha_and_d_sigma_are_the_derivatives_of_alpha_and_sigma(path: ProbPath) -> None:
    step = 1e-6
    for share, slope in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        difference = (share(INNER + step) - share(INNER - step)) / (2 * step)
        torch.testing.assert_close(slope(INNER), difference, atol=1e-8, rtol=1e-8)


def test_variance_preserving_coefficients_approach_ddpm_for_many_steps() -> None:
    a = torch.linspace(0, 1, 11, dtype=torch.float64)
    path = PATHS["vp"]
    torch.testing.assert_close(path.alpha(a).square() + path.sigma(a).square(), torch.ones_like(a))
    betas = torch.linspace(0.1, 20, 100_000, dtype=torch.float64) / 100_000  # Song et al. 2021, appendix C
    products = (1 - betas).cumprod(0)
    torch.testing.assert_close(path.alpha(a[1:]).square(), products[9_999::10_000], atol=1e-5, rtol=2e-3)


@each_path
@pytest.mark.parametrize(
    ("input_dtype", "computed"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_coefficients_are_computed_in_at_least_float32(
    path: ProbPath, input_dtype: torch.dtype, computed: torch.dtype
) -> None:
    a = torch.tensor([0.25, 0.5], dtype=input_dtype)
    for share in (path.alpha, path.sigma, path.d_alpha, path.d_sigma):
        assert share(a).dtype == computed
        torch.testing.assert_close(share(a), share(a.double()).to(computed), atol=1e-6, rtol=1e-6)


@each_path
def test_images_survive_a_round_trip_through_the_range_of_a_path(path: ProbPath) -> None:
    images = torch.rand(3, 1, 4, 4)
    x = path.normalize(images)
    assert (path.low, path.high) == ((0, 1) if path.name == "mix" else (-1, 1))
    assert path.normalize(torch.tensor([0.0, 1.0])).tolist() == [path.low, path.high]
    torch.testing.assert_close(path.denormalize(x), images, atol=1e-6, rtol=0)
    if path.name == "mix":
        assert torch.equal(x, images)


def test_mix_noise_is_uniform_and_other_noise_is_gaussian() -> None:
    for path in PATHS.values():
        noise = path.sample_noise((100, 1, 28, 28), torch.Generator().manual_seed(1))
        assert torch.equal(noise, path.sample_noise((100, 1, 28, 28), torch.Generator().manual_seed(1)))
        mean, variance = (0, 1) if path.gaussian else (0.5, 1 / 12)
        assert noise.mean().item() == pytest.approx(mean, abs=0.02)
        assert noise.var().item() == pytest.approx(variance, rel=0.03)
        assert (noise.min() >= 0 and noise.max() < 1) == (path.name == "mix")


@each_pair
def test_a_perfect_prediction_gives_the_image_noise_and_velocity(name: str, prediction: str) -> None:
    path = PATHS[name]
    x0, eps = drawn(path, len(INNER))
    x = path.interpolate(x0, eps, INNER)
    converted = convert_output(path, prediction, training_target(path, prediction, x0, eps, INNER), x, INNER)
    torch.testing.assert_close(converted.denoised, x0, atol=1e-10, rtol=0)
    torch.testing.assert_close(converted.noise, eps, atol=1e-10, rtol=0)
    step = 1e-6
    difference = (path.interpolate(x0, eps, INNER + step) - path.interpolate(x0, eps, INNER - step)) / (2 * step)
    torch.testing.assert_close(converted.velocity, difference, atol=1e-7, rtol=1e-7)


@each_pair
def test_converting_a_prediction_back_and_forth_changes_nothing(name: str, prediction: str) -> None:
    path = PATHS[name]
    x0, eps = drawn(path, len(INNER))
    x = path.interpolate(x0, eps, INNER)
    output = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)  # of a bad network
    converted = convert_output(path, prediction, output, x, INNER)
    torch.testing.assert_close(path.interpolate(converted.denoised, converted.noise, INNER), x, atol=1e-10, rtol=0)
    again = training_target(path, prediction, converted.denoised, converted.noise, INNER)
    torch.testing.assert_close(again, output, atol=1e-9, rtol=1e-9)


@each_pair
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_finite_at_the_end_points(name: str, prediction: str, dtype: torch.dtype) -> None:
    path = PATHS[name]
    a = torch.tensor([0, 1e-30, 1e-8, EDGE, 1 - EDGE, 1 - 1e-7, 1], dtype=dtype)
    x0, eps = (part.to(dtype) for part in drawn(path, len(a)))
    for output in (training_target(path, prediction, x0, eps, a), 3 * eps):
        for part in convert_output(path, prediction, output, path.interpolate(x0, eps, a), a):
            assert part.dtype == dtype
            assert bool(torch.isfinite(part).all())
    for counted in ("prediction", "clean", "noise", "velocity", "v"):
        factor = loss_weight(path, prediction, counted, a)
        assert factor.shape == a.shape
        assert bool(torch.isfinite(factor).all())
        assert bool((factor > 0).all())


def test_undetermined_conversions_have_the_documented_limit() -> None:
    for path in PATHS.values():
        x0, eps = drawn(path, 1)
        image, noise = (torch.tensor([a], dtype=torch.float64) for a in (0.0, 1.0))
        assert convert_output(path, "clean", x0, x0, image).noise.abs().max() == 0
        off = convert_output(path, "clean", x0 - EDGE, x0, image).noise
        torch.testing.assert_close(off, torch.ones_like(off), atol=1e-9, rtol=0)
        converted = convert_output(path, "noise", eps, path.interpolate(x0, eps, noise), noise).denoised
        torch.testing.assert_close(converted, x0 if path.name == "vp" else torch.zeros_like(x0), atol=1e-9, rtol=0)
        # Conversions without a division are exact even there.
        for prediction in {"velocity", "v"} & set(PREDICTIONS[path.name]):
            for a in (image, noise):
                x = path.interpolate(x0, eps, a)
                exact = convert_output(path, prediction, training_target(path, prediction, x0, eps, a), x, a)
                torch.testing.assert_close(exact.denoised, x0, atol=1e-9, rtol=0)
                torch.testing.assert_close(exact.noise, eps, atol=1e-9, rtol=0)


@each_pair
def test_a_weight_converts_one_squared_error_into_another(name: str, prediction: str) -> None:
    path = PATHS[name]
    x0, eps = drawn(path, len(INNER))
    x = path.interpolate(x0, eps, INNER)
    target = training_target(path, prediction, x0, eps, INNER)
    converted = convert_output(path, prediction, target + 0.1, x, INNER)
    errors = {
        "prediction": target + 0.1 - target,
        "clean": converted.denoised - x0,
        "noise": converted.noise - eps,
        "velocity": converted.velocity - convert_output(path, prediction, target, x, INNER).velocity,
    }
    for counted, error in errors.items():
        factor = loss_weight(path, prediction, counted, INNER)
        torch.testing.assert_close(factor * 0.01, error.square().mean((1, 2, 3)), atol=1e-10, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "prediction"), [("vp", "velocity"), ("mix", "v"), ("flow", "v"), ("flow", "score"), ("vp", "")]
)
def test_an_unsupported_pair_is_refused_in_one_line(name: str, prediction: str) -> None:
    path, x, a = PATHS[name], torch.zeros(1, 1, 4, 4), torch.zeros(1)
    calls = (
        lambda: training_target(path, prediction, x, x, a),
        lambda: convert_output(path, prediction, x, x, a),
        lambda: loss_weight(path, prediction, "clean", a),
    )
    for call in calls:
        with pytest.raises(MinidiffError, match=f"the path {name} supports the predictions .* not") as error:
            call()
        assert len(str(error.value).splitlines()) == 1


def test_an_unknown_weighting_is_refused() -> None:
    with pytest.raises(MinidiffError, match="'score'"):
        loss_weight(PATHS["flow"], "clean", "score", torch.zeros(1))


@pytest.mark.parametrize("times", ["uniform", "logit_normal"])
def test_training_noise_levels_have_the_requested_distribution(times: str) -> None:
    noise_levels = sample_times(times, 20_000, torch.Generator().manual_seed(0))
    assert noise_levels.dtype == torch.float32
    assert 0 <= noise_levels.min() <= noise_levels.max() <= 1
    assert torch.equal(noise_levels, sample_times(times, 20_000, torch.Generator().manual_seed(0)))
    # Of a normal around 0.4: sigmoid(0.4 - 0.6745) = 0.4318, sigmoid(0.4) = 0.5987, sigmoid(0.4 + 0.6745) = 0.7454.
    quartiles = [0.25, 0.5, 0.75] if times == "uniform" else [0.4318, 0.5987, 0.7454]
    torch.testing.assert_close(
        noise_levels.quantile(torch.tensor([0.25, 0.5, 0.75])), torch.tensor(quartiles), atol=0.015, rtol=0
    )


def test_an_unknown_noise_level_distribution_is_refused() -> None:
    with pytest.raises(MinidiffError, match="'cosine'"):
        sample_times("cosine", 1, torch.Generator())
