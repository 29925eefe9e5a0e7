"""Nearest training images: the same as by comparing every pair, exact for copies, and one-line errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from generated_images import colour_images, colour_info, nearly
from torch import Tensor

from core import MinidiffError, TrainConfig, build_model, nearest_training_images
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import sample
from core.evaluation import nearest as nearest_module
from core.evaluation.feature_classifiers import FeatureClassifier
from core.evaluation.feature_nets import Classifier


def by_all_pairs(a: Tensor, b: Tensor, k: int) -> tuple[Tensor, Tensor]:
    rms = (a.double()[:, None] - b.double()[None]).square().mean(2).sqrt()
    distances, indices = rms.sort(dim=1)
    return indices[:, :k], distances[:, :k]


def test_indices_and_distances_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ROWS", "_BLOCK", "_PAIRS"):
        monkeypatch.setattr(nearest_module, name, 7)
    images, training = colour_images(20, 0).images, colour_images(60, 1).images
    indices, distances = by_all_pairs(images.flatten(1) / 255, training.flatten(1) / 255, 9)
    found = nearest_training_images(images, training, 9)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.distances.double(), distances, rtol=1e-5, atol=1e-7)


def test_a_copy_has_distance_zero_and_one_wrong_pixel_its_exact_distance() -> None:
    training = colour_images(300, 0, 32, 32).images
    images = training[[250, 3]].clone()
    images[1, 0, 5, 5] ^= 1
    found = nearest_training_images(images, training)
    assert found.indices.tolist() == [[250], [3]]
    assert found.distances[0] == 0
    assert float(found.distances[1]) == pytest.approx((1 / 255) / (3 * 32 * 32) ** 0.5, rel=1e-3)


def test_float_images_and_numpy_arrays_are_taken_like_uint8() -> None:
    images, training = colour_images(5, 0).images, colour_images(30, 1).images
    expected = nearest_training_images(images, training, 2)
    for given in (images / 255, images.numpy(), (images / 255).numpy().astype(np.float64)):
        found = nearest_training_images(given, training, 2)
        assert torch.equal(found.indices, expected.indices)
        torch.testing.assert_close(found.distances, expected.distances)


def test_large_images_are_compared_after_averaging_to_32_pixels() -> None:
    training = colour_images(12, 0, 64, 48).images
    images = nearly(training, 1)
    small = [torch.nn.functional.adaptive_avg_pool2d(part / 255, (32, 24)).flatten(1) for part in (images, training)]
    indices, distances = by_all_pairs(small[0], small[1], 1)
    found = nearest_training_images(images, training)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.distances.double(), distances, rtol=1e-5, atol=1e-7)


def test_features_of_a_classifier_can_be_compared_instead_of_pixels() -> None:
    torch.manual_seed(0)
    net = Classifier("conv", colour_info()).eval()
    images, training = colour_images(6, 0).images, colour_images(40, 1).images
    with torch.no_grad():
        indices, distances = by_all_pairs(net.features(images / 255), net.features(training / 255), 3)
    found = nearest_training_images(images, training, 3, classifier=FeatureClassifier(net, "mine", 1.0, "", 0.25))
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.distances.double(), distances, rtol=1e-4, atol=1e-6)


def test_a_model_stands_for_its_samples() -> None:
    config = TrainConfig(preset="quick", dataset_info=colour_info(), channels=(4, 4), device="cpu")
    net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
    model, training = LoadedModel(net.eval(), config, 0, "untrained"), colour_images(30, 1).images
    *_, last = sample(model, n=3, seed=5)
    found, expected = nearest_training_images(model, training, n=3, seed=5), nearest_training_images(last.x, training)
    assert torch.equal(found.indices, expected.indices)
    assert torch.equal(found.distances, expected.distances)


@pytest.mark.parametrize(
    ("images", "k", "words"),
    [
        (torch.zeros(2, 1, 16, 16), 1, "must have the same shape, not (1, 16, 16) and (3, 16, 16)"),
        (torch.zeros(3, 16, 16), 1, "must have shape (n, C, H, W)"),
        (torch.zeros(0, 3, 16, 16), 1, "n at least 1"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.int64), 1, "uint8 or floating point, not torch.int64"),
        (torch.zeros(2, 3, 16, 16), 0, "k must be from 1 to 10"),
        (torch.zeros(2, 3, 16, 16), 11, "k must be from 1 to 10"),
        ([1], 1, "must be a tensor or a NumPy array"),
    ],
)
def test_wrong_arguments_are_one_line_errors(images: Tensor, k: int, words: str) -> None:
    with pytest.raises(MinidiffError) as error:
        nearest_training_images(images, colour_images(10, 0).images, k)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
