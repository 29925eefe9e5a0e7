"""Paired confidence intervals against tables and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from core.race.intervals import paired_interval, t_quantile
from core.race.records import Interval


@pytest.mark.parametrize(
    ("probability", "df", "expected"),
    [
        (0.975, 1, 12.7062047362),  # tan(0.475 pi)
        (0.975, 2, 4.3026527297),
        (0.975, 3, 3.1824463053),
        (0.995, 30, 2.7499956536),
        (0.975, 999, 1.9623414611),
        (0.975, 1e6, 1.9599663674),
        (0.75, 1, 1.0),
    ],
)
def test_quantiles_of_students_t_are_those_of_the_tables(probability: float, df: float, expected: float) -> None:
    assert t_quantile(probability, df) == pytest.approx(expected, rel=1e-6)


def test_with_one_seed_the_interval_is_that_of_the_paired_t_test() -> None:
    interval = paired_interval(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 0.95)
    half = 3.1824463053 * math.sqrt(5 / 3) / 2  # standard deviation sqrt(5/3), four images
    assert interval.mean == 2.5
    assert interval.high - 2.5 == pytest.approx(half, rel=1e-6)
    assert 2.5 - interval.low == pytest.approx(half, rel=1e-6)


def test_seeds_are_blocks() -> None:
    """If every image has the same difference, only the seeds count, however many images there are."""
    differences = torch.tensor([[1.0], [3.0]]).expand(2, 500)
    interval = paired_interval(differences, 0.95)
    assert interval.mean == 2
    assert interval.high - 2 == pytest.approx(12.7062047362, rel=1e-6)  # t with one degree of freedom, error 1


def test_squared_errors_of_images_and_seeds_add_up() -> None:
    images, seeds = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([[0.0], [4.0]])
    interval = paired_interval(images + seeds, 0.95)
    of_images, of_seeds = 1 / 3, 8 / 2
    df = (of_images + of_seeds) ** 2 / (of_images**2 / 2 + of_seeds**2 / 1)  # Welch and Satterthwaite
    half = t_quantile(0.975, df) * math.sqrt(of_images + of_seeds)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=1e-9)


def test_equal_losses_have_an_interval_of_zero_width() -> None:
    assert paired_interval(torch.zeros(3, 10), 0.95) == Interval(0.0, 0.0, 0.0)
    assert paired_interval(torch.zeros(1, 10), 0.95) == Interval(0.0, 0.0, 0.0)


def test_a_loss_that_is_not_finite_has_no_interval() -> None:
    assert math.isnan(paired_interval(torch.tensor([[1.0, math.nan]]), 0.95).low)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    """Images and seeds with random effects; at most 10 misses in 200 are expected, and not many fewer."""
    generator = torch.Generator().manual_seed(0)
    missed = 0
    for _ in range(200):
        images = torch.randn(1, 40, generator=generator)
        seeds = 0.3 * torch.randn(4, 1, generator=generator)
        both = torch.randn(4, 40, generator=generator)
        interval = paired_interval(images + seeds + both, 0.95)
        missed += not interval.low <= 0 <= interval.high
    assert 1 <= missed <= 16
