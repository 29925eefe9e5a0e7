"""Datasets: search order, verification of each file, exact contents, and the fallback with a warning."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from repository import REPOSITORY

from core.config.datasets import SOURCES, File, Source
from core.data import datasets, glyphs
from core.data.datasets import Located, load_dataset, locate, read
from core.data.idx import header
from core.errors import DatasetError
from core.evaluation import scores
from core.generators import WithResult
from core.runs.events import Event, Warned

COUNTS = {"train": 12, "test": 5}
SHARED = REPOSITORY.parent / "shared" / "data"
GENUINE = Path(os.environ.get("MINIDIFF_DATA", SHARED)).resolve()  # read before the tests unset it


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An isolated working directory, home and cache, without a data root or network access."""
    for variable in ("MINIDIFF_DATA", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # the discard port: nothing is listening
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def genuine() -> Path:
    """A root with MNIST as published."""
    if not list(GENUINE.glob("MNIST/raw/train-images-idx3-ubyte*")):
        pytest.skip("needs genuine MNIST: in MINIDIFF_DATA or ../shared/data")
    return GENUINE


def content(name: str, split: str, what: str) -> bytes:
    """The content of a file of a small fake dataset, determined by its name."""
    stream = random.Random(f"{name} {split} {what}")
    count = COUNTS[split]
    if what == "images":
        return header((count, 28, 28)) + stream.randbytes(count * 784)
    return header((count,)) + bytes(stream.randrange(10) for _ in range(count))


def register(monkeypatch: pytest.MonkeyPatch, name: str, known: bool = True) -> None:
    """Register a fake dataset; `known`: whether a digest of the content is published besides that of the archive."""
    splits = {}
    for split, part in (("train", "train"), ("test", "t10k")):
        files = []
        for what, shape in (("images", (COUNTS[split], 28, 28)), ("labels", (COUNTS[split],))):
            whole = content(name, split, what)
            packed = gzip.compress(whole, mtime=0)
            files.append(
                File(
                    f"{part}-{what}-idx{len(shape)}-ubyte",
                    shape,
                    len(packed),
                    hashlib.sha256(packed).hexdigest(),
                    hashlib.sha256(whole).hexdigest() if known else None,
                )
            )
        splits[split] = (files[0], files[1])
    monkeypatch.setitem(SOURCES, name, Source(name.title(), name.title(), splits))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "tiny")
    register(monkeypatch, "other")
    register(monkeypatch, "archived", known=False)


