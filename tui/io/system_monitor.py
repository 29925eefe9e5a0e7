"""Monitors devices, GPU processes, the disk, and the runs on each device."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.system.devices import DeviceInfo
    from core.system.gpu_processes import GpuProcess

SECONDS = 1.0  # interval between readings
HISTORY_LENGTH = 120  # readings


@dataclass
class DeviceHistory:
    """The last readings of one device, in percent; None where unknown."""

    utilization: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY_LENGTH))
    memory: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY_LENGTH))


@dataclass
class SystemMonitor:
    """The latest readings and their history; call its methods in a thread.

    Attributes:
        devices: The devices.
        histories: History of each device, by `device_key`.
        processes: Processes that hold GPU memory.
        runs: Names of the live runs on each device, by torch's name of the device.
        disk: Free and total bytes of the file system that holds the runs; None if unknown.
    """

    devices: list[DeviceInfo] = field(default_factory=list)
    histories: dict[str, DeviceHistory] = field(default_factory=dict)
    processes: list[GpuProcess] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)
    disk: tuple[int, int] | None = None

    def read(self) -> None:
        """Read the devices."""
        from core.system.devices import list_devices  # imports psutil and NVML: slow

        self.devices = list_devices()
        for device in self.devices:
            history = self.histories.setdefault(device_key(device), DeviceHistory())
            history.utilization.append(device.utilization)
            history.memory.append(_memory_percent(device))

    def processes_on(self, device: DeviceInfo) -> list[GpuProcess]:
        """Return the processes that hold memory on `device`."""
        return [process for process in self.processes if process.uuid == device.uuid]

    def read_processes(self, root: Path) -> None:
        """Read GPU processes, and the live runs and disk of `root`."""
        from core.errors import RunError
        from core.system.disk_usage import disk_space
        from core.system.gpu_processes import gpu_processes
        from tui.io.run_list import list_runs

        self.processes = gpu_processes()
        try:
            live = [run for run in list_runs(root, now=False) if run.status.alive and run.device]
        except RunError:
            live = []
        self.runs = {}
        for run in live:
            for device in (run.device or "").split(", "):  # several processes
                self.runs.setdefault(device, []).append(run.name)
        self.disk = disk_space(root)


def device_key(device: DeviceInfo) -> str:
    """Return a unique key of a device."""
    return device.uuid or device.device or device.name


def _memory_percent(device: DeviceInfo) -> float | None:
    if device.memory_used is None or not device.memory_total:
        return None
    return 100 * device.memory_used / device.memory_total
