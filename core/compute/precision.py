"""The number format that a net computes in: decided once when a run starts, from what the device supports."""

from __future__ import annotations

import torch


def pick_precision(asked: str, device: torch.device) -> str:
    """Resolve "auto" to "float32" or "bfloat16"; the answer is the same every time on the same machine.

    On a CPU bfloat16 needs AMX units: with AVX-512's bfloat16 instructions alone, convolutions of these sizes are
    slower than in float32, and older processors emulate it.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "cpu":
        return "bfloat16" if _cpu_has_amx() else "float32"
    return "float32"


def _cpu_has_amx() -> bool:
    """Whether the CPU has AMX units and this build of torch uses oneDNN, which drives them."""
    # Private, and the same in torch 2.8 and 2.14; the public torch.cpu.get_capabilities is newer than 2.8.
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call] # torch's own
    return has_onednn and torch.cpu._is_amx_tile_supported()


def in_precision(precision: str, device: torch.device) -> torch.autocast:
    """A context in which nets compute in `precision`; weights and sums stay float32.

    Without autocast's cache of weights in bfloat16: inside a caller's own autocast it would outlive a step, and hold
    the weights from before it.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)
