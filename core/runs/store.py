"""Creates, renames and deletes run directories."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import DatasetError, RunError
from core.runs import locks
from core.runs.directory import (
    BUILTIN,
    CONFIG,
    CONTROL,
    EVENTS,
    LOCK,
    RESERVE,
    SNAPSHOTS,
    TRAINER_LOG,
    check_name,
    is_builtin,
    root_directory,
)
from core.runs.pipelines import is_pipeline
from core.runs.status import Status, how_to_resume, run_status
from core.system.disk_usage import remedy
from core.system.extras import require
from core.system.safe_io import opened_to_append

if TYPE_CHECKING:
    from core.config.training import TrainConfig


STEM_CHARACTERS = 56  # maximum in a generated name, before the number


def free_name(root: Path, stem: str) -> str:
    """The first unused name of stem-1, stem-2, ... in `root`, with invalid characters of `stem` replaced."""
    stem = re.sub("[^A-Za-z0-9._-]+", "-", stem).strip("._-")[:STEM_CHARACTERS] or "run"
    number = 1
    while (root / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def check_new_name(name: str) -> str:
    """Return `name` if it is valid for a new run.

    Raises:
        RunError: it is not a valid run name, or is the name of a built-in model.
    """
    if name in BUILTIN:
        raise RunError(f"{name} is the name of a built-in model; choose another --name")
    return check_name(name)


def create_run(config: TrainConfig) -> Path:
    """Create the directory of a new run and write its config.

    A directory of that name is reused if it is empty, or if its run ended before the first checkpoint. If several
    processes create the same run at the same time, one succeeds.

    Raises:
        RunError: the name is taken, or the directory cannot be written.
        DatasetError: the dataset is a path where nothing is.
        MinidiffError: the package of `config.log_to` is not installed.
    """
    from core.config.datasets import is_path, missing_source
    from core.system.atomic_write import write_atomically

    root = root_directory(config.root)
    if config.log_to is not None:
        require(config.log_to)
    if is_path(config.dataset) and not os.path.exists(config.dataset):
        raise DatasetError(missing_source(config.dataset))
    name = check_new_name(config.name or free_name(root, config.preset))
    path = root / name
    resumes = f"; {how_to_resume(path, run_status(path))}" if (path / CONFIG).is_file() else ""
    taken = RunError(f"{path} exists already; choose another --name{resumes}")
    data_root = config.data_root and Path(os.path.expanduser(config.data_root)).absolute()
    # The data root is made absolute because the run may be resumed from another working directory.
    config = config.changed(name=name, root=None, data_root=data_root)
    created = False
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            created = True
        if not path.is_dir() or not _is_free(path):
            raise taken
        with opened_to_append(path / LOCK) as lock:
            if not locks.take(lock, path / LOCK) or not _is_free(path, locked=True):
                raise taken
            for entry in path.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != LOCK:
                    entry.unlink()
            os.truncate(path / LOCK, 0)
            write_atomically(path / CONFIG, config.to_toml().encode())
    except OSError as error:
        if created and not (path / CONFIG).exists():
            shutil.rmtree(path, ignore_errors=True)
        raise RunError(f"cannot write {path}: {error.strerror}; {remedy(error)}, or choose another --root") from None
    return path


def _is_free(path: Path, *, locked: bool = False) -> bool:
    """Whether a directory is empty, or its run ended before the first checkpoint; `locked`: by this process."""
    names = {entry.name for entry in path.iterdir()}
    if names <= {LOCK, f".{CONFIG}.tmp"}:
        return True  # empty, or an earlier attempt that failed
    return (
        CONFIG in names
        and bool(names & {EVENTS, TRAINER_LOG})  # a trainer has run
        and names <= {CONFIG, EVENTS, LOCK, CONTROL, TRAINER_LOG, RESERVE, SNAPSHOTS}
        and run_status(path, own_lock=locked) in (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)
        and not path.is_symlink()
    )


def rename_run(path: Path, name: str) -> Path:
    """Rename a run, both its folder and the name in its config; returns the new path.

    Raises:
        RunError: it is running, it is a built-in model, the name is invalid or taken, or the folder cannot be written.
    """
    from core.config.training import TrainConfig
    from core.system.atomic_write import write_atomically

    if is_builtin(path):
        raise RunError(f"{path.name} ships with minidiff and cannot be renamed")
    if run_status(path).alive:
        raise RunError(f"{path.name} is running; stop it first")
    new = path.with_name(check_new_name(name))
    if new.exists():
        raise RunError(f"{new} exists already; choose another name")
    try:
        if is_pipeline(path):  # which does not contain its name
            return path.rename(new)
        renamed = TrainConfig.from_toml(path / CONFIG).changed(name=name)
        path.rename(new)
        write_atomically(new / CONFIG, renamed.to_toml().encode())
    except OSError as error:
        raise RunError(f"cannot rename {path}: {error.strerror}") from None
    return new


def delete_run(path: Path) -> None:
    """Delete a run and all its files.

    Raises:
        RunError: it is running, it is a built-in model, or it cannot be deleted.
    """
    if is_builtin(path):
        raise RunError(f"{path.name} ships with minidiff and cannot be deleted")
    if run_status(path).alive:
        raise RunError(f"{path.name} is running; stop it first")
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise RunError(f"cannot delete {path}: {error.strerror or error}") from None
