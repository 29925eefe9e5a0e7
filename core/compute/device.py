"""The torch device to compute on."""

from __future__ import annotations

import os
import re

import torch

from core.errors import DeviceUnavailable
from core.system.devices import DeviceInfo, list_gpus


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The torch device that `name` stands for, or is.

    "auto" is the visible CUDA device with most free memory, else MPS, else the CPU; "cuda" the first of these alone.
    Free memory is NVML's, so that no CUDA context is opened on a GPU that is not chosen.

    Raises:
        DeviceUnavailable: `name` is not one of auto, cpu, cuda, cuda:N, mps, or that device is not here.
    """
    wanted = str(name).strip().lower()
    match = re.fullmatch(r"(auto|cpu|mps|cuda)|cuda:([0-9]{1,4})", wanted)
    if match is None:
        raise DeviceUnavailable(f"unknown device {str(name)!r}: use auto, cpu, cuda, cuda:N or mps")
    if wanted == "cpu":
        return torch.device("cpu")
    has_mps = torch.backends.mps.is_available()
    if wanted == "mps" and has_mps:
        return torch.device("mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = list_gpus() if wanted != "mps" else []
    if match[2] is not None and int(match[2]) < count:
        return torch.device("cuda", int(match[2]))
    if wanted in ("auto", "cuda") and count:
        free = {gpu.device: _free_memory(gpu) for gpu in gpus}
        # An unknown amount ranks below every known one; among equals the lowest number wins.
        return torch.device("cuda", max(range(count), key=lambda index: (free.get(f"cuda:{index}", -1), -index)))
    if wanted == "auto":
        return torch.device("mps" if has_mps else "cpu")
    here = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(count)]
    here += ["mps"] if has_mps else []
    reason = _why_no_cuda(gpus, torch.__version__, torch.version.cuda is not None) if not count else ""
    raise DeviceUnavailable(f"device {str(name)!r} is not here; available: {', '.join([*here, 'cpu'])}{reason}")


def _free_memory(gpu: DeviceInfo) -> int:
    """Bytes free, -1 when unknown."""
    return -1 if gpu.memory_total is None or gpu.memory_used is None else gpu.memory_total - gpu.memory_used


def _why_no_cuda(gpus: list[DeviceInfo], torch_version: str, built_for_cuda: bool) -> str:
    """The end of an error's sentence: why torch cannot use the GPUs that NVML sees, empty when it sees none."""
    if not gpus:
        return ""
    seen = f"; NVML sees {', '.join(gpu.name for gpu in gpus)}, but "
    if not built_for_cuda:
        return f"{seen}this torch ({torch_version}) is built for CPUs only: install a CUDA build of torch"
    if all(gpu.device is None for gpu in gpus):
        return f"{seen}CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')!r} shows none of it"
    return f"{seen}torch {torch_version} cannot use it: `minidiff doctor` looks for the cause"
