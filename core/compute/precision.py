"""Selects float32 or bfloat16, once at the start of a run."""

from __future__ import annotations

from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")  # Linux


def pick_precision(requested: str, device: torch.device) -> str:
    """Resolve "auto" to "float32" or "bfloat16"; deterministic on a machine.

    On a CPU bfloat16 is used with AMX, or with the AVX-512 bfloat16 instructions of an AMD processor: with those of an
    Intel processor alone, convolutions of these sizes are slower than in float32, and older processors emulate it.
    """
    if requested != "auto":
        return requested
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "cpu":
        return "bfloat16" if _cpu_is_fast_in_bfloat16() else "float32"
    return "float32"


def _cpu_is_fast_in_bfloat16() -> bool:
    """Whether this build of torch has oneDNN, and the CPU instructions that it is fast with."""
    # Private API, checked in torch 2.8 and 2.14; the public torch.cpu.get_capabilities is newer than 2.8.
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call] # torch's own
    return has_onednn and (torch.cpu._is_amx_tile_supported() or _is_amd_with_bfloat16())


def _is_amd_with_bfloat16() -> bool:
    """Whether the CPU is one of AMD's with bfloat16 instructions (Zen 4 and newer); False where Linux does not say."""
    if not CPUINFO.is_file():
        return False
    fields = dict(line.split("\t", 1) for line in CPUINFO.read_text().splitlines() if "\t" in line)
    return "AuthenticAMD" in fields.get("vendor_id", "") and "avx512_bf16" in fields.get("flags", "").split()


def in_precision(precision: str, device: torch.device) -> torch.autocast:
    """Autocast to `precision`; weights and reductions stay in float32.

    Autocast's weight cache is off: inside a caller's autocast it would outlive a step and hold old weights.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)
