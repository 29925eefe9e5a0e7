"""Weights on disk: safetensors with the config in the header, written whole or not at all, read with suspicion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from core.config.legacy import upgrade
from core.config.training import TrainConfig
from core.errors import CheckpointError, ConfigError
from core.models.registry import sketch
from core.models.weights_layout import (
    Found,
    check_finite,
    check_layout,
    check_opening,
    described,
    described_in,
    net_layout,
)
from core.runs.directory import MODEL
from core.runs.events import MAX_COUNT
from core.system.atomic_write import write_atomically
from core.system.safe_io import parse_json

Content = tuple[dict[str, Tensor], TrainConfig, int, dict[str, Any]]  # tensors, config, step, what else was written
Check = Callable[[Path, TrainConfig, int, dict[str, Any], Mapping[str, Found]], None]

FORMAT, VERSION = "minidiff", 1


def write_tensors(
    path: Path, kind: str, tensors: Mapping[str, Tensor], config: TrainConfig, step: int, **more: Any
) -> None:
    """Write tensors with a header that says what they are; the old file stays until the new one is on disk.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is untouched.
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
    write_atomically(path, safetensors.torch.save(on_cpu, header))


def read_weights(path: Path) -> Content:
    """Read a model's weights: tensors on the CPU, the config, the step and what else the header holds.

    Raises:
        CheckpointError: as `read_tensors`.
    """
    return read_tensors(path, "model", _check_weights)


def read_tensors(path: Path, kind: str, check: Check) -> Content:
    """Read what `write_tensors` wrote as `kind`.

    `check` is given the path, the config, the step, what else was written, and the tensors' types and shapes, before
    any tensor is read, and raises a CheckpointError for what does not go together.

    Raises:
        CheckpointError: the file is missing, cut short, not safetensors, of another kind, from a newer version, or
            refused by `check`.
    """
    try:
        check_opening(path, follow=kind == "model")  # which a person may name; a state is its run's own
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is a safetensors file, but minidiff did not write it; name a run or its {MODEL}"
                )
            if not 1 <= int(header["version"]) <= VERSION:
                raise CheckpointError(
                    f"{path} has format {header['version']}, and this minidiff knows up to {VERSION}; update minidiff"
                )
            if header["kind"] != kind:
                raise CheckpointError(
                    f"{path} holds a {header['kind']}, and a {kind} was asked for; name the other file"
                )
            step, more = int(header["step"]), parse_json(header["more"])
            if not 0 <= step <= MAX_COUNT or not isinstance(more, dict):
                raise ValueError(f"step {step}")
            options = parse_json(header["config"])
            if not isinstance(options, dict):
                raise ValueError(f"a config that is {type(options).__name__}")
            config = TrainConfig(**upgrade(options))
            check(path, config, step, more, described_in(file))
            with torch.device("cpu"):
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, config, step, more
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}; `minidiff runs` lists what is there") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged, cut short or not a safetensors file ({error}); take another checkpoint"
        ) from None
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} has a header that makes no sense ({error}); take another checkpoint") from None


def _check_weights(
    path: Path, config: TrainConfig, step: int, more: Mapping[str, Any], found: Mapping[str, Found]
) -> None:
    check_layout(path, net_layout(sketch(config.model, **config.model_options)), found)


def fill(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a net.

    Raises:
        CheckpointError: they belong to a net of other layers or sizes, or are not all numbers.
    """
    check_layout(path, net_layout(net), described(tensors))
    check_finite(path, tensors)
    net.load_state_dict(dict(tensors))
