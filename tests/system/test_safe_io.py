"""Untrusted files: limits when reading, no writes through links, and sanitized terminal output."""

from __future__ import annotations

import os
import socket
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.training import TrainConfig
from core.errors import MinidiffError
from core.system.atomic_write import write_atomically
from core.system.safe_io import opened, opened_to_append, parse_json, read_end, read_toml, read_whole
from core.text import MAX_CHARACTERS, sanitize
from core.training.api import train


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_text("mine")
    return path


@pytest.mark.parametrize("text", ["", "plain", "café 数字 ◆ [bold]x[/]", "a" * MAX_CHARACTERS])
def test_printable_text_is_unchanged(text: str) -> None:
    assert sanitize(text) == text


def test_unprintable_characters_are_replaced() -> None:
    everything = "".join(map(chr, range(0x3000)))
    for part in (everything[at : at + 1000] for at in range(0, len(everything), 1000)):
        shown = sanitize(part)
        assert shown.isprintable()
        assert len(shown) == len(part)
    assert sanitize("\ud800").encode("utf-8")


def test_long_text_is_truncated() -> None:
    assert len(sanitize("x" * 10**6)) == MAX_CHARACTERS
    assert sanitize("x" * 10**6).endswith("…")


def test_an_error_message_is_one_line_without_control_characters() -> None:
    assert str(MinidiffError("no \x1b[2J\nmodel")) == "no \ufffd[2J model"


def test_a_too_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="larger than 1,000 bytes"):
            read_whole(path, 1000)
        with pytest.raises(OSError, match="larger than"):
            read_toml(path)
        assert len(read_end(path, 1000)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_end_of_a_file_starts_no_earlier_than_requested(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("0123456789")
    assert read_end(tmp_path / "log", 4) == "6789"
    assert read_end(tmp_path / "log", 4, start=8) == "89"
    assert read_end(tmp_path / "log", 4, start=50) == ""


def test_only_regular_files_are_opened(tmp_path: Path, precious: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(precious)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.fsencode(os.path.relpath(tmp_path / "socket")))
    with listening:
        for path in (tmp_path / "pipe", tmp_path / "socket", tmp_path, Path("/dev/null"), Path("/dev/zero")):
            for way in (opened, opened_to_append):
                with pytest.raises(OSError, match=r"not a regular file|directory"):
                    way(path)
    for way in (opened, opened_to_append):
        with pytest.raises(OSError, match="symbolic link"):
            way(tmp_path / "link")
    with opened(tmp_path / "link", follow=True) as file:
        assert file.read() == b"mine"


@pytest.mark.parametrize("name", ["file", ".file.tmp"])
def test_nothing_is_written_through_a_link(tmp_path: Path, precious: Path, name: str) -> None:
    (tmp_path / name).symlink_to(precious)
    write_atomically(tmp_path / "file", b"new")
    assert precious.read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "precious"]


def test_a_pipe_with_the_temporary_name_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".file.tmp")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "{", b"\xff"])
def test_invalid_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_of_a_run_respect_the_umask(tmp_path: Path, umask: int, tiny: type[TrainConfig]) -> None:
    modes: dict[str, int] = {}
    for _ in train(tiny(root=tmp_path / "runs", name="a", epochs=1)):
        for path in (tmp_path / "runs").rglob("*"):
            modes[path.name] = path.stat().st_mode
    assert {"events.jsonl", "config.toml", "model.safetensors", "state.safetensors", "lock", ".reserve"} <= set(modes)
    for name, mode in modes.items():
        whole = 0o777 if stat.S_ISDIR(mode) else 0o666
        assert stat.S_IMODE(mode) == whole & ~umask, name
