"""Keeps torch.compile's caches private to the user."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

from platformdirs import user_cache_dir

_temporary: tempfile.TemporaryDirectory[str] | None = None  # removed when the process exits


def secure_compile_cache() -> None:
    """Ensure that torch.compile's caches are not writable by other users; call before compiling.

    The default cache is a folder with a fixed name in the shared temporary folder, and torch executes its content:
    shared objects, precompiled headers and pickles. If another user owns that folder or can write to it, all temporary
    files of this process move to a private folder.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # private API, checked in torch 2.8 and 2.14

    default = default_cache_dir()
    if _is_private(Path(default)):
        return
    private = str(_private_folder())
    os.environ["TMPDIR"] = tempfile.tempdir = private  # for compiler processes, and for this one
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") == default:  # set by torch at the first compilation
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
    if "torch._inductor.codecache" in sys.modules:  # it has already chosen the folder of precompiled headers
        from torch._inductor import config

        config.cpp_cache_precompile_headers = False


def _private_folder() -> Path:
    """A folder in the user's cache or, if that is not private, a temporary one that is removed at exit."""
    global _temporary
    folder = Path(user_cache_dir("minidiff")) / "compiled"
    if _is_private(folder):
        return folder
    _temporary = _temporary or tempfile.TemporaryDirectory(prefix="minidiff-compiled-")  # has mode 0700
    return Path(_temporary.name)


def _is_private(folder: Path) -> bool:
    """Whether only this user can write to a folder or replace it; creates the folder if it is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own, above = os.lstat(folder), os.stat(folder.parent)
    except OSError:  # cannot be created or accessed
        return False
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != os.geteuid() or own.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    replaceable = above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX
    return above.st_uid in (0, os.geteuid()) and not replaceable
