"""State that the app keeps between sessions: whether the welcome was shown."""

from __future__ import annotations

from pathlib import Path


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
