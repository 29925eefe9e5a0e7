"""The GPUs and the CPU of this machine, with their memory, utilization, temperature and power; no torch needed."""

from __future__ import annotations

import functools
import importlib
import os
import platform
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from core.system import cuda_visibility, subprocesses
from core.text import sanitize

_MIN_CPU_WINDOW = 0.1  # seconds; shorter windows have only a few clock ticks
_CUDA_TIMEOUT = 20.0  # seconds; starting the driver is slow on machines with many idle GPUs


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One GPU or the CPU at one moment. Values that cannot be read are None, never 0."""

    name: str  # "NVIDIA H100 80GB HBM3", or the CPU's model
    device: str | None  # as for `pick_device`: "cuda:0", "mps", "cpu"; None if the GPU is not visible to CUDA
    kind: str  # "cuda", "mps" or "cpu"
    uuid: str | None = None  # from NVML, with the prefix "GPU-" or "MIG-"
    memory_used: int | None = None  # bytes
    memory_total: int | None = None  # bytes
    utilization: float | None = None  # percent; for the CPU the mean over all cores since the previous call
    temperature: float | None = None  # degrees Celsius
    power: float | None = None  # watts


class Part(NamedTuple):
    """One CUDA device: a whole GPU or one of its MIG instances."""

    handle: Any
    name: str
    uuid: str | None


class Gpu(NamedTuple):
    """A physical GPU in NVML's order (by PCI bus); `parts` is itself, or its MIG instances if MIG is enabled."""

    whole: Part
    mig: bool
    parts: list[Part]


def list_devices() -> list[DeviceInfo]:
    """Every NVIDIA GPU that NVML lists, an Apple GPU, and the CPU last. Does not import torch.

    A GPU with MIG is listed as its instances. Without NVML or a driver of the same version no GPUs are listed. The
    first call in a process measures the CPU for 0.1 s; later calls return immediately.
    """
    devices = list_gpus()
    if sys.platform == "darwin" and platform.machine() == "arm64":
        devices.append(DeviceInfo(name=f"{_cpu_name()} GPU", device="mps", kind="mps"))
    memory = psutil.virtual_memory()
    cpu = DeviceInfo(
        name=_cpu_name(),
        device="cpu",
        kind="cpu",
        memory_used=memory.total - memory.available,
        memory_total=memory.total,
        utilization=_cpu_meter.percent(),
    )
    return [*devices, cpu]


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def nvml_failure() -> str | None:
    """NVML's error message; None if it works."""
    return _nvml()[1]


