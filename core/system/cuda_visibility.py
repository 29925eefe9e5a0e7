"""Which GPUs CUDA shows and in what order: by its documented rules, or, run as a program, in the driver's own words.

As a program it prints one UUID a line, without the leading "GPU-" or "MIG-", and exits 1 when CUDA does not start.
It runs in a process of its own because a started driver reads the environment no more and does not survive a fork.
"""

from __future__ import annotations

import ctypes
import re
import sys
import uuid
from collections.abc import Sequence


def visible(gpus: Sequence[tuple[str | None, bool, list[str]]], setting: str | None) -> list[str]:
    """The UUIDs of the devices that CUDA shows when CUDA_VISIBLE_DEVICES is `setting` (None: not set).

    Each of `gpus`, in PCI order, is its UUID, whether MIG is on, and the UUIDs that can be shown for it: its own, or
    those of its MIG instances. The rules are CUDA's: a list of indices, or of UUIDs that may be shortened as long as
    one device fits; the list ends before the first entry that names no device; a device named twice hides all. A
    split GPU stands for its first instance, and one process is shown one instance and then nothing else.
    """
    if setting is None:
        return _one_instance(gpus, [uuids[0] for _, _, uuids in gpus if uuids])
    shown: list[str] = []
    form = re.match(r"GPU-|MIG-|", setting.strip())
    assert form is not None  # the last alternative is empty
    for entry in setting.split(","):
        found = _find(gpus, entry.strip(), form[0])
        if found is None:
            break
        if found in shown:
            return []
        shown.append(found)
    return _one_instance(gpus, shown)


def _find(gpus: Sequence[tuple[str | None, bool, list[str]]], entry: str, form: str) -> str | None:
    """The one device that `entry` names, written as an index (`form` is empty) or with the prefix `form`."""
    if not form:
        digits = re.match(r"\+?([0-9]+)", entry)  # CUDA reads the number and ignores what follows it
        index = int(digits[1]) if digits else -1
        return gpus[index][2][0] if 0 <= index < len(gpus) and gpus[index][2] else None
    if not entry.startswith(form):
        return None
    if form == "MIG-":
        candidates = [name for _, mig, uuids in gpus if mig for name in uuids if name.startswith(entry)]
    else:
        candidates = [uuids[0] for name, _, uuids in gpus if uuids and name is not None and name.startswith(entry)]
    return candidates[0] if len(candidates) == 1 else None


def _one_instance(gpus: Sequence[tuple[str | None, bool, list[str]]], shown: list[str]) -> list[str]:
    instances = {name for _, mig, uuids in gpus if mig for name in uuids}
    return next(([name] for name in shown if name in instances), shown)


def ask_driver() -> list[str] | None:
    """The bare UUIDs of CUDA's devices in its order, None when the driver is missing or does not start."""
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
    answer = ask_driver()
    if answer is None:
        sys.exit(1)
    print("\n".join(answer))
