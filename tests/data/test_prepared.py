"""A folder of images, an array or a Parquet file becomes two splits in the cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.config.datasets import ImageOptions
from core.data.datasets import load_dataset, load_local
from core.data.folders import list_images
from core.data.prepared import Prepared, prepare
from core.errors import DatasetError, MinidiffError
from core.generators import WithResult
from core.runs.events import Preparing, Warned


def picture(path: Path, value: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 255 - value, 7)).convert(mode).save(path)


def prepared(source: Path, cache: Path, options: ImageOptions | None = None) -> tuple[Prepared, list[Any]]:
    work = WithResult(prepare(source, options or ImageOptions(), cache))
    events = list(work)
    return work.result, events


def warnings_of(events: list[Any]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def test_class_folders_give_labels_and_names_and_a_tenth_is_held_out(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    for index in range(60):
        picture(root / "cat" / f"{index}.png", index)
        picture(root / "hot dog \U0001f32d" / "deeper" / f"{index}.jpg", 200)
    found, events = prepared(root, tmp_path / "cache")
    assert found.info.class_names == ("cat", "hot dog \U0001f32d")
    assert found.info.shape == (3, 10, 12)
    assert warnings_of(events) == []
    assert isinstance(events[0], Preparing)
    train, test = found.read("train"), found.read("test")
    assert (len(train[0]), len(test[0])) == (108, 12)
    for images, labels in (train, test):
        assert images.shape[1:] == (3, 10, 12)
        assert set(labels) == {0, 1}
        assert ((images[:, 0, 0, 0] < 100) == (labels == 0)).all()  # each image kept its label
    reds = sorted(int(image[0, 0, 0]) for images, labels in (train, test) for image in images[labels == 0])
    assert reds == list(range(60))


def test_a_second_start_decodes_nothing_and_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    root, cache = tmp_path / "flat", tmp_path / "cache"
    for index in range(10):
        picture(root / f"{index}.png", index)
    first, events = prepared(root, cache)
    assert first.info.class_names == ()
    assert set(first.read("train")[1]) == {-1}
    assert any(isinstance(event, Preparing) for event in events)
    again, events = prepared(root, cache)
    assert (again.directory, again.digests) == (first.directory, first.digests)
    assert not any(isinstance(event, Preparing) for event in events)
    assert warnings_of(events) == [f"{root} has only 10 images; a model trained on so few memorizes them"]
    picture(root / "3.png", 99)
    os.utime(root / "3.png", (1, 1))
    changed, _ = prepared(root, cache)
    assert changed.digests != first.digests
    smaller, _ = prepared(root, cache, ImageOptions(size=(8,)))
    assert smaller.info.shape == (3, 8, 8)
    for side in (9, 10, 11):
        prepared(root, cache, ImageOptions(size=(side,)))
    assert len(list((cache / "prepared").glob("*/*"))) == 3  # the newest


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    root, cache = tmp_path / "flat", tmp_path / "cache"
    for index in range(4):
        picture(root / f"{index}.png", index)
    first, _ = prepared(root, cache)
    (first.directory / "info.json").write_text(json.dumps({"source": 3}))
    again, events = prepared(root, cache)
    assert any(isinstance(event, Preparing) for event in events)
    assert (again.directory, again.digests) == (first.directory, first.digests)
    assert not any(isinstance(event, Preparing) for event in prepared(root, cache)[1])


def test_split_folders_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for split, count in (("train", 20), ("val", 3), ("test", 2)):
        for index in range(count):
            picture(root / "archive" / split / "ab"[index % 2] / f"{index}.png", index)
    (root / "archive" / "notes").mkdir()
    (root / "archive" / "notes" / "labels.csv").touch()
    found, _ = prepared(root, tmp_path / "cache")
    assert [len(found.read(split)[0]) for split in ("train", "test")] == [20, 5]
    assert found.info.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("modes", "options", "channels"),
    [
        (("L", "1"), {}, 1),
        (("L", "RGB"), {}, 3),
        (("RGB", "RGB"), {"mode": "L"}, 1),
        (("L", "L"), {"mode": "RGB"}, 3),
    ],
)
def test_grey_sets_stay_grey_unless_told_otherwise(
    tmp_path: Path, modes: tuple[str, str], options: dict[str, Any], channels: int
) -> None:
    for index in range(6):
        picture(tmp_path / "set" / f"{index}.png", 40 * index, mode=modes[index % 2])
    found, _ = prepared(tmp_path / "set", tmp_path / "cache", ImageOptions(**options))
    assert found.info.channels == channels
    assert found.read("train")[0].shape[1] == channels


def test_images_of_different_sizes_get_a_stated_size(tmp_path: Path) -> None:
    for index in range(6):
        picture(tmp_path / "set" / f"{index}.png", 9, size=(80 + index, 90))
    found, events = prepared(tmp_path / "set", tmp_path / "cache")
    assert found.info.shape == (3, 64, 64)
    assert "have 6 different sizes; they are converted to 64x64 (crop)" in warnings_of(events)[0]
    found, events = prepared(tmp_path / "set", tmp_path / "cache", ImageOptions(size=(20, 30), resize="pad"))
    assert found.info.shape == (3, 20, 30)
    assert not any("different sizes" in text for text in warnings_of(events))


def test_unreadable_files_are_counted_named_and_skipped_or_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for index in range(20):
        picture(root / "a" / f"{index}.png", index)
        picture(root / "b" / f"{index}.png", index)
    for name in ("broken.png", "cut.png"):
        content = (root / "a" / "1.png").read_bytes()
        (root / "b" / name).write_bytes(content[: len(content) // 2] if name == "cut.png" else b"text")
    found, events = prepared(root, tmp_path / "cache")
    (first, _) = warnings_of(events)
    assert first.startswith(f"2 of 42 files in {root} cannot be read: b/broken.png (it is not an image), b/cut.png (")
    assert first.endswith("; skipped")
    assert sum(len(found.read(split)[0]) for split in ("train", "test")) == 40
    with pytest.raises(DatasetError, match=r"2 of 42 files .* leave out --strict"):
        prepared(root, tmp_path / "cache", ImageOptions(strict=True))


def test_many_files_are_decoded_by_several_processes_in_order(tmp_path: Path) -> None:
    root = tmp_path / "many"
    for index in range(650):
        picture(root / "ab"[index % 2] / f"{index:03}.png", index % 256, size=(8, 8))
    (root / "a" / "999.png").write_bytes(b"no image")
    found, events = prepared(root, tmp_path / "cache")
    assert max(event.done for event in events if isinstance(event, Preparing)) == 651
    images, labels = (np.concatenate(parts) for parts in zip(found.read("train"), found.read("test"), strict=True))
    assert len(images) == 650
    assert sorted(images[labels == 0, 0, 0, 0].tolist()) == sorted(index % 256 for index in range(0, 650, 2))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "it is empty"),
        ({"a.txt": b"", "b.txt": b"", "c.csv": b""}, "but 2 .txt files"),
        ({"a.png": b"no", "b.png": b"no"}, "none of the 2 images"),
    ],
)
def test_a_folder_without_images_is_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for name, content in files.items():
        (root / name).write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        prepared(root, tmp_path / "cache")


def test_images_beside_class_folders_and_a_single_image_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "loose.png", 1)
    picture(tmp_path / "set" / "a" / "1.png", 1)
    with pytest.raises(DatasetError, match="beside folders with images"):
        list_images(tmp_path / "set")
    picture(tmp_path / "one" / "1.png", 1)
    with pytest.raises(DatasetError, match="too few images"):
        prepared(tmp_path / "one", tmp_path / "cache")
    with pytest.raises(DatasetError, match="there is no"):
        prepared(tmp_path / "missing", tmp_path / "cache")
    with pytest.raises(DatasetError, match="smallest side is 8"):
        for index in range(3):
            picture(tmp_path / "tiny" / f"{index}.png", 1, size=(5, 5))
        prepared(tmp_path / "tiny", tmp_path / "cache")


def test_too_many_classes_are_refused_and_a_thousand_are_not(tmp_path: Path) -> None:
    for index in range(1001):
        (tmp_path / "set" / f"{index:04}").mkdir(parents=True)
        (tmp_path / "set" / f"{index:04}" / "x.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="1,001 class folders"):
        list_images(tmp_path / "set")
    (tmp_path / "set" / "1000" / "x.png").unlink()
    assert len(list_images(tmp_path / "set")[1]) == 1000


@pytest.mark.filterwarnings("ignore:.*has only 50 images")
def test_arrays_and_load_dataset_give_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = np.random.default_rng(1).integers(0, 256, (50, 16, 20), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(50) % 3)
    data = [load_dataset(str(tmp_path / "set.npz"), split=split) for split in ("train", "test")]
    assert [part.images.shape for part in data] == [(45, 1, 16, 20), (5, 1, 16, 20)]
    stored = sorted(image.numpy().tobytes() for part in data for image in part.images)
    assert stored == sorted(image.tobytes() for image in images)
    assert load_local(str(tmp_path / "set.npz"), limit=2).images.shape == (2, 1, 16, 20)


def test_parquet_files_in_the_layout_of_hugging_face(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = []
    for index in range(30):
        picture(tmp_path / "one.png", index)
        rows.append({"image": {"bytes": (tmp_path / "one.png").read_bytes(), "path": None}, "label": index % 2})
    feature = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pyarrow.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(feature)})
    (tmp_path / "set").mkdir()
    parquet.write_table(table.slice(0, 24), tmp_path / "set" / "train-00000-of-00001.parquet")
    parquet.write_table(table.slice(24), tmp_path / "set" / "test-00000-of-00001.parquet")
    found, _ = prepared(tmp_path / "set", tmp_path / "cache")
    assert found.info.class_names == ("cat", "dog")
    assert [len(found.read(split)[0]) for split in ("train", "test")] == [24, 6]


def test_without_pyarrow_the_install_line_is_named(tmp_path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        (tmp_path / "x.parquet").write_bytes(b"PAR1")
        with pytest.raises(MinidiffError, match=r"pip install 'minidiff\[parquet\]'"):
            prepared(tmp_path / "x.parquet", tmp_path / "cache")
    else:
        pytest.skip("pyarrow is installed")
