"""Where runs and built-in models are stored: file names, roots, name checks and lookup."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.config.legacy import upgrade
from core.errors import RunError
from core.system.import_path import HOME
from core.system.safe_io import NAME_PATTERN, read_toml
from core.text import sanitize

CONFIG, EVENTS, MODEL, STATE = "config.toml", "events.jsonl", "model.safetensors", "state.safetensors"
SNAPSHOTS = "snapshots"  # the folder of a run's weights at several steps
INDEX = "model_index.json"  # of a folder in the layout of diffusers' pipelines
LOCK, CONTROL, TRAINER_LOG, RESERVE = "lock", "control.jsonl", "trainer.log", ".reserve"
BUILTIN = ("default-mnist", "quick-mnist", "fast-mnist")  # models that ship with the project, the default one first
MAX_NAMES = 3  # of unreadable folders listed in a message


def root_directory(root: str | Path | None = None) -> Path:
    """The folder that holds the runs: `root`, else $MINIDIFF_HOME, else ./checkpoints. It need not exist."""
    return Path(os.path.expanduser(root or os.environ.get("MINIDIFF_HOME") or "checkpoints"))


def builtin_homes() -> tuple[Path, Path]:
    """Folders searched for files that ship with the project: inside `core` (wheel), next to the packages (clone)."""
    home = Path(os.path.realpath(HOME))
    return home / "core" / "builtin", home / "checkpoints"


def builtin_directories() -> dict[str, Path]:
    """The directories of the built-in models, by name."""
    directories: dict[str, Path] = {}
    for home in builtin_homes():
        for name in BUILTIN:
            if (home / name / MODEL).is_file():
                directories.setdefault(name, home / name)
    return directories


def is_builtin(path: Path) -> bool:
    """Whether a path is the directory of a built-in model."""
    return path.resolve() in (builtin.resolve() for builtin in builtin_directories().values())


def check_name(name: str) -> str:
    """Return `name` if it is a valid run name.

    Raises:
        RunError: it is empty, too long, or could point outside the root.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise RunError(
            f"{name!r} is not a valid run name; use up to 64 letters, digits, dots, dashes and underscores, "
            "starting with a letter or digit"
        )
    return name


def find_run(name: str, root: Path) -> Path:
    """The directory of run `name` under `root`.

    Raises:
        RunError: it does not exist (the message lists the existing runs), is a pipeline of diffusers, or permission to
            read it is denied.
    """
    if not _is_listed(name):
        raise RunError(f"{name!r} is not a valid run name; name a folder directly under {root}")
    path = root / name
    has_config = _has_config(path)
    if has_config is None:
        raise RunError(f"cannot read {path}: Permission denied; ask its owner, or choose another run")
    if not has_config:
        names = ", ".join(sorted(run.name for run in run_directories(root))) or "none yet"
        raise RunError(f"there is no run {name} under {root}; existing runs: {names}")
    if not os.path.lexists(path / CONFIG):
        raise RunError(f"{name} is a folder of diffusers, not a run; it can only be sampled")
    return path


def run_directories(root: Path) -> list[Path]:
    """Every directory under `root`, or symbolic link to one, that contains a run's config or a diffusers pipeline.

    Hidden directories and names with unprintable characters are skipped, and so are the directories that
    `unreadable_directories` returns.

    Raises:
        RunError: `root` itself cannot be read.
    """
    return [path for path in _candidates(root) if _has_config(path)]


def unreadable_directories(root: Path) -> list[Path]:
    """The directories under `root` that may be runs, but that this user has no permission to read.

    Raises:
        RunError: `root` itself cannot be read.
    """
    return [path for path in _candidates(root) if _has_config(path) is None]


def unreadable_message(names: Sequence[str]) -> str:
    """A one-line warning about skipped folders."""
    listed = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    folders = "1 folder" if len(names) == 1 else f"{len(names):,} folders"
    return f"skipped {folders} without read permission: {listed}"


def config_options(path: Path) -> dict[str, Any] | None:
    """The run's options under their current names, not validated; None if the config cannot be read."""
    try:
        return upgrade(read_toml(path / CONFIG))
    except (OSError, ValueError):
        return None


def _candidates(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"cannot read {root}: {error.strerror}; choose another folder with --root") from None
    return [root / name for name in names if _is_listed(name)]


def _has_config(path: Path) -> bool | None:
    """Whether `path` has a run's config or a pipeline's index, not a link to one; None if permission is denied."""
    for name in (CONFIG, INDEX):
        try:
            return stat.S_ISREG(os.lstat(path / name).st_mode)  # a link could point to any file this user can read
        except PermissionError:
            return None
        except OSError:
            continue
    return False


def _is_listed(name: str) -> bool:
    """Whether a folder of this name can be a run: any printable name, such as that of a copy, that is not hidden.

    Names of new runs are stricter: see `check_name`.
    """
    return "/" not in name and not name.startswith(".") and name != "" and name == sanitize(name)
