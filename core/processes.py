"""Who computes on the GPUs, as the driver tells it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from core.devices import gpu_handles, read_nvml
from core.foreign import harmless


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with memory on a GPU. What the driver, a container or another user hides is None."""

    uuid: str | None  # of the GPU or MIG instance
    pid: int
    name: str | None
    user: str | None
    memory: int | None  # bytes on that GPU


def gpu_processes() -> list[GpuProcess]:
    """Every process that NVML sees on a GPU, those with most memory first; none without a GPU."""
    found: dict[tuple[str | None, int], GpuProcess] = {}
    for uuid, handle in gpu_handles():
        for kind in ("Compute", "Graphics"):
            for entry in read_nvml(f"nvmlDeviceGet{kind}RunningProcesses", handle) or ():
                name, user = _named(entry.pid)
                memory = None if entry.usedGpuMemory is None else int(entry.usedGpuMemory)
                found[uuid, entry.pid] = GpuProcess(uuid, entry.pid, name, user, memory)
    return sorted(found.values(), key=lambda process: -(process.memory or 0))


def _named(pid: int) -> tuple[str | None, str | None]:
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        return harmless(" ".join(command) if command else process.name()), process.username()
    except psutil.Error:  # gone, of another container, or not ours to see
        return None, None
