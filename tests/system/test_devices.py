"""Device listing and choice on machines with various GPUs; NVML is replaced by a small table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest
import torch

from core.compute.device import pick_device
from core.errors import DeviceUnavailable
from core.system import cuda_visibility, devices
from core.system import gpu_processes as nvml_processes
from core.system.devices import list_devices
from core.system.gpu_processes import gpu_processes
from core.system.gpu_sensors import GpuSensors, gpu_sensors
from core.text import sanitize

GB = 1 << 30
A = "GPU-aaaa1111-0000-0000-0000-000000000000"
B = "GPU-aaaa2222-0000-0000-0000-000000000000"
C = "GPU-cccc3333-0000-0000-0000-000000000000"
M0 = "MIG-11111111-0000-0000-0000-000000000000"
M1 = "MIG-22222222-0000-0000-0000-000000000000"


def card(uuid: str, name: str = "NVIDIA X", free: float = 8, total: float = 10, **more: Any) -> dict[str, Any]:
    """NVML values for one GPU; the call for a missing key fails as unsupported."""
    memory = SimpleNamespace(used=int((total - free) * GB), total=int(total * GB))
    return {"Name": name, "UUID": uuid, "MemoryInfo": memory, **more}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Returns a function that sets the GPUs of the machine. There is no CUDA driver unless `order` is given."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    caches = (devices._nvml, devices._driver_order)
    for cache in caches:
        cache.cache_clear()

    def install(*cards: dict[str, Any] | None, order: list[str] | None = None) -> None:
        def handle_by_index(index: int) -> dict[str, Any]:
            record = cards[index]
            if record is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
            return record

        def instance(parent: dict[str, Any], index: int) -> dict[str, Any]:
            if parent["instances"][index] is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
            record: dict[str, Any] = parent["instances"][index]
            return record

        def reader(key: str) -> Any:
            def read(handle: dict[str, Any], *arguments: Any) -> Any:
                if key not in handle:
                    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
                value = handle[key]
                return value[arguments[0]] if isinstance(value, dict) else value

            return read

        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(cards))
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", handle_by_index)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMaxMigDeviceCount", lambda gpu: len(gpu["instances"]))
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMigDeviceHandleByIndex", instance)
        running = ("ComputeRunningProcesses", "GraphicsRunningProcesses")
        sensors = ("Temperature", "PowerUsage", "EnforcedPowerLimit", "ClockInfo", "PcieThroughput")
        for key in ("Name", "UUID", "MemoryInfo", "UtilizationRates", "MigMode", *sensors, *running):
            monkeypatch.setattr(pynvml, f"nvmlDeviceGet{key}", reader(key))
        # The driver is queried by a program; this one prints `order` or fails as without a driver.
        program = "raise SystemExit(1)" if order is None else f"print(*{order!r}, sep='\\n')"
        monkeypatch.setattr(cuda_visibility, "__file__", str(tmp_path / "driver.py"))
        (tmp_path / "driver.py").write_text(program)

    yield install
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def torch_sees(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that sets how many CUDA devices torch finds, and whether there is MPS."""

    def install(count: int, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"NVIDIA {index}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return install


def numbers() -> dict[str | None, str | None]:
    return {info.uuid: info.device for info in list_devices() if info.kind == "cuda"}


def test_listing_loads_no_torch() -> None:
    program = "import core, sys; core.list_devices(); print({'torch', 'numpy'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_cpu_comes_last_with_memory_in_bytes(machine: Any) -> None:
    machine(card(A))
    cpu = list_devices()[-1]
    assert (cpu.kind, cpu.device) == ("cpu", "cpu")
    assert cpu.name
    assert cpu.memory_total == psutil.virtual_memory().total
    assert cpu.memory_used is not None
    assert 0 < cpu.memory_used < psutil.virtual_memory().total
    assert cpu.temperature is None
    assert cpu.power is None


def test_cpu_use_is_measured_from_the_first_call_on(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(0.0, 0.0), (3.0, 1.0), (3.0, 1.0), (3.0, 5.0)])  # user, idle seconds
    clock = iter([10.0, 10.2, 10.21, 11.0])

    def cpu_times() -> Any:
        user, idle = next(times)
        return SimpleNamespace(_asdict=lambda: {"user": user, "idle": idle, "guest": 0.0})

    monkeypatch.setattr(psutil, "cpu_times", cpu_times)
    monkeypatch.setattr(devices.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(devices.time, "sleep", lambda seconds: None)
    meter = devices._CpuSampler()
    assert meter.percent() == 75.0
    assert meter.percent() == 75.0, "a window of 10 ms is too short to say anything new"
    assert meter.percent() == 0.0


def test_gpu_values_are_in_bytes_percent_celsius_and_watts(machine: Any) -> None:
    machine(card(A, "NVIDIA H100", UtilizationRates=SimpleNamespace(gpu=37), Temperature=41, PowerUsage=123_400))
    gpu = list_devices()[0]
    assert (gpu.name, gpu.device, gpu.kind, gpu.uuid) == ("NVIDIA H100", "cuda:0", "cuda", A)
    assert (gpu.memory_used, gpu.memory_total) == (2 * GB, 10 * GB)
    assert (gpu.utilization, gpu.temperature, gpu.power) == (37.0, 41.0, 123.4)


def test_values_that_a_gpu_does_not_report_are_none(machine: Any) -> None:
    machine({"Name": "NVIDIA GB10", "UUID": A})
    gpu = list_devices()[0]
    readings = (gpu.memory_used, gpu.memory_total, gpu.utilization, gpu.temperature, gpu.power)
    assert readings == (None,) * 5
    assert gpu.device == "cuda:0"


def test_sensors_are_in_watts_mhz_and_bytes_per_second(machine: Any) -> None:
    clocks = {pynvml.NVML_CLOCK_GRAPHICS: 1980, pynvml.NVML_CLOCK_MEM: 2619}
    rates = {pynvml.NVML_PCIE_UTIL_RX_BYTES: 3, pynvml.NVML_PCIE_UTIL_TX_BYTES: 2}  # KiB per second
    machine(card(A, EnforcedPowerLimit=700_000, ClockInfo=clocks, PcieThroughput=rates))
    assert gpu_sensors() == {A: GpuSensors(700.0, 1980.0, 2619.0, 3072.0, 2048.0)}


def test_sensors_that_a_mig_instance_hides_are_none(machine: Any) -> None:
    machine(card(A, EnforcedPowerLimit=700_000, MigMode=[1, 1], instances=[card(M0)]), None)
    assert gpu_sensors() == {M0: GpuSensors()}


def test_a_lost_gpu_is_listed_without_a_device_and_the_others_keep_working(machine: Any) -> None:
    machine(None, card(B))
    lost, other = list_devices()[:2]
    assert (lost.device, lost.memory_total) == (None, None)
    assert other.uuid == B


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH])
def test_without_a_working_nvml_there_are_no_gpus(machine: Any, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(code)

    machine(card(A))
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert not any(info.kind == "cuda" for info in list_devices())
    assert devices.nvml_failure() == str(pynvml.NVMLError(code))


def test_without_the_nvml_package_there_are_no_gpus(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(card(A))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert not any(info.kind == "cuda" for info in list_devices())
    assert "nvidia-ml-py" in str(devices.nvml_failure())


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        (None, [A, B, C]),
        ("", []),
        ("0,2", [A, C]),
        ("2,0", [C, A]),
        (" 1 , 0", [B, A]),
        ("1gpu", [B]),
        ("0,-1,2", [A]),
        ("0,7,2", [A]),
        ("0,GPU-cccc3333", [A]),
        ("0,none", [A]),
        ("NoDevFiles", []),
        ("1,1", []),
        (f"{C},{A}", [C, A]),
        ("GPU-c,GPU-aaaa2", [C, B]),
        ("GPU-aaaa", []),  # matches two
        ("GPU-c,GPU-dddd,GPU-aaaa1", [C]),
        ("GPU-c,GPU-cccc", []),  # the same twice
        ("MIG-1", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(setting: str | None, visible: list[str]) -> None:
    assert cuda_visibility.visible_uuids([(uuid, False, [uuid]) for uuid in (A, B, C)], setting) == visible


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        (None, [M0]),  # one instance, and no full GPU
        ("0", [A]),
        ("1", [M0]),
        (M1, [M1]),
        ("MIG-2", [M1]),
        (f"{M1},{M0}", [M1]),
        (B, [M0]),
        ("2", []),  # MIG mode without instances
    ],
)
def test_cuda_shows_one_mig_instance(setting: str | None, visible: list[str]) -> None:
    assert cuda_visibility.visible_uuids([(A, False, [A]), (B, True, [M0, M1]), (C, True, [])], setting) == visible


def test_numbers_follow_the_visible_list_and_hidden_gpus_have_none(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card(A), card(B), card(C))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{C},{A}")
    assert numbers() == {A: "cuda:1", B: None, C: "cuda:0"}


def test_gpus_of_different_models_are_numbered_as_by_the_driver(machine: Any) -> None:
    machine(card(A, "NVIDIA Small"), card(B, "NVIDIA Big"), order=[B[4:], A[4:]])
    assert numbers() == {A: "cuda:1", B: "cuda:0"}


def test_pci_order_needs_no_driver(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(card(A, "NVIDIA Small"), card(B, "NVIDIA Big"), order=[B[4:], A[4:]])
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert numbers() == {A: "cuda:0", B: "cuda:1"}


def test_without_a_driver_the_environment_is_used(machine: Any) -> None:
    machine(card(A, "NVIDIA Small"), card(B, "NVIDIA Big"))
    assert numbers() == {A: "cuda:0", B: "cuda:1"}


def test_an_initialised_torch_overrides_the_environment(
    machine: Any, torch_sees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card(A), card(B))
    torch_sees(2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=[B, A][index].removeprefix("GPU-"))
    )
    assert numbers() == {A: "cuda:1", B: "cuda:0"}


def test_a_mig_gpu_is_listed_as_its_instances(machine: Any) -> None:
    instances = [card(M0, "NVIDIA X MIG 1g", total=5, free=4), None, card(M1, "NVIDIA X MIG 2g")]
    machine(card(A, MigMode=[1, 1], instances=instances))
    first, second = list_devices()[:2]
    assert (first.name, first.uuid, first.device) == ("NVIDIA X MIG 1g", M0, "cuda:0")
    assert (first.memory_used, first.memory_total, first.utilization) == (GB, 5 * GB, None)
    assert (second.uuid, second.device) == (M1, None)


def test_a_mig_gpu_without_instances_is_listed_without_a_device(machine: Any) -> None:
    machine(card(A, MigMode=[1, 1], instances=[None]))
    assert numbers() == {A: None}


def test_cpu_is_always_available() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(" CPU ") == torch.device("cpu")


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_most_free_memory_wins(machine: Any, torch_sees: Any, name: str) -> None:
    machine(card(A, free=3), card(B, total=80, free=5), card(C, free=4))
    torch_sees(3)
    assert pick_device(name) == torch.device("cuda", 1)


def test_only_visible_gpus_are_chosen_by_their_visible_index(
    machine: Any, torch_sees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card(A, free=9), card(B, free=1), card(C, free=7))
    torch_sees(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert pick_device() == torch.device("cuda", 1)


def test_known_free_memory_is_preferred_to_unknown(machine: Any, torch_sees: Any) -> None:
    machine({"Name": "NVIDIA X", "UUID": A}, card(B, free=0.5))
    torch_sees(2)
    assert pick_device() == torch.device("cuda", 1)


def test_cuda_without_nvml_is_its_first_device(machine: Any, torch_sees: Any) -> None:
    machine()
    torch_sees(2)
    assert pick_device() == torch.device("cuda", 0)


def test_a_gpu_requested_by_name_is_used(machine: Any, torch_sees: Any) -> None:
    machine(card(A, free=9), card(B, free=1))
    torch_sees(2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)


def test_auto_prefers_mps_to_cpu(machine: Any, torch_sees: Any) -> None:
    machine()
    torch_sees(0, mps=True)
    assert pick_device() == torch.device("mps")
    assert pick_device("mps") == torch.device("mps")
    torch_sees(0)
    assert pick_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:2", "mps"])
def test_a_missing_device_is_refused_with_the_available_ones(machine: Any, torch_sees: Any, name: str) -> None:
    machine(card(A), card(B))
    torch_sees(2)
    with pytest.raises(DeviceUnavailable, match=rf"{name}.*cuda:0 \(NVIDIA 0\), cuda:1 \(NVIDIA 1\), cpu"):
        pick_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", ""])
def test_an_unknown_device_name_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(DeviceUnavailable, match="auto, cpu, cuda, cuda:N or mps"):
        pick_device(name)


def test_the_error_mentions_a_cpu_build_of_torch(
    machine: Any, torch_sees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card(A, "NVIDIA H100"))
    torch_sees(0)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceUnavailable, match=r"NVIDIA H100, but this torch .* built for CPUs only"):
        pick_device("cuda")


def test_the_error_mentions_gpus_hidden_by_the_environment(
    machine: Any, torch_sees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card(A))
    torch_sees(0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceUnavailable, match="CUDA_VISIBLE_DEVICES='' hides it"):
        pick_device("cuda:0")


def using(pid: int, memory: int = GB) -> SimpleNamespace:
    """NVML values for one process on a GPU."""
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


@pytest.fixture
def in_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml_processes, "_HOST_NAMESPACE", -1)  # not a valid inode: another namespace


