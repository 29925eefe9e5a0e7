"""The processes on the GPUs, as reported by the driver."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import psutil

from core.system.devices import gpu_handles, read_nvml
from core.text import sanitize

_HOST_NAMESPACE = 0xEFFFFFFC  # inode of Linux's initial PID namespace, a constant in its proc_ns.h
_GPU_FILES = ("/dev/nvidia", "/dev/dxg")  # every process that uses a GPU has one of these open


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with memory on a GPU. Values hidden by the driver, a container or another user are None."""

    uuid: str | None  # of the GPU or MIG instance
    pid: int | None  # None for a process outside this container
    name: str | None
    user: str | None
    memory: int | None  # bytes on that GPU


def gpu_processes() -> list[GpuProcess]:
    """Every process that NVML lists on a GPU, largest memory first.

    In a container NVML may report 0 or the host's process ids, which are meaningless here; such a process is listed
    without an id.
    """
    processes: dict[tuple[str | None, int, int], GpuProcess] = {}
    on_host = _is_host()
    for uuid, handle in gpu_handles():
        for kind in ("Compute", "Graphics"):
            counts: Counter[int] = Counter()  # the id 0 can occur several times
            for entry in read_nvml(f"nvmlDeviceGet{kind}RunningProcesses", handle) or ():
                counts[entry.pid] += 1
                pid = entry.pid if entry.pid > 0 and (on_host or _uses_gpu(entry.pid)) else None
                name, user = (None, None) if pid is None else _name_and_user(pid)
                memory = None if entry.usedGpuMemory is None else int(entry.usedGpuMemory)
                processes[uuid, entry.pid, counts[entry.pid]] = GpuProcess(uuid, pid, name, user, memory)
    return sorted(processes.values(), key=lambda process: -(process.memory or 0))


def _is_host() -> bool:
    """Whether this process is in the host's PID namespace, not in a container's."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _HOST_NAMESPACE
    except OSError:
        return False


def _uses_gpu(pid: int) -> bool:
    """Whether a process of this container has a GPU open; False without permission to see it."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            return any(os.readlink(file.path).startswith(_GPU_FILES) for file in files)
    except OSError:
        return False


def _name_and_user(pid: int) -> tuple[str | None, str | None]:
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        return sanitize(" ".join(command) if command else process.name()), process.username()
    except psutil.Error:  # exited, in another container, or no permission
        return None, None
