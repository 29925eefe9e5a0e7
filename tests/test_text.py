"""Formatted sizes: at most three significant digits, with the right unit."""

from __future__ import annotations

import pytest

from core.text import file_size, memory_size


@pytest.mark.parametrize(
    ("size", "memory", "file"),
    [
        (0, "0 bytes", "0 bytes"),
        (999, "999 bytes", "999 bytes"),
        (1_000, "1,000 bytes", "1.0 kB"),
        (1_024, "1.0 KiB", "1.0 kB"),
        (9_912_422, "9.5 MiB", "9.9 MB"),
        (850_000_000, "811 MiB", "850 MB"),
        (80 * 2**30, "80.0 GiB", "85.9 GB"),
        (2**60, "1,048,576 TiB", "1,152,922 TB"),
    ],
)
def test_memory_and_file_sizes_are_formatted(size: int, memory: str, file: str) -> None:
    assert memory_size(size) == memory
    assert file_size(size) == file


def test_unknown_values_are_formatted() -> None:
    assert memory_size(None) == "N/A"