@pytest.mark.usefixtures("in_container")
def test_in_a_container_host_pids_match_no_process(machine: Any) -> None:
    running = [using(1, 3 * GB), using(0, 2 * GB), using(0, GB)]
    machine(card(A, ComputeRunningProcesses=running, GraphicsRunningProcesses=running[1:2]))
    assert [(process.pid, process.name, process.user, process.memory) for process in gpu_processes()] == [
        (None, None, None, 3 * GB),
        (None, None, None, 2 * GB),
        (None, None, None, GB),
    ]


@pytest.mark.usefixtures("in_container")
def test_in_a_container_a_process_with_the_gpu_open_is_recognised(
    machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(nvml_processes, "_GPU_FILES", (str(tmp_path),))
    machine(card(A, ComputeRunningProcesses=[using(os.getpid())]))
    with open(tmp_path / "nvidia0"):
        (process,) = gpu_processes()
    assert process.pid == os.getpid()
    assert process.name == sanitize(" ".join(psutil.Process().cmdline()))
    (process,) = gpu_processes()  # the file is closed
    assert process.pid is None


def test_on_the_host_every_process_has_a_name(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.stat("/proc/self/ns/pid").st_ino if os.path.exists("/proc/self/ns/pid") else None
    if here is None:
        pytest.skip("this system has no namespaces of process ids")
    monkeypatch.setattr(nvml_processes, "_HOST_NAMESPACE", here)
    machine(card(A, ComputeRunningProcesses=[using(os.getpid()), using(0)]))
    assert [process.pid for process in gpu_processes()] == [os.getpid(), None]
