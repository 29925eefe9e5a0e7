"""Load of each core, memory, swap, disk and network of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.system.disk_usage import nearest_existing


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """The machine at one moment. Rates are means since the previous reading; unknown values are None."""

    cores: tuple[float, ...] = ()  # load of each logical core in percent
    load_average: float | None = None  # runnable processes, mean of the last minute
    memory_used: int | None = None  # bytes that are not available to new processes
    memory_total: int | None = None
    swap_used: int | None = None  # bytes
    swap_total: int | None = None  # 0 without swap
    disk_read: float | None = None  # bytes per second, of the disk of the path, otherwise of all disks
    disk_written: float | None = None
    disk: str | None = None  # name of that disk, such as "nvme0n1p2"; None: of all disks
    received: float | None = None  # bytes per second on all network interfaces but the loopback
    sent: float | None = None


class MachineSampler:
    """Reads the usage of the machine, with rates since the previous reading. Not thread-safe."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._counters: dict[str, float] = {}
        self._cores: list[tuple[float, float]] = []  # busy and total seconds of each core

    def read(self, path: Path) -> MachineUsage:
        """Read the usage, with the rates of the disk that holds `path`. The first reading has no rates."""
        now = time.monotonic()
        elapsed, self._time = None if self._time is None else now - self._time, now
        disk, counters = _read_counters(path)
        old, self._counters = self._counters, counters

        def rate(name: str) -> float | None:
            if not elapsed or name not in old or name not in counters:
                return None
            return max(0.0, counters[name] - old[name]) / elapsed  # counters restart if an interface is removed

        memory = psutil.virtual_memory()
        swap_used: int | None = None
        swap_total: int | None = None
        try:
            swap = psutil.swap_memory()
            swap_used, swap_total = int(swap.used), int(swap.total)
        except (OSError, RuntimeError, psutil.Error):
            pass
        return MachineUsage(
            cores=self._read_cores(),
            load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            swap_used=swap_used,
            swap_total=swap_total,
            disk_read=rate("disk_read"),
            disk_written=rate("disk_written"),
            disk=disk,
            received=rate("received"),
            sent=rate("sent"),
        )

    def _read_cores(self) -> tuple[float, ...]:
        cores = []
        for times in psutil.cpu_times(percpu=True):
            seconds = times._asdict()
            total = sum(seconds.values()) - seconds.get("guest", 0.0) - seconds.get("guest_nice", 0.0)  # in user, nice
            cores.append((total - seconds["idle"] - seconds.get("iowait", 0.0), total))
        old, self._cores = self._cores, cores
        if len(old) != len(cores):
            return (0.0,) * len(cores)
        return tuple(core_load(before, after) for before, after in zip(old, cores, strict=True))


def core_load(before: Sequence[float], after: Sequence[float]) -> float:
    """Load in percent between two readings of busy and total seconds; 0 if no time has passed."""
    busy, total = after[0] - before[0], after[1] - before[1]
    return min(100.0, max(0.0, 100 * busy / total)) if total > 0 else 0.0


def _read_counters(path: Path) -> tuple[str | None, dict[str, float]]:
    """Name of the disk of `path`, and bytes since the start of the machine; without those that cannot be read."""
    counters: dict[str, float] = {}
    disk = None
    try:
        disks = psutil.disk_io_counters(perdisk=True) or {}
        disk = _disk_name(path)
        if disk not in disks:
            disk = None
        used = [disks[disk]] if disk is not None else [disks[name] for name in disks if not _is_part(name)]
        if used:
            counters["disk_read"] = sum(counter.read_bytes for counter in used)
            counters["disk_written"] = sum(counter.write_bytes for counter in used)
    except (OSError, RuntimeError, NotImplementedError, psutil.Error):
        disk = None
    try:
        interfaces = psutil.net_io_counters(pernic=True)
        network = [counter for name, counter in interfaces.items() if name not in ("lo", "lo0")]
        counters["received"] = sum(counter.bytes_recv for counter in network)
        counters["sent"] = sum(counter.bytes_sent for counter in network)
    except (OSError, RuntimeError, psutil.Error):
        pass
    return disk, counters


def _disk_name(path: Path) -> str | None:
    """Kernel name of the block device of `path` on Linux; None for others, such as network file systems."""
    try:
        number = os.stat(nearest_existing(path)).st_dev
        return os.path.basename(os.readlink(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
    except OSError:
        return None


def _is_part(name: str) -> bool:
    """Whether a block device has no counters of its own: a partition, a loop device, or a layer above other disks."""
    return name.startswith(("loop", "ram", "dm-", "md", "zram")) or os.path.exists(f"/sys/class/block/{name}/partition")
