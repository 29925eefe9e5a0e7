"""Mixing images with noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from core import MinidiffError, corrupt
from core.diffusion.prob_paths import PATHS

X = torch.rand((3, 1, 4, 4), generator=torch.Generator().manual_seed(1))
NOISE = torch.rand((3, 1, 4, 4), generator=torch.Generator().manual_seed(2))


def test_each_image_is_mixed_by_its_own_amount() -> None:
    amount = torch.tensor([0.0, 0.25, 1.0])
    mixed = corrupt(X, amount, NOISE)
    for i, a in enumerate((0.0, 0.25, 1.0)):
        torch.testing.assert_close(mixed[i], X[i] * (1 - a) + NOISE[i] * a, atol=1e-7, rtol=0)
    assert torch.equal(mixed[0], X[0])
    assert torch.equal(mixed[2], NOISE[2])


def test_noise_is_uniform_in_zero_to_one_by_default() -> None:
    torch.manual_seed(0)
    noise = corrupt(torch.zeros(4, 1, 64, 64), torch.ones(4))
    assert noise.min() >= 0
    assert noise.max() < 1
    assert noise.mean().item() == pytest.approx(1 / 2, abs=0.01)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.005)


def test_the_input_images_are_not_modified() -> None:
    before = X.clone()
    corrupt(X, torch.full((3,), 0.5))
    assert torch.equal(X, before)


@pytest.mark.parametrize("amount", [[0.0, 0.5, 1.1], [-0.01, 0.5, 1.0], [0.0, float("nan"), 1.0]])
def test_amounts_outside_zero_to_one_are_refused(amount: list[float]) -> None:
    with pytest.raises(MinidiffError, match=r"amount must lie in \[0, 1\]"):
        corrupt(X, torch.tensor(amount))


@pytest.mark.parametrize("amount", [torch.tensor(0.5), torch.rand(2), torch.rand(3, 1, 1, 1)])
def test_one_amount_per_image_is_required(amount: torch.Tensor) -> None:
    with pytest.raises(MinidiffError, match=r"shape \(3,\)"):
        corrupt(X, amount)


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(MinidiffError, match="noise needs the images' shape"):
        corrupt(X, torch.rand(3), NOISE[:1])


def test_a_training_step_on_the_mix_path_corrupts_the_same_way() -> None:
    amount = torch.tensor([0.0, 0.25, 1.0])
    assert torch.equal(PATHS["mix"].interpolate(X, NOISE, amount), corrupt(X, amount, NOISE))


def test_arrays_and_a_single_number_are_accepted() -> None:
    expected = corrupt(X, torch.full((3,), 0.25), NOISE)
    for x, noise in ((X.numpy(), NOISE.numpy()), (X.double().numpy(), NOISE.double().numpy())):
        for amount in (0.25, np.full(3, 0.25), [0.25, 0.25, 0.25], torch.full((3,), 0.25, dtype=torch.float64)):
            actual = corrupt(x, amount, noise)
            assert actual.dtype == torch.float32
            torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((X * 255).byte(), 0.5), r"x needs floating-point values in \[0, 1\], not torch.uint8; divide bytes by 255"),
        ((X * 255, 0.5), r"x has values from .* to .*, but images must be in \[0, 1\]; divide bytes by 255"),
        ((X * 2 - 1, 0.5), r"images must be in \[0, 1\]"),
        (([[1.0]], 0.5), "x must be a tensor or a NumPy array, not list"),
        ((X, True), "amount must be a number"),
        ((X, "0.5"), "amount must be a number"),
        ((X, [0.5, None, 0.5]), "amount must be a number"),
        ((X, 1.5), r"amount must lie in \[0, 1\]"),
        ((X, 0.5, 0.5), "noise must be a tensor or a NumPy array"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        corrupt(*arguments)


def test_images_in_another_range_can_be_mixed_with_custom_noise() -> None:
    actual = corrupt(X * 2 - 1, 0.5, torch.zeros_like(X))
    torch.testing.assert_close(actual, X - 0.5, atol=1e-7, rtol=0)
