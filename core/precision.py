"""In which numbers a net computes: chosen once, where a run starts, by what the device does faster."""

from __future__ import annotations

import time

import torch
from torch import nn

PAYS = 1.3  # how much faster bfloat16 must be to be chosen
TRIES = 10


def pick_precision(asked: str, device: torch.device) -> str:
    """ "float32" or "bfloat16": as asked, or for "auto" bfloat16 where the device computes well in it.

    A CPU is timed for some milliseconds on a convolution, since many only emulate bfloat16.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type != "cpu":
        return "float32"
    return "bfloat16" if _seconds("float32") > PAYS * _seconds("bfloat16") else "float32"


def _seconds(precision: str) -> float:
    """The least time of a convolution like those of the nets, on the CPU; others may be using it too."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
        x = torch.zeros((32, 64, 14, 14)).contiguous(memory_format=torch.channels_last)
        times = []
        with in_precision(precision, torch.device("cpu")):
            for _ in range(TRIES):
                began = time.perf_counter()
                layer(x)
                times.append(time.perf_counter() - began)
    return min(times)


def in_precision(precision: str, device: torch.device) -> torch.autocast:
    """A context in which nets compute in `precision`; weights and sums stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
