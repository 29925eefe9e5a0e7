"""The exceptions of `core`. Their messages are one sentence that names the problem and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from core.text import sanitize


class MinidiffError(Exception):
    """Base class of all errors that this project raises on purpose.

    The message may quote untrusted names and values, so it is sanitized to one printable line.
    """

    def __init__(self, text: str) -> None:
        super().__init__(sanitize(text))


class DeviceUnavailable(MinidiffError):
    """The requested device is not available; the message lists the available ones."""


class DatasetError(MinidiffError):
    """A dataset's files are missing, truncated, modified or of another format."""


class ConfigError(MinidiffError):
    """An option is unknown or its value is out of range."""


class CheckpointError(MinidiffError):
    """A checkpoint is missing, truncated, from another model or written by a newer version."""


class RunError(MinidiffError):
    """A run directory already exists, is missing, is locked or cannot be written."""


class NotFinite(MinidiffError):
    """Samples contain NaN or infinity, for example from a diverged model or extreme sampling options.

    Args:
        sampling: description of the sampling options.
    """

    def __init__(self, sampling: str = "") -> None:
        details = f" ({sampling})" if sampling else ""
        super().__init__(f"the samples are not finite{details}; choose other sampling options or an earlier checkpoint")


class TrainingError(MinidiffError):
    """Training failed: the loss is not finite, or the device is out of memory."""


class ProcessLost(MinidiffError):
    """Another process of distributed training exited unexpectedly."""


def hint(name: str, known: Iterable[str], *, otherwise: str = "there are") -> str:
    """A suggestion for the unknown `name`: the closest of `known`, else all of them after `otherwise`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"{otherwise} {', '.join(known)}"
