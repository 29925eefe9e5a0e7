"""Selects the torch device."""

from __future__ import annotations

import os
import re

import torch

from core.errors import DeviceUnavailable
from core.system.devices import DeviceInfo, list_gpus


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Resolve a device name to a torch device.

    "auto" is the visible CUDA device with the most free memory, else MPS, else the CPU; "cuda" is the CUDA device with
    the most free memory. Free memory comes from NVML, so no CUDA context is created on other GPUs.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps", or a torch device.

    Raises:
        DeviceUnavailable: The name is unknown, or the device is not available.
    """
    requested = str(name).strip().lower()
    match = re.fullmatch(r"(auto|cpu|mps|cuda)|cuda:([0-9]{1,4})", requested)
    if match is None:
        raise DeviceUnavailable(f"unknown device {str(name)!r}: use auto, cpu, cuda, cuda:N or mps")
    if requested == "cpu":
        return torch.device("cpu")
    has_mps = torch.backends.mps.is_available()
    if requested == "mps" and has_mps:
        return torch.device("mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = list_gpus() if requested != "mps" else []
    if match[2] is not None and int(match[2]) < count:
        return torch.device("cuda", int(match[2]))
    if requested in ("auto", "cuda") and count:
        free = {gpu.device: _free_memory(gpu) for gpu in gpus}
        # Unknown free memory ranks last; ties go to the lowest index.
        return torch.device("cuda", max(range(count), key=lambda index: (free.get(f"cuda:{index}", -1), -index)))
    if requested == "auto":
        return torch.device("mps" if has_mps else "cpu")
    available = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(count)]
    available += ["mps"] if has_mps else []
    reason = _why_no_cuda(gpus, torch.__version__, torch.version.cuda is not None) if not count else ""
    raise DeviceUnavailable(
        f"device {str(name)!r} is not available; choose from: {', '.join([*available, 'cpu'])}{reason}"
    )


def _free_memory(gpu: DeviceInfo) -> int:
    """Free memory in bytes; -1 if unknown."""
    return -1 if gpu.memory_total is None or gpu.memory_used is None else gpu.memory_total - gpu.memory_used


def _why_no_cuda(gpus: list[DeviceInfo], torch_version: str, built_for_cuda: bool) -> str:
    """Why torch cannot use the GPUs that NVML lists, to append to an error; empty if there are none."""
    if not gpus:
        return ""
    listed = f"; NVML lists {', '.join(gpu.name for gpu in gpus)}, but "
    if not built_for_cuda:
        return f"{listed}this torch ({torch_version}) is built for CPUs only: install a CUDA build of torch"
    if all(gpu.device is None for gpu in gpus):
        return f"{listed}CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')!r} hides it"
    return f"{listed}torch {torch_version} cannot use it: run `minidiff doctor` to find the cause"
