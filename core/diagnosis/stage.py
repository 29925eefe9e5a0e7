"""A check as part of a diagnosis, and the images that checks use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compute.seeding import SPLIT, generator_for
from core.diffusion.loaded_model import LoadedModel
from core.runs.findings import Finding

LARGE = 32 * 32  # pixels above which a quarter of the images is used
FEW = 8  # images that are used in any case, and below which some checks are skipped
NO_IMAGES, NO_VALIDATION = "there are no images", "there are no validation images"


@dataclass(frozen=True)
class Check:
    """A check that can be run, unless something that it needs is missing."""

    name: str
    skipped: str  # why it cannot be done; "" if it can
    run: Callable[[], list[Finding]]
    doing: str  # for progress


def chosen_images(total: int, n: int) -> Tensor:
    """At most n random indices, always the same."""
    return torch.randperm(total, generator=generator_for(0, SPLIT, total), device="cpu")[:n]


def image_count(model: LoadedModel, n: int) -> int:
    """The number of images in place of n: for large images a quarter of it, but at least 8."""
    _, height, width = model.config.info.shape
    return n if height * width <= LARGE else max(min(n, FEW), n // 4)
