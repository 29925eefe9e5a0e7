"""Runs a module of this package in a process of its own that ends when we end, however we end."""

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
    """The command line of this Python interpreter with `arguments`; every child process of ours starts with it.

    -P keeps the current folder and the script's own off the import path: a json.py or torch.py there is not ours.
    """
    return [sys.executable, "-P", *arguments]


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module` with this Python interpreter."""
    return python("-m", module, *arguments)


def environment() -> dict[str, str]:
    """Our environment, with `core` to be found also where only the current folder made it importable."""
    home = os.path.realpath(HOME)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{path}" if path else home}


def start(module: str, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `python -m module arguments`, its stdout and stderr going to `output`, deaf to Ctrl-C.

    The module calls `follow_parent`. Found from any working directory; our own script is not run a second time, as
    multiprocessing would.
    """
    return subprocess.Popen(
        command(module, *arguments),
        stdin=subprocess.PIPE,  # its closing tells the child that we are gone
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment(),
        start_new_session=True,  # Ctrl-C reaches only us, and we end the child
    )


def running(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the child still runs after waiting up to `seconds` for its end."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child if it still runs, and let go of it."""
    child.kill()
    child.wait()
    if child.stdin:
        child.stdin.close()


def follow_parent(scratch: Path) -> None:
    """In a child: once the parent is gone, even killed, remove the unfinished work in `scratch` and end."""

    def follow() -> None:
        os.read(0, 1)  # returns when the parent's end of the pipe closes; sys.stdin's lock would abort our own exit
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
