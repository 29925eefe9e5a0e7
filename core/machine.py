"""What numbers depend on besides the config: torch's switches, which a sitting sets, and the machine it finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.config import TrainConfig


def circumstances(device: str, version: str, processes: int) -> dict[str, str]:
    """What numbers depend on besides the config, in words."""
    return {
        "device": f"on {device}",
        "torch": f"with torch {version}",
        "processes": f"in {processes} process{'es' if processes > 1 else ''}",
    }


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """Gradients on, inference mode and autocast off, whatever mode the caller of a training is in."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def machine(config: TrainConfig) -> Iterator[None]:
    """Set torch's process-wide switches for the sitting, and put them back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if config.threads is not None and config.threads != threads:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
