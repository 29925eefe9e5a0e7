"""State that the app keeps between sessions: whether the welcome was shown, and the last comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.config.sampling import NO_CLASS, SAMPLER_NAMES
from core.engine.protocol import SampleRequest
from core.system.atomic_write import write_atomically
from core.system.safe_io import parse_json, read_whole

MAX_COMPARISON_BYTES = 16_384
MAX_STEPS, MAX_IMAGES = 1000, 64  # as the fields on the screen


def state_directory() -> Path:
    """Directory of the state files, on Linux ~/.local/state/minidiff."""
    from platformdirs import user_state_dir

    return Path(user_state_dir("minidiff"))


def is_first_start() -> bool:
    """Return whether this user opens the app for the first time, and record that it was opened."""
    marker = state_directory() / "welcomed"
    if marker.exists():
        return False
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:
        return False  # otherwise the welcome would appear at every start
    return True


def remembered_comparison() -> list[SampleRequest]:
    """What `remember_comparison` saved; empty if there is nothing, or nothing valid."""
    try:
        return [_request(entry) for entry in parse_json(read_whole(_comparison_file(), MAX_COMPARISON_BYTES))]
    except (OSError, ValueError, TypeError, LookupError):
        return []


def remember_comparison(requests: Sequence[SampleRequest]) -> None:
    """Save the options of requests, for the Compare screen: those it was opened with, then those of each pane.

    Raises:
        OSError: the file cannot be written.
    """
    file = _comparison_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    entries = [{name: getattr(request, name) for name in _COMPARED} for request in requests]
    write_atomically(file, json.dumps(entries).encode())


_COMPARED = ("model", "sampler", "steps", "guidance", "label")


def _request(entry: dict[str, Any]) -> SampleRequest:
    """The request of these options.

    Raises:
        ValueError: An option is invalid.
        LookupError: An option is missing.
        TypeError: It is not a table of options.
    """
    request = SampleRequest(**{name: entry[name] for name in _COMPARED})
    if not has_valid_options(request):
        raise ValueError("an option is invalid")
    return request


def has_valid_options(request: SampleRequest) -> bool:
    """Whether a pane of the Compare screen can have the options of a request that was read from a file."""
    sampler, steps, guidance, label = request.sampler, request.steps, request.guidance, request.label
    return (
        isinstance(request.model, str)
        and sampler in (None, *SAMPLER_NAMES)
        and (steps is None or (type(steps) is int and 1 <= steps <= MAX_STEPS))
        and (guidance is None or (type(guidance) in (int, float) and 0 <= guidance < math.inf))
        and (label is None or (type(label) is int and label >= NO_CLASS))
        and 1 <= request.n <= MAX_IMAGES
    )


def _comparison_file() -> Path:
    return state_directory() / "comparison.json"
