"""The state of a run: the tensors and the progress that training resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.config.training import TrainConfig
from core.errors import CheckpointError
from core.models.custom import Network, meta_network
from core.models.weights import Content, read_tensors
from core.models.weights_layout import EXACT, ExpectedTensor, TensorInfo, check_layout, expected_layout
from core.runs.events import MAX_COUNT
from core.training.optimizer import Optimizer

T = TypeVar("T")


def read_state(path: Path, net: Network | None = None) -> Content:
    """Read the state of a run: tensors on the CPU, the config, the step and the progress.

    Args:
        path: The file.
        net: The user's network that was trained; None: one of the registry.

    Raises:
        CheckpointError: as for `read_tensors`; also if something is missing or has an impossible value.
    """

    def check(
        path: Path, config: TrainConfig, step: int, progress: dict[str, Any], found: Mapping[str, TensorInfo]
    ) -> None:
        check_progress(path, progress, step)
        expected = state_layout(config, step, net)
        missing = sorted(name for name in expected.keys() - found.keys() if name.startswith("optimizer."))
        if missing:
            raise CheckpointError(f"{path} lacks what resuming needs ({missing[0]} is missing); start a new run")
        check_layout(path, expected, found)

    return read_tensors(path, "state", check)


def state_layout(config: TrainConfig, step: int, net: Network | None = None) -> dict[str, ExpectedTensor]:
    """The layout of a run's state after `step` steps."""
    built = meta_network(config, net)
    weights = expected_layout(built, EXACT)
    moments = {name: ExpectedTensor(EXACT, shape) for name, shape in Optimizer(built, config).layout(step).items()}
    teacher = weights if config.objective == "consistency" else {}
    return state_parts(weights, weights if config.ema else {}, moments, teacher)


def state_parts(
    net: Mapping[str, T], ema: Mapping[str, T], optimizer: Mapping[str, T], teacher: Mapping[str, T]
) -> dict[str, T]:
    """The tensors of a state under their names in the file."""
    parts = {"net": net, "ema": ema, "optimizer": optimizer, "teacher": teacher}
    return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0)]
Word = Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,100}$")]  # quoted in warnings


class _Epoch(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
    total: float
    steps: Count
    seconds: Seconds
    skipped: Count = 0


class _Progress(BaseModel):
    """The progress in the header of a state."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    epoch: _Epoch
    seconds: Seconds
    data_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    device: Word
    torch: Word
    processes: Count = 1
    skipped: Count = 0


def check_progress(path: Path, recorded: dict[str, Any], step: int) -> None:
    """Check the progress in the header of a state after `step` steps.

    Raises:
        CheckpointError: a value is missing, of another type, or out of its range.
    """
    try:
        progress = _Progress(**recorded)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise CheckpointError(f"{path} lacks what resuming needs ({name}); start a new run") from None
        raise CheckpointError(
            f"{path} has an invalid header ({name}: {first['msg']}); use another checkpoint"
        ) from None
    epoch = progress.epoch
    if not epoch.skipped <= epoch.steps <= step:
        raise CheckpointError(
            f"{path} has an invalid header ({epoch.skipped} of {epoch.steps} steps of an epoch skipped "
            f"after {step} steps); use another checkpoint"
        )
