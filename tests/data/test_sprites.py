"""Sprites: reproducible, balanced, varied, recognizable, and shaded with light from the top left."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config.datasets import INFO
from core.data import datasets, sprites
from core.data.datasets import load_dataset
from core.errors import DatasetError
from core.generators import result_of

NAMES = INFO["sprites"].class_names


@pytest.fixture(scope="module")
def train() -> tuple[sprites.Bytes, sprites.Bytes]:
    return sprites.draw("train", 6000)


def test_images_are_rgb_bytes_of_the_registered_shape(train: tuple[sprites.Bytes, sprites.Bytes]) -> None:
    images, labels = train
    assert images.shape == (6000, *INFO["sprites"].shape) == (6000, 3, 16, 16)
    assert labels.shape == (6000,)
    assert images.dtype == labels.dtype == np.uint8


def test_an_image_depends_on_seed_split_and_index_only(train: tuple[sprites.Bytes, sprites.Bytes]) -> None:
    for count in (1, 7, 1300):
        images, labels = sprites.draw("train", count)
        assert np.array_equal(images, train[0][:count])
        assert np.array_equal(labels, train[1][:count])
    assert not np.array_equal(sprites.draw("train", 20, seed=1)[0], train[0][:20])


def test_train_and_test_images_are_disjoint(train: tuple[sprites.Bytes, sprites.Bytes]) -> None:
    seen = {image.tobytes() for image in train[0]}
    assert not any(image.tobytes() in seen for image in sprites.draw("test", 3000)[0])


def test_every_figure_is_drawn_equally_often(train: tuple[sprites.Bytes, sprites.Bytes]) -> None:
    assert np.bincount(train[1]).tolist() == [500] * len(NAMES)
    assert all(count % sprites.CHUNK == 0 for count in sprites.COUNTS.values())


def test_no_image_is_a_duplicate_and_few_are_without_their_colours(
    train: tuple[sprites.Bytes, sprites.Bytes],
) -> None:
    assert len({image.tobytes() for image in train[0]}) == len(train[0])
    for label, name in enumerate(NAMES):
        shapes = {_regions(image) for image in train[0][train[1] == label]}
        assert len(shapes) > 0.95 * 500, name


def _regions(image: sprites.Bytes) -> bytes:
    """The image with each color replaced by its order of appearance."""
    colors = (image.astype(np.int64) * np.array([[[65536]], [[256]], [[1]]])).sum(axis=0).ravel()
    _, first, numbers = np.unique(colors, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers].astype(np.uint8).tobytes()


def test_each_figure_stands_on_a_plain_background_inside_a_closed_outline(
    train: tuple[sprites.Bytes, sprites.Bytes],
) -> None:
    for image, label in zip(train[0][:600], train[1][:600], strict=True):
        corners = image[:, [0, 0, -1, -1], [0, -1, 0, -1]].T
        background = next(color for color in corners if (corners == color).all(axis=1).sum() >= 3)
        outside = (image == background[:, None, None]).all(axis=0)
        assert 0.3 < outside.mean() < 0.9, NAMES[label]
        # All pixels beside the background have one color, the outline.
        inside = ~outside
        near = np.zeros_like(inside)
        near[1:] |= outside[:-1]
        near[:-1] |= outside[1:]
        near[:, 1:] |= outside[:, :-1]
        near[:, :-1] |= outside[:, 1:]
        assert len({tuple(color) for color in image[:, inside & near].T}) == 1, NAMES[label]


def test_the_light_comes_from_the_top_left_in_mirrored_figures_too(train: tuple[sprites.Bytes, sprites.Bytes]) -> None:
    hearts = train[0][train[1] == NAMES.index("heart")].astype(float).mean(axis=1)
    inner = hearts[:, 4:12, 3:13]
    assert inner[:, :4, :5].mean() > inner[:, -4:, -5:].mean() + 10
    assert inner[:, :, :5].mean() > inner[:, :, 5:].mean() + 5


def test_a_nearest_neighbour_classifier_recognises_the_figures(train: tuple[sprites.Bytes, sprites.Bytes]) -> None:
    """By edges, since colors are random."""

    def edges(images: sprites.Bytes) -> torch.Tensor:
        grey = torch.from_numpy(images).float().mean(dim=1)
        down, right = grey.diff(dim=1).abs() > 30, grey.diff(dim=2).abs() > 30
        return torch.cat([down.flatten(1), right.flatten(1)], dim=1).float()

    images, labels = sprites.draw("test", 600)
    nearest = torch.cdist(edges(images), edges(train[0]), p=1).argmin(dim=1).numpy()
    right = train[1][nearest] == labels
    for label, name in enumerate(NAMES):
        assert right[labels == label].mean() > 0.6, name


def test_all_of_them_are_loaded_without_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    located = result_of(datasets.locate("sprites", tmp_path / "nowhere"))
    distinct: set[bytes] = set()
    for split, count in sprites.COUNTS.items():
        whole = datasets.read(located, split)
        distinct.update(image.tobytes() for image in whole.images.numpy())
        assert whole.images.shape == (count, 3, 16, 16)
        assert whole.labels.dtype == torch.int64
        assert located.sha256(split) == hashlib.sha256(whole.images.numpy().tobytes()).hexdigest()
    assert len(distinct) == sum(sprites.COUNTS.values())
    assert torch.equal(load_dataset("sprites", split="test", limit=9).images, whole.images[:9])
    assert len(datasets.read(located, "test", 7_000).labels) == 6_000
    assert list(tmp_path.iterdir()) == []


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(DatasetError, match="1 or more, not 0"):
        load_dataset("sprites", limit=0)
