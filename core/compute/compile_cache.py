"""Keeps torch.compile's caches out of reach of other users."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

from platformdirs import user_cache_dir

_temporary: tempfile.TemporaryDirectory[str] | None = None  # removed when the process exits


def secure_compile_cache() -> None:
    """Make sure that torch.compile keeps its caches where no other user can write, before it is used.

    By default they lie in a folder of a fixed name in the shared temporary folder, and torch runs what it finds there:
    shared objects, precompiled headers and pickles. Where another user made that folder first, or may write to it, the
    temporary files of this process go to a private folder from now on.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # private; seen in torch 2.8 and 2.14

    default = default_cache_dir()
    if _is_private(Path(default)):
        return
    private = str(_private_folder())
    os.environ["TMPDIR"] = tempfile.tempdir = private  # for the compiler's processes, and for this one
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") == default:  # torch sets it when it first compiles
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
    if "torch._inductor.codecache" in sys.modules:  # which has decided where precompiled headers lie
        from torch._inductor import config

        config.cpp_cache_precompile_headers = False


def _private_folder() -> Path:
    """A folder in the user's cache; if that is not the user's own, one that is removed at the end."""
    global _temporary
    folder = Path(user_cache_dir("minidiff")) / "compiled"
    if _is_private(folder):
        return folder
    _temporary = _temporary or tempfile.TemporaryDirectory(prefix="minidiff-compiled-")  # made with mode 0700
    return Path(_temporary.name)


def _is_private(folder: Path) -> bool:
    """Whether only this user can change what is in a folder, which is made if it is not there, or replace it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own, above = os.lstat(folder), os.stat(folder.parent)
    except OSError:  # it cannot be made or seen
        return False
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != os.geteuid() or own.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    replaceable = above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX
    return above.st_uid in (0, os.geteuid()) and not replaceable
