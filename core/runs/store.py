"""Makes, renames and deletes run directories."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import RunError
from core.runs import locks
from core.runs.directory import (
    BUILTIN,
    CONFIG,
    CONTROL,
    EVENTS,
    LOCK,
    RESERVE,
    TRAINER_LOG,
    Status,
    builtin_directories,
    check_name,
    how_to_resume,
    root_directory,
    run_status,
)
from core.system.disk_usage import remedy
from core.system.safe_io import opened_to_append

if TYPE_CHECKING:
    from core.config.training import TrainConfig


STEM_CHARACTERS = 56  # of a name that is made up, which leaves room for a number


def free_name(root: Path, stem: str) -> str:
    """The first of stem-1, stem-2, ... that no entry of `root` bears, without what a new run's name cannot hold."""
    stem = re.sub("[^A-Za-z0-9._-]+", "-", stem).strip("._-")[:STEM_CHARACTERS] or "run"
    number = 1
    while (root / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def check_new_name(name: str) -> str:
    """`name` itself, if a new run can have it.

    Raises:
        RunError: it cannot name a run, or it names a built-in model, which the run would be mistaken for.
    """
    if name in BUILTIN:
        raise RunError(f"{name} is the name of a built-in model; choose another --name")
    return check_name(name)


def create_run(config: TrainConfig) -> Path:
    """Make the directory of a new run and write its config there; the trainer does the rest.

    A directory of that name that is empty, or whose trainer is gone and never came to a checkpoint, holds nothing that
    took time, and is begun anew. Of several that want one name at the same time one gets it.

    Raises:
        RunError: the name is taken, or the directory cannot be written.
    """
    from core.system.atomic_write import write_atomically

    root = root_directory(config.root)
    name = check_new_name(config.name or free_name(root, config.preset))
    path = root / name
    resumes = f"; {how_to_resume(path, run_status(path))}" if (path / CONFIG).is_file() else ""
    taken = RunError(f"{path} exists already; choose another --name{resumes}")
    data_root = config.data_root and Path(os.path.expanduser(config.data_root)).absolute()
    config = config.changed(name=name, root=None, data_root=data_root)  # the run may be resumed from elsewhere
    made = False
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            made = True
        if not path.is_dir() or not _is_free(path):
            raise taken
        with opened_to_append(path / LOCK) as lock:
            if not locks.take(lock, path / LOCK) or not _is_free(path, locked=True):
                raise taken
            for entry in path.iterdir():
                if entry.name != LOCK:
                    entry.unlink()
            os.truncate(path / LOCK, 0)
            write_atomically(path / CONFIG, config.to_toml().encode())
    except OSError as error:
        if made and not (path / CONFIG).exists():
            shutil.rmtree(path, ignore_errors=True)
        raise RunError(f"cannot write {path}: {error.strerror}; {remedy(error)}, or choose another --root") from None
    return path


def _is_free(path: Path, *, locked: bool = False) -> bool:
    """Whether a directory holds nothing that took time; `locked`: by us."""
    names = {entry.name for entry in path.iterdir()}
    if names <= {LOCK, f".{CONFIG}.tmp"}:
        return True  # another's attempt that came to nothing, or nothing at all
    return (
        CONFIG in names
        and bool(names & {EVENTS, TRAINER_LOG})  # a trainer has been here
        and names <= {CONFIG, EVENTS, LOCK, CONTROL, TRAINER_LOG, RESERVE}
        and run_status(path, ours=locked) in (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)
        and not path.is_symlink()
    )


def rename_run(path: Path, name: str) -> Path:
    """Give a run another name, in its folder's name and in its config; returns its new path.

    Raises:
        RunError: a trainer holds it, it is a built-in model, the name cannot name a run or is taken, or the folder
            cannot be written.
    """
    from core.config.training import TrainConfig
    from core.system.atomic_write import write_atomically

    if path.resolve() in (builtin.resolve() for builtin in builtin_directories().values()):
        raise RunError(f"{path.name} ships with minidiff and keeps its name")
    if run_status(path).alive:
        raise RunError(f"a trainer holds {path.name}; stop it first")
    new = path.with_name(check_new_name(name))
    if new.exists():
        raise RunError(f"there is a {name} in {path.parent} already; choose another name")
    try:
        renamed = TrainConfig.from_toml(path / CONFIG).changed(name=name)
        path.rename(new)
        write_atomically(new / CONFIG, renamed.to_toml().encode())
    except OSError as error:
        raise RunError(f"cannot rename {path}: {error.strerror}") from None
    return new


def delete_run(path: Path) -> None:
    """Remove a run and all it holds.

    Raises:
        RunError: a trainer holds it, it is a built-in model, or it cannot be removed.
    """
    if path.resolve() in (builtin.resolve() for builtin in builtin_directories().values()):
        raise RunError(f"{path.name} ships with minidiff and is not deleted")
    if run_status(path).alive:
        raise RunError(f"a trainer holds {path.name}; stop it first")
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise RunError(f"cannot delete {path}: {error.strerror or error}") from None
