"""Reasons why training would be killed at logout: Slurm jobs and systemd's KillUserProcesses."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

LINGER = Path("/var/lib/systemd/linger")  # has a file for each user with lingering enabled
LOGIN_MANAGER = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
TIMEOUT_SECONDS = 2.0  # for systemd's answer


def logout_warnings() -> list[tuple[str, str]]:
    """Warnings and their fixes; empty if a trainer outlives the login, or if that is unknown."""
    warnings = []
    if job := os.environ.get("SLURM_JOB_ID"):
        fix = "train in a separate job (`sbatch` or `srun minidiff train ...`), and watch from anywhere"
        warnings.append((f"this is Slurm job {job}: training that is started here ends with the job", fix))
    if _kills_at_logout() and not (LINGER / getpass.getuser()).exists():
        warning = "systemd kills your processes, including training, at logout (KillUserProcesses=yes)"
        warnings.append((warning, "run `loginctl enable-linger` once"))
    return warnings


def _kills_at_logout() -> bool:
    """The setting KillUserProcesses; False without systemd or an answer."""
    busctl = shutil.which("busctl")
    if busctl is None:
        return False
    command = [busctl, "get-property", *LOGIN_MANAGER, "KillUserProcesses"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.stdout.split() == ["b", "true"]
