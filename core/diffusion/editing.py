"""Sampling with constraints: inpainting, guidance by a differentiable loss, and mixing classes.

Each edit replaces the sampler of `sample_batches`, or the denoiser that it calls; samplers themselves are unchanged.
Notation as in `core.diffusion.prob_paths`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.config.numbers import number, whole_number
from core.config.sampling import DIFFUSERS, NO_CLASS, SamplingOptions, defaults_for
from core.diffusion.inputs import checked_images
from core.diffusion.loaded_model import LoadedModel, as_loaded
from core.diffusion.prob_paths import Prediction
from core.diffusion.samplers import Denoiser, Generators, Sampler, Steps
from core.diffusion.sampling import Edit, SampleStep, merged, rows, sample_batches
from core.errors import MinidiffError

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

RESAMPLINGS = 5  # U in RePaint
MIN_ALPHA = 0.02  # below it, x_t hardly depends on the image, and the loss is not followed
GuidanceLoss = Callable[[Tensor], Tensor]


def inpaint(
    model: nn.Module | LoadedModel,
    images: ArrayLike,
    mask: ArrayLike,
    n: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    *,
    start_t: float = 1.0,
    resamplings: int = RESAMPLINGS,
    labels: int | Iterable[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[SampleStep]:
    """Generate part of each image; the rest is kept exactly.

    Args:
        model, steps, seed, options: As for `sample`; no schedulers of diffusers.
        images: (n, C, H, W), or one for all, (1, C, H, W), in [0, 1].
        mask: 1 or True where pixels are generated, 0 where they are kept: (H, W), (1, H, W) or (n, 1, H, W).
        n: Number of images; None: as many as `images`.
        start_t: Noise level in (0, 1] from which the generated part is denoised; below 1 it resembles the original.
        resamplings: U, 1 or more: how often each step is taken, which harmonizes both parts and takes U times as long.
        labels: As for `sample`, but None is no class.

    Raises:
        MinidiffError: As for `sample`; or the mask has the wrong shape or values other than 0 and 1.

    Source: Lugmayr et al. 2022 (RePaint); the replacement of the known part is from Song et al. 2021,
        appendix I.2.
    """
    loaded = as_loaded(model)
    n = len(as_tensor(images, "images")) if n is None else n
    edit = inpainting(loaded, images, mask, n, resamplings=resamplings, sampler=options.get("sampler"))
    labels = unlabelled(loaded, labels)
    return merged(
        sample_batches(
            loaded, n, steps=steps, seed=seed, labels=labels, images=images, start_t=start_t, edit=edit, **options
        )
    )


def sample_with_loss(
    model: nn.Module | LoadedModel,
    guidance_loss: GuidanceLoss,
    n: int = 8,
    steps: int | None = None,
    seed: int = 0,
    *,
    scale: float = 1.0,
    labels: int | Iterable[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[SampleStep]:
    """Generate images that have a small loss: approximately, their density is that of the model times exp(-scale loss).

    Args:
        model, n, steps, seed, labels, options: As for `sample`.
        guidance_loss: Maps denoised images, (B, C, H, W) in [0, 1] except for errors, to one differentiable loss per
            image, (B,). It is called at each step, for at most 256 images at once.
        scale: Factor of the loss.

    Raises:
        MinidiffError: As for `sample`; or the loss is not a differentiable tensor of shape (B,).

    Source: Bansal et al. 2023 (forward universal guidance), with s(t) = scale sigma(t). For normally distributed
        data and a linear loss the density above is exact.
    """
    return merged(
        sample_batches(
            model, n, steps=steps, seed=seed, labels=labels, edit=loss_guidance(guidance_loss, scale), **options
        )
    )


def mix_classes(
    model: nn.Module | LoadedModel,
    weights: Mapping[int, float],
    n: int = 8,
    steps: int | None = None,
    seed: int = 0,
    **options: Unpack[SamplingOptions],
) -> Iterator[SampleStep]:
    """Generate images that belong to several classes at once.

    Args:
        model, n, steps, seed, options: As for `sample`; a class-conditional model.
        weights: Weight of each class, by number. With a sum of 1 they interpolate between the classes' predictions;
            a larger sum strengthens the classes, as guidance does. {c: 1} is the class c alone.

    Raises:
        MinidiffError: As for `sample`; or a class is not one of the model's.

    Source: Liu et al. 2022 (composable diffusion, conjunction).
    """
    loaded = as_loaded(model)
    edit = class_mix(loaded, weights)
    labels = next(iter(weights))  # not used, but guidance applies only with a class
    return merged(sample_batches(loaded, n, steps=steps, seed=seed, labels=labels, edit=edit, **options))


def inpainting(
    model: LoadedModel,
    images: ArrayLike,
    mask: ArrayLike,
    n: int,
    *,
    resamplings: int = RESAMPLINGS,
    sampler: str | None = None,
) -> Edit:
    """`inpaint` as an edit of `sample_batches`.

    Args:
        model, images, mask, n, resamplings: As for `inpaint`.
        sampler: Name of the sampler that will be edited; None: the model's default.

    Raises:
        MinidiffError: As for `inpaint`.
    """
    if (sampler or defaults_for(model.config).sampler).startswith(DIFFUSERS):
        raise MinidiffError(f"inpainting takes single steps, which {sampler} does not; use another sampler")
    if (U := whole_number(resamplings, "resamplings")) < 1:  # noqa: N806 - the paper's letter
        raise MinidiffError(f"resamplings must be at least 1, not {U}")
    x_0 = model.path.normalize(checked_images(images, model.config.info.shape))
    m = 1 - _checked_mask(mask, model.config.info.shape).to(x_0)
    if len(m) not in (1, n):
        raise MinidiffError(f"{n} images need {n} masks, not {len(m)}; or give one for all")
    return lambda chosen, part: repaint(chosen, rows(x_0, part), rows(m, part), U)


def loss_guidance(loss: GuidanceLoss, scale: float = 1.0) -> Edit:
    """`sample_with_loss` as an edit of `sample_batches`."""
    scale = number(scale, "scale")

    def edit(sampler: Sampler, part: slice) -> Sampler:
        def guided(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
            return sampler(LossGuided(**vars(denoiser), loss=loss, scale=scale), x, times, generators)

        return guided

    return edit


def class_mix(model: LoadedModel, weights: Mapping[int, float]) -> Edit:
    """`mix_classes` as an edit of `sample_batches`.

    Raises:
        MinidiffError: As for `mix_classes`.
    """
    classes = model.config.info.classes
    if not model.config.class_conditional:
        raise MinidiffError("this model was trained without classes, so there are none to mix")
    mix = {whole_number(label, "a class"): number(weight, "a weight") for label, weight in weights.items()}
    if not mix or not all(map(math.isfinite, mix.values())):
        raise MinidiffError("the weights must be finite numbers, of at least one class")
    if unknown := [label for label in mix if not 0 <= label < classes]:
        raise MinidiffError(f"a class must be a number from 0 to {classes - 1}, not {unknown[0]}")

    def edit(sampler: Sampler, part: slice) -> Sampler:
        def mixed(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
            return sampler(ClassMix(**vars(denoiser), mix=tuple(mix.items())), x, times, generators)

        return mixed

    return edit


def repaint(sampler: Sampler, x_0: Tensor, m: Tensor, U: int) -> Sampler:  # noqa: N803 - the paper's letter
    """RePaint, Lugmayr et al. 2022, with one step of `sampler` as the reverse step.

    Args:
        sampler: Any sampler that can take a single step, from t to t_next.
        x_0: Images in the path's value range, (B, C, H, W) or (1, C, H, W).
        m: 1 where pixels are known, 0 where they are generated, of a shape that broadcasts.
        U: How often each step is taken.
    """

    def inpainted(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
        path, known, unknown = denoiser.path, m.to(x), 1 - m.to(x)
        image, mean = x_0.to(x).expand_as(x), path.noise_mean
        for t, t_next in pairwise(times):
            (alpha, sigma), (alpha_next, sigma_next) = path.alpha_sigma(t), path.alpha_sigma(t_next)
            for u in range(U):
                eps = path.sample_noise(x.shape, next(generators)).to(x)
                x_known = alpha_next * image + sigma_next * eps
                ((x_unknown, denoised),) = sampler(denoiser, x, (t, t_next), generators)
                x = known * x_known + unknown * x_unknown
                if u == U - 1 or t_next == 0:
                    break
                # Back to t: the noise's variance grows by what the scaled x lacks. Its mean is 0 if it is Gaussian.
                ratio = alpha / alpha_next
                z = path.sample_noise(x.shape, next(generators)).to(x) - mean
                x = ratio * x + (sigma - ratio * sigma_next) * mean
                x = x + math.sqrt(max(sigma**2 - (ratio * sigma_next) ** 2, 0.0)) * z
            yield x, denoised

    return inpainted


@dataclass(frozen=True, kw_only=True)
class LossGuided(Denoiser):
    """A denoiser whose noise is moved up the gradient of a loss. Bansal et al. 2023."""

    loss: GuidanceLoss
    scale: float

    def __call__(self, x_t: Tensor, t: float) -> Prediction:
        alpha, sigma = self.path.alpha_sigma(t)
        if alpha < MIN_ALPHA:
            return super().__call__(x_t, t)
        with torch.inference_mode(False), torch.enable_grad():
            z_t = x_t.detach().clone().requires_grad_()
            predicted = super().__call__(z_t, t)
            loss = self._loss(self.path.denormalize(predicted.denoised))
            (gradient,) = torch.autograd.grad(loss.sum(), z_t)
        eps = predicted.noise.detach() + self.scale * sigma * gradient
        x_0 = predicted.denoised.detach() - self.scale * sigma**2 / alpha * gradient  # (x_t - sigma eps) / alpha
        at = torch.tensor(t, dtype=torch.float64, device="cpu")
        velocity = self.path.d_alpha(at).item() * x_0 + self.path.d_sigma(at).item() * eps
        return Prediction(x_0, eps, velocity)

    def _loss(self, denoised: Tensor) -> Tensor:
        loss: object = self.loss(denoised)
        if not isinstance(loss, Tensor) or loss.shape != denoised.shape[:1]:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise MinidiffError(f"guidance_loss must return one loss per image, shape ({len(denoised)},), not {found}")
        if not loss.requires_grad:
            raise MinidiffError("guidance_loss must be differentiable by its argument: use torch operations on it")
        return loss


@dataclass(frozen=True, kw_only=True)
class ClassMix(Denoiser):
    """A denoiser for several classes at once. Liu et al. 2022."""

    mix: tuple[tuple[int, float], ...]  # class and weight

    def _run(self, x_t: Tensor, t: Tensor, guidance: float) -> Tensor:
        """Eps + sum_i w_i (eps_i - eps), with eps of the null class; any output, since each is linear in the noise."""
        w = {label: guidance * weight for label, weight in self.mix if weight != 0}
        w[self.null_class] = 1 - sum(w.values())
        labels = {label: torch.full((len(x_t),), label, device=x_t.device) for label in w if w[label] != 0}
        return sum((w[label] * self._output(x_t, t, labels[label]) for label in labels), torch.zeros_like(x_t))


def unlabelled(model: LoadedModel, labels: int | Iterable[int] | None) -> int | Iterable[int] | None:
    """`labels`, or no class if it is None."""
    return NO_CLASS if labels is None and model.config.class_conditional else labels


def _checked_mask(mask: ArrayLike, shape: tuple[int, int, int]) -> Tensor:
    """The mask as a bool tensor that broadcasts to images, (1 or n, 1, H, W)."""
    m = as_tensor(mask, "mask")
    m = m.reshape((1,) * (4 - m.dim()) + tuple(m.shape)) if m.dim() < 4 else m
    if tuple(m.shape[1:]) != (1, *shape[1:]):
        raise MinidiffError(f"mask needs shape {shape[1:]} or (n, 1, {shape[1]}, {shape[2]}), not {tuple(mask.shape)}")
    if not bool(((m == 0) | (m == 1)).all()):
        raise MinidiffError(
            f"mask must be 1 where pixels are generated and 0 elsewhere, found {m.min().item():g} to {m.max().item():g}"
        )
    return m.bool()
