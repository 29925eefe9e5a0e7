"""CIFAR-10: layouts, exact contents, verification of each file, downloads, and the Python version given by mistake."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from core.cli import run
from core.cli.doctor import find_data
from core.config.datasets import CIFAR10, INFO, RecordFile, RecordSource
from core.data import cifar10, datasets
from core.data.datasets import load_dataset, load_local, locate
from core.errors import DatasetError
from core.generators import result_of
from core.runs.events import Download

FOLDER = CIFAR10.folder
NAMES = [file.name for files in CIFAR10.splits.values() for file in files]
COUNTS = dict.fromkeys(NAMES, 4) | {"test_batch.bin": 3}


def content(name: str) -> bytes:
    """The small record file `name`; its pixels follow from the name."""
    random = np.random.default_rng(NAMES.index(name))
    records = random.integers(256, size=(COUNTS[name], cifar10.RECORD_BYTES), dtype=np.uint8)
    records[:, 0] = random.integers(10, size=COUNTS[name])
    return records.tobytes()


def archive(names: list[str] = NAMES[::-1], **members: bytes) -> bytes:
    """A .tar.gz of `names`, in an order as unsorted as that of the published one, and of `members` of other content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("readme.html", *names):
            body = members.get(name.removesuffix(".bin"), content(name) if name in NAMES else b"<html>")
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return gzip.compress(packed.getvalue(), mtime=0)


