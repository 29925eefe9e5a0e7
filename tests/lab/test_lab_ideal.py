"""The ideal denoiser beside a network, on two points and on three images, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from toy_models import SIDE, gaussian_model

from core import MinidiffError, corruption_sweep, ideal_model, nearest_training_images
from core.diffusion.loaded_model import LoadedModel
from core.lab import ideal_sweep, sample_together

A = 0.3  # of the two points -A and A, in the path's value range
LEVELS = (0.0, 0.4, 0.9, 0.97, 1.0)


def constant(*values: float) -> Tensor:
    """Images of one value each, in [0, 1], (N, 1, SIDE, SIDE)."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)


@pytest.fixture(scope="module")
def network() -> LoadedModel:
    return gaussian_model()


@pytest.fixture(scope="module")
def three() -> Tensor:
    return torch.rand((3, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("path", ["flow", "vp"])
def test_of_two_points_the_mean_is_a_hyperbolic_tangent(path: str) -> None:
    model = gaussian_model(path)
    training = constant((1 - A) / 2, (1 + A) / 2)
    image = training[1]
    for point in ideal_sweep(model, ideal_model(model.config, training), image, LEVELS, seed=4, k=2):
        alpha, sigma = model.path.alpha_sigma(point.t)
        x = model.path.normalize(point.x).double()
        # Of both points c = -A and A the exponents -|x - alpha c|^2 / (2 sigma^2) differ by this.
        difference = 2 * alpha * A * float(x.sum()) / max(sigma, 1e-3) ** 2
        expected = A * math.tanh(difference / 2)
        assert model.path.normalize(point.ideal) == pytest.approx(torch.full_like(point.ideal, expected), abs=1e-4)
        p = 1 / (1 + math.exp(-abs(difference)))
        assert point.weights.tolist() == pytest.approx([p, 1 - p], abs=1e-4)
        assert point.indices.tolist() == ([1, 0] if difference > 0 else [0, 1])
        entropy = -sum(weight * math.log(weight) for weight in (p, 1 - p) if weight > 1e-15)
        assert point.effective == pytest.approx(math.exp(entropy), abs=1e-3)
        assert point.ideal_error == pytest.approx(float((point.ideal - image).square().mean()), abs=1e-7)


def test_of_three_images_it_is_the_mean_with_the_weights_of_a_softmax(network: LoadedModel, three: Tensor) -> None:
    image = torch.rand((1, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    points = list(ideal_sweep(network, ideal_model(network.config, three), image, LEVELS, k=3))
    sweep = list(corruption_sweep(network, image, LEVELS))
    for point, other in zip(points, sweep, strict=True):
        assert torch.equal(point.x, other.x)
        assert other.prediction is not None
        assert torch.equal(point.network, other.prediction)
        assert point.network_error == other.error
        alpha, sigma = network.path.alpha_sigma(point.t)
        x = network.path.normalize(point.x).double()
        squares = (x - alpha * network.path.normalize(three).double()).square().sum((1, 2, 3))
        weights = torch.softmax(-squares / (2 * max(sigma, 1e-3) ** 2), 0)
        torch.testing.assert_close(point.weights.double(), weights[point.indices], rtol=0, atol=1e-4)
        expected = (weights.view(-1, 1, 1, 1) * three.double()).sum(0)
        torch.testing.assert_close(point.ideal.double(), expected, rtol=0, atol=1e-4)
        assert point.local is None


def test_patches_that_cover_the_image_predict_what_whole_images_do(network: LoadedModel, three: Tensor) -> None:
    whole, patches = (ideal_model(network.config, three, patch=patch) for patch in (None, 2 * SIDE + 1))
    for point in ideal_sweep(network, whole, three[0], LEVELS, local=patches, k=1):
        assert point.local is not None
        torch.testing.assert_close(point.local, point.ideal, rtol=0, atol=1e-4)
        assert point.local_error == pytest.approx(point.ideal_error, abs=1e-4)


def test_noise_levels_are_computed_in_batches_without_changing_any(network: LoadedModel, three: Tensor) -> None:
    ideal = ideal_model(network.config, three)
    levels = [index / 20 for index in range(21)]
    many = list(ideal_sweep(network, ideal, three[0], levels, k=3))
    assert [point.t for point in many] == levels
    for at in (0, 7, 8, 20):
        (alone,) = ideal_sweep(network, ideal, three[0], levels[at : at + 1], k=3)
        torch.testing.assert_close(alone.ideal, many[at].ideal, rtol=0, atol=1e-6)


def test_a_class_has_only_its_own_training_images() -> None:
    model = gaussian_model(classes=True)
    training = constant(0.2, 0.3, 0.8)
    ideal = ideal_model(model.config, training, torch.tensor([0, 0, 1]))
    (point,) = ideal_sweep(model, ideal, training[0], [1.0], label=1, k=1)
    torch.testing.assert_close(point.ideal, training[2], rtol=0, atol=1e-5)
    assert point.indices.tolist() == [2]
    (point,) = ideal_sweep(model, ideal, training[0], [1.0], label=-1, k=3)
    torch.testing.assert_close(point.ideal, training.mean(0), rtol=0, atol=0.01)


def test_the_ideal_denoiser_samples_a_training_image_and_a_network_does_not(
    network: LoadedModel, three: Tensor
) -> None:
    ideal = ideal_model(network.config, three)
    steps = list(sample_together([ideal, network], 20, seed=3))
    assert len(steps) == 21
    first, last = steps[0], steps[-1]
    assert torch.equal(first[0].x, first[1].x)  # the same noise
    assert [step[0].t for step in steps] == pytest.approx([1 - index / 20 for index in range(21)])
    assert nearest_training_images(last[0].x, three).distances.item() == 0
    assert nearest_training_images(last[1].x, three).distances.item() > 0.1


def test_a_network_is_no_ideal_denoiser(network: LoadedModel, three: Tensor) -> None:
    with pytest.raises(MinidiffError, match="ideal must be a model from ideal_model"):
        next(ideal_sweep(network, network, three[0], LEVELS))
