"""Names of classes, as shown in the UI."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.sampling import NO_CLASS
from core.text import sanitize


def class_name(label: int, names: Sequence[str]) -> str:
    """The name of a class; "any" for `NO_CLASS`, the number if it has no name."""
    if label == NO_CLASS:
        return "any"
    return sanitize(names[label]) if 0 <= label < len(names) else str(label)
