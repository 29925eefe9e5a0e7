"""What numbers depend on besides the config: torch's process-wide settings, and the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch

from core.config import TrainConfig
from core.devices import cores


def circumstances(device: str, version: str, processes: int) -> dict[str, str]:
    """What numbers depend on besides the config, in words."""
    return {
        "device": f"on {device}",
        "torch": f"with torch {version}",
        "processes": f"in {processes} process{'es' if processes > 1 else ''}",
    }


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