def cuda_driver() -> tuple[int, int] | None:
    """The latest CUDA version that the NVIDIA driver supports, as (major, minor); None without a driver."""
    version = read_nvml("nvmlSystemGetCudaDriverVersion_v2") if _nvml()[0] is not None else None
    return None if version is None else (version // 1000, version % 1000 // 10)


@functools.cache
def _nvml() -> tuple[Any, str | None]:
    """The initialized NVML module and None, or None and the error; tried once per process."""
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError as error:
        return None, f"the Python package nvidia-ml-py is missing ({error})"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, str(error)
    return pynvml, None


def gpu_handles() -> list[tuple[str | None, Any]]:
    """UUID and NVML handle of every GPU or MIG instance."""
    if _nvml()[0] is None:
        return []
    parts = [part for gpu in _scan_gpus() for part in (gpu.parts or [gpu.whole])]
    return [(part.uuid, part.handle) for part in parts if part.handle is not None]


def read_nvml(function: str, *arguments: Any) -> Any:
    """Call an NVML function; None if this GPU or driver does not support it, or the user lacks permission."""
    nvml, _ = _nvml()
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError:
        return None


def list_gpus() -> list[DeviceInfo]:
    """NVML's GPUs and MIG instances, each with its CUDA index in this process's environment."""
    if _nvml()[0] is None:
        return []
    gpus = _scan_gpus()
    names = {uuid: f"cuda:{index}" for index, uuid in enumerate(_visible(gpus))}
    return [_measure(part, names) for gpu in gpus for part in (gpu.parts or [gpu.whole])]


def _scan_gpus() -> list[Gpu]:
    gpus = []
    for index in range(read_nvml("nvmlDeviceGetCount") or 0):
        handle = read_nvml("nvmlDeviceGetHandleByIndex", index)
        if handle is None:  # lost from the bus, or no permission: it keeps its index
            gpus.append(Gpu(Part(None, f"NVIDIA GPU {index}", None), False, []))
            continue
        name = read_nvml("nvmlDeviceGetName", handle) or f"NVIDIA GPU {index}"
        whole = Part(handle, name, read_nvml("nvmlDeviceGetUUID", handle))
        mode = read_nvml("nvmlDeviceGetMigMode", handle)  # [current, pending]
        mig = mode is not None and mode[0] == 1
        gpus.append(Gpu(whole, mig, _scan_instances(whole) if mig else [whole]))
    return gpus


def _scan_instances(whole: Part) -> list[Part]:
    instances = []
    for index in range(read_nvml("nvmlDeviceGetMaxMigDeviceCount", whole.handle) or 0):
        handle = read_nvml("nvmlDeviceGetMigDeviceHandleByIndex", whole.handle, index)
        if handle is not None:
            name = read_nvml("nvmlDeviceGetName", handle) or f"{whole.name} MIG"
            instances.append(Part(handle, name, read_nvml("nvmlDeviceGetUUID", handle)))
    return instances


def _measure(part: Part, names: dict[str, str]) -> DeviceInfo:
    device = names.get(part.uuid) if part.uuid is not None else None
    name = sanitize(part.name)
    if part.handle is None:
        return DeviceInfo(name=name, device=device, kind="cuda", uuid=part.uuid)
    memory = read_nvml("nvmlDeviceGetMemoryInfo", part.handle)
    rates = read_nvml("nvmlDeviceGetUtilizationRates", part.handle)
    temperature = read_nvml("nvmlDeviceGetTemperature", part.handle, 0)  # 0: the sensor on the GPU itself
    milliwatts = read_nvml("nvmlDeviceGetPowerUsage", part.handle)
    return DeviceInfo(
        name=name,
        device=device,
        kind="cuda",
        uuid=part.uuid,
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
        utilization=None if rates is None else float(rates.gpu),
        temperature=None if temperature is None else float(temperature),
        power=None if milliwatts is None else milliwatts / 1000,
    )


def _visible(gpus: list[Gpu]) -> list[str]:
    """NVML's UUIDs of the devices visible to CUDA, in CUDA's order: entry N is cuda:N.

    If torch has started CUDA in this process, its UUIDs are used. Otherwise the environment decides, unless the order
    depends on the driver: CUDA puts the fastest GPU first by default, and the number of visible MIG instances varies.
    In that case the driver is queried once, in a separate process.
    """
    order = _torch_order()
    if order is None and not _is_pci_order(gpus):
        settings = (os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER"))
        order = _driver_order(settings)
    by_suffix = {part.uuid.partition("-")[2]: part.uuid for gpu in gpus for part in gpu.parts if part.uuid is not None}
    if order is not None and all(uuid in by_suffix for uuid in order):
        return [by_suffix[uuid] for uuid in order]
    return cuda_visibility.visible_uuids(
        [(gpu.whole.uuid, gpu.mig, [part.uuid for part in gpu.parts if part.uuid is not None]) for gpu in gpus],
        os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _torch_order() -> list[str] | None:
    """UUIDs without prefix of torch's CUDA devices; None unless torch has started CUDA in this process."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    started = getattr(cuda, "is_initialized", None)  # missing while another thread imports torch
    if cuda is None or started is None or not started():
        return None
    return [str(cuda.get_device_properties(index).uuid) for index in range(cuda.device_count())]


def _is_pci_order(gpus: list[Gpu]) -> bool:
    """Whether CUDA's order is NVML's: no MIG, and PCI order is set or all GPUs are the same model."""
    if any(gpu.mig for gpu in gpus):
        return False
    return os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.whole.name for gpu in gpus}) <= 1


@functools.cache
def _driver_order(settings: tuple[str | None, str | None]) -> list[str] | None:
    """UUIDs without prefix from the driver in this environment (`settings` is the cache key); None on failure."""
    command = subprocesses.python(str(Path(cuda_visibility.__file__)))
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_CUDA_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.split()


@functools.cache
def _cpu_name() -> str:
    """The CPU model."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.stdout.strip() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


class _CpuSampler:
    """Mean utilization of all cores between calls from any thread; psutil's own restarts at 0 in each thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[float, float, float] | None = None  # time, busy seconds, total seconds
        self._percent: float | None = None

    def percent(self) -> float | None:
        with self._lock:
            if self._last is None:
                self._last = self._sample()
                time.sleep(_MIN_CPU_WINDOW)
            last_time, last_busy, last_total = self._last
            now, busy, total = self._sample()
            if now - last_time >= _MIN_CPU_WINDOW and total > last_total:
                self._percent = min(100.0, max(0.0, 100 * (busy - last_busy) / (total - last_total)))
                self._last = now, busy, total
            return self._percent

    @staticmethod
    def _sample() -> tuple[float, float, float]:
        times = psutil.cpu_times()._asdict()
        total = (
            sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
        )  # included in user and nice
        return time.monotonic(), total - times["idle"] - times.get("iowait", 0.0), total


_cpu_meter = _CpuSampler()
