"""Selects float32 or bfloat16, once at the start of a run."""

from __future__ import annotations

import torch


def pick_precision(requested: str, device: torch.device) -> str:
    """Resolve "auto" to "float32" or "bfloat16"; deterministic on a machine.

    On a CPU bfloat16 is used only with AMX: with AVX-512's bfloat16 instructions alone, convolutions of these sizes are
    slower than in float32, and older processors emulate it.
    """
    if requested != "auto":
        return requested
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "cpu":
        return "bfloat16" if _cpu_has_amx() else "float32"
    return "float32"


def _cpu_has_amx() -> bool:
    """Whether the CPU has AMX and this build of torch has oneDNN, which uses it."""
    # Private API, checked in torch 2.8 and 2.14; the public torch.cpu.get_capabilities is newer than 2.8.
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call] # torch's own
    return has_onednn and torch.cpu._is_amx_tile_supported()


def in_precision(precision: str, device: torch.device) -> torch.autocast:
    """Autocast to `precision`; weights and reductions stay in float32.

    Autocast's weight cache is off: inside a caller's autocast it would outlive a step and hold old weights.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)
