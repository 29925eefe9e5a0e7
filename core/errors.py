"""The family of errors that users of `core` need to catch: each is one sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from core.text import sanitize


class MinidiffError(Exception):
    """Base of every error this project raises on purpose; its text is written for a person.

    It may quote names and values from files of others, so it is one line that a terminal only draws.
    """

    def __init__(self, text: str) -> None:
        super().__init__(sanitize(text))


class DeviceUnavailable(MinidiffError):
    """The device asked for is not here; the text lists those that are."""


class DatasetError(MinidiffError):
    """A data set's files are missing, cut short, altered or of another kind; the text names file and remedy."""


class ConfigError(MinidiffError):
    """An option is unknown or has a value outside its range; the text names the option and what it takes."""


class CheckpointError(MinidiffError):
    """A checkpoint is missing, cut short, of another model or written by a newer version."""


class RunError(MinidiffError):
    """A run directory cannot be used as asked: it exists, is missing, is locked, or cannot be written."""


class NotFinite(MinidiffError):
    """Samples hold NaN or infinity, as from a model that diverged or from extreme sampling options.

    Args:
        sampling: how they were sampled, in words.
    """

    def __init__(self, sampling: str = "") -> None:
        how = f" ({sampling})" if sampling else ""
        super().__init__(f"the samples are not finite{how}; choose other sampling options or an earlier checkpoint")


class TrainingError(MinidiffError):
    """Training cannot go on: the loss is no longer a number, or the device ran out of memory."""


class ProcessLost(MinidiffError):
    """Another process of the same training is gone, and this one cannot go on without it."""


def hint(name: str, known: Iterable[str], *, otherwise: str = "there are") -> str:
    """What to write instead of `name`: the nearest of `known`, or after `otherwise` all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"{otherwise} {', '.join(known)}"
