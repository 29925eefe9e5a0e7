"""The standard streams as the commands need them: all three open, and able to write any text."""

from __future__ import annotations

import io
import os
import sys

from core.system.plain_characters import HANDLER

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # by descriptor


def prepare_streams() -> set[int]:
    """Open /dev/null in place of each standard stream that is closed, and return their descriptors.

    Without that, the next file to be opened would take the number, and be read and written as if it were the stream.
    What the output's encoding lacks is written as look-alikes from now on.
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
            stream.reconfigure(errors=HANDLER)
    return closed
