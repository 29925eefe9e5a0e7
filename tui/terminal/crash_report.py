"""What becomes of an error nobody foresaw: the traceback goes into a file, the user gets one line."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from core import __version__


def report(error: BaseException) -> str:
    """Write the traceback of `error` to a file of its own, and say in one line what happened and where that file is."""
    text = f"minidiff {__version__}\n\n" + "".join(traceback.format_exception(error))
    what = f"minidiff-tui ended by a fault of its own ({type(error).__name__}); training, if any, goes on."
    try:
        handle, name = tempfile.mkstemp(prefix="minidiff-tui-", suffix=".log")
        os.close(handle)
        Path(name).write_text(text, encoding="utf-8")
    except OSError as failure:
        return f"{what} The details could not be written: {failure.strerror}."
    return f"{what} Please report it with {name}"
