"""Random shifts of images."""

from __future__ import annotations

import pytest
import torch

from core import load_dataset
from core.data.augmentation import padded, shifted


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("margin", [1, 3])
def test_a_shifted_image_is_a_crop_of_the_padded_one(margin: int) -> None:
    images = load_dataset("glyphs", limit=60).images
    wide = padded(images, margin)
    moved = shifted(wide, margin, generator(3))
    assert moved.shape == images.shape
    assert moved.dtype == images.dtype
    reach = range(2 * margin + 1)
    places = set()
    for image, window in zip(wide[:, 0], moved[:, 0], strict=True):
        fits = [(y, x) for y in reach for x in reach if torch.equal(image[y : y + 28, x : x + 28], window)]
        assert fits
        places.add(fits[0])
    assert len(places) > len(reach) ** 2 / 2  # each image has its own shift
    assert not torch.equal(shifted(wide, margin, generator(4)), moved)


def test_a_margin_of_zero_leaves_the_images_unchanged() -> None:
    images = torch.arange(2 * 28 * 28).view(2, 1, 28, 28)
    assert torch.equal(shifted(padded(images, 0), 0, generator(0)), images)
