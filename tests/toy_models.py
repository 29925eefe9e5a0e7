"""Models whose data is normally distributed, so that results of sampling are known in closed form, and a color one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.config.datasets import DatasetInfo
from core.config.training import TrainConfig
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, ProbPath
from core.diffusion.sampling import SampleStep
from core.models.registry import build_model

SIDE = 8
MEAN, STD = 0.2, 0.4  # of each pixel, in the path's value range
CLASS_MEANS = (-0.3, 0.5, 0.1)  # of the classes 0 and 1 and the null class

PATH_OPTIONS: dict[str, dict[str, Any]] = {
    "mix": {"path": "mix", "prediction": "clean"},
    "flow": {},
    "vp": {"path": "vp", "prediction": "v"},
}


class Ideal(nn.Module):
    """The ideal denoiser E[x_0 | x_t] of data in which each pixel of the left half correlates with one of the right.

    The sum and the difference of such a pair are independent, with variances (1 + rho) STD^2 and (1 - rho) STD^2.
    """

    def __init__(self, path: ProbPath, rho: float, class_means: tuple[float, ...]) -> None:
        super().__init__()
        self.path, self.rho = path, rho
        self.means = nn.Parameter(torch.tensor(class_means))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        alpha, sigma = (
            coefficient(t).to(x.dtype).view(-1, 1, 1, 1) for coefficient in (self.path.alpha, self.path.sigma)
        )
        mean = self.means[-1] if labels is None else self.means[labels].view(-1, 1, 1, 1)
        left, right = (x - alpha * mean).chunk(2, dim=3)
        total, difference = (
            alpha * variance / (alpha**2 * variance + sigma**2) * part
            for variance, part in (((1 + self.rho) * STD**2, left + right), ((1 - self.rho) * STD**2, left - right))
        )
        return mean + torch.cat((total + difference, total - difference), dim=3) / 2


def gaussian_model(path: str = "flow", *, rho: float = 0.0, classes: bool = False) -> LoadedModel:
    """Data N(MEAN, STD^2), or N(CLASS_MEANS, STD^2) with classes; 8x8 pixels, 1 channel."""
    info = DatasetInfo(height=SIDE, width=SIDE, class_names=("a", "b") if classes else ())
    config = TrainConfig(
        dataset_info=info, path=path, prediction="clean", class_conditional=classes, precision="float32"
    )
    return LoadedModel(Ideal(PATHS[path], rho, CLASS_MEANS if classes else (MEAN,)).eval(), config, 1, "gaussian")


def gaussian_data(n: int, seed: int = 0) -> Tensor:
    """Images of the model without classes and correlation, in [0, 1] except for the tails, which are clipped."""
    generator = torch.Generator().manual_seed(seed)
    x = MEAN + STD * torch.randn((n, 1, SIDE, SIDE), generator=generator)
    return ((x + 1) / 2).clamp(0, 1)


def colour_model(**options: object) -> LoadedModel:
    """A small class-conditional network for RGB images of 16x12 pixels."""
    info = DatasetInfo(channels=3, height=16, width=12, class_names=("a", "b"))
    config = TrainConfig(
        **{"dataset_info": info, "model": "patch_unet", "channels": (16, 16), "precision": "float32", **options}
    )
    net = build_model(config.model, generator=torch.Generator().manual_seed(1), **config.model_options).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return LoadedModel(net, config, 1, "colour")


def last(steps: Any) -> SampleStep:
    *_, step = steps
    assert isinstance(step, SampleStep)
    return step


def in_path_range(images: Tensor) -> Tensor:
    return 2 * images - 1
