"""Interpolation and inversion, against the exact probability flow of normally distributed data."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_models import MEAN, PATH_OPTIONS, SIDE, STD, colour_model, gaussian_data, gaussian_model, in_path_range, last

from core import MinidiffError, interpolate_images, interpolate_seeds, invert, sample
from core.diffusion.interpolation import slerp
from core.diffusion.prob_paths import PATHS

each_path = pytest.mark.parametrize("path", PATH_OPTIONS)
gaussian_paths = pytest.mark.parametrize("path", ["flow", "vp"])


def exact_noise(path: str, images: Tensor) -> Tensor:
    """The exact inversion of N(MEAN, STD^2): x at t = 1 of the probability flow through the images."""
    alpha, sigma = PATHS[path].alpha_sigma(1.0)
    return alpha * MEAN + math.hypot(alpha * STD, sigma) * (in_path_range(images) - MEAN) / STD


# Interpolation of noise


def test_spherical_interpolation_moves_at_constant_angle_from_end_to_end() -> None:
    a, b = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    a[..., 0], b[..., 1] = 1, 1
    points = slerp(a, b, 4).view(4, 2)
    expected = [[math.cos(angle), math.sin(angle)] for angle in (0, math.pi / 6, math.pi / 3, math.pi / 2)]
    torch.testing.assert_close(points, torch.tensor(expected), atol=1e-6, rtol=0)


@each_path
def test_interpolated_noise_keeps_the_mean_and_variance_of_the_paths_noise(path: str) -> None:
    """A straight line would have half of the variance in the middle. 64 x 64 x 3 values: standard error 1%."""
    mean = PATHS[path].noise_mean
    a, b = PATHS[path].sample_noise((2, 3, 64, 64), torch.Generator().manual_seed(1)).split(1)  # type: ignore[no-untyped-call]
    points = slerp(a, b, 5, mean)
    assert torch.equal(points[:1], a)
    torch.testing.assert_close(points[-1:], b, atol=1e-6, rtol=0)
    for point in points:
        assert point.mean().item() == pytest.approx(mean, abs=0.05)
        assert point.std().item() == pytest.approx(a.std().item(), rel=0.03)


def test_the_same_noise_at_both_ends_stays() -> None:
    a = torch.randn(1, 1, 8, 8)
    assert torch.equal(slerp(a, a, 3), a.expand(3, 1, 8, 8))


@each_path
def test_the_ends_of_an_interpolation_are_the_images_of_both_seeds(path: str) -> None:
    model = colour_model(**PATH_OPTIONS[path])
    records = list(interpolate_seeds(model, 3, 8, n=5, steps=4, labels=1))
    assert len(records) == 5
    assert records[-1].x.shape == (5, 3, 16, 12)
    for index, seed in ((0, 3), (-1, 8)):
        expected = last(sample(model, n=1, steps=4, seed=seed, labels=1)).x[0]
        torch.testing.assert_close(records[-1].x[index], expected, atol=1e-5, rtol=0)


def test_interpolation_of_seeds_has_no_class_by_default() -> None:
    model = colour_model()
    a, b = (last(interpolate_seeds(model, 0, 1, n=3, steps=2, **options)).x for options in ({}, {"labels": -1}))
    assert torch.equal(a, b)


# Inversion


@gaussian_paths
def test_inversion_finds_the_noise_of_the_exact_probability_flow(path: str) -> None:
    """DDIM is of first order: the error falls with the number of steps, to 2% of the noise at 200."""
    images = gaussian_data(16)
    errors = [
        (invert(gaussian_model(path), images, steps) - exact_noise(path, images)).square().mean().sqrt().item()
        for steps in (50, 100, 200)
    ]
    assert errors[2] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.3)


@gaussian_paths
@pytest.mark.parametrize(("steps", "tolerance"), [(20, 5e-3), (50, 5e-4)])
def test_inverted_images_are_sampled_again(path: str, steps: int, tolerance: float) -> None:
    model, images = gaussian_model(path), gaussian_data(16)
    noise = invert(model, images, steps)
    assert (noise.shape, noise.dtype, noise.device.type) == (images.shape, torch.float32, "cpu")
    again = last(sample(model, noise=noise, steps=steps, sampler="ddim", contrast=0.0)).x
    torch.testing.assert_close(again, images, atol=tolerance, rtol=0)


@gaussian_paths
def test_the_ends_of_an_interpolation_reproduce_both_images_and_the_middle_is_exact(path: str) -> None:
    a, b = gaussian_data(2)
    x = last(interpolate_images(gaussian_model(path), a, b, n=5)).x
    assert x.shape == (5, 1, SIDE, SIDE)
    torch.testing.assert_close(x[0], a, atol=1e-3, rtol=0)
    torch.testing.assert_close(x[-1], b, atol=1e-3, rtol=0)
    noise_a, noise_b = exact_noise(path, torch.stack((a, b))).split(1)  # type: ignore[no-untyped-call]
    middle = slerp(noise_a, noise_b, 3)[1]
    alpha, sigma = PATHS[path].alpha_sigma(1.0)
    expected = MEAN + STD * (middle - alpha * MEAN) / math.hypot(alpha * STD, sigma)
    torch.testing.assert_close(in_path_range(x[2]), expected, atol=0.05, rtol=0)


@gaussian_paths
def test_colour_images_are_interpolated_by_a_real_network(path: str) -> None:
    """Tolerance: random weights of standard deviation 0.1 are less smooth than a trained network."""
    model = colour_model(**PATH_OPTIONS[path])
    a, b = (last(sample(model, n=1, steps=20, seed=seed, labels=0)).x.clamp(0, 1) for seed in (1, 2))
    x = last(interpolate_images(model, a, b, n=4, steps=20, labels=0)).x
    assert x.shape == (4, 3, 16, 12)
    torch.testing.assert_close(x[:1], a, atol=0.02, rtol=0)
    torch.testing.assert_close(x[-1:], b, atol=0.02, rtol=0)


IMAGE = torch.rand(1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("path", "arguments", "words"),
    [
        ("mix", (IMAGE, IMAGE), "images cannot be inverted on the path mix"),
        ("flow", (IMAGE * 255, IMAGE), r"images must be in \[0, 1\]"),
        ("flow", (IMAGE, torch.rand(2, 1, SIDE, SIDE)), "image_b must be one image, not 2"),
        ("flow", (IMAGE, "b.png"), "image_b must be a tensor or a NumPy array, not str"),
        ("flow", (IMAGE, IMAGE, 1), "n must be at least 2, for both ends"),
        ("flow", (IMAGE, IMAGE, 4, 0), "steps must be at least 1"),
    ],
)
def test_invalid_interpolation_is_refused_in_one_line(path: str, arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(MinidiffError, match=words) as caught:
        interpolate_images(gaussian_model(path), *arguments)
    assert len(str(caught.value).splitlines()) == 1
