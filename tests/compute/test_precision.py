"""The precision a network computes in."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.compute.precision import in_precision, pick_precision
from core.system import subprocesses

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_explicit_precision_is_used(precision: str) -> None:
    assert pick_precision(precision, CPU) == precision


def test_auto_picks_a_precision_and_keeps_the_random_state() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert pick_precision("auto", CPU) in ("float32", "bfloat16")
    assert torch.equal(torch.rand(2), expected)


def test_auto_follows_the_cpu_features() -> None:
    """As of torch 2.14, `torch.cpu._is_amx_tile_supported` reads CPUID."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.exists():
        pytest.skip("the processor's features are read from /proc/cpuinfo of an x86-64 Linux")
    text = cpuinfo.read_text()
    flags = set(next(line for line in text.splitlines() if line.startswith("flags")).split())
    is_fast = {"amx_tile", "amx_bf16"} <= flags or ("AuthenticAMD" in text and "avx512_bf16" in flags)
    expected = "bfloat16" if is_fast else "float32"
    assert pick_precision("auto", CPU) == expected


BUSY = """
import threading, torch
from core.compute.precision import pick_precision
torch.set_num_threads(1)
stop = threading.Event()
work = torch.rand(600, 600)
def load():
    while not stop.is_set():
        work @ work
threads = [threading.Thread(target=load) for _ in range(4)]
for thread in threads:
    thread.start()
print({pick_precision("auto", torch.device("cpu")) for _ in range(30)})
stop.set()
"""


def test_auto_picks_the_same_while_other_threads_compute() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUSY], env=subprocesses.environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str({pick_precision("auto", CPU)})


def test_layers_compute_in_the_precision_and_keep_float32_weights() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.rand(2, 4)
    with in_precision("bfloat16", CPU):
        assert layer(x).dtype == torch.bfloat16
    with in_precision("float32", CPU):
        assert layer(x).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
