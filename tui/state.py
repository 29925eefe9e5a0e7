"""What the app remembers from one start to the next: that it was opened before, and the theme that was chosen."""

from __future__ import annotations

from pathlib import Path

from core.system.atomic_write import write_atomically
from core.system.safe_io import read_whole

LONGEST_NAME = 256  # bytes


def state_directory() -> Path:
    """Where it is kept, on Linux ~/.local/state/minidiff."""
    from platformdirs import user_state_dir

    return Path(user_state_dir("minidiff"))


def is_first_start() -> bool:
    """Whether this user never opened the app before; from now on they did."""
    seen = state_directory() / "welcomed"
    if seen.exists():
        return False
    try:
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()
    except OSError:
        return False  # where nothing can be remembered, it would be said each time
    return True


def remembered_theme() -> str | None:
    """The theme that was chosen last, None if none was; it need not exist in this version."""
    try:
        return read_whole(_theme_file(), LONGEST_NAME).decode().strip() or None
    except (OSError, ValueError):
        return None


def remember_theme(name: str) -> None:
    """Keep the theme for the next start.

    Raises:
        OSError: it cannot be written.
    """
    file = _theme_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, f"{name}\n".encode())


def forget_theme() -> None:
    """Let the next start choose a theme that suits the terminal.

    Raises:
        OSError: the file cannot be removed.
    """
    _theme_file().unlink(missing_ok=True)


def _theme_file() -> Path:
    return state_directory() / "theme"
