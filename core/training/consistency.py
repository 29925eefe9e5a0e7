"""Consistency distillation: a network learns to jump from any point of a teacher's trajectory to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from core.config.sampling import GUIDED, defaults_for
from core.config.training import TrainConfig
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.samplers import Denoiser

FIRST_STEPS, LAST_STEPS = 4.0, 20.0  # of the teacher, from noise to image: few at first, for a coarse solution
LAST_FROM = 0.8  # fraction of the training after which the number of steps stays
AT_NOISE = 0.2  # fraction of the images that are pure noise, from which one step has to reach the image
HUBER = 0.03  # c of the pseudo-Huber loss, of the root mean square over an image


class ConsistencyLoss:
    """The loss of consistency distillation, on the path flow with velocity prediction.

    The student's prediction at x_t is compared with its own at x_r, one step of the teacher's ODE nearer to the image:
    both shall be the end of the trajectory through x_t. The teacher steps with guidance and contrast, which become
    part of the student. Source: Song et al. 2023, algorithm 2, with the student in place of its average, and with
    the pseudo-Huber loss of Song and Dhariwal 2024.
    """

    def __init__(self, teacher: nn.Module, config: TrainConfig) -> None:
        self.teacher = teacher
        self._config = config

    @staticmethod
    def steps(progress: float) -> float:
        """The teacher's steps from noise to image after a fraction `progress` of the training."""
        fraction = min(1.0, progress / LAST_FROM)
        return float(FIRST_STEPS * (LAST_STEPS / FIRST_STEPS) ** fraction)

    @staticmethod
    def sample_times(n: int, generator: torch.Generator) -> Tensor:
        """Noise levels to train at, (n,) float32, on the generator's device: uniform, and 1 for some."""
        drawn = torch.rand((2, n), generator=generator, device=generator.device, dtype=torch.float32)
        return torch.where(drawn[0] < AT_NOISE, 1.0, drawn[1].clamp(min=1e-3))

    def errors(self, net: Callable[..., Any], x_t: Tensor, t: Tensor, labels: Tensor | None, steps: float) -> Tensor:
        """The loss of each image, (B, 1, 1, 1).

        Args:
            net: The student.
            x_t: Noisy images, (B, C, H, W), in the path's value range.
            t: Their noise levels, (B,).
            labels: Their classes, (B,); None for an unconditional network.
            steps: The teacher's steps from noise to image.
        """
        student = replace(self._teacher_model.denoiser(labels), net=net)
        r = (t - 1 / steps).clamp(min=0)
        with torch.no_grad():
            distance = (r - t).view(-1, 1, 1, 1)
            x_r = x_t + distance * self._teacher_velocity(x_t, t, labels)
            target = torch.where(r.view(-1, 1, 1, 1) > 0, student.predict(x_r, r).denoised, x_r)
        difference = student.predict(x_t, t).denoised - target
        huber = (difference.square().mean(dim=(1, 2, 3), keepdim=True) + HUBER**2).sqrt() - HUBER
        return huber / (steps * -distance)

    @cached_property
    def _teacher_model(self) -> LoadedModel:
        return LoadedModel(self.teacher, self._config.changed(objective="diffusion"), 0, "teacher")

    @cached_property
    def _mean_image(self) -> Tensor:
        return self._teacher_model.mean_image

    def _teacher_velocity(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """dx_t/dt at a noise level per image, with the options that the teacher samples with by default."""
        model, n = self._teacher_model, len(x_t)
        chosen = defaults_for(model.config)
        low, high = GUIDED[model.path.name]
        (guided,) = ((t >= low) & (t <= high) & (labels is not None)).nonzero(as_tuple=True)
        if labels is not None:  # one pass for all images, and without a class for those that are guided
            labels = torch.cat((labels, torch.full_like(guided, model.config.info.null_class)))
        teacher: Denoiser = model.denoiser(labels)
        if chosen.contrast:
            teacher = replace(teacher, contrast=chosen.contrast, mean_image=self._mean_image)
        velocity = teacher.predict(torch.cat((x_t, x_t[guided])), torch.cat((t, t[guided]))).velocity
        conditional, unconditional = velocity[:n], velocity[n:]
        conditional[guided] = unconditional + chosen.guidance * (conditional[guided] - unconditional)
        return conditional