def fill(folder: Path, name: str, *, packed: bool = False, splits: tuple[str, ...] = ("train", "test")) -> Path:
    """Write the files of a fake dataset into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        for file, what in zip(SOURCES[name].splits[split], ("images", "labels"), strict=True):
            whole = content(name, split, what)
            path = folder / (file.name + ".gz" * packed)
            path.write_bytes(gzip.compress(whole, mtime=0) if packed else whole)
    return folder


def find(name: str, root: Path | None = None, **options: object) -> tuple[Located, list[Event]]:
    search = WithResult(locate(name, root, **options))  # type: ignore[arg-type]
    yielded = list(search)
    return search.result, yielded


def assert_is(dataset: datasets.LabeledImages, name: str, split: str = "train") -> None:
    images = content(name, split, "images")[16:]
    assert dataset.images.shape == (COUNTS[split], 1, 28, 28)
    assert dataset.images.dtype == torch.uint8
    assert dataset.labels.dtype == torch.int64
    assert dataset.images.numpy().tobytes() == images
    assert dataset.labels.tolist() == list(content(name, split, "labels")[8:])


# Layouts, roots and identity


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "gz"])
@pytest.mark.parametrize("layout", ["Tiny/raw", "."])
def test_both_layouts_are_read_raw_and_gzipped(alone: Path, layout: str, packed: bool) -> None:
    fill(alone / "root" / layout, "tiny", packed=packed)
    assert_is(load_dataset("tiny", alone / "root"), "tiny")
    assert_is(load_dataset("tiny", str(alone / "root"), split="test"), "tiny", "test")


def test_roots_are_searched_in_order(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDIFF_DATA", str(alone / "named"))
    expected = [alone / "named", Path("data"), datasets.cache_directory()]
    assert datasets.search_roots() == expected
    for root in expected:
        fill(root / "Tiny" / "raw", "tiny")
    for root in expected:
        assert find("tiny")[0].directory == root / "Tiny" / "raw"
        shutil.rmtree(root)


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a file", "another set", "one split"])
def test_a_root_without_the_dataset_is_an_error_even_if_the_dataset_is_elsewhere(
    alone: Path, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (alone / "named", Path("data"), datasets.cache_directory()):
        fill(place, "tiny")
    monkeypatch.setenv("MINIDIFF_DATA", str(alone / "named"))
    root = alone / "root"
    match there:
        case "an empty folder":
            root.mkdir()
        case "a file":
            root.write_text("")
        case "another set":
            fill(root, "other", packed=True)
        case "one split":
            fill(root / "Tiny" / "raw", "tiny", splits=("test",))
    with pytest.raises(DatasetError, match=f"Tiny is not in {root}") as caught:
        load_dataset("tiny", root)
    assert f"minidiff download tiny --data-root {root}" in str(caught.value)
    assert ("which is not a folder" in str(caught.value)) == (there in ("nothing", "a file"))
    assert datasets.search_roots(str(root)) == [root]


def test_a_root_without_mnist_is_an_error_for_auto_but_not_for_glyphs(alone: Path) -> None:
    with pytest.raises(DatasetError, match="MNIST is not in"):
        load_dataset("auto", alone / "nowhere", limit=8)
    with pytest.raises(DatasetError, match="MNIST is not in"):
        list(scores.prepare("auto", alone / "nowhere", 8))
    assert not datasets.cache_directory().exists()
    assert len(load_dataset("glyphs", alone / "nowhere", limit=8).images) == 8


def test_a_flat_root_with_the_files_of_another_dataset_is_that_dataset(alone: Path) -> None:
    fill(alone / "root", "other", packed=True)
    assert_is(load_dataset("other", alone / "root"), "other")


def test_a_file_of_another_dataset_in_a_named_folder_is_an_error(alone: Path) -> None:
    fill(alone / "root" / "Tiny" / "raw", "other")
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte belongs to Other, not Tiny"):
        load_dataset("tiny", alone / "root")


def test_only_the_files_of_the_requested_split_are_needed(alone: Path) -> None:
    root = fill(alone / "root", "tiny", splits=("test",))
    assert_is(load_dataset("tiny", root, split="test"), "tiny", "test")
    (root / "train-images-idx3-ubyte").write_bytes(b"rubbish")
    assert_is(load_dataset("tiny", root, split="test"), "tiny", "test")
    assert find("tiny", root, splits=("test",))[0].files.keys() == {"test"}


def test_a_read_only_root_is_read_and_not_modified(alone: Path) -> None:
    root = fill(alone / "root" / "Tiny" / "raw", "tiny", packed=True)
    before = sorted(path.name for path in root.iterdir())
    for path in (root, root.parent, root.parent.parent):
        path.chmod(0o555)
    try:
        assert_is(load_dataset("tiny", alone / "root"), "tiny")
        assert sorted(path.name for path in root.iterdir()) == before
    finally:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
    assert not (alone / "cache").exists()


# Damage


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "gz"])
@pytest.mark.parametrize("what", ["images", "labels"])
@pytest.mark.parametrize("layout", ["Tiny/raw", "."])
def test_an_altered_file_of_the_right_size_is_refused_by_name(
    alone: Path, layout: str, what: str, packed: bool
) -> None:
    folder = fill(alone / "root" / layout, "tiny", packed=packed)
    file = SOURCES["tiny"].splits["train"][what == "labels"]
    whole = bytearray(content("tiny", "train", what))
    whole[-3] ^= 1
    path = folder / (file.name + ".gz" * packed)
    path.write_bytes(gzip.compress(bytes(whole)) if packed else bytes(whole))
    with pytest.raises(DatasetError, match=r"not the published Tiny file.*delete it or replace it") as caught:
        load_dataset("tiny", alone / "root")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["tiny", "archived"])
def test_a_truncated_file_is_refused_by_name(alone: Path, name: str) -> None:
    folder = fill(alone / "root" / name.title() / "raw", name)
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"train-labels-idx1-ubyte is truncated"):
        load_dataset(name, alone / "root")


def test_an_intact_archive_replaces_a_damaged_raw_file(alone: Path) -> None:
    folder = fill(alone / "root" / "Tiny" / "raw", "tiny", packed=True)
    fill(folder, "tiny")
    (folder / "train-images-idx3-ubyte").write_bytes(header((12, 28, 28)) + bytes(12 * 784))
    assert_is(load_dataset("tiny", alone / "root"), "tiny")


@pytest.mark.parametrize("missing", ["images-idx3", "labels-idx1"])
def test_an_incomplete_split_is_an_error_naming_the_missing_file(alone: Path, missing: str) -> None:
    folder = fill(alone / "root", "tiny")
    (folder / f"train-{missing}-ubyte").unlink()
    with pytest.raises(DatasetError, match=f"train-{missing}-ubyte is missing"):
        load_dataset("tiny", folder)


def test_an_archive_with_a_published_digest_is_verified_and_preferred(alone: Path) -> None:
    folder = fill(alone / "root" / "Archived" / "raw", "archived", packed=True)
    fill(folder, "archived")
    raw = folder / "train-images-idx3-ubyte"
    raw.write_bytes(header((12, 28, 28)) + bytes(12 * 784))
    assert_is(load_dataset("archived", alone / "root"), "archived")
    archive = folder / "train-images-idx3-ubyte.gz"
    archive.write_bytes(gzip.compress(header((12, 28, 28)) + bytes(12 * 784)))
    raw.unlink()
    with pytest.raises(DatasetError, match="not the published Archived file"):
        load_dataset("archived", alone / "root")


def test_a_raw_file_without_a_digest_is_accepted_only_in_the_folder_of_its_dataset(alone: Path) -> None:
    fill(alone / "own" / "Archived" / "raw", "archived")
    assert_is(load_dataset("archived", alone / "own"), "archived")
    fill(alone / "plain", "archived")
    with pytest.raises(DatasetError, match="not the published Archived file"):
        load_dataset("archived", alone / "plain")


def test_a_label_above_nine_is_refused(alone: Path) -> None:
    folder = fill(alone / "root" / "Archived" / "raw", "archived")
    (folder / "train-labels-idx1-ubyte").write_bytes(header((12,)) + bytes([0] * 11 + [10]))
    with pytest.raises(DatasetError, match="has the label 10"):
        load_dataset("archived", alone / "root")


def test_a_file_that_changes_after_verification_is_refused(alone: Path) -> None:
    folder = fill(alone / "root", "tiny")
    located, _ = find("tiny", folder)
    (folder / "train-images-idx3-ubyte").write_bytes(content("other", "train", "images"))
    with pytest.raises(DatasetError, match="changed during use"):
        read(located, "train")


# Options


def test_limit_selects_the_first_images(alone: Path) -> None:
    root = fill(alone / "root", "tiny")
    whole = load_dataset("tiny", root)
    some = load_dataset("tiny", root, limit=5)
    assert torch.equal(some.images, whole.images[:5])
    assert torch.equal(some.labels, whole.labels[:5])
    assert len(load_dataset("tiny", root, limit=99).images) == 12


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(DatasetError, match=f"1 or more, not {limit}"):
        load_dataset("glyphs", limit=limit)


def test_an_unknown_name_or_split_is_refused_with_the_choices() -> None:
    with pytest.raises(DatasetError, match="'nist'; choose one of: mnist, fashion-mnist, kmnist"):
        load_dataset("nist")
    with pytest.raises(DatasetError, match="'valid'; choose one of: train, test"):
        load_dataset("glyphs", split="valid")


def test_the_digest_is_of_the_uncompressed_images(alone: Path) -> None:
    expected = hashlib.sha256(content("tiny", "train", "images")).hexdigest()
    for packed in (False, True):
        located, _ = find("tiny", fill(alone / f"root{packed}", "tiny", packed=packed))
        assert located.sha256() == located.sha256("train") == expected
        assert located.name == "tiny"


# Without a network


def test_a_few_glyphs_are_drawn_in_memory_and_are_reproducible() -> None:
    some = load_dataset("glyphs", limit=260)
    assert some.images.shape == (260, 1, 28, 28)
    assert torch.equal(load_dataset("glyphs", limit=20).images, some.images[:20])
    located, events = find("glyphs", limit=20)
    assert events == []
    digest = hashlib.sha256(header((20, 28, 28)) + some.images[:20].numpy().tobytes()).hexdigest()
    assert located.sha256() == digest
    assert not datasets.cache_directory().exists()


def test_glyphs_in_the_cache_are_read_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"train": 400, "test": 100}
    list(glyphs.ensure(glyphs.directory(datasets.cache_directory()), counts))
    monkeypatch.setattr(glyphs, "COUNTS", counts)
    located, _ = find("glyphs")
    assert located.directory.parent == datasets.cache_directory()
    images, labels = glyphs.draw("test", 100)
    dataset = read(located, "test")
    assert np.array_equal(dataset.images[:, 0].numpy(), images)
    assert dataset.labels.tolist() == labels.tolist()


def test_auto_without_mnist_or_network_falls_back_to_glyphs_with_a_warning(alone: Path) -> None:
    with pytest.warns(UserWarning, match=r"glyphs.*instead of MNIST.*Connection refused.*data/MNIST/raw") as caught:
        dataset = load_dataset("auto", limit=8)
    assert torch.equal(dataset.images, load_dataset("glyphs", limit=8).images)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert list(datasets.cache_directory().iterdir()) == []


def test_a_dataset_requested_by_name_is_never_replaced(alone: Path) -> None:
    fill(Path("data") / "Tiny" / "raw", "tiny", splits=("test",))
    with pytest.raises(DatasetError, match=r"Tiny is not in data \(only the test split\)") as caught:
        load_dataset("tiny")
    assert "\n" not in str(caught.value)


# Genuine files


def test_genuine_mnist_is_read_completely(genuine: Path) -> None:
    located, events = find("mnist", genuine)
    assert events == []
    train, test = read(located, "train"), read(located, "test")
    assert torch.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(train.images.float().mean().item() / 255 - 0.1307) < 1e-4
    assert abs(train.images.float().std().item() / 255 - 0.3081) < 1e-4
    assert located.sha256() == SOURCES["mnist"].splits["train"][0].sha256


def test_auto_uses_genuine_mnist_without_a_warning(genuine: Path, recwarn: pytest.WarningsRecorder) -> None:
    located, events = find("auto", genuine, splits=("test",))
    assert located.name == "mnist"
    assert not [event for event in events if isinstance(event, Warned)]
    assert load_dataset("auto", genuine, split="test", limit=3).labels.tolist() == [7, 2, 1]
    assert not recwarn.list


def test_genuine_mnist_in_a_flat_root_is_not_mistaken_for_another_dataset(genuine: Path, alone: Path) -> None:
    plain = alone / "plain"
    plain.mkdir()
    for path in (genuine / "MNIST" / "raw").glob("t10k*"):
        (plain / path.name).symlink_to(path)
    assert len(load_dataset("mnist", plain, split="test").labels) == 10_000
    with pytest.raises(DatasetError, match="Fashion-MNIST is not in"):
        load_dataset("fashion-mnist", plain, split="test")
