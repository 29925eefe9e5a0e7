"""Checks of images and labels: what is broken is found by name, and real images have no finding."""

from __future__ import annotations

import pytest
import torch
from generated_images import colour_images
from torch import Tensor

from core import load_dataset
from core.data.datasets import LabeledImages
from core.diagnosis.data_checks import (
    check_blank,
    check_classes,
    check_duplicates,
    check_range,
    check_splits,
    inverted,
)
from core.runs.findings import Finding

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def train() -> LabeledImages:
    return load_dataset("glyphs", limit=400)


@pytest.fixture(scope="module")
def test() -> LabeledImages:
    return load_dataset("glyphs", split="test", limit=300)


def only(findings: list[Finding], check: str) -> Finding:
    """The only finding, which is of this check and complete."""
    (finding,) = findings
    assert finding.check == check
    assert finding.evidence
    assert finding.cause
    assert finding.advice
    return finding


def in_range(images: Tensor) -> Tensor:
    return images / 127.5 - 1


@pytest.mark.parametrize(
    ("scale", "shift", "words", "advice"),
    [
        (1 / 255, 0.0, "in [0, 1]", "2 x - 1"),
        (1.0, 0.0, "in [0, 255]", "divide by 127.5 and subtract 1"),
        (1 / 255 / 0.31, -0.13 / 0.31, "standardized", "scale the images to [-1, 1]"),
        (float("nan"), 0.0, "not finite", "remove"),
    ],
)
def test_images_in_another_range_are_found_with_how_to_scale_them(
    train: LabeledImages, scale: float, shift: float, words: str, advice: str
) -> None:
    finding = only(check_range(train.images * scale + shift), "value range")
    assert words in finding.cause
    assert advice in finding.advice
    assert finding.severity == "error"


def test_on_a_path_of_images_in_0_to_1_other_ranges_are_found(train: LabeledImages) -> None:
    assert check_range(train.images / 255, 0.0, 1.0) == []
    assert "in [-1, 1]" in only(check_range(in_range(train.images), 0.0, 1.0), "value range").cause
    assert "in [0, 255]" in only(check_range(train.images.float(), 0.0, 1.0), "value range").cause


def test_bytes_that_were_cut_off_to_0_and_1_are_found(train: LabeledImages) -> None:
    assert "only 0 and 1" in only(check_range((train.images / 255).to(torch.uint8)), "value range").cause
    assert check_range(train.images) == []


def test_images_in_the_expected_range_have_no_finding(train: LabeledImages) -> None:
    assert check_range(in_range(train.images)) == []
    assert check_range(in_range(colour_images(50, 0).images)) == []
    assert check_range(in_range(train.images) * 1.01) == []


def test_blank_images_are_found(train: LabeledImages) -> None:
    assert check_blank(train.images) == []
    images = train.images.clone()
    images[10:30] = 0
    assert "5% of 400 images" in only(check_blank(images), "blank images").evidence
    colored = colour_images(40, 0).images
    assert check_blank(colored) == []
    colored[3] = torch.tensor([10, 90, 200])[:, None, None]
    colored[4] = 7
    assert "image 3" in only(check_blank(colored), "blank images").evidence


def test_repeated_images_are_found(train: LabeledImages) -> None:
    assert check_duplicates(train.images) == []
    repeated = torch.cat((train.images, train.images[:100]))
    finding = only(check_duplicates(repeated), "duplicates")
    assert "20% of 500 images" in finding.evidence
    assert "image 400, which is image 0" in finding.evidence
    assert check_duplicates(torch.cat((train.images, train.images[:10]))) == []


@pytest.mark.parametrize(
    ("labels", "severity", "words"),
    [
        (torch.arange(1, 11).repeat(20), "error", "20 labels are not from 0 to 9, such as 10"),
        (torch.full((200,), 3), "error", "all 200 images have the class 3, of 10 classes"),
        (torch.arange(8).repeat(25), "warning", "no image of 8, 9 among 200 images"),
        (torch.cat((torch.arange(9).repeat(100), torch.tensor([9]))), "warning", "few images of 9"),
    ],
)
def test_wrong_missing_and_rare_classes_are_found(labels: Tensor, severity: str, words: str) -> None:
    finding = only(check_classes(labels, DIGITS), "classes")
    assert finding.severity == severity
    assert words in finding.evidence


def test_usual_classes_have_no_finding(train: LabeledImages) -> None:
    assert check_classes(train.labels, DIGITS) == []
    assert check_classes(torch.full((20,), -1), ()) == []
    assert check_classes(torch.zeros(20, dtype=torch.int64), ("only",)) == []


def splits(train: LabeledImages, test: LabeledImages, classes: int = 10) -> list[Finding]:
    return check_splits(*train, *test, classes)


def test_splits_of_the_same_kind_have_no_finding(train: LabeledImages, test: LabeledImages) -> None:
    assert splits(train, test) == []
    assert splits(LabeledImages(*(part[:64] for part in train)), LabeledImages(*(part[:64] for part in test))) == []
    sprites = [load_dataset("sprites", split=split, limit=300) for split in ("train", "test")]
    assert splits(*sprites, 12) == []


def test_overlapping_splits_are_found(train: LabeledImages, test: LabeledImages) -> None:
    mixed = LabeledImages(torch.cat((test.images[:150], train.images[:50])), test.labels[:200])
    assert "25% of the validation images" in only(splits(train, mixed, 0), "splits").evidence


def test_an_inverted_split_is_found(train: LabeledImages, test: LabeledImages) -> None:
    finding = only(splits(train, LabeledImages(255 - test.images, test.labels)), "splits")
    assert "negative" in finding.evidence
    assert finding.severity == "error"


def test_few_images_differ_by_chance_without_a_finding(train: LabeledImages, test: LabeledImages) -> None:
    for n in (1, 5, 10):
        assert splits(train, LabeledImages(*(part[:n] for part in test))) == []
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        blotches = torch.rand((2, 4, 1, 2, 2), generator=generator).repeat_interleave(8, 3).repeat_interleave(8, 4)
        assert not inverted(blotches[0], blotches[1], 1.0)


def test_splits_of_different_brightness_or_classes_are_found(train: LabeledImages, test: LabeledImages) -> None:
    brighter = LabeledImages((test.images.int() // 2 + 120).to(torch.uint8), test.labels)
    assert "mean value" in only(splits(train, brighter), "splits").evidence
    low, high = train.labels < 5, test.labels >= 5
    sorted_by_class = [
        LabeledImages(data.images[some], data.labels[some]) for data, some in ((train, low), (test, high))
    ]
    assert "100% of the validation images would need another class" in " ".join(
        finding.evidence for finding in splits(*sorted_by_class)
    )
