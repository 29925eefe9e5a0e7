"""The validation loss of each image, with the same images, noise levels and noise for every candidate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.compute.seeding import RACE, generator_for
from core.compute.torch_settings import TorchSettings
from core.config.training import TrainConfig
from core.data.datasets import LabeledImages
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, sample_times
from core.diffusion.sampling import batch_size
from core.diffusion.validation import image_losses
from core.errors import MinidiffError
from core.training.trainer import evaluating

SEED = 0  # of the choice of images, and of their noise


@dataclass(frozen=True, slots=True)
class ComparedImages:
    """Validation images with one noise level and noise each, in the value range of the race's path."""

    x_0: Tensor  # (n, C, H, W) float32
    noise: Tensor  # like x_0
    t: Tensor  # (n,) noise levels in [0, 1]
    labels: Tensor  # (n,) int64
    weighting: str  # quantity whose squared error is the loss, of all candidates

    def __len__(self) -> int:
        return len(self.x_0)


def compared_images(config: TrainConfig, validation: LabeledImages, n: int) -> ComparedImages:
    """Choose at most n validation images at random, and their noise.

    Args:
        config: Path, distribution of noise levels, and weighting of the loss: those of the first candidate.
        validation: Images, (N, C, H, W) uint8, and labels, (N,).
        n: Number of images.

    Raises:
        MinidiffError: There are fewer than two.
    """
    if len(validation.images) < 2:
        raise MinidiffError("a comparison needs at least two validation images; add images, or use a larger --limit")
    order = torch.randperm(len(validation.images), generator=generator_for(SEED, RACE, 0), device="cpu")[:n]
    path, generator = PATHS[config.path], generator_for(SEED, RACE, 1)
    x_0 = path.normalize(validation.images[order].float() / 255)
    t = sample_times(config.time_sampling, len(order), generator)
    noise = path.sample_noise(x_0.shape, generator)
    weighting = config.prediction if config.weighting == "prediction" else config.weighting
    return ComparedImages(x_0, noise, t, validation.labels[order], weighting)


def compared_losses(model: LoadedModel, images: ComparedImages) -> Tensor:
    """The loss of each image with the model's weights, (n,) float64 on the CPU; the mean over its values."""
    losses = []
    with TorchSettings(model.config), torch.inference_mode(False), evaluating(model.net):
        for rows in torch.split(torch.arange(len(images), device="cpu"), batch_size(model.config.info.shape)):
            parts = (part[rows] for part in (images.x_0, images.noise, images.t, images.labels))
            losses.append(image_losses(model, *parts, weighting=images.weighting))
    return torch.cat(losses)
