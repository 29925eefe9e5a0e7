"""Glyphs: reproducible, balanced, recognizable, and cached atomically."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from repository import REPOSITORY

from core.data import glyphs
from core.data.idx import read_idx
from core.generators import result_of

COUNTS = {"train": 600, "test": 300}


@pytest.fixture(scope="module")
def train() -> tuple[glyphs.Bytes, glyphs.Bytes]:
    return glyphs.draw("train", 1500)


def test_images_are_uint8_with_an_empty_border_and_labels_are_digits(
    train: tuple[glyphs.Bytes, glyphs.Bytes],
) -> None:
    images, labels = train
    assert images.shape == (1500, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() == 255
    edge = np.concatenate([images[:, [0, -1]].ravel(), images[:, :, [0, -1]].ravel()])
    assert edge.max() == 0


def test_the_same_seed_gives_the_same_images_and_another_seed_different_ones(
    train: tuple[glyphs.Bytes, glyphs.Bytes],
) -> None:
    assert np.array_equal(glyphs.draw("train", 300)[0], train[0][:300])
    assert np.array_equal(glyphs.draw("train", 7)[1], train[1][:7])
    assert not np.array_equal(glyphs.draw("train", 250, seed=1)[0], train[0][:250])
    assert not np.array_equal(glyphs.draw("test", 250)[0], train[0][:250])


def test_every_digit_is_drawn_equally_often(train: tuple[glyphs.Bytes, glyphs.Bytes]) -> None:
    assert np.bincount(train[1]).tolist() == [150] * 10


def test_no_two_images_are_the_same(train: tuple[glyphs.Bytes, glyphs.Bytes]) -> None:
    assert len({image.tobytes() for image in train[0]}) == len(train[0])


def test_ink_is_centred_and_matches_the_size_and_brightness_of_mnist(train: tuple[glyphs.Bytes, glyphs.Bytes]) -> None:
    images = train[0].astype(float) / 255
    mass = images.sum(axis=(1, 2))
    rows = (images.sum(axis=2) * np.arange(28)).sum(axis=1) / mass
    columns = (images.sum(axis=1) * np.arange(28)).sum(axis=1) / mass
    for centre in (rows, columns):
        assert abs(centre.mean() - 13.5) < 0.2
        assert np.abs(centre - 13.5).max() < 4
    height = (images.max(axis=2) > 0.1).sum(axis=1)
    assert 18 < height.mean() < 21  # MNIST: 19.6
    assert 0.10 < images.mean() < 0.17  # MNIST: 0.131


def test_a_nearest_class_mean_classifier_recognises_the_digits(train: tuple[glyphs.Bytes, glyphs.Bytes]) -> None:
    images, labels = (array.astype(float) for array in train)
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])
    test_images, test_labels = glyphs.draw("test", 500)
    distances = ((test_images[:, None] - means) ** 2).sum(axis=(2, 3))
    right = distances.argmin(axis=1) == test_labels
    assert right.mean() > 0.7
    for digit in range(10):
        assert right[test_labels == digit].mean() > 0.3, digit


def test_two_processes_write_the_same_cache_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "glyphs"
    digests = result_of(glyphs.ensure(folder, COUNTS))
    for split, count in COUNTS.items():
        images, labels = glyphs.draw(split, count)
        image_file = read_idx(folder / glyphs.FILES[split][0], (count, 28, 28))
        assert image_file.content[image_file.offset :] == images.tobytes()
        label_file = read_idx(folder / glyphs.FILES[split][1], (count,))
        assert label_file.content[label_file.offset :] == labels.tobytes()
        assert digests[glyphs.FILES[split][0]] == image_file.sha256 == glyphs.digest(split, count)
    assert glyphs.recorded(folder, COUNTS) == digests
    assert [path.name for path in folder.parent.iterdir()] == ["glyphs"]


@pytest.mark.parametrize("damage", ["altered", "cut", "missing", "record"])
def test_a_damaged_cache_is_drawn_again(tmp_path: Path, damage: str) -> None:
    digests = result_of(glyphs.ensure(tmp_path / "glyphs", COUNTS))
    path = tmp_path / "glyphs" / glyphs.FILES["train"][0]
    content = path.read_bytes()
    if damage == "altered":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[:-9])
    elif damage == "missing":
        path.unlink()
    else:
        (tmp_path / "glyphs" / "sha256.json").write_text("[1, 2")
    assert glyphs.recorded(tmp_path / "glyphs", COUNTS) is None
    assert result_of(glyphs.ensure(tmp_path / "glyphs", COUNTS)) == digests
    assert path.read_bytes() == content


def test_closing_the_generator_leaves_nothing_behind(tmp_path: Path) -> None:
    events: Generator[object, None, object] = glyphs.ensure(tmp_path / "glyphs", glyphs.COUNTS)
    next(events)
    next(events)
    events.close()
    assert list(tmp_path.iterdir()) == []


def test_a_script_without_a_main_guard_in_another_folder_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from pathlib import Path\nfrom core.data import glyphs\nprint('run')\n"
        f"list(glyphs.ensure(Path('drawn'), {{'train': 300, 'test': 20}}))\n"
        "print(min(path.name for path in Path('drawn').iterdir()))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["run", "sha256.json"]
