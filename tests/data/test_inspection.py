"""What is said about a dataset before anything is downloaded, generated or decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.config.training import TrainConfig
from core.data.datasets import cache_directory, load_dataset
from core.data.inspection import SAMPLED, describe_dataset
from core.errors import DatasetError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIDIFF_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def pictures(root: Path, count: int) -> Path:
    for index in range(count):
        path = root / ("cat", "dog")[index % 2] / f"{index}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), (index % 256, 0, 0)).save(path)
    return root


def test_a_published_dataset_that_is_not_here_is_to_be_downloaded_and_known_all_the_same() -> None:
    for name in ("auto", "mnist", "cifar10"):
        data = describe_dataset(TrainConfig(dataset=name, limit=55_000))
        assert data.pending == "to be downloaded"
        assert str(cache_directory()) in data.location
        assert data.count == ("50,000 + 10,000 images" if name == "cifar10" else "55,000 + 10,000 images")
        assert data.shape == ("32x32 RGB" if name == "cifar10" else "28x28 gray")
    assert not cache_directory().exists()


def test_a_data_root_without_the_dataset_is_an_error_and_one_with_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"MNIST is not in {tmp_path}"):
        describe_dataset(TrainConfig(dataset="mnist", data_root=tmp_path))


def test_published_files_are_found(genuine_mnist: Path) -> None:
    data = describe_dataset(TrainConfig(data_root=genuine_mnist))
    assert (data.name, data.pending, data.train, data.test) == ("mnist", "", 60_000, 10_000)
    assert data.location.startswith(f"found in {genuine_mnist}")


def test_a_folder_is_described_from_its_headers_until_it_is_decoded(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pets", 100)
    config = TrainConfig(dataset=str(root))
    data = describe_dataset(config)
    assert (data.name, data.location, data.pending) == ("pets", f"found in {root}", "to be decoded")
    assert (data.shape, data.classes, data.count) == ("10x12 RGB", "2 classes", "100 image files")
    assert not cache_directory().exists()
    load_dataset(str(root))
    decoded = describe_dataset(config)
    assert (decoded.pending, decoded.info, decoded.count) == ("", data.info, "90 + 10 images")
    assert (data.train, data.test) == (decoded.train, decoded.test)


def test_the_shape_of_a_large_folder_is_that_of_some_of_its_images(tmp_path: Path) -> None:
    data = describe_dataset(TrainConfig(dataset=str(pictures(tmp_path / "many", SAMPLED + 1))))
    assert data.shape == "probably 10x12 RGB"


def test_an_array_is_unknown_until_it_is_converted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((30, 8, 8), dtype=np.uint8))
    data = describe_dataset(TrainConfig(dataset=str(tmp_path / "x.npy")))
    assert (data.pending, data.info, data.count) == ("to be converted", None, "")


@pytest.mark.parametrize(("count", "words"), [(0, "there is no"), (1, "too few images")])
def test_a_folder_that_cannot_be_trained_on_is_an_error(tmp_path: Path, count: int, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        describe_dataset(TrainConfig(dataset=str(pictures(tmp_path / "few", count))))
