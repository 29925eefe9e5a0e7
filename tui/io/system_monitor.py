"""Monitors devices, the machine, its processes and disk, and the runs on each device."""

from __future__ import annotations

import socket
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.runs.status import RunSummary
    from core.system.devices import DeviceInfo
    from core.system.gpu_processes import GpuProcess
    from core.system.gpu_sensors import GpuSensors
    from core.system.machine_usage import MachineSampler, MachineUsage
    from core.system.process_usage import ProcessSampler, ProcessUsage

SECONDS = 1.0  # interval between readings
HISTORY_LENGTH = 240  # readings
MAX_DELAY = 5  # intervals between readings on a busy machine; rates are means since the previous one
MAX_CORES = 16  # with a history
MAX_PROCESSES = 60  # listed without those of runs and GPUs
PROCESS_FRACTION = 0.01  # of a core, for reading the processes
MIN_PROCESS_PAUSE = 2.0  # seconds between readings of the processes


class History:
    """The last readings of one quantity, one per `SECONDS`; None where unknown or not read."""

    def __init__(self) -> None:
        self.values: deque[float | None] = deque(maxlen=HISTORY_LENGTH)
        self._time = 0.0  # of the last reading, in `SECONDS`

    def add(self, value: float | None, now: float) -> None:
        """Append a reading at `now` seconds. It also fills up to `MAX_DELAY` missed intervals; more become None."""
        place = now / SECONDS
        if self.values:
            missed = min(HISTORY_LENGTH, round(place - self._time) - 1)
            self.values.extend([value if missed <= MAX_DELAY else None] * missed)
            if missed < 0:  # the second reading in one interval
                self.values.pop()
                place = self._time
        self._time = place
        self.values.append(value)


@dataclass
class SystemMonitor:
    """The latest readings and their history; call its methods in a thread.

    Attributes:
        devices: The devices.
        sensors: Further readings of the GPUs, by UUID.
        machine: Usage of the machine; None before it was read.
        histories: History by name: a `device_key`, a slash and a quantity, or only the quantity of the machine.
        gpu_processes: Processes that hold GPU memory.
        processes: The processes of runs and the busiest others.
        runs: Names of the live runs on each device, by torch's name of the device.
        run_pids: Names of the live runs on this machine, by the process id of their trainers and launchers.
        disk: Free and total bytes of the file system that holds the runs; None if unknown.
    """

    devices: list[DeviceInfo] = field(default_factory=list)
    sensors: dict[str, GpuSensors] = field(default_factory=dict)
    machine: MachineUsage | None = None
    histories: dict[str, History] = field(default_factory=dict)
    gpu_processes: list[GpuProcess] = field(default_factory=list)
    processes: list[ProcessUsage] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)
    run_pids: dict[int, str] = field(default_factory=dict)
    disk: tuple[int, int] | None = None
    _machine_sampler: MachineSampler | None = None
    _process_sampler: ProcessSampler | None = None
    _processes_due: float = 0.0  # on the monotonic clock

    def read(self) -> None:
        """Read the devices."""
        from core.system.devices import list_devices  # imports psutil and NVML: slow

        self.devices = list_devices()
        for device in self.devices:
            self._record(device, "load", device.utilization)
            self._record(device, "memory", percent_of(device.memory_used, device.memory_total))
            if device.kind == "cuda":
                self._record(device, "power", device.power)
                self._record(device, "temperature", device.temperature)

    def read_machine(self, root: Path) -> None:
        """Read what only the Devices screen shows: the machine, GPU sensors, processes, and runs and disk of `root`."""
        from core.system.disk_usage import disk_space
        from core.system.gpu_processes import gpu_processes
        from core.system.gpu_sensors import gpu_sensors
        from core.system.machine_usage import MachineSampler

        self._machine_sampler = self._machine_sampler or MachineSampler()
        self.machine = usage = self._machine_sampler.read(root)
        for name, value in (
            ("swap", percent_of(usage.swap_used, usage.swap_total)),
            ("read", usage.disk_read),
            ("written", usage.disk_written),
            ("received", usage.received),
            ("sent", usage.sent),
        ):
            self.histories.setdefault(name, History()).add(value, time.monotonic())
        for core, load in enumerate(usage.cores[:MAX_CORES]):
            self.histories.setdefault(f"core {core}", History()).add(load, time.monotonic())
        self.sensors = gpu_sensors()
        for device in self.devices:
            if device.uuid in self.sensors:
                sensors = self.sensors[device.uuid]
                self._record(device, "clock", sensors.clock)
                self._record(device, "memory clock", sensors.memory_clock)
                self._record(device, "received", sensors.received)
                self._record(device, "sent", sensors.sent)
        self.gpu_processes = gpu_processes()
        self._read_runs(root)
        self.disk = disk_space(root)
        self._read_processes()

    def _read_runs(self, root: Path) -> None:
        from core.errors import RunError
        from tui.io.run_list import list_runs

        try:
            live = [run for run in list_runs(root, now=False) if run.status.alive]
        except RunError:
            live = []
        self.runs, self.run_pids = {}, {}
        for run in live:
            for device in run.device.split(", ") if run.device else ():  # several processes
                self.runs.setdefault(device, []).append(run.name)
            self.run_pids |= dict.fromkeys(_trainer_pids(run), run.name)

    def _read_processes(self) -> None:
        """Read the processes, unless that would take more than `PROCESS_FRACTION` of a core."""
        from core.system.process_usage import ProcessSampler

        if time.monotonic() < self._processes_due:
            return
        start = time.thread_time()
        first = self._process_sampler is None
        self._process_sampler = self._process_sampler or ProcessSampler()
        on_gpus = {process.pid for process in self.gpu_processes if process.pid is not None}
        self.processes = self._process_sampler.read(MAX_PROCESSES, on_gpus | self.run_pids.keys())
        pause = 0.0 if first else max(MIN_PROCESS_PAUSE, (time.thread_time() - start) / PROCESS_FRACTION)
        self._processes_due = time.monotonic() + pause

    def run_of(self, pid: int | None, parent: int | None = None) -> str | None:
        """Name of the run that the process `pid` or its parent trains, if any."""
        return self.run_pids.get(pid or 0) or self.run_pids.get(parent or 0)

    def history(self, name: str, device: DeviceInfo | None = None) -> list[float | None]:
        """Return the history of a quantity of a device or of the machine, oldest first."""
        key = name if device is None else f"{device_key(device)}/{name}"
        return list(self.histories[key].values) if key in self.histories else []

    def _record(self, device: DeviceInfo, name: str, value: float | None) -> None:
        self.histories.setdefault(f"{device_key(device)}/{name}", History()).add(value, time.monotonic())


def device_key(device: DeviceInfo) -> str:
    """Return a unique key of a device."""
    return device.uuid or device.device or device.name


def percent_of(used: float | None, total: float | None) -> float | None:
    """Return `used` in percent of `total`; None if unknown or without a total."""
    return None if used is None or not total else 100 * used / total


def _trainer_pids(run: RunSummary) -> list[int]:
    """Ids of the processes on this machine that train the run."""
    from core.runs.status import lock_holder

    holder = lock_holder(Path(run.path))
    if holder.get("host", "") != socket.gethostname():
        return []
    return [holder[name] for name in ("pid", "launcher") if name in holder]
