"""Prepares the standard streams: all three are open, and any text can be written."""

from __future__ import annotations

import io
import os
import sys

from core.system.plain_characters import HANDLER

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # by descriptor


def prepare_streams() -> set[int]:
    """Open /dev/null for each closed standard stream, and return their descriptors.

    Otherwise the next opened file would get the descriptor of the stream. Characters missing in the output encoding
    are replaced by similar ones from now on. With LC_ALL=C that encoding is ASCII.
    """
    closed = set()
    for descriptor, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(descriptor)
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="ascii" if _ascii_locale() else None, errors=HANDLER)
    return closed


def _ascii_locale() -> bool:
    """Whether the user chose a locale with ASCII only; Python writes UTF-8 in it unless told otherwise (PEP 540)."""
    chosen = any(os.environ.get(name) for name in ("PYTHONUTF8", "PYTHONIOENCODING")) or "utf8" in sys._xoptions
    return os.environ.get("LC_ALL") in ("C", "POSIX") and not chosen
