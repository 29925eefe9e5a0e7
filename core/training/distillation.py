"""The config of a run that distills a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.training import TrainConfig
from core.diffusion.loaded_model import find_model
from core.errors import ConfigError
from core.models.weights import read_tensors
from core.runs.directory import INDEX, root_directory

# What the distilled model has in common with its teacher.
SAME = {
    *("path", "prediction", "time_conditioning", "class_conditional", "label_dropout", "model", "size", "channels"),
    *("layers_per_block", "dataset", "dataset_info", "limit", "image_mode", "image_size", "resize", "strict"),
    *("flip", "augment_shift", "channels_last"),
}
RECIPE: dict[str, Any] = {
    "objective": "consistency",
    "epochs": 3,
    "batch_size": 128,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "clip_grad_norm": 1.0,
    "weight_decay": 0.0,
}


def distillation_config(model: str, root: str | Path | None = None, **options: Any) -> TrainConfig:
    """The config for `train` of a run that distills a model, to sample in one to four evaluations.

    Args:
        model: A run, a built-in model or a weights file, as for `load_model`, trained on the path flow with velocity
            prediction.
        root: Folder of the runs; None: $MINIDIFF_HOME, else ./checkpoints. The new run is created there.
        options: Options of `TrainConfig` that override the recipe.

    Raises:
        ConfigError: The model cannot be distilled.
        CheckpointError: There is no such model, or its file is damaged.
    """
    folder = root_directory(root)
    file = find_model(model, folder)
    if file.name == INDEX:
        raise ConfigError(f"{model} is a folder of diffusers, which cannot be distilled; name a run")
    _, teacher, _, _ = read_tensors(file, "model", lambda *_: None)
    if teacher.objective == "consistency":
        raise ConfigError(f"{model} is distilled already; distill the model that it was made from")
    if (teacher.prediction, teacher.path, teacher.time_conditioning) != ("velocity", "flow", True):
        without = "" if teacher.time_conditioning else " without time conditioning"
        raise ConfigError(
            f"{model} cannot be distilled: it predicts {teacher.prediction} on the path {teacher.path}{without}; "
            "distillation needs a model that predicts velocity on the path flow with time conditioning, such as one "
            "trained with --preset default"
        )
    same = {name: getattr(teacher, name) for name in SAME}
    return TrainConfig(**{**same, **RECIPE, "init_from": model, "root": folder, **options})
