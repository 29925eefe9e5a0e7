"""The memorization check: it finds copies, also if they are few, and does not accuse fresh images."""

from __future__ import annotations

import pytest
import torch
from generated_images import colour_images, nearly
from torch import Tensor

from core.evaluation.memorisation import MemorisationCheck, check_memorisation, relative_distances
from core.evaluation.nearest import NearestImages
from core.generators import result_of

TRAINING = 600
FRESH = 400


def check(images: Tensor) -> MemorisationCheck:
    training, fresh = colour_images(TRAINING, 0).images, colour_images(FRESH, 1).images
    return result_of(check_memorisation(images, training, fresh))


def test_fresh_images_are_as_close_as_other_fresh_images() -> None:
    result = check(colour_images(300, 2).images)
    # Standard deviations of the two fractions: 0.026 and, with the threshold's own error, about 0.01.
    for part in (result.samples, result.baseline):
        assert part.closer == pytest.approx(0.5, abs=0.1)
        assert part.copies <= 0.04
    assert result.real == FRESH


def test_training_images_with_a_little_noise_are_found_and_named() -> None:
    training = colour_images(TRAINING, 0).images
    result = check(nearly(training[:100], 3))
    assert result.samples.closer == 1
    assert result.samples.copies == 1
    assert result.baseline.copies <= 0.04
    assert all(sample == image for sample, image, _ in result.closest)
    assert all(0 < distance < 4 / 255 for _, _, distance in result.closest)


def test_a_few_copies_among_fresh_images_are_found() -> None:
    """The Mann-Whitney statistic hardly moves; the fraction of copies does."""
    training = colour_images(TRAINING, 0).images
    result = check(torch.cat((colour_images(190, 2).images, nearly(training[7:17], 3))))
    assert {sample for sample, _, _ in result.closest} <= set(range(190, 200))
    assert result.samples.closer == pytest.approx(0.5, abs=0.1)
    assert 0.05 <= result.samples.copies <= 0.09


def test_smooth_images_are_close_but_not_copies() -> None:
    mean = colour_images(TRAINING, 0).images.float().mean(0)
    blurred = (0.5 * colour_images(200, 2).images.float() + 0.5 * mean).to(torch.uint8)
    result = check(blurred)
    assert result.samples.closer > 0.9
    assert result.samples.copies <= 0.04


def test_closer_is_the_mann_whitney_statistic_with_ties_as_half() -> None:
    """Vectors on a line, with one training vector at 0, so that distances are the vectors' values."""
    training = torch.tensor([[0.0], [1e6]])
    fresh = torch.tensor([[value] for value in (1.0, 2.0, 3.0, 4.0)])
    images = torch.tensor([[0.0], [2.0], [5.0]])
    samples = result_of(check_memorisation(images, training, fresh)).samples
    possible = set()
    for pair in ((a, b) for a in range(1, 5) for b in range(1, 5) if a < b):  # the half that was chosen
        won = [sum(1.0 if x < real else 0.5 if x == real else 0.0 for real in pair) for x in (0.0, 2.0, 5.0)]
        possible.add(sum(won) / 6)
    assert samples.closer in possible


def test_relative_distances_divide_by_the_mean_and_are_0_for_copies_of_repeated_images() -> None:
    found = NearestImages(torch.zeros(3, 2, dtype=torch.int64), torch.tensor([[1.0, 3.0], [2.0, 2.0], [0.0, 0.0]]))
    assert relative_distances(found).tolist() == [0.5, 1.0, 0.0]


def test_the_check_is_reproducible() -> None:
    assert check(colour_images(50, 2).images) == check(colour_images(50, 2).images)
