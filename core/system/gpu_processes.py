"""Who computes on the GPUs, as the driver tells it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import psutil

from core.system.devices import gpu_handles, read_nvml
from core.text import sanitize

_HOST_NAMESPACE = 0xEFFFFFFC  # the inode of Linux's first namespace of process ids, fixed in its proc_ns.h
_GPU_FILES = ("/dev/nvidia", "/dev/dxg")  # one of which every process that computes on a GPU holds open


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with memory on a GPU. What the driver, a container or another user hides is None."""

    uuid: str | None  # of the GPU or MIG instance
    pid: int | None  # None for a process outside this container
    name: str | None
    user: str | None
    memory: int | None  # bytes on that GPU


def gpu_processes() -> list[GpuProcess]:
    """Every process that NVML sees on a GPU, those with most memory first; none without a GPU.

    In a container NVML may give the host's process ids, which are others here or nobody's, or 0. Such a process is
    listed without an id.
    """
    found: dict[tuple[str | None, int, int], GpuProcess] = {}
    on_host = _is_host()
    for uuid, handle in gpu_handles():
        for kind in ("Compute", "Graphics"):
            seen: Counter[int] = Counter()  # of one id, 0, there are several in a list
            for entry in read_nvml(f"nvmlDeviceGet{kind}RunningProcesses", handle) or ():
                seen[entry.pid] += 1
                pid = entry.pid if entry.pid > 0 and (on_host or _holds_gpu(entry.pid)) else None
                name, user = (None, None) if pid is None else _named(pid)
                memory = None if entry.usedGpuMemory is None else int(entry.usedGpuMemory)
                found[uuid, entry.pid, seen[entry.pid]] = GpuProcess(uuid, pid, name, user, memory)
    return sorted(found.values(), key=lambda process: -(process.memory or 0))


def _is_host() -> bool:
    """Whether process ids here are those of the machine, and not of a container."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _HOST_NAMESPACE
    except OSError:
        return False


def _holds_gpu(pid: int) -> bool:
    """Whether a process of this container has a GPU open; False where that may not be seen."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            return any(os.readlink(file.path).startswith(_GPU_FILES) for file in files)
    except OSError:
        return False


def _named(pid: int) -> tuple[str | None, str | None]:
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        return sanitize(" ".join(command) if command else process.name()), process.username()
    except psutil.Error:  # gone, of another container, or not ours to see
        return None, None
