"""Forks trainers from a process that has already imported torch, so each starts instantly.

As a program it reads jobs, lines of JSON, from stdin and prints the process id or exit code of each child.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

OTHER = 70  # exit code of a child that failed with an unexpected exception
REAL_TIME = time.time
HOUR = 3600.0
LEAPS = (2 * HOUR, -2 * HOUR, 26 * HOUR, -7 * 24 * HOUR, 3 * 365 * 24 * HOUR, -3 * 365 * 24 * HOUR)
leap: random.Random | None = None  # seed of the clock jumps


def leaping() -> float:
    """The wall clock, which jumps at every third call in some children."""
    global ahead
    if leap is not None and leap.randrange(3) == 0:
        ahead = leap.choice(LEAPS)
    return REAL_TIME() + ahead


ahead = 0.0
time.time = leaping  # before any module imports the real one


def perform(job: dict[str, Any]) -> int:
    """Run a job in the child; returns its exit code."""
    global leap
    import fault_injection

    from core.config.training import TrainConfig
    from core.errors import MinidiffError
    from core.runs.events import to_line
    from core.system.signals import Interrupts
    from core.training import loop, loss_window
    from core.training.api import resume, train

    error = os.open(job["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(error, 2)
    os.dup2(error, 1)
    if job.get("each_step"):  # a window and a checkpoint after each step, so losses and states are comparable
        loss_window.MIN_SECONDS, loss_window.MIN_FRACTION = 0.0, 0.0
        loop.CHECKPOINT_SECONDS = 0.0
    leap = random.Random(job["leaps"]) if job.get("leaps") is not None else None
    path = Path(job["path"])
    events_fd = os.open(job["events"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if barrier := job.get("barrier"):
        with open(barrier) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)  # returns when the parent closes the pipe
    if job.get("fault"):
        fault_injection.wrap(fault_injection.Points(job["root"], job["fault"]))
    try:
        if arguments := job.get("command"):
            from core.cli import main

            main(arguments)
        with Interrupts() as interrupts:  # as `minidiff train` does; a signal between two events stops the training
            if (path / "config.toml").exists():
                events = resume(path, interrupts=interrupts)
            else:
                config = TrainConfig(**job["config"], root=path.parent, name=path.name)
                events = train(config, interrupts=interrupts)
            for event in events:
                os.write(events_fd, to_line(event).encode())
    except KeyboardInterrupt:
        return 130  # as `core.cli.main` ends
    except MinidiffError as error_:
        os.write(2, f"minidiff: {error_}\n".encode())
        return 1
    return 0


def child(job: dict[str, Any]) -> None:
    """Run a job and exit, even on error."""
    code = OTHER
    try:
        code = perform(job)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        if code == OTHER:
            os.write(2, traceback.format_exc().encode())
        os._exit(code)


def serve() -> None:
    """Load torch, then fork at each job until stdin ends."""
    import torch

    import core.cli.commands  # noqa: F401 - loaded for the children
    from core import TrainConfig, train

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the children would ignore it
    torch.set_num_threads(1)
    for preset, channels in (
        ("quick", (4, 4)),
        ("default", (16, 16)),
        ("tutorial", (32,)),
    ):  # the first use is slow
        tiny = {"dataset": "glyphs", "limit": 48, "batch_size": 48, "epochs": 1, "device": "cpu", "threads": 1}
        for event in train(TrainConfig(**tiny, preset=preset, channels=channels)):
            if preset == "tutorial" and event.kind == "dataset":
                break
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            reply = {"code": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
        else:
            pid = os.fork()
            if pid == 0:
                os.setsid()
                child(request)
            reply = {"pid": pid}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    serve()
