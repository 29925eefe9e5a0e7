"""The ideal denoiser of a finite training set: the minimizer of the training loss, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.config.training import TrainConfig
from core.diffusion.corruption import check_images
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.local_patches import patch_means
from core.diffusion.prob_paths import EDGE, PATHS, ProbPath, check_prediction, convert_output, training_target
from core.errors import MinidiffError, hint

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

NEAREST = 32  # training images of each noisy image whose distances are computed again, exactly
NEGLIGIBLE = 1e-15  # weights up to this one count as 0: all together they are below float32's resolution
_PAIRS = 2**24  # weights at once, 64 MB
_VALUES = 2**22  # values of training images at once, 16 MB


@dataclass(frozen=True, slots=True)
class IdealPrediction:
    """What the ideal denoiser predicts for B noisy images, and the training images that it averages."""

    denoised: Tensor  # (B, C, H, W) float32, in the path's value range: the weighted mean of the training images
    indices: Tensor  # (B, k) int64: the training images of largest weight, in descending order
    weights: Tensor  # (B, k) float32: their weights; those of all training images have the sum 1
    effective: Tensor  # (B,) float32: effective number of training images, exp(entropy of the weights), from 1 to N


class IdealDenoiser(nn.Module):
    """The network with the smallest possible training loss, for N training images and Gaussian noise.

    It predicts the posterior mean of x_0: the mean of the training images y_i with the weights
    softmax(-|x_t - alpha y_i|^2 / (2 sigma^2)). Called like the other networks, but without gradients. A trajectory of
    it from noise ends on a training image: it generates copies only.

    The weights are computed from all training images, in float32. Distances come from matrix products of images minus
    the mean image, and those of the `NEAREST` training images from differences, since a sum of products cancels where
    there is little noise. Predictions of 28x28 images differ by less than 1e-4 from those in float64. At noise levels
    where sigma is below 0.001 it counts as 0.001; two 8-bit images differ by more. Beside the images, memory is bounded
    by about 200 MB, or more only for sets of over 16 million images.

    Source: Karras et al. 2022, equation 57; as a generative model: De Bortoli 2022, Scarvelis et al. 2023.

    Args:
        path: A path with Gaussian noise, or its name, "flow" or "vp".
        images: Training images, (N, C, H, W), uint8 or floating point in [0, 1]. They are not copied.
        labels: Their classes, (N,) int64; then a prediction for a class is the mean of its images only.
        prediction: What is predicted, as in a run's config.
        classes: Number of classes, which is also the label of the null class; None: the largest label and 1.
        patch: Side of local patches in pixels, an odd number; None: whole images. With patches each pixel has weights
            of its own, from the patches around it at the same position of each training image: the local score
            machine of Kamb and Ganguli 2024, which predicts convolutional networks and does generate new images.
            Patches end at the image's edge. It is slower: seconds for 60,000 images.

    Raises:
        MinidiffError: The noise is not Gaussian, the path does not support the prediction, or images or labels have a
            wrong shape, type or range.
    """

    images: Tensor  # (N, C, H, W)
    labels: Tensor | None  # (N,)
    mean: Tensor  # (C * H * W,), of the images, in their own units
    norms: Tensor  # (N,), squared norms of the images minus the mean

    def __init__(
        self,
        path: ProbPath | str,
        images: ArrayLike,
        labels: ArrayLike | None = None,
        prediction: str = "clean",
        *,
        classes: int | None = None,
        patch: int | None = None,
    ) -> None:
        super().__init__()
        self.path, self.prediction, self.patch = _gaussian(path), prediction, patch
        check_prediction(self.path, prediction)
        if patch is not None and (patch < 1 or patch % 2 == 0):
            raise MinidiffError(f"patch must be an odd number of pixels, not {patch}")
        given = as_tensor(images, "images").detach()
        if given.dim() != 4 or len(given) == 0:
            raise MinidiffError(f"images must have shape (N, C, H, W) with N at least 1, not {tuple(given.shape)}")
        if given.dtype != torch.uint8:
            check_images(given, "images")
            given = given.float()
        # Computed in the units of the images: path value = unit * image value + low.
        self.unit = (self.path.high - self.path.low) / (255 if given.dtype == torch.uint8 else 1)
        self.register_buffer("images", given, persistent=False)
        self.register_buffer("labels", None if labels is None else _labels(labels, len(given)), persistent=False)
        largest = 0 if self.labels is None else int(self.labels.max())
        self.classes = largest + 1 if classes is None else classes
        if self.labels is not None and largest >= self.classes:
            raise MinidiffError(f"labels must be from 0 to {self.classes - 1}, found {largest}")
        sums = [given[part].flatten(1).float().sum(0) for part in self._parts(None)]
        self.register_buffer("mean", torch.stack(sums).sum(0) / len(given), persistent=False)
        norms = [self._centered(part).square().sum(1) for part in self._parts(None)]
        self.register_buffer("norms", torch.cat(norms), persistent=False)

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Tensor:
        """Predict from noisy images.

        Args:
            x: (B, C, H, W), in the path's value range.
            t: Noise level in [0, 1], (B,) or one number for all.
            labels: Classes, (B,) int64, or `classes` for the null class; None: the null class for all.

        Returns:
            (B, C, H, W), of x's dtype, in the form `prediction`.

        Raises:
            MinidiffError: A requested class has no training images, or x has another shape than the images.
        """
        level = _levels(t, x)
        denoised = torch.empty_like(x, dtype=torch.float32)
        with self._exact():
            for rows, z, alpha, sigma, members in self._groups(x, level, labels):
                if self.patch is not None:
                    chosen = self.images if members is None else self.images[members]
                    mean = patch_means(z.view(-1, *x.shape[1:]), alpha, sigma, chosen, self.patch, _VALUES)
                else:
                    mean = self._mean(self._weights(z, alpha, sigma, members), members)
                denoised[rows] = self._in_range(mean, x)
            return self._converted(denoised, x, level)

    def posterior(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The prediction of a call, and the posterior variance of x_0, (B,) float32: the mean over an image's values.

        The variance is the expected squared error of the predicted clean image, if x_t comes from a training image.

        Raises:
            MinidiffError: As for a call, or the denoiser has patches.
        """
        self._check_whole()
        level, denoised = _levels(t, x), torch.empty_like(x, dtype=torch.float32)
        variance = torch.empty(len(x), dtype=torch.float32, device=x.device)
        with self._exact():
            for rows, z, alpha, sigma, members in self._groups(x, level, labels):
                weights = self._weights(z, alpha, sigma, members)
                mean = self._mean(weights, members)
                denoised[rows] = self._in_range(mean, x)
                squares = weights @ (self.norms if members is None else self.norms[members])
                spread = (squares - (mean - self.mean).square().sum(1)).clamp(min=0) * self.unit**2
                variance[rows] = (spread / x[0].numel()).to(x.device)
            return self._converted(denoised, x, level), variance

    def predict(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None, k: int = 8) -> IdealPrediction:
        """The predicted clean images, and the `k` training images of largest weight; arguments as for a call.

        Raises:
            MinidiffError: As for a call, or `k` is not from 1 to the number of training images, of a requested class
                if there is one; or the denoiser has patches, which have weights of their own.
        """
        self._check_whole()
        level, n = _levels(t, x), len(x)
        denoised = torch.empty_like(x, dtype=torch.float32)
        indices = torch.empty((n, k), dtype=torch.int64, device=x.device)
        largest, effective = (torch.empty(size, dtype=torch.float32, device=x.device) for size in ((n, k), (n,)))
        with self._exact():
            for rows, z, alpha, sigma, members in self._groups(x, level, labels):
                count = len(self.images) if members is None else len(members)
                if not 1 <= k <= count:
                    raise MinidiffError(f"k must be from 1 to {count:,}, the number of training images, not {k}")
                weights = self._weights(z, alpha, sigma, members)
                denoised[rows] = self._in_range(self._mean(weights, members), x)
                effective[rows] = torch.special.entr(weights).sum(1).exp().to(x.device)
                top = weights.topk(k)
                largest[rows] = top.values.to(x.device)
                indices[rows] = (top.indices if members is None else members[top.indices]).to(x.device)
        return IdealPrediction(denoised, indices, largest, effective)

    def _groups(
        self, x: Tensor, t: Tensor, labels: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]]:
        """Noisy images that have the same training images, a bounded number at a time.

        Yields:
            Their rows in x, (m,); the images z, (m, D), with alpha and sigma, (m, 1), where z = alpha image + sigma eps
            in the units of the training images, on their device; and the indices of those, None for all.
        """
        if x.shape[1:] != self.images.shape[1:]:
            raise MinidiffError(
                f"x must have the shape of the training images, (B, {', '.join(map(str, self.images.shape[1:]))}), "
                f"not {tuple(x.shape)}"
            )
        device = self.images.device
        alpha = self.path.alpha(t.float()).view(-1, 1).to(device)
        sigma = self.path.sigma(t.float()).clamp(min=EDGE).view(-1, 1).to(device) / self.unit
        z = (x.to(device, torch.float32).flatten(1) - alpha * self.path.low) / self.unit
        for of_class, members in self._by_class(len(x), labels):
            count = len(self.images) if members is None else len(members)
            for rows in torch.split(of_class, max(1, _PAIRS // count)):
                yield rows.to(x.device), z[rows], alpha[rows], sigma[rows], members

    def _by_class(self, n: int, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows of the noisy images of each class, with the class's training images; None: all of them."""
        device = self.images.device
        if labels is None or self.labels is None:
            yield torch.arange(n, device=device), None
            return
        for label in sorted(set(labels.tolist())):
            (rows,) = (labels.to(device) == label).nonzero(as_tuple=True)
            (members,) = (self.labels == label).nonzero(as_tuple=True)
            if label != self.classes and not len(members):
                raise MinidiffError(f"none of the {len(self.images):,} training images has the class {label}")
            yield rows, None if label == self.classes else members

    def _weights(self, z: Tensor, alpha: Tensor, sigma: Tensor, members: Tensor | None) -> Tensor:
        """Weights of the training images `members`, M of them: (m, M)."""
        # |z - alpha y|^2 = |c|^2 - 2 alpha c (y - mean) + alpha^2 |y - mean|^2 with c = z - alpha mean; |c|^2 is the
        # same for all training images.
        factor = alpha / sigma.square()
        queries, norms = (z - alpha * self.mean) * factor, self.norms if members is None else self.norms[members]
        products = [queries @ self._centered(part).T for part in self._parts(members)]
        logits = (torch.cat(products, 1) if len(products) > 1 else products[0]).addr_(
            (factor * alpha / 2).squeeze(1), norms, alpha=-1
        )
        near = logits.topk(min(NEAREST, logits.shape[1])).indices  # (m, NEAREST)
        exact = self._squared_distances(z, alpha, near if members is None else members[near]).div_(-2 * sigma.square())
        best = exact.argmax(1, keepdim=True)
        logits -= logits.gather(1, near.gather(1, best))
        logits.scatter_(1, near, exact - exact.gather(1, best))
        weights = torch.softmax(logits, 1)
        return weights.masked_fill_(weights <= NEGLIGIBLE, 0)

    def _squared_distances(self, z: Tensor, alpha: Tensor, indices: Tensor) -> Tensor:
        """|z - alpha y|^2 of training images y, (m, NEAREST), without products that cancel."""
        size = max(1, _VALUES // (indices.shape[1] * z.shape[1]))
        distances = []
        for first in range(0, len(z), size):
            part = slice(first, first + size)
            y = self.images[indices[part]].flatten(2).float()  # (size, NEAREST, D)
            distances.append((z[part, None] - alpha[part, None] * y).square_().sum(2))
        return torch.cat(distances)

    def _mean(self, weights: Tensor, members: Tensor | None) -> Tensor:
        """The weighted mean of training images, (m, D); those without any weight are not read."""
        (used,) = (weights.amax(0) > 0).nonzero(as_tuple=True)
        mean = self.mean.expand(len(weights), -1)
        for columns in torch.split(used, self._at_once):
            images = self._centered(columns if members is None else members[columns])
            mean = mean.addmm(weights.index_select(1, columns), images)
        return mean

    def _parts(self, members: Tensor | None) -> Iterator[slice | Tensor]:
        """The training images `members`, or all, a bounded number at a time."""
        if members is not None:
            yield from torch.split(members, self._at_once)
            return
        for first in range(0, len(self.images), self._at_once):
            yield slice(first, first + self._at_once)

    @property
    def _at_once(self) -> int:
        return max(1, _VALUES // self.images[0].numel())

    def _centered(self, part: slice | Tensor) -> Tensor:
        """Training images minus the mean image, (part, D) float32."""
        images = self.images[part] if isinstance(part, slice) else self.images.index_select(0, part)
        return images.flatten(1).to(torch.float32, copy=True).sub_(self.mean)

    def _check_whole(self) -> None:
        if self.patch is not None:
            raise MinidiffError("with patches each pixel has weights of its own; leave patch out")

    def _converted(self, denoised: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Predicted clean images in the form `prediction`, of x's dtype."""
        if self.prediction == "clean":
            return denoised.to(x.dtype)
        eps = convert_output(self.path, "clean", denoised, x, t).noise
        return training_target(self.path, self.prediction, denoised, eps, t).to(x.dtype)

    @contextmanager
    def _exact(self) -> Iterator[None]:
        """In float32, whatever the caller's autocast, and without gradients."""
        with torch.no_grad(), torch.autocast(self.images.device.type, enabled=False):
            yield

    def _in_range(self, images: Tensor, x: Tensor) -> Tensor:
        """Images in the units of the training images, (m, D), in the path's value range, shaped like x."""
        return (images * self.unit + self.path.low).view(-1, *x.shape[1:]).to(x.device)


def ideal_model(
    config: TrainConfig, images: ArrayLike, labels: ArrayLike | None = None, *, patch: int | None = None
) -> LoadedModel:
    """The ideal denoiser as a model for `sample`.

    Pass `guidance=1, contrast=0` to `sample`: both change predictions, and the samples are then no training images.

    Args:
        config: Path and classes of the model; others of its options do not matter.
        images: Training images, (N, C, H, W), uint8 or floating point in [0, 1], of the config's shape.
        labels: Their classes, (N,) int64, which a class-conditional config needs.
        patch: Side of local patches, as for `IdealDenoiser`.

    Raises:
        MinidiffError: As for `IdealDenoiser`, or the labels are missing.
    """
    if config.class_conditional and labels is None:
        raise MinidiffError("a class-conditional config needs the labels of the training images; pass labels")
    given = labels if config.class_conditional else None
    net = IdealDenoiser(config.path, images, given, classes=config.info.classes, patch=patch)
    if net.images.shape[1:] != config.info.shape:
        raise MinidiffError(
            f"images must have the config's shape {config.info.shape}, not {tuple(net.images.shape[1:])}"
        )
    changes = {"prediction": "clean", "weighting": "prediction", "time_conditioning": True, "objective": "diffusion"}
    network = {
        "model": f"{__name__}:{IdealDenoiser.__name__}",
        "size": None,
        "channels": None,
        "layers_per_block": None,
    }
    return LoadedModel(net.eval(), config.changed(**changes, **network, precision="float32"), 0, "ideal denoiser")


def _gaussian(path: ProbPath | str) -> ProbPath:
    """The path of that name, if its noise is Gaussian."""
    if isinstance(path, str):
        if path not in PATHS:
            raise MinidiffError(f"there is no path {path!r}; {hint(path, PATHS, otherwise='paths are')}")
        path = PATHS[path]
    if not path.gaussian:
        raise MinidiffError(f"the ideal denoiser needs Gaussian noise, and that of the path {path.name} is uniform")
    return path


def _labels(labels: ArrayLike, n: int) -> Tensor:
    tensor = as_tensor(labels, "labels")
    if tensor.shape != (n,) or tensor.is_floating_point() or int(tensor.min()) < 0:
        raise MinidiffError(f"labels must be {n:,} classes from 0, one for each image")
    return tensor.long()


def _levels(t: Tensor | float, x: Tensor) -> Tensor:
    """Noise levels, (B,)."""
    return t.expand(len(x)) if isinstance(t, Tensor) else x.new_full((len(x),), t)
