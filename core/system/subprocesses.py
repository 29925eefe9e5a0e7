"""Starts modules of this package in child processes that exit when the parent does, even if it is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from core.system.import_path import HOME


def python(*arguments: str) -> list[str]:
    """The command line of this Python interpreter with `arguments`, used for all child processes.

    -P keeps the current folder and the script's folder off the import path, so that a torch.py there is ignored.
    """
    return [sys.executable, "-P", *arguments]


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module` with this Python interpreter."""
    return python("-m", module, *arguments)


def environment() -> dict[str, str]:
    """This process's environment, with the folder of `core` on PYTHONPATH."""
    home = os.path.realpath(HOME)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{path}" if path else home}


def start(module: str, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `python -m module arguments` with stdout and stderr redirected to `output`, not receiving Ctrl-C.

    The module must call `follow_parent`. It is found from any working directory, and unlike with multiprocessing the
    parent's script does not run again.
    """
    return subprocess.Popen(
        command(module, *arguments),
        stdin=subprocess.PIPE,  # closed when the parent exits
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment(),
        start_new_session=True,  # Ctrl-C only reaches the parent, which ends the child
    )


def running(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the child is still running after waiting up to `seconds`."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child if it is still running, and release its resources."""
    child.kill()
    child.wait()
    if child.stdin:
        child.stdin.close()


def follow_parent(scratch: Path) -> None:
    """In a child: when the parent exits or is killed, delete `scratch` and exit."""

    def follow() -> None:
        os.read(0, 1)  # returns when the parent closes the pipe; reading sys.stdin would block the interpreter's exit
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