def publish(monkeypatch: pytest.MonkeyPatch, url: str = "http://127.0.0.1:9/", packed: bytes | None = None) -> bytes:
    """Register small files as the published ones, at `url`; returns the archive."""
    packed = packed or archive()
    splits = {
        split: tuple(
            RecordFile(file.name, COUNTS[file.name], hashlib.sha256(content(file.name)).hexdigest()) for file in files
        )
        for split, files in CIFAR10.splits.items()
    }
    source = RecordSource(
        "CIFAR-10", url + CIFAR10.archive, len(packed), hashlib.sha256(packed).hexdigest(), FOLDER, splits
    )
    for module in (cifar10, datasets):
        monkeypatch.setattr(module, "CIFAR10", source)
    return packed


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small published files, an empty working directory and cache, and no network."""
    for variable in ("MINIDIFF_DATA", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    publish(monkeypatch)
    return tmp_path


def fill(folder: Path, names: list[str] = NAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content(name))
    return folder


def assert_is(data: datasets.LabeledImages, *names: str) -> None:
    records = np.frombuffer(b"".join(map(content, names)), np.uint8).reshape(-1, 3073)
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == records[:, 0].tolist()
    assert data.images.dtype == torch.uint8
    assert data.images.shape == (len(records), 3, 32, 32)
    # The first 1,024 bytes are the red plane, row by row.
    assert data.images[1, 0, 0, :5].tolist() == records[1, 1:6].tolist()
    assert data.images[1, 0, 1, 0] == records[1, 33]
    assert data.images[1, 2].numpy().tobytes() == records[1, 2049:].tobytes()
    assert data.images.numpy().tobytes() == records[:, 1:].tobytes()


# Layouts


@pytest.mark.parametrize("layout", ["folder", "files", "archive"])
def test_record_files_and_the_archive_are_read(alone: Path, layout: str) -> None:
    root = alone / "root"
    if layout == "archive":
        root.mkdir()
        (root / CIFAR10.archive).write_bytes(archive())
    else:
        fill(root / FOLDER if layout == "folder" else root)
    assert_is(load_dataset("cifar10", root), *NAMES[:5])
    assert_is(load_local_from(root), "test_batch.bin")
    some = load_dataset("cifar10", root, limit=6)
    assert torch.equal(some.images, load_dataset("cifar10", root).images[:6])
    assert len(load_dataset("cifar10", root, limit=1000).labels) == 20
    located = result_of(locate("cifar10", root))
    assert located.sha256() == hashlib.sha256(b"".join(map(content, NAMES[:5]))).hexdigest()
    assert {path.name for path in root.iterdir()} <= {FOLDER, CIFAR10.archive, *NAMES}  # nothing was written


def load_local_from(root: Path) -> datasets.LabeledImages:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIDIFF_DATA", str(root))
        return load_local("cifar10")


def test_only_the_files_of_the_requested_split_are_needed(alone: Path) -> None:
    fill(alone / "root", ["test_batch.bin"])
    assert_is(load_dataset("cifar10", alone / "root", split="test"), "test_batch.bin")
    with pytest.raises(DatasetError, match=r"CIFAR-10 is not in .*root \(only the test split\); put cifar-10-binary"):
        load_dataset("cifar10", alone / "root")


def test_the_published_sizes_and_classes() -> None:
    assert INFO["cifar10"].shape == (3, 32, 32)
    assert cifar10.RECORD_BYTES == 3073
    assert [sum(file.records for file in files) for files in CIFAR10.splits.values()] == [50_000, 10_000]
    assert CIFAR10.archive == "cifar-10-binary.tar.gz"
    assert INFO["cifar10"].class_names[0::9] == ("airplane", "truck")


# Damage


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("data_batch_2.bin", lambda whole: whole[:-1], r"has 12,291 bytes instead of 12,292; delete it or replace it"),
        ("data_batch_2.bin", lambda whole: whole + b"0", r"has more bytes instead of 12,292"),
        ("data_batch_2.bin", lambda whole: b"", r"has 0 bytes"),
        ("data_batch_2.bin", lambda whole: b"\xc8" + whole[1:], r"has the label 200; labels must be 0 to 9"),
        ("test_batch.bin", lambda whole: whole[:-1] + b"!", r"is not the published CIFAR-10 file \(its SHA-256"),
        ("data_batch_4.bin", None, r"is missing; put it beside data_batch_1.bin"),
    ],
    ids=["cut", "long", "empty", "label", "altered", "missing"],
)
def test_a_damaged_file_is_refused_by_name(alone: Path, name: str, damage: object, problem: str) -> None:
    path = fill(alone / "root" / FOLDER) / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DatasetError, match=rf"^{path} {problem}") as caught:
        result_of(locate("cifar10", alone / "root"))
    assert "\n" not in str(caught.value)


def test_an_intact_archive_replaces_a_damaged_file(alone: Path) -> None:
    (fill(alone / "root") / "data_batch_1.bin").write_bytes(b"")
    (alone / "root" / CIFAR10.archive).write_bytes(archive())
    assert_is(load_dataset("cifar10", alone / "root"), *NAMES[:5])


def test_an_archive_with_another_sha256_is_refused(alone: Path) -> None:
    (alone / CIFAR10.archive).write_bytes(archive(data_batch_1=b"0" * 10_000))
    with pytest.raises(DatasetError, match=r"tar.gz is not the published CIFAR-10 archive \(SHA-256 differs\)"):
        load_dataset("cifar10", alone)


def test_members_are_read_by_exact_name_and_up_to_their_size(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = publish(monkeypatch, packed=archive(data_batch_1=bytes(50_000_000)))
    (alone / CIFAR10.archive).write_bytes(packed)
    with pytest.raises(DatasetError, match=r"data_batch_1.bin has more bytes instead of 12,292"):
        load_dataset("cifar10", alone)
    packed = publish(monkeypatch, packed=archive(NAMES[1:]))
    (alone / CIFAR10.archive).write_bytes(packed)
    with pytest.raises(DatasetError, match=r"tar.gz lacks data_batch_1.bin"):
        load_dataset("cifar10", alone)
    assert {path.name for path in alone.iterdir()} == {"here", CIFAR10.archive}  # nothing was extracted


@pytest.mark.parametrize("there", ["cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"])
def test_the_python_version_is_refused_in_favour_of_the_binary_one(alone: Path, there: str) -> None:
    (alone / there).mkdir() if there.endswith("py") else (alone / there).write_bytes(b"\x80\x02}q\x01")
    with pytest.raises(DatasetError, match=r"only its Python version, a pickle.*: use the binary version") as caught:
        load_dataset("cifar10", alone)
    assert "\n" not in str(caught.value)


# Downloads


@pytest.fixture
def served(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served at the address of the archive."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(alone / "served"))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            pass

    (alone / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        publish(monkeypatch, f"http://127.0.0.1:{server.server_port}/")
        yield alone / "served"
        server.shutdown()


def cached() -> list[str]:
    cache = datasets.cache_directory()
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*"))


def test_the_archive_is_downloaded_verified_and_unpacked(
    served: Path, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (served / CIFAR10.archive).write_bytes(archive())
    events = [event for event in datasets.locate("cifar10") if isinstance(event, Download)]
    assert {event.file for event in events} == {CIFAR10.archive}
    assert (events[0].received, events[-1].received) == (0, len(archive()))
    assert cached() == sorted([FOLDER, *(f"{FOLDER}/{name}" for name in NAMES)])
    assert_is(load_dataset("cifar10", split="test"), "test_batch.bin")
    assert [*datasets.locate("cifar10")] == []  # the second time it is already there
    assert run(["download", "cifar10", "--data-root", str(alone / "mine")]) == 0
    assert capsys.readouterr().out.endswith(f"cifar10 is in {alone / 'mine' / FOLDER}\n")
    assert_is(load_dataset("cifar10", alone / "mine"), *NAMES[:5])


@pytest.mark.parametrize("body", [b"not the archive", archive() + b"0" * 1_000_000], ids=["other", "longer"])
def test_another_file_is_not_kept(served: Path, body: bytes) -> None:
    (served / CIFAR10.archive).write_bytes(body)
    with pytest.raises(DatasetError, match=r"download failed: cifar-10-binary.tar.gz is not the published file"):
        list(datasets.locate("cifar10"))
    assert cached() == []


def test_without_the_file_or_a_network_one_sentence_names_the_ways_on(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError, match="its download failed: HTTP Error 404"):
        load_dataset("cifar10")
    publish(monkeypatch, "http://127.0.0.1:9/")  # the discard port: nothing is listening
    with pytest.raises(
        DatasetError, match=r"CIFAR-10 is not in data, .*Connection refused; put cifar-10-bin"
    ) as caught:
        load_dataset("cifar10")
    assert str(caught.value).endswith("or choose the dataset sprites, which needs no network.")
    assert "\n" not in str(caught.value)
    assert cached() == []


def test_doctor_lists_it_by_size(alone: Path) -> None:
    fill(alone / "root" / FOLDER, ["test_batch.bin", "data_batch_1.bin"])
    (alone / "packed").mkdir()
    (alone / "packed" / CIFAR10.archive).write_bytes(archive())
    data, problems = find_data([alone / "nowhere", alone / "root", alone / "packed"])
    assert problems == []
    assert [(row.name, row.directory, row.splits) for row in data] == [
        ("cifar10", str(alone / "root" / FOLDER), ("test",)),
        ("cifar10", str(alone / "packed"), ("train", "test")),
    ]
