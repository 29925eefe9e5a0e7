"""Weights files: safetensors with the config in the header, written atomically, read as untrusted input."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from core.config.architecture import is_custom
from core.config.legacy import upgrade, upgrade_tensor_name
from core.config.training import TrainConfig
from core.errors import CheckpointError, ConfigError
from core.models.custom import Network, meta_network, missing
from core.models.weights_layout import (
    TensorInfo,
    check_finite,
    check_layout,
    check_opening,
    expected_layout,
    file_tensor_infos,
    tensor_infos,
)
from core.runs.directory import MODEL
from core.runs.events import MAX_COUNT
from core.system.atomic_write import write_atomically
from core.system.safe_io import parse_json

Content = tuple[dict[str, Tensor], TrainConfig, int, dict[str, Any]]  # tensors, config, step, extra values
Check = Callable[[Path, TrainConfig, int, dict[str, Any], Mapping[str, TensorInfo]], None]

FORMAT, VERSION = "minidiff", 1


def write_tensors(
    path: Path, kind: str, tensors: Mapping[str, Tensor], config: TrainConfig, step: int, **more: Any
) -> None:
    """Write a weights file atomically.

    Args:
        path: The file; an existing one is replaced.
        kind: "model" or "state".
        tensors: Tensors by name, on any device.
        config: The run's config, stored without `root` and `data_root`.
        step: Training step of the weights.
        more: Extra JSON values for the header.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is unchanged.
    """
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": kind,
        "step": str(step),
        "config": config.model_dump_json(exclude={"root", "data_root"}),
        "more": json.dumps(more),
    }
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    shared: set[int] = set()  # tied weights are stored under each of their names
    for name, tensor in on_cpu.items():
        if tensor.data_ptr() in shared:
            on_cpu[name] = tensor.clone()
        shared.add(tensor.data_ptr())
    write_atomically(path, safetensors.torch.save(on_cpu, header))


def read_weights(path: Path, net: Network | None = None) -> Content:
    """Read a model's weights.

    Args:
        path: The file.
        net: The user's network that they belong to; None: one of the registry.

    Returns:
        Tensors on the CPU, the config, the step, and the extra values of the header.

    Raises:
        CheckpointError: As for `read_tensors`.
    """

    def check(
        path: Path, config: TrainConfig, step: int, more: Mapping[str, Any], infos: Mapping[str, TensorInfo]
    ) -> None:
        if net is None and is_custom(config.model):
            raise CheckpointError(missing(config.model, path))
        check_layout(path, expected_layout(meta_network(config, net)), infos)

    return read_tensors(path, "model", check)


def read_tensors(path: Path, kind: str, check: Check) -> Content:
    """Read a file that `write_tensors` wrote.

    Args:
        path: The file.
        kind: Expected kind.
        check: Called as check(path, config, step, more, infos) before any tensor is read; `infos` are types and shapes
            by name. Raises CheckpointError for an inconsistent file.

    Returns:
        Tensors on the CPU, the config, the step, and the extra values of the header.

    Raises:
        CheckpointError: The file is missing, truncated, not safetensors, of another kind, of a newer version, or fails
            `check`.
    """
    try:
        check_opening(path, follow=kind == "model")  # only the path of a model can come from the user
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is a safetensors file, but not one of minidiff; name a run or its {MODEL}"
                )
            if not 1 <= int(header["version"]) <= VERSION:
                raise CheckpointError(
                    f"{path} has format {header['version']}, but only up to {VERSION} is supported; update minidiff"
                )
            if header["kind"] != kind:
                raise CheckpointError(f"{path} is a {header['kind']} file, not a {kind} file; name the other file")
            step, more = int(header["step"]), parse_json(header["more"])
            if not 0 <= step <= MAX_COUNT or not isinstance(more, dict):
                raise ValueError(f"step {step}")
            options = parse_json(header["config"])
            if not isinstance(options, dict):
                raise ValueError(f"the config is a {type(options).__name__}")
            config = TrainConfig(**upgrade(options))
            stored = file_tensor_infos(file)
            rename = str if is_custom(config.model) else upgrade_tensor_name
            infos = {rename(name): info for name, info in stored.items()}
            if len(infos) != len(stored):
                raise ValueError("a tensor under both its present and its old name")
            check(path, config, step, more, infos)
            with torch.device("cpu"):
                tensors = {rename(name): file.get_tensor(name) for name in stored}
            return tensors, config, step, more
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}; list runs with `minidiff runs`") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged, truncated or not a safetensors file ({error}); use another checkpoint"
        ) from None
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} has an invalid header ({error}); use another checkpoint") from None


def fill(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a network.

    Args:
        net: The network.
        tensors: Weights by name.
        path: Their file, for error messages.

    Raises:
        CheckpointError: Names, types or shapes do not match the network, or a value is not finite.
    """
    check_layout(path, expected_layout(net), tensor_infos(tensors))
    check_finite(path, tensors)
    net.load_state_dict(dict(tensors))
