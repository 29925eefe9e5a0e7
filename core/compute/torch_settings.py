"""What numbers depend on besides the config: torch's process-wide settings, and the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from core.config.training import TrainConfig
from core.system.devices import cores


def circumstances(device: str, version: str, processes: int) -> dict[str, str]:
    """What numbers depend on besides the config, in words."""
    return {
        "device": f"on {device}",
        "torch": f"with torch {version}",
        "processes": f"in {processes} process{'es' if processes > 1 else ''}",
    }


# Functions that make a tensor of the default type, and those whose type follows from the values they are given.
_OF_DEFAULT_TYPE = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.linspace, torch.logspace}
_OF_GIVEN_TYPE = {torch.tensor, torch.as_tensor, torch.full, torch.arange}


class standard_defaults(TorchFunctionMode):  # noqa: N801 - a context manager, named like torch.no_grad
    """While entered, code that names no type or device gets float32 and `device`, whatever torch's defaults are.

    For code of others; ours names both. The mode holds for the current thread only.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` with the device and type that the caller left open."""
        given = dict(kwargs or {})
        typeless = given.get("dtype") is None
        if func in _OF_DEFAULT_TYPE and typeless:
            given["dtype"] = torch.float32
        if (func in _OF_DEFAULT_TYPE or func in _OF_GIVEN_TYPE) and given.get("device") is None:
            of_tensor = bool(args) and isinstance(args[0], torch.Tensor)
            given["device"] = args[0].device if of_tensor else self._device
        made = func(*args, **given)
        numbers = bool(args) and isinstance(args[0], float | list | tuple)
        if func in _OF_GIVEN_TYPE and typeless and numbers and made.dtype == torch.get_default_dtype():
            return made.float()
        return made


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """Gradients on, inference mode and autocast off, whatever mode the caller of a training is in."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


def usable_threads(config: TrainConfig) -> int:
    """CPU threads to compute with: as many as the config asks for, but no more than there are cores."""
    return torch.get_num_threads() if config.threads is None else min(config.threads, cores())


class TorchSettings:
    """While entered, torch's process-wide settings (CPU threads, deterministic algorithms) are those of a config."""

    def __init__(self, config: TrainConfig) -> None:
        self._wanted = usable_threads(config), config.deterministic
        self._before = _torch_settings()

    def __enter__(self) -> TorchSettings:
        if self._wanted[1]:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        self._set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _set_torch(*self._before)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Inside the `with` block the settings from before are in force, as a generator's caller expects."""
        _set_torch(*self._before)
        try:
            yield
        finally:
            self._set()

    def _set(self) -> None:
        self._before = _torch_settings()
        threads, deterministic = self._wanted
        _set_torch(threads, deterministic or self._before[1])


def _torch_settings() -> tuple[int, bool]:
    return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()


def _set_torch(threads: int, deterministic: bool) -> None:
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)
