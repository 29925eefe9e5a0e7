"""Arrays of images in .npy, .npz and .safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from core.data.arrays import read_arrays
from core.data.image_files import Target
from core.errors import DatasetError

BYTES = np.random.default_rng(0).integers(0, 256, (5, 10, 12, 3), dtype=np.uint8)
FIRST = BYTES.transpose(0, 3, 1, 2)
TARGET = Target(3, 10, 12, "crop")


def written(path: Path, **arrays: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, arrays["images"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        safetensors.numpy.save_file(arrays, path)
    return path


def images_of(path: Path, target: Target = TARGET) -> np.ndarray[Any, Any]:
    splits, _ = read_arrays(path)
    return np.concatenate(list(splits[""].chunks(target)))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize(
    "images",
    [
        BYTES,
        FIRST,
        BYTES.astype(np.uint16) * 257,
        BYTES.astype(np.uint16),
        BYTES.astype(np.float64),
        BYTES.astype(np.int64),
        BYTES / np.float32(255),
        FIRST / np.float32(127.5) - 1,
    ],
    ids=["bytes", "channels first", "16 bit", "8 bit in 16", "0 to 255", "integers", "0 to 1", "-1 to 1"],
)
def test_layouts_types_and_ranges_are_recognised(tmp_path: Path, suffix: str, images: Any) -> None:
    path = written(tmp_path / f"x{suffix}", images=np.ascontiguousarray(images))
    assert np.array_equal(images_of(path), FIRST)


def test_grey_arrays_have_one_channel(tmp_path: Path) -> None:
    grey = BYTES[..., 0]
    splits, names = read_arrays(written(tmp_path / "x.npy", images=grey))
    assert splits[""].shape == (10, 12, 1)
    assert names == ()
    assert splits[""].labels.tolist() == [-1] * 5
    assert np.array_equal(images_of(tmp_path / "x.npy", Target(1, 10, 12, "crop")), grey[:, None])


def test_labels_of_any_value_count_from_0_and_name_the_classes(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", images=BYTES, labels=np.array([[30], [10], [30], [20], [10]]))
    splits, names = read_arrays(path)
    assert splits[""].labels.tolist() == [2, 0, 2, 1, 0]
    assert names == ("10", "20", "30")
    path = written(
        tmp_path / "y.npz", x=BYTES, y=np.array([1, 0, 1, 0, 1]), class_names=np.array(["cat", "dog", "emu"])
    )
    splits, names = read_arrays(path)
    assert splits[""].labels.tolist() == [1, 0, 1, 0, 1]
    assert names == ("cat", "dog", "emu")


def test_given_splits_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", x_train=BYTES, y_train=np.arange(5), x_test=BYTES[:2], y_test=np.array([3, 4]))
    splits, names = read_arrays(path)
    assert {split: len(part.values) for split, part in splits.items()} == {"train": 5, "test": 2}
    assert splits["test"].labels.tolist() == [3, 4]
    assert names == tuple("01234")


def test_another_size_or_mode_is_converted(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npy", images=np.full((2, 20, 20, 4), (255, 0, 0, 0), dtype=np.uint8))
    found = images_of(path, Target(1, 8, 8, "crop"))
    assert found.shape == (2, 1, 8, 8)
    assert (found == 255).all()  # transparent red, on white


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": BYTES[0, 0]}, "shape"),
        ({"images": BYTES[..., :2]}, "channels must be 1, 3 or 4"),
        ({"images": BYTES[:, :3]}, "could be"),
        ({"images": BYTES, "labels": np.arange(4)}, "5 images and 4 labels"),
        ({"images": BYTES, "labels": np.linspace(0, 1, 5)}, "not whole numbers"),
        ({"images": BYTES, "labels": np.array(["a"] * 5)}, "labels of shape"),
        ({"images": BYTES, "labels": np.arange(5), "class_names": np.array(["a", "b"])}, "2 class names"),
        ({"images": BYTES.astype(float) * 100}, "scale them to"),
        ({"images": np.where(BYTES > 9, BYTES / 255, np.nan)}, "scale them to"),
        ({"images": BYTES.astype(complex)}, "scale them to"),
        ({"images": BYTES % 2}, "multiply them by 255"),
        ({"pictures": BYTES}, "it has pictures"),
        ({"x_test": BYTES}, "no training images"),
        ({"x_train": BYTES, "y_train": np.arange(5), "x_test": BYTES}, "only one split"),
        ({"images": np.array([None, {}], dtype=object)}, "only pickle"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words) as error:
        read_arrays(written(tmp_path / "x.npz", **arrays))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04broken", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_is_reported(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot read"):
        read_arrays(path)
