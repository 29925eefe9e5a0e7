"""The GPUs visible to CUDA and their order: from its documented rules or, run as a script, from the driver.

The script prints one UUID per line, without the prefix "GPU-" or "MIG-", and exits with 1 if CUDA does not start. It
runs in a separate process because a started driver ignores changes of the environment and does not survive a fork.
"""

from __future__ import annotations

import ctypes
import re
import sys
import uuid
from collections.abc import Sequence


def visible_uuids(gpus: Sequence[tuple[str | None, bool, list[str]]], setting: str | None) -> list[str]:
    """The UUIDs of the devices visible to CUDA if CUDA_VISIBLE_DEVICES is `setting` (None: not set).

    Each of `gpus`, in PCI order, is its UUID, whether MIG is enabled, and the UUIDs of its devices: its own, or those
    of its MIG instances. CUDA's rules: the setting lists indices or unambiguous prefixes of UUIDs; the list ends before
    the first invalid entry; a duplicate hides all devices. A GPU with MIG stands for its first instance, and a process
    that sees a MIG instance sees only that one.
    """
    if setting is None:
        return _one_instance(gpus, [uuids[0] for _, _, uuids in gpus if uuids])
    visible: list[str] = []
    prefix = re.match(r"GPU-|MIG-|", setting.strip())
    assert prefix is not None  # the last alternative is empty
    for entry in setting.split(","):
        device = _find(gpus, entry.strip(), prefix[0])
        if device is None:
            break
        if device in visible:
            return []
        visible.append(device)
    return _one_instance(gpus, visible)


def _find(gpus: Sequence[tuple[str | None, bool, list[str]]], entry: str, prefix: str) -> str | None:
    """The device of an entry: an index if `prefix` is empty, else the start of a UUID with that prefix."""
    if not prefix:
        digits = re.match(r"\+?([0-9]+)", entry)  # CUDA ignores anything after the number
        index = int(digits[1]) if digits else -1
        return gpus[index][2][0] if 0 <= index < len(gpus) and gpus[index][2] else None
    if not entry.startswith(prefix):
        return None
    if prefix == "MIG-":
        candidates = [name for _, mig, uuids in gpus if mig for name in uuids if name.startswith(entry)]
    else:
        candidates = [uuids[0] for name, _, uuids in gpus if uuids and name is not None and name.startswith(entry)]
    return candidates[0] if len(candidates) == 1 else None


def _one_instance(gpus: Sequence[tuple[str | None, bool, list[str]]], visible: list[str]) -> list[str]:
    instances = {name for _, mig, uuids in gpus if mig for name in uuids}
    return next(([name] for name in visible if name in instances), visible)


def query_driver() -> list[str] | None:
    """UUIDs without prefix of CUDA's devices, in its order; None if the driver is missing or does not start."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        get_uuid = cuda.cuDeviceGetUuid_v2  # since CUDA 11.4; the first version gives a MIG instance its GPU's UUID
    except (OSError, AttributeError):
        return None
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return None
    uuids = []
    for index in range(count.value):
        device = ctypes.c_int()
        raw = (ctypes.c_ubyte * 16)()
        if cuda.cuDeviceGet(ctypes.byref(device), index) != 0 or get_uuid(raw, device) != 0:
            return None
        uuids.append(str(uuid.UUID(bytes=bytes(raw))))
    return uuids


if __name__ == "__main__":
    uuids = query_driver()
    if uuids is None:
        sys.exit(1)
    print("\n".join(uuids))
