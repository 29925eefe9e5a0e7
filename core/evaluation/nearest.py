"""The nearest training images of samples, in pixels or in features."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.compute.arrays import as_tensor
from core.diffusion.frames import quantized, shrunk
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import sample
from core.errors import MinidiffError
from core.evaluation.feature_classifiers import FeatureClassifier, classify_batches, concatenate
from core.generators import result_of

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike

PIXEL_SIDE = 32  # longer images are compared after averaging them down to this side, in pixels
_ROWS, _BLOCK, _PAIRS = 1024, 4096, 4096  # images, training images, and pairs of both, at once


@dataclass(frozen=True, slots=True)
class NearestImages:
    """The nearest training images of each of n images, in ascending distance."""

    indices: Tensor  # (n, k) int64, of the training images
    distances: Tensor  # (n, k) float32, root mean square difference; of pixel values in [0, 1], or of features

    def __getitem__(self, some: slice) -> NearestImages:
        """Those of some of the images."""
        return NearestImages(self.indices[some], self.distances[some])


def nearest_training_images(
    images: ArrayLike | LoadedModel,
    training_images: ArrayLike,
    k: int = 1,
    *,
    n: int = 16,
    seed: int = 0,
    classifier: FeatureClassifier | None = None,
) -> NearestImages:
    """Find the `k` nearest training images of each image.

    Compares all pairs in blocks, so that memory does not grow with the number of training images.

    Args:
        images: (n, C, H, W), uint8 or in [0, 1]; or a model from `load_model`, which then generates samples.
        training_images: (N, C, H, W), likewise.
        k: Number of training images for each image.
        n: Number of samples, if `images` is a model.
        seed: Seed of the samples, if `images` is a model.
        classifier: Compares the features of this classifier; None: pixels, of images averaged down to at most 32
            pixels a side.

    Returns:
        Indices and distances, (n, k). Equally distant training images come in any order.

    Raises:
        MinidiffError: The shapes do not match, or `k` is not from 1 to N.
        NotFinite: A value is NaN or infinite.
    """
    if isinstance(images, LoadedModel):
        *_, last = sample(images, n=n, seed=seed)
        images = last.x
    queries, references = _as_uint8(images, "images"), _as_uint8(training_images, "training_images")
    if queries.shape[1:] != references.shape[1:]:
        raise MinidiffError(
            f"images and training_images must have the same shape, not {tuple(queries.shape[1:])} and "
            f"{tuple(references.shape[1:])}"
        )
    if not 1 <= k <= len(references):
        raise MinidiffError(f"k must be from 1 to {len(references):,}, the number of training images, not {k}")
    if classifier is not None:
        queries, references = (
            concatenate(classify_batches(classifier.net, part)).features for part in (queries, references)
        )
    return result_of(nearest(queries, references, k))


def nearest(queries: Tensor, references: Tensor, k: int) -> Generator[tuple[int, int], None, NearestImages]:
    """`nearest_training_images` for uint8 images or for features, (n, D) and (N, D) float32.

    Yields:
        (training images compared, N).
    """
    rows = _vectors(queries)
    distances = torch.full((len(rows), k), torch.inf, dtype=torch.float32, device="cpu")
    indices = torch.zeros((len(rows), k), dtype=torch.int64, device="cpu")
    for start in range(0, len(references), _BLOCK):
        block = _vectors(references[start : start + _BLOCK])
        norms = block.square().sum(1)
        for first in range(0, len(rows), _ROWS):
            part = slice(first, first + _ROWS)
            # |a - b|^2 - |a|^2, which orders the training images of each image.
            with torch.autocast("cpu", enabled=False):
                relative = torch.addmm(norms[None], rows[part], block.T, alpha=-2)
            near, at = relative.topk(min(k, len(block)), largest=False)
            near, at = torch.cat((distances[part], near), 1), torch.cat((indices[part], at + start), 1)
            distances[part], chosen = near.topk(k, largest=False)
            indices[part] = at.gather(1, chosen)
        yield min(start + _BLOCK, len(references)), len(references)
    # Exact distances, since the sum of products cancels for near copies.
    step = max(1, _PAIRS // k)
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        others = _vectors(references[indices[part].flatten()]).view(-1, k, rows.shape[1])
        distances[part] = (rows[part, None] - others).square().mean(2).sqrt()
    distances, order = distances.sort(dim=1)
    return NearestImages(indices.gather(1, order), distances)


def _vectors(images: Tensor) -> Tensor:
    """One row for each image: features as they are, uint8 images as pixel values in [0, 1]."""
    return images if images.ndim == 2 else shrunk(images.float() / 255, PIXEL_SIDE).flatten(1)


def _as_uint8(images: ArrayLike, name: str) -> Tensor:
    tensor = as_tensor(images, name)
    if tensor.ndim != 4 or len(tensor) == 0:
        raise MinidiffError(f"{name} must have shape (n, C, H, W) with n at least 1, not {tuple(tensor.shape)}")
    if tensor.is_floating_point():
        return quantized(tensor)
    if tensor.dtype != torch.uint8:
        raise MinidiffError(f"{name} must be uint8 or floating point, not {tensor.dtype}")
    return tensor.cpu()
