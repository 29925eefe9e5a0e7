"""The IDX reader returns what was written and refuses everything else with a one-line error that names the file."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import math
import os
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.idx import header, read_idx
from core.errors import DatasetError

SHAPE = (5, 3, 2)
VALUES = bytes(range(30))
WHOLE = header(SHAPE) + VALUES
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


def put(folder: Path, content: bytes, name: str = "images-idx3-ubyte") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refusal(path: Path, shape: tuple[int, ...] = SHAPE) -> str:
    with pytest.raises(DatasetError) as caught:
        read_idx(path, shape)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_the_header_follows_the_idx_format() -> None:
    assert header((60_000, 28, 28)).hex(" ") == "00 00 08 03 00 00 ea 60 00 00 00 1c 00 00 00 1c"
    assert header((10_000,)).hex(" ") == "00 00 08 01 00 00 27 10"


@pytest.mark.parametrize("name", ["images-idx3-ubyte", "images-idx3-ubyte.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_raw_and_gzip_are_detected_by_content_not_by_name(tmp_path: Path, name: str, packed: bool) -> None:
    stored = gzip.compress(WHOLE) if packed else WHOLE
    idx = read_idx(put(tmp_path, stored, name), SHAPE)
    assert idx.shape == SHAPE
    assert idx.content[idx.offset :] == VALUES
    assert idx.sha256 == hashlib.sha256(WHOLE).hexdigest()
    assert idx.archive_sha256 == (hashlib.sha256(stored).hexdigest() if packed else None)


@ONE_FOLDER
@given(shape=st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple), data=st.data())
def test_any_uint8_array_survives_a_round_trip(tmp_path: Path, shape: tuple[int, ...], data: st.DataObject) -> None:
    values = data.draw(st.binary(min_size=math.prod(shape), max_size=math.prod(shape)))
    idx = read_idx(put(tmp_path, header(shape) + values), shape)
    assert idx.content[idx.offset :] == values


@ONE_FOLDER
@given(
    stored=st.binary(max_size=60)
    | st.binary(max_size=50).map(lambda tail: header(SHAPE)[:8] + tail)
    | st.binary(min_size=29, max_size=31).map(lambda tail: header(SHAPE) + tail)
)
def test_arbitrary_bytes_are_read_exactly_or_refused(tmp_path: Path, stored: bytes) -> None:
    path = put(tmp_path, stored)
    if stored[: len(header(SHAPE))] == header(SHAPE) and len(stored) == len(WHOLE):
        assert read_idx(path, SHAPE).content == stored
    else:
        refusal(path)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    assert "truncated" in refusal(put(tmp_path, WHOLE[:length]))
    assert "truncated" in refusal(put(tmp_path, gzip.compress(WHOLE[:length]), "packed.gz"))


def test_trailing_bytes_are_refused(tmp_path: Path) -> None:
    assert "too long: 47 bytes instead of 46" in refusal(put(tmp_path, WHOLE + b"x"))
    assert "too long" in refusal(put(tmp_path, WHOLE + bytes(200_000)))
    assert "too long" in refusal(put(tmp_path, gzip.compress(WHOLE + b"x")))


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    stored = gzip.compress(WHOLE)
    for length in range(2, len(stored)):
        assert "damaged gzip" in refusal(put(tmp_path, stored[:length]))


def test_a_gzip_file_with_a_flipped_bit_is_refused_or_reads_the_same(tmp_path: Path) -> None:
    values = random.Random(0).randbytes(900)
    whole = header((900,)) + values
    stored = bytearray(gzip.compress(whole, mtime=0))
    for place in range(10, len(stored)):  # the bytes before are only the time and operating system
        stored[place] ^= 0x10
        path = put(tmp_path, bytes(stored))
        stored[place] ^= 0x10
        with contextlib.suppress(DatasetError):
            assert read_idx(path, (900,)).content == whole


def test_a_wrong_checksum_at_the_end_of_a_gzip_file_is_refused(tmp_path: Path) -> None:
    stored = bytearray(gzip.compress(WHOLE))
    stored[-8] ^= 1
    assert "damaged gzip (CRC check failed" in refusal(put(tmp_path, bytes(stored)))


@pytest.mark.parametrize(
    "start", [header(SHAPE), header((4_000_000_000, 28, 28))], ids=["honest header", "lying header"]
)
def test_a_gzip_bomb_is_never_inflated(tmp_path: Path, start: bytes) -> None:
    path = put(tmp_path, gzip.compress(start + bytes(60_000_000)))
    tracemalloc.start()
    try:
        refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"\x89PNG" + WHOLE, "not an IDX file: it starts with 89 50 4e 47"),
        (b"\0\0\x0d" + WHOLE[3:], "type 0x0d"),
        (header((5, 6)) + VALUES, "2 dimensions instead of 3"),
        (header((3, 5, 2)) + VALUES, "3 x 5 x 2 instead of 5 x 3 x 2"),
    ],
)
def test_an_unexpected_header_is_refused(tmp_path: Path, stored: bytes, expected: str) -> None:
    assert expected in refusal(put(tmp_path, stored))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing")
    assert "cannot be read" in refusal(tmp_path)


def test_a_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images")
    assert "not a regular file" in refusal(tmp_path / "images")


def test_a_header_with_absurd_sizes_is_refused(tmp_path: Path) -> None:
    for head in (header((2**32 - 1,) * 3), b"\0\0\x08\xff" + b"\xff" * 1020, header((0, 0, 0))):
        refusal(put(tmp_path, head + VALUES))
        refusal(put(tmp_path, gzip.compress(head + VALUES)))
