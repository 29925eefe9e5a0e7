"""What the machine is doing, second by second: devices with their history, GPU processes, the disk, who uses what."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.system.devices import DeviceInfo
    from core.system.gpu_processes import GpuProcess

SECONDS = 1.0  # between two readings
REMEMBERED = 120  # readings


@dataclass
class History:
    """The last readings of one device, in percent; None where it told nothing."""

    utilization: deque[float | None] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    memory: deque[float | None] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


@dataclass
class SystemMonitor:
    """Reads in a thread, and keeps what it read; one for the whole app, so that a screen opened later has a past."""

    devices: list[DeviceInfo] = field(default_factory=list)
    histories: dict[str, History] = field(default_factory=dict)  # by `key`
    processes: list[GpuProcess] = field(default_factory=list)
    users: dict[str, list[str]] = field(default_factory=dict)  # the runs on each device, by what torch calls it
    disk: tuple[int, int] | None = None  # bytes free and in all, where the runs are

    def read(self) -> None:
        """Read the devices."""
        from core.system.devices import list_devices  # psutil and NVML, after the first paint and off the event loop

        self.devices = list_devices()
        for device in self.devices:
            history = self.histories.setdefault(key(device), History())
            history.utilization.append(device.utilization)
            history.memory.append(_share(device))

    def on(self, device: DeviceInfo) -> list[GpuProcess]:
        """The processes that hold memory on `device`."""
        return [process for process in self.processes if process.uuid == device.uuid]

    def read_more(self, root: Path) -> None:
        """Read processes, runs and the disk of `root`, which only the Devices screen shows."""
        from core.errors import RunError
        from core.system.disk_usage import disk_space
        from core.system.gpu_processes import gpu_processes
        from tui.io.run_list import list_runs

        self.processes = gpu_processes()
        try:
            alive = [run for run in list_runs(root, now=False) if run.status.alive and run.device]
        except RunError:
            alive = []
        self.users = {}
        for run in alive:
            for device in (run.device or "").split(", "):  # those of several processes
                self.users.setdefault(device, []).append(run.name)
        self.disk = disk_space(root)


def key(device: DeviceInfo) -> str:
    """What tells a device from the others."""
    return device.uuid or device.device or device.name


def _share(device: DeviceInfo) -> float | None:
    if device.memory_used is None or not device.memory_total:
        return None
    return 100 * device.memory_used / device.memory_total
