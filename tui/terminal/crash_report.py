"""Crash reports: the traceback goes to a file, the user sees one line."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from core import __version__


def report(error: BaseException) -> str:
    """Write the traceback of `error` to a new temporary file and return a one-line message that names it."""
    text = f"minidiff {__version__}\n\n" + "".join(traceback.format_exception(error))
    summary = f"minidiff-tui crashed ({type(error).__name__}); training runs, if any, continue."
    try:
        handle, name = tempfile.mkstemp(prefix="minidiff-tui-", suffix=".log")
        os.close(handle)
        Path(name).write_text(text, encoding="utf-8")
    except OSError as failure:
        return f"{summary} The traceback could not be written: {failure.strerror}."
    return f"{summary} Please report it with {name}"
