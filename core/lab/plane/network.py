"""A small network for points in the plane, and the model that `sample` and the rest of `core.diffusion` take.

A point is an image with two channels and one pixel, (2, 1, 1). Its coordinates in [-1, 1] are values in [0, 1] of an
image, so on the paths `flow` and `vp` they are unchanged, and on `mix` the noise is uniform in the square [-1, 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from core.config.datasets import DatasetInfo
from core.config.training import TrainConfig

TIME_FREQUENCIES = 4  # of the embedding of the noise level
POINT_FREQUENCIES = 3  # of the embedding of each coordinate
LAYERS = 3  # hidden layers


class PlaneInfo(DatasetInfo):
    """The shape (2, 1, 1) and the classes of points in the plane."""

    def __init__(self, class_names: tuple[str, ...] = ()) -> None:
        super().__init__(channels=2, height=1, width=1, class_names=class_names)

    def __post_init__(self) -> None:
        """Unlike images, points need no more than one pixel."""


class PointNetwork(nn.Module):
    """A multilayer perceptron on the coordinates, the noise level and the class of each point.

    Coordinates and noise level are embedded as themselves and their sines and cosines at several frequencies (Tancik et
    al. 2020); an embedding of the class is added to the first hidden layer. With the default width and two classes it
    has 21,000 parameters.

    Args:
        classes: Number of classes; the label `classes` is the null class.
        width: Size of each hidden layer.
    """

    def __init__(self, classes: int = 0, width: int = 96) -> None:
        super().__init__()
        point, time = 2 + 4 * POINT_FREQUENCIES, 1 + 2 * TIME_FREQUENCIES
        self.into = nn.Linear(point + time, width)
        self.embed = nn.Embedding(classes + 1, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(LAYERS - 1))
        self.out = nn.Linear(width, 2)
        nn.init.zeros_(self.embed.weight)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The prediction for noisy points.

        Args:
            x: (B, 2, 1, 1), in the value range of the path.
            t: Noise level, (B,).
            labels: Classes, (B,) int64, where `classes` is the null class; None for an unconditional model.

        Returns:
            (B, 2, 1, 1), in the form that the network is trained to predict.
        """
        points, level = x.flatten(1), t.view(-1, 1)
        waves = [
            *(math.pi / 2 * 2**k * points for k in range(POINT_FREQUENCIES)),
            *(math.pi * 2**k * level for k in range(TIME_FREQUENCIES)),
        ]
        angles = torch.cat(waves, 1)
        h = self.into(torch.cat((points, level, angles.sin(), angles.cos()), 1))
        if labels is not None:
            h = h + self.embed(labels)
        for layer in self.hidden:
            h = layer(nn.functional.silu(h))
        output: Tensor = self.out(nn.functional.silu(h))
        return output.view_as(x)


def plane_config(path: str, prediction: str, class_names: tuple[str, ...], seed: int) -> TrainConfig:
    """The config of a `PointNetwork`, which decides how `sample` uses it.

    Args:
        path: "mix", "flow" or "vp".
        prediction: What the network predicts; see `core.config.training.PREDICTIONS`.
        class_names: Names of the classes; () for an unconditional model.
        seed: Seed of the training.

    Raises:
        ConfigError: The path or the prediction is unknown, or they do not fit.
    """
    return TrainConfig(
        path=path,
        prediction=prediction,
        dataset_info=PlaneInfo(class_names),
        model=f"{__name__}:{PointNetwork.__name__}",
        class_conditional=bool(class_names),
        label_dropout=0.1 if class_names else 0.0,
        time_sampling="uniform",
        optimizer="adam",
        batch_size=512,
        learning_rate=4e-3,
        ema=0.0,
        precision="float32",
        device="cpu",
        seed=seed,
    )


def to_images(points: Tensor) -> Tensor:
    """Points, (N, 2) in [-1, 1], as images, (N, 2, 1, 1) in [0, 1]; other values are mapped likewise."""
    return ((points + 1) / 2)[:, :, None, None]


def to_points(images: Tensor) -> Tensor:
    """The inverse of `to_images`."""
    return images.flatten(1) * 2 - 1
