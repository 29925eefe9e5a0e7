"""Small generated images of any shape, with classes that a network can learn and an upright orientation."""

from __future__ import annotations

import torch
from torch import Tensor

from core.config.datasets import DatasetInfo
from core.data.datasets import LabeledImages

COLOURS = torch.tensor([[220, 40, 40], [40, 200, 60], [60, 80, 230], [230, 220, 50]])


def colour_images(n: int, seed: int, height: int = 16, width: int = 16, classes: int = 4) -> LabeledImages:
    """Noisy images, (n, 3, height, width) uint8: the class gives the color of a bar, which is in the upper half."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    images = torch.randint(20, 100, (n, 3, height, width), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left, length = (
            int(torch.randint(high, (1,), generator=generator)) for high in (height // 4, width // 2, 6)
        )
        image[:, top : top + height // 6 + 1, left : left + 3 + length] = COLOURS[label, :, None, None]
    return LabeledImages(images.to(torch.uint8), labels)


def colour_info(height: int = 16, width: int = 16, classes: int = 4) -> DatasetInfo:
    """Shape and classes of `colour_images`."""
    return DatasetInfo(channels=3, height=height, width=width, class_names=("red", "green", "blue", "yellow")[:classes])


def unlabelled(data: LabeledImages) -> LabeledImages:
    """The same images with the label -1."""
    return LabeledImages(data.images, torch.full_like(data.labels, -1))


def nearly(images: Tensor, seed: int, noise: int = 4) -> Tensor:
    """Copies of uint8 images with noise of up to `noise` steps of 1/255."""
    generator = torch.Generator().manual_seed(seed)
    added = torch.randint(-noise, noise + 1, images.shape, generator=generator)
    return (images.int() + added).clamp(0, 255).to(torch.uint8)
