"""Shared by the peers: the size of their networks, the training images, and the conversion of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

Size = TypeVar("Size")
SAMPLING_BATCH = 250


class ArrayImages(torch.utils.data.Dataset[Any]):
    """Images in memory as PIL images with labels, like torchvision's MNIST and CIFAR10; see `raw_files.write_arrays`.

    Items are `transform(image)` and the label, -1 without classes.
    """

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Any]) -> None:
        self._images = np.load(folder / "images.npy")  # (N, H, W, C) uint8
        self._labels = np.load(folder / "labels.npy")  # (N,) int64
        self._transform = transform

    @property
    def side(self) -> int:
        """Height and width of all images, which are square."""
        return int(self._images.shape[1])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self._images[index]
        return self._transform(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)), self._labels[index]


def count_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def choose_size(
    build: Callable[[Size], nn.Module], published: Size, candidates: Iterable[Size], parameters: int | None
) -> Size:
    """The published size; if a number of parameters is given, the candidate whose network is closest to it."""
    if parameters is None:
        return published
    with torch.device("meta"):
        counts = {size: count_parameters(build(size)) for size in candidates}
    return min(counts, key=lambda size: abs(counts[size] - parameters))


def batch_sizes(n: int) -> list[int]:
    """Sizes of the batches in which n samples are generated."""
    return [min(SAMPLING_BATCH, n - done) for done in range(0, n, SAMPLING_BATCH)]


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1], clipped, as uint8 on the CPU."""
    return (images.clamp(0, 1) * 255).round().byte().cpu()


def copy_weights(net: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: value.clone() for name, value in net.state_dict().items()}
