"""The processors here: what each is doing, read without torch, and which one to compute on."""

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

_SHORTEST_CPU_WINDOW = 0.1  # seconds; a shorter window counts a handful of clock ticks
_CUDA_QUERY_LIMIT = 20.0  # seconds; starting the driver takes some on machines with many sleeping GPUs


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One processor at one moment. Whatever could not be read is None, never 0."""

    name: str  # "NVIDIA H100 80GB HBM3", or the CPU's model
    device: str | None  # what `pick_device` takes: "cuda:0", "mps", "cpu"; None where CUDA does not show this GPU
    kind: str  # "cuda", "mps" or "cpu"
    uuid: str | None = None  # NVML's, beginning with "GPU-" or "MIG-"
    memory_used: int | None = None  # bytes
    memory_total: int | None = None  # bytes
    utilization: float | None = None  # percent; for a CPU the mean of all cores since the previous call
    temperature: float | None = None  # degrees Celsius
    power: float | None = None  # watts


class Part(NamedTuple):
    """What CUDA can show as one device: a whole GPU or one MIG instance of it."""

    handle: Any
    name: str
    uuid: str | None


class Gpu(NamedTuple):
    """A physical GPU as NVML numbers it (by PCI bus); `parts` is itself, or its MIG instances when MIG is on."""

    whole: Part
    mig: bool
    parts: list[Part]


def list_devices() -> list[DeviceInfo]:
    """Every GPU that NVML sees, Apple's GPU on its own machines, and the CPU last. Imports no torch.

    A GPU that is split by MIG appears as its instances. No NVML, no driver or a driver that differs from NVML's
    version mean no GPUs. The first call of a process measures the CPU for 0.1 s; later ones do not wait.
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
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def nvml_failure() -> str | None:
    """Why NVML gives no GPUs, in its own words; None when it works."""
    return _nvml()[1]


def cuda_driver() -> tuple[int, int] | None:
    """The newest CUDA version that the installed NVIDIA driver supports, as (major, minor); None without a driver."""
    version = read_nvml("nvmlSystemGetCudaDriverVersion_v2") if _nvml()[0] is not None else None
    return None if version is None else (version // 1000, version % 1000 // 10)


@functools.cache
def _nvml() -> tuple[Any, str | None]:
    """The initialised NVML module and None, or None and why there is none. Tried once in a process."""
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
    """UUID and NVML's handle of every GPU and MIG instance."""
    if _nvml()[0] is None:
        return []
    parts = [part for gpu in _scan_gpus() for part in (gpu.parts or [gpu.whole])]
    return [(part.uuid, part.handle) for part in parts if part.handle is not None]


def read_nvml(function: str, *arguments: Any) -> Any:
    """What NVML's `function` returns, or None where this GPU, driver or user cannot have it."""
    nvml, _ = _nvml()
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError:
        return None


def list_gpus() -> list[DeviceInfo]:
    """NVML's GPUs and MIG instances, each with the number that CUDA gives it in this process's environment."""
    if _nvml()[0] is None:
        return []
    gpus = _scan_gpus()
    numbers = {uuid: f"cuda:{number}" for number, uuid in enumerate(_visible(gpus))}
    return [_measure(part, numbers) for gpu in gpus for part in (gpu.parts or [gpu.whole])]


def _scan_gpus() -> list[Gpu]:
    gpus = []
    for index in range(read_nvml("nvmlDeviceGetCount") or 0):
        handle = read_nvml("nvmlDeviceGetHandleByIndex", index)
        if handle is None:  # fallen off the bus, or not ours to see: it keeps its number
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


def _measure(part: Part, numbers: dict[str, str]) -> DeviceInfo:
    device = numbers.get(part.uuid) if part.uuid is not None else None
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
    """NVML's UUIDs of the devices CUDA shows here, in CUDA's order: entry N is cuda:N.

    Where torch has already started CUDA in this process, its own UUIDs say so. Otherwise the environment does, except
    where it cannot be known from there: CUDA's default order puts the GPU it thinks fastest first, and how many MIG
    instances one process is shown depends on the driver. There CUDA is asked, once, in a process of its own.
    """
    order = _torch_order()
    if order is None and not _order_is_plain(gpus):
        settings = (os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER"))
        order = _driver_order(settings)
    bare = {part.uuid.partition("-")[2]: part.uuid for gpu in gpus for part in gpu.parts if part.uuid is not None}
    if order is not None and all(uuid in bare for uuid in order):
        return [bare[uuid] for uuid in order]
    return cuda_visibility.visible(
        [(gpu.whole.uuid, gpu.mig, [part.uuid for part in gpu.parts if part.uuid is not None]) for gpu in gpus],
        os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _torch_order() -> list[str] | None:
    """The bare UUIDs of torch's CUDA devices in its order, None unless torch has started CUDA in this process."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    started = getattr(cuda, "is_initialized", None)  # absent while another thread is still importing torch
    if cuda is None or started is None or not started():
        return None
    return [str(cuda.get_device_properties(index).uuid) for index in range(cuda.device_count())]


def _order_is_plain(gpus: list[Gpu]) -> bool:
    """Whether CUDA's order is NVML's: by PCI bus when told so, when there is nothing to prefer, and without MIG."""
    if any(gpu.mig for gpu in gpus):
        return False
    return os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.whole.name for gpu in gpus}) <= 1


@functools.cache
def _driver_order(settings: tuple[str | None, str | None]) -> list[str] | None:
    """The bare UUIDs that CUDA's driver shows under this process's `settings` (the cache's key), None if it fails."""
    command = subprocesses.python(str(Path(cuda_visibility.__file__)))
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_CUDA_QUERY_LIMIT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split()


@functools.cache
def _cpu_name() -> str:
    """The processor's model as its system calls it."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.stdout.strip() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


class _CpuSampler:
    """Mean use of all cores between calls, whichever thread calls: psutil's own begins at 0 in each new thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[float, float, float] | None = None  # when, busy seconds, all seconds
        self._percent: float | None = None

    def percent(self) -> float | None:
        with self._lock:
            if self._last is None:
                self._last = self._sample()
                time.sleep(_SHORTEST_CPU_WINDOW)
            then, busy_then, total_then = self._last
            now, busy, total = self._sample()
            if now - then >= _SHORTEST_CPU_WINDOW and total > total_then:
                self._percent = min(100.0, max(0.0, 100 * (busy - busy_then) / (total - total_then)))
                self._last = now, busy, total
            return self._percent

    @staticmethod
    def _sample() -> tuple[float, float, float]:
        times = psutil.cpu_times()._asdict()
        total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # both are in user, nice
        return time.monotonic(), total - times["idle"] - times.get("iowait", 0.0), total


_cpu_meter = _CpuSampler()
