"""What would end a training together with the login that started it, as far as the machine tells."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

LINGER = Path("/var/lib/systemd/linger")  # holds a file named after each user whose processes may stay
LOGIN_MANAGER = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
ASKED_SECONDS = 2.0  # for systemd's answer


def what_ends_trainers() -> list[tuple[str, str]]:
    """What was found, each with its cure; nothing where a trainer outlives its login, or nothing is known."""
    found = []
    if job := os.environ.get("SLURM_JOB_ID"):
        cure = "train as part of a job of its own (`sbatch` or `srun minidiff train ...`), and watch from anywhere"
        found.append((f"this is Slurm job {job}: whatever was started in it, trainings too, ends with the job", cure))
    if _kills_at_logout() and not (LINGER / getpass.getuser()).exists():
        what = "systemd ends your processes at logout here (KillUserProcesses=yes), trainings too"
        found.append((what, "run `loginctl enable-linger` once"))
    return found


def _kills_at_logout() -> bool:
    """Whether systemd says so; False where there is none, or it does not answer."""
    busctl = shutil.which("busctl")
    if busctl is None:
        return False
    command = [busctl, "get-property", *LOGIN_MANAGER, "KillUserProcesses"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.stdout.split() == ["b", "true"]
