"""Fixtures for the tests of the UI: a root with models, and the built-in model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.runs.directory import BUILTIN, builtin_directories
from core.runs.trajectory import RECORDING
from tui.state import state_directory


@pytest.fixture(autouse=True)
def _no_comparison(_own_environment: None) -> Iterator[None]:
    """Start without the panes that another test compared."""
    yield
    (state_directory() / "comparison.json").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def model_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two runs with untrained weights: `tiny`, unconditional, and `classy`, class-conditional.

    `tiny` has snapshots of the steps 0, 1 and 40 with weights of different sizes.
    """
    import torch

    from core.config.training import TrainConfig
    from core.models.registry import build_model
    from core.models.weights import write_tensors
    from core.runs.directory import CONFIG, MODEL, SNAPSHOTS
    from core.runs.snapshots import file_name

    root = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    configs = (
        TrainConfig(preset="quick", channels=(8, 8, 8), name="tiny"),
        TrainConfig(channels=(16, 16), name="classy"),
    )
    for config in configs:
        run = root / str(config.name)
        run.mkdir()
        (run / CONFIG).write_text(config.to_toml(), encoding="utf-8")
        net = build_model(config.model, **config.model_options)
        write_tensors(run / MODEL, "model", net.state_dict(), config, 0)
        if config.name == "tiny":
            (run / SNAPSHOTS).mkdir()
            for step in (0, 1, 40):
                weights = {name: (value / (1 + step)).half() for name, value in net.state_dict().items()}
                write_tensors(run / SNAPSHOTS / file_name(step), "model", weights, config, step)
    return root


@pytest.fixture(scope="session")
def rgb_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one run with untrained weights, `sprites`: 12x16 RGB images of three classes."""
    import torch

    from core.config.datasets import DatasetInfo
    from core.config.training import TrainConfig
    from core.models.registry import build_model
    from core.models.weights import write_tensors
    from core.runs.directory import CONFIG, MODEL

    torch.manual_seed(0)
    info = DatasetInfo(channels=3, height=12, width=16, class_names=("knight", "[red]mage", "ankle boot"))
    config = TrainConfig(channels=(16, 16), name="sprites", dataset_info=info)
    run = tmp_path_factory.mktemp("rgb") / "sprites"
    run.mkdir()
    (run / CONFIG).write_text(config.to_toml(), encoding="utf-8")
    net = build_model(config.model, **config.model_options)
    write_tensors(run / MODEL, "model", net.state_dict(), config, 0)
    return run.parent


@pytest.fixture
def builtin() -> Path:
    """Directory of the built-in model."""
    directory = builtin_directories().get(BUILTIN[0])
    if directory is None or not (directory / RECORDING).is_file():
        pytest.skip("the built-in checkpoint and its recording are not in this tree")
    return directory
