"""State that the app keeps between sessions: whether the welcome was shown, and the last theme."""

from __future__ import annotations

from pathlib import Path

from core.system.atomic_write import write_atomically
from core.system.safe_io import read_whole

MAX_NAME_BYTES = 256


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


def remembered_theme() -> str | None:
    """Name of the last theme chosen in the app, None if there is none. It may not exist in this version."""
    try:
        return read_whole(_theme_file(), MAX_NAME_BYTES).decode().strip() or None
    except (OSError, ValueError):
        return None


def remember_theme(name: str) -> None:
    """Save the theme for the next start.

    Raises:
        OSError: the file cannot be written.
    """
    file = _theme_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, f"{name}\n".encode())


def forget_theme() -> None:
    """Delete the saved theme, so that the next start uses the default.

    Raises:
        OSError: the file cannot be removed.
    """
    _theme_file().unlink(missing_ok=True)


def _theme_file() -> Path:
    return state_directory() / "theme"
