"""Text for people: sanitized for terminals, and sizes in words."""

from __future__ import annotations

from collections.abc import Sequence

MOST_CHARACTERS = 4_000  # of a text on its way to a screen: an error, a name, a warning
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def sanitize(text: str) -> str:
    """`text` as one line of characters that a terminal only draws, at most `MOST_CHARACTERS` of them.

    Line ends and tabs become spaces. Whatever else does not print becomes U+FFFD: escape sequences, signs that turn the
    direction of writing, halves of surrogate pairs.
    """
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 1] + "…"
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else _REPLACEMENT for sign in text)


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
