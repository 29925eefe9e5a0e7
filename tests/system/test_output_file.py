"""Output files: links, devices and pipes are preserved, and invalid paths are refused before any work."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command_line import Capture, environment, error_line
from PIL import Image

from core.cli import run
from core.runs.directory import BUILTIN, builtin_directories
from core.system.atomic_write import write_atomically
from core.system.output_file import resolve_output, write_output

needs_model = pytest.mark.skipif(BUILTIN[0] not in builtin_directories(), reason="the built-in model is not here")
SAMPLE = ["sample", BUILTIN[0], "--n", "1", "--device", "cpu"]
QUICK = [*SAMPLE, "--steps", "1"]


def test_a_new_file_and_its_folders_are_created(tmp_path: Path) -> None:
    assert write_output(tmp_path / "a" / "b" / "c.png", b"new").read_bytes() == b"new"
    assert [entry.name for entry in (tmp_path / "a" / "b").iterdir()] == ["c.png"]


@pytest.mark.parametrize("write", [write_output, write_atomically])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, write: object, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    assert callable(write)
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write_output(Path("~/x.png"), b"new") == tmp_path / "x.png"
    assert (tmp_path / "x.png").read_bytes() == b"new"


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"older and longer")
    (tmp_path / "link").symlink_to("target")
    write_output(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_both_hard_links_of_a_file_have_the_new_content(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"old")
    os.link(tmp_path / "one", tmp_path / "two")
    write_output(tmp_path / "one", b"new")
    assert (tmp_path / "two").read_bytes() == b"new"
    assert (tmp_path / "one").stat().st_nlink == 2


def test_a_device_stays_a_device() -> None:
    before = os.stat("/dev/null")
    write_output(Path("/dev/null"), b"new")
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode)
    assert (after.st_rdev, after.st_ino) == (before.st_rdev, before.st_ino)


def test_output_to_a_pipe_reaches_its_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = bytes(200_000)  # more than the capacity of a pipe
    with open(tmp_path / "read", "wb") as read:
        reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=read)
    with open(tmp_path / "pipe", "wb"):  # returns once the reader has opened the pipe
        write_output(tmp_path / "pipe", content)
    assert reader.wait(timeout=60) == 0
    assert (tmp_path / "read").read_bytes() == content
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("kind", ["folder", "read-only", "pipe without a reader", "dangling link", "below a file"])
def test_an_unwritable_output_is_refused_and_not_modified(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "folder":
        path.mkdir()
    elif kind == "read-only":
        path.write_bytes(b"mine")
        path.chmod(0o444)
    elif kind == "pipe without a reader":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b"mine")
        path = path / "x.png"
    before = sorted((entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir())
    with pytest.raises(OSError, match=r".+"):
        write_output(path, b"new")
    assert sorted((entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir()) == before
    if kind in ("read-only", "below a file"):
        assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_refused_before_any_work() -> None:
    code = (
        "import os, sys, pathlib; from core.system.output_file import resolve_output\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: resolve_output(pathlib.Path(sys.argv[1]))\n"
        "except OSError as error: print(error.strerror)"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest folders are not accessible to others
        Path(folder).chmod(0o755)
        path = Path(folder) / "new" / "x.png"
        command = [sys.executable, "-P", "-c", code, str(path)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert "no permission to write in" in done.stdout, done.stderr
        assert resolve_output(path) == path


@needs_model
@pytest.mark.parametrize(("name", "kind"), [("z.png", "PNG"), ("z.jpg", "JPEG"), ("z.webp", "WEBP"), ("z", "PNG")])
def test_the_suffix_chooses_the_format(tmp_path: Path, name: str, kind: str) -> None:
    assert run([*QUICK, "--output", str(tmp_path / name)]) == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind


@needs_model
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--output z.tiff", "unsupported format .tiff"),
        ("--gif z.png", "use one of: .gif"),
        ("--figure z.gif", "use one of: .png"),
        ("--output folder", "it is a folder"),
    ],
)
def test_an_impossible_output_is_refused_before_sampling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, flags: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert words in error_line(capsys, *SAMPLE, "--steps", "100000", *flags.split())  # sampling would take hours


@needs_model
def test_sampling_to_dev_null_creates_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*QUICK, "--output", "/dev/null"]) == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert list(tmp_path.iterdir()) == []
