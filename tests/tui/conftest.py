"""What the screen's tests share: a root with a model in it, and the built-in model."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runs.directory import BUILTIN, builtin_directories
from core.runs.trajectory import RECORDING


@pytest.fixture(scope="session")
def model_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with runs whose weights were never trained: `tiny`, and `classy`, which has classes."""
    import torch

    from core.config.training import TrainConfig
    from core.models.registry import build_model
    from core.models.weights import write_tensors
    from core.runs.directory import CONFIG, MODEL

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
    return root


@pytest.fixture
def builtin() -> Path:
    """The built-in model's directory."""
    home = builtin_directories().get(BUILTIN[0])
    if home is None or not (home / RECORDING).is_file():
        pytest.skip("the built-in checkpoint and its recording are not in this tree")
    return home
