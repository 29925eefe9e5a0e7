"""Checks of samples: broken samples are found by name, and other real images have no finding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core import load_dataset
from core.diagnosis.sample_checks import (
    check_copies,
    check_requested,
    check_sampler,
    check_samples,
    check_unread,
    noise_level,
)
from core.evaluation.memorisation import check_memorisation
from core.generators import result_of

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def glyphs() -> Tensor:
    return load_dataset("glyphs", limit=128).images / 255


@pytest.fixture(scope="module")
def others() -> Tensor:
    return load_dataset("glyphs", split="test", limit=128).images / 255


@pytest.fixture(scope="module")
def sprites() -> Tensor:
    return load_dataset("sprites", limit=128).images / 255


def noise(like: Tensor, size: float) -> Tensor:
    return size * torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


def names(samples: Tensor, real: Tensor) -> list[str]:
    return [finding.check for finding in check_samples(samples, real)]


def test_other_real_images_have_no_finding(glyphs: Tensor, others: Tensor, sprites: Tensor) -> None:
    assert names(others, glyphs) == []
    assert names(others + noise(others, 0.02), glyphs) == []
    assert names(0.9 * others + 0.04, glyphs) == []
    assert names(load_dataset("sprites", split="test", limit=128).images / 255, sprites) == []


@pytest.mark.parametrize("size", [0.05, 0.2])
def test_the_noise_level_is_that_of_added_noise_despite_edges(glyphs: Tensor, size: float) -> None:
    assert float(noise_level(glyphs).median()) < 0.01
    assert float(noise_level(glyphs + noise(glyphs, size)).median()) == pytest.approx(size, rel=0.25)
    assert float(noise_level(noise(glyphs, size)).mean()) == pytest.approx(size, rel=0.03)


def test_noisy_samples_are_found(glyphs: Tensor, others: Tensor, sprites: Tensor) -> None:
    (finding,) = check_samples(others + noise(others, 0.07), glyphs)
    assert (finding.check, finding.severity) == ("noise", "warning")
    found = check_samples(0.5 + noise(others, 0.5), glyphs)
    assert found[0].check == "noise"
    assert found[0].severity == "error"
    assert "noise" in names(sprites + noise(sprites, 0.3), sprites)


def test_gray_samples_are_found(glyphs: Tensor, others: Tensor, sprites: Tensor) -> None:
    assert "contrast" in names(others * 0.4 + 0.1, glyphs)
    assert "contrast" in names(
        nn.functional.avg_pool2d(sprites, 8).repeat_interleave(8, 2).repeat_interleave(8, 3), sprites
    )


def test_samples_that_are_all_alike_are_found(glyphs: Tensor, others: Tensor) -> None:
    assert names(others[:1].expand_as(others) + noise(others, 0.01), glyphs) == ["variety"]


def test_shifted_colors_are_found_in_their_channel(sprites: Tensor) -> None:
    shifted = sprites.clone()
    shifted[:, 1] = shifted[:, 1] * 0.5
    (finding,) = check_samples(shifted, sprites)
    assert finding.check == "brightness"
    assert "channel green" in finding.evidence


def test_inverted_samples_are_found(glyphs: Tensor, others: Tensor) -> None:
    (finding,) = check_samples(1 - others, glyphs)
    assert finding.check == "brightness"
    assert "negative" in finding.evidence


def test_values_far_outside_of_the_range_are_found(glyphs: Tensor, others: Tensor) -> None:
    assert names(others * 1.7 - 0.15, glyphs) == ["saturation"]


def test_samples_that_are_not_finite_are_found_without_other_findings(glyphs: Tensor, others: Tensor) -> None:
    broken = others.clone()
    broken[5, 0, 3, 3] = torch.nan
    (finding,) = check_samples(broken, glyphs)
    assert finding.check == "finite samples"
    assert "1 of 128" in finding.evidence


def test_a_bad_sampler_is_only_found_if_an_accurate_one_is_good(glyphs: Tensor, others: Tensor) -> None:
    bad = others + noise(others, 0.3)
    (finding,) = check_sampler(bad, others, glyphs, "euler, 2 steps", "heun, 40 steps")
    assert finding.check == "sampler"
    assert "noise" in finding.evidence
    assert "euler, 2 steps" in finding.evidence
    assert check_sampler(bad, bad, glyphs, "euler", "heun") == []
    assert check_sampler(others, others, glyphs, "euler", "heun") == []


def test_a_class_that_is_never_read_is_found() -> None:
    requested = torch.arange(100) % 10
    assert check_requested(requested, requested, DIGITS, 0.99) == []
    half = torch.where(torch.arange(100) < 50, requested, (requested + 1) % 10)
    assert check_requested(requested, half, DIGITS, 0.99) == []
    read = torch.where(requested == 4, 9, requested)
    (finding,) = check_requested(requested, read, DIGITS, 0.99)
    assert (finding.check, finding.severity) == ("requested classes", "warning")
    assert "no sample of 4 (read as 9)" in finding.evidence
    (finding,) = check_requested(requested, torch.full_like(read, 7), DIGITS, 0.99)
    assert finding.severity == "error"
    assert check_requested(requested, read, DIGITS, 0.4) == [], "the classifier cannot tell"
    assert check_requested(requested[:50], read[:50], DIGITS, 0.99) == [], "only five were requested"


def test_a_class_that_samples_without_classes_never_show_is_found() -> None:
    shares = torch.full((10,), 0.1)
    read = torch.arange(128) % 10
    assert check_unread(read, shares, DIGITS, 0.99) == []
    (finding,) = check_unread(torch.where(read == 4, 9, read), shares, DIGITS, 0.99)
    assert "no sample of 128 is read as 4" in finding.evidence
    rare = torch.tensor([0.14] * 5 + [0.06] * 5)
    assert check_unread(torch.where(read == 6, 9, read), rare, DIGITS, 0.99) == []
    assert check_unread(torch.where(read == 4, 9, read), shares, DIGITS, 0.4) == [], "the classifier cannot tell"


def test_copies_of_training_images_are_found() -> None:
    training, fresh = (load_dataset("glyphs", split=split, limit=500).images for split in ("train", "test"))
    new, real = fresh[:100], fresh[100:]
    assert check_copies(result_of(check_memorisation(new, training, real))) == []
    copies = torch.cat((new[:60], training[10:50]))
    (finding,) = check_copies(result_of(check_memorisation(copies, training, real)))
    assert finding.check == "memorization"
    assert "40%" in finding.evidence or "41%" in finding.evidence
