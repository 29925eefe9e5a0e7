"""Clocks, power limit and PCIe throughput of GPUs: readings that take longer than those of `list_devices`."""

from __future__ import annotations

from dataclasses import dataclass

from core.system.devices import gpu_handles, read_nvml

_GRAPHICS_CLOCK, _MEMORY_CLOCK = 0, 2  # NVML_CLOCK_GRAPHICS, NVML_CLOCK_MEM
_SENT, _RECEIVED = 0, 1  # NVML_PCIE_UTIL_TX_BYTES, NVML_PCIE_UTIL_RX_BYTES; as seen from the GPU


@dataclass(frozen=True, slots=True)
class GpuSensors:
    """Readings of one GPU or MIG instance. Values that the driver hides are None, never 0."""

    power_limit: float | None = None  # watts
    clock: float | None = None  # MHz, of the graphics clock
    memory_clock: float | None = None  # MHz
    received: float | None = None  # bytes per second over PCIe
    sent: float | None = None


def gpu_sensors() -> dict[str, GpuSensors]:
    """The readings of every GPU or MIG instance, by UUID. NVML measures PCIe for 20 ms in each direction."""
    sensors = {}
    for uuid, handle in gpu_handles():
        if uuid is None:
            continue
        milliwatts = read_nvml("nvmlDeviceGetEnforcedPowerLimit", handle)
        clocks = [read_nvml("nvmlDeviceGetClockInfo", handle, kind) for kind in (_GRAPHICS_CLOCK, _MEMORY_CLOCK)]
        rates = [read_nvml("nvmlDeviceGetPcieThroughput", handle, kind) for kind in (_RECEIVED, _SENT)]
        sensors[uuid] = GpuSensors(
            None if milliwatts is None else milliwatts / 1000,
            *(None if clock is None else float(clock) for clock in clocks),
            *(None if rate is None else 1024.0 * rate for rate in rates),  # KiB per second
        )
    return sensors
