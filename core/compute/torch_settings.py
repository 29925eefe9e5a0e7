"""Torch's process-wide settings, and the environment that results depend on."""

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


def describe_environment(device: str, version: str, processes: int) -> dict[str, str]:
    """What results depend on besides the config, as phrases for messages."""
    return {
        "device": f"on {device}",
        "torch": f"with torch {version}",
        "processes": f"in {processes} process{'es' if processes > 1 else ''}",
    }


# Functions that return the default dtype, and those that infer the dtype from their arguments.
_DEFAULT_DTYPE = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.linspace, torch.logspace}
_INFERRED_DTYPE = {torch.tensor, torch.as_tensor, torch.full, torch.arange}


class standard_defaults(TorchFunctionMode):  # noqa: N801 - a context manager, named like torch.no_grad
    """Context manager: factory functions default to float32 and `device`, regardless of torch's defaults.

    For third-party code; minidiff's own code passes both. Applies to the current thread only.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` with dtype and device, unless they are passed."""
        arguments = dict(kwargs or {})
        no_dtype = arguments.get("dtype") is None
        if func in _DEFAULT_DTYPE and no_dtype:
            arguments["dtype"] = torch.float32
        if (func in _DEFAULT_DTYPE or func in _INFERRED_DTYPE) and arguments.get("device") is None:
            from_tensor = bool(args) and isinstance(args[0], torch.Tensor)
            arguments["device"] = args[0].device if from_tensor else self._device
        result = func(*args, **arguments)
        from_numbers = bool(args) and isinstance(args[0], float | list | tuple)
        if func in _INFERRED_DTYPE and no_dtype and from_numbers and result.dtype == torch.get_default_dtype():
            return result.float()
        return result


@contextmanager
def training_mode(device: torch.device) -> Iterator[None]:
    """Enable gradients, and disable inference mode and autocast, regardless of the caller's modes."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one CPU thread: as fast for small tensors, and much faster while other processes use the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_threads(config: TrainConfig) -> int:
    """Number of CPU threads: the config's, at most the number of cores."""
    return torch.get_num_threads() if config.threads is None else min(config.threads, cores())


class TorchSettings:
    """Context manager that applies a config's CPU threads and deterministic algorithms."""

    def __init__(self, config: TrainConfig) -> None:
        self._requested = usable_threads(config), config.deterministic
        self._before = _torch_settings()

    def __enter__(self) -> TorchSettings:
        if self._requested[1]:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is initialized
        self._set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _set_torch(*self._before)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Restore the previous settings inside the `with` block, as for a generator's caller."""
        _set_torch(*self._before)
        try:
            yield
        finally:
            self._set()

    def _set(self) -> None:
        self._before = _torch_settings()
        threads, deterministic = self._requested
        _set_torch(threads, deterministic or self._before[1])


def _torch_settings() -> tuple[int, bool]:
    return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()


def _set_torch(threads: int, deterministic: bool) -> None:
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)
