"""Text for display: sanitized for terminals, and formatted sizes."""

from __future__ import annotations

from collections.abc import Sequence

MAX_CHARACTERS = 4_000  # of a displayed text: an error, a name, a warning
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def sanitize(text: str) -> str:
    """`text` as one line of printable characters, at most `MAX_CHARACTERS`.

    Newlines and tabs become spaces. All other unprintable characters become U+FFFD: escape sequences, bidirectional
    controls, lone surrogates.
    """
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else _REPLACEMENT for char in text)


def memory_size(size: float | None) -> str:
    """Bytes of memory, such as "812 MiB" or "1.5 GiB"; "N/A" if None."""
    return "N/A" if size is None else _scaled(size, 1024, ("bytes", "KiB", "MiB", "GiB", "TiB"))


def file_size(size: float) -> str:
    """Bytes on disk, such as "9.9 MB" or "1.5 GB"."""
    return _scaled(size, 1000, ("bytes", "kB", "MB", "GB", "TB"))


def brief_count(count: int) -> str:
    """A count in at most two or three digits: 950, 309k, 35.7M."""
    if count < 1_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:,.1f}M"


def rough_duration(seconds: float) -> str:
    """Seconds in one unit: "45 s", "12 min", "3 h" or "2 d"."""
    for unit, length, limit in (("s", 1, 90), ("min", 60, 90), ("h", 3_600, 36)):
        if seconds < limit * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} d"


def _scaled(size: float, base: int, names: Sequence[str]) -> str:
    power = 0
    while size >= base and power < len(names) - 1:
        size, power = size / base, power + 1
    return f"{size:,.1f} {names[power]}" if power and size < 100 else f"{size:,.0f} {names[power]}"
