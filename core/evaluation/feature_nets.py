"""The networks in whose features samples are evaluated, for images of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from core.config.datasets import DIGITS, DatasetInfo
from core.diffusion.frames import shrunk

Shape = Literal["conv", "mlp"]
SHAPES: tuple[Shape, ...] = ("conv", "mlp")
FEATURES = 128
GREY_SIDE = 32  # longest side of gray images, in pixels, for the smaller `conv`
CONV_SIDE, MLP_SIDE = 64, 32  # longer images are first averaged down to this side, in pixels
TRUNK_SIDE = 16  # longest side of the maps after the first convolution of the larger `conv`


def turns(info: DatasetInfo) -> tuple[int, ...]:
    """The rotations, in quarter turns, that a network predicts if there are no classes: those that keep the shape.

    Source: Gidaris et al. 2018 (RotNet), section 3.1, which uses all four.
    """
    return (0, 1, 2, 3) if info.height == info.width else (0, 2)


def outputs(info: DatasetInfo) -> int:
    """Number of classes, or of rotations for a dataset with fewer than two classes."""
    return info.classes if info.classes > 1 else len(turns(info))


def rotated(images: Tensor, labels: Tensor, turns: Sequence[int]) -> Tensor:
    """Rotate image i of (N, C, H, W) by `turns[labels[i]]` quarter turns; labels are (N,) int64 on the CPU."""
    result = torch.empty_like(images)
    for label, quarters in enumerate(turns):
        (chosen,) = torch.where(labels == label)
        result[chosen] = torch.rot90(images[chosen], quarters, (2, 3))
    return result


class Classifier(nn.Module):
    """Classifies images, (B, C, H, W) in [0, 1], or their rotations; see `outputs`.

    `conv`: for gray images of up to 32 pixels a side four convolutions, else six with a residual connection, and
    global average pooling. `mlp`: three linear layers. All use batch normalization.
    """

    def __init__(self, shape: Shape, info: DatasetInfo = DIGITS) -> None:
        super().__init__()
        self.shape: Shape = shape
        self.info = info
        longest = max(info.height, info.width)
        self.side = CONV_SIDE if shape == "conv" else MLP_SIDE
        if shape == "mlp":
            pixels = shrunk(torch.zeros(1, *info.shape), self.side).numel()
            layers: list[nn.Module] = [nn.Flatten()]
            for wide, narrow in pairwise((pixels, 256, 256, FEATURES)):
                layers += [nn.Linear(wide, narrow, bias=False), nn.BatchNorm1d(narrow), nn.ReLU()]
        elif info.channels == 1 and longest <= GREY_SIDE:
            layers = [
                *_convolution(1, 32, kernel=5, stride=2),
                *_convolution(32, 64),
                *_convolution(64, 64, stride=2),
                *_convolution(64, FEATURES),
                *_pooling(),
            ]
        else:
            stride = next(stride for stride in (1, 2, 4) if min(longest, CONV_SIDE) <= TRUNK_SIDE * stride)
            layers = [
                *_convolution(info.channels, 48, kernel=2 * stride + 1, stride=stride),
                *_convolution(48, 64),
                *_convolution(64, 128, stride=2),
                Residual(128),
                *_convolution(128, FEATURES, stride=2),
                *_pooling(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, outputs(info))

    def features(self, x: Tensor) -> Tensor:
        """Inputs of the last linear layer, (B, 128)."""
        features: Tensor = self.body(shrunk(x, self.side) * 2 - 1)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, number of classes or rotations)."""
        logits: Tensor = self.head(self.features(x))
        return logits


class Residual(nn.Module):
    """Two convolutions whose output is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        y: Tensor = x + self.body(x)
        return y


def _convolution(wide: int, narrow: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(wide, narrow, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(narrow), nn.ReLU()


def _pooling() -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()
