"""Sizes in words: memory in binary units, as torch and nvidia-smi count it, and files in decimal ones, as disks are."""

from __future__ import annotations

from collections.abc import Sequence


def memory_size(size: float | None) -> str:
    """Bytes of memory, such as "812 MiB" or "1.5 GiB"; "N/A" where they are not known."""
    return "N/A" if size is None else _scaled(size, 1024, ("bytes", "KiB", "MiB", "GiB", "TiB"))


def file_size(size: float) -> str:
    """Bytes of a file or a disk, such as "9.9 MB" or "1.5 GB"."""
    return _scaled(size, 1000, ("bytes", "kB", "MB", "GB", "TB"))


def _scaled(size: float, base: int, names: Sequence[str]) -> str:
    power = 0
    while size >= base and power < len(names) - 1:
        size, power = size / base, power + 1
    return f"{size:,.1f} {names[power]}" if power and size < 100 else f"{size:,.0f} {names[power]}"
