"""Evaluation: distance of a model's samples to real images, beside the baseline of real images."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor

from core.config.datasets import DatasetInfo
from core.config.numbers import whole_number
from core.config.sampling import Sampling, SamplingOptions, describe_sampling, resolve_sampling
from core.data.datasets import LabeledImages
from core.diffusion.frames import quantized
from core.diffusion.sampling import sample
from core.errors import MinidiffError
from core.evaluation import feature_classifiers
from core.evaluation.distances import frechet_distance, kernel_distance, precision_recall
from core.evaluation.feature_nets import SHAPES, Shape
from core.evaluation.loss_by_level import LossReport, compare_losses, loss_unavailable
from core.evaluation.memorisation import MemorisationCheck, check_memorisation
from core.evaluation.reference import EvaluationProgress, Reference, check_n, prepare, prepare_images, with_progress

if TYPE_CHECKING:
    from core.diffusion.loaded_model import LoadedModel
    from core.runs.events import Event


N = 10_000
BATCH = 250
CAS_EPOCHS = 20


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a set of images, by one classifier, against the test split."""

    frechet: float  # lower is better
    kernel: float  # KID; lower is better, about 0 for real images
    precision: float  # fraction of the images in the manifold of the real ones
    recall: float  # fraction of the real ones in the manifold of the images
    classes: tuple[int, ...]  # images per predicted class; () if there are fewer than two classes
    confidence: float  # mean probability of the predicted class, or rotation
    agreement: float | None  # fraction predicted as the requested class; None without requested classes
    cas: float | None  # test accuracy of a classifier trained only on these images


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result by classifier: `conv`, the main one, and `mlp`, which was not used for tuning."""

    model: str
    dataset: str
    n: int
    sampling: str  # sampling options, in words
    seconds: float  # sampling time
    samples: dict[str, Scores]
    baseline: dict[str, Scores]  # baseline: n validation images
    accuracy: dict[str, float]  # of each classifier on the test split
    sha256: dict[str, str]  # of each classifier's weights file
    task: str  # of the classifiers: "classes", or "rotations" if there are fewer than two classes
    chance: dict[str, float]  # accuracy of always choosing the most frequent class or rotation
    class_names: tuple[str, ...]
    memorisation: dict[str, MemorisationCheck]  # by "pixels" and "features", those of `conv`; {} if not checked
    loss: LossReport | None = None  # the model's loss beside the least possible one
    no_loss: str = ""  # why not, as the end of a sentence


def evaluate(
    model: LoadedModel,
    n: int = N,
    *,
    steps: int | None = None,
    seed: int = 0,
    cas: bool = False,
    data_root: str | Path | None = None,
    limit: int | None = None,
    data: tuple[LabeledImages, LabeledImages] | None = None,
    **options: Unpack[SamplingOptions],
) -> Generator[EvaluationProgress | Event | Evaluation, None, None]:
    """Generate samples and compare them with the model's dataset.

    Args:
        model: A model from `load_model`.
        n: Number of samples, reduced with a warning to the number of validation images, a sixth of the training images.
            Scores of different n are not comparable.
        steps: As for `sample`. Requested classes are the labels of the validation images.
        seed: Seed of the first batch; later batches use the following integers.
        cas: Also train a classifier only on the samples and test it on real images (classification accuracy score,
            Ravuri and Vinyals 2019); needs a class-conditional model.
        data_root: Folder of the dataset, as for `load_dataset`.
        limit: Use only the first images of each split.
        data: Training and test images, (N, C, H, W) uint8, and labels, (N,) int64, all -1 without classes; None: those
            of the model's dataset.
        options: As for `sample`.

    Yields:
        `EvaluationProgress` and data events; at the end one `Evaluation`.

    Raises:
        MinidiffError: The data or a classifier is not available, or an argument is out of range.
    """
    n, seed = whole_number(n, "n"), whole_number(seed, "seed")
    chosen, classes = resolve_sampling(model.config, 1, steps=steps, **options)
    _check_cas(cas, classes is not None and model.config.info.classes > 1, model.name)
    name, info = model.config.dataset, model.config.info
    if data is None:
        reference = yield from prepare(name, data_root, limit, n, info, model.config.image_options)
    else:
        reference = yield from prepare_images(name, info, *data, n)
    n = min(n, len(reference.validation.images))
    labels = None if classes is None else reference.validation.labels[:n]
    start = time.monotonic()
    parts = []
    for part in sample_uint8(model, n, labels, chosen, seed):
        parts.append(part)
        yield EvaluationProgress("sampling", sum(map(len, parts)), n)
    seconds = time.monotonic() - start
    sampling = f"{describe_sampling(chosen, model.config.path)}, seed {seed}"
    loss = yield from _loss(model, reference, limit)
    images = torch.cat(parts)
    for step in measure(images, labels, reference, model.name, sampling, seconds, cas=cas, memorisation=True):
        yield replace(step, **loss) if isinstance(step, Evaluation) else step


def _loss(
    model: LoadedModel, reference: Reference, limit: int | None
) -> Generator[EvaluationProgress, None, dict[str, Any]]:
    """The fields of an `Evaluation` on the model's loss."""
    train, used = reference.train, model.config.limit
    if reason := loss_unavailable(model):
        return {"no_loss": reason}
    if len(train.images) == limit and (used is None or used > limit):
        return {"no_loss": "--limit leaves out images that the model was trained on"}
    search = compare_losses(model, LabeledImages(train.images[:used], train.labels[:used]), reference.test)
    return {"loss": (yield from with_progress(search, "comparing the loss with the least possible one"))}


def sample_uint8(model: LoadedModel, n: int, labels: Tensor | None, chosen: Sampling, seed: int) -> Iterator[Tensor]:
    """Generate samples in batches of (B, C, H, W) uint8; batch k uses seed + k."""
    for index, done in enumerate(range(0, n, BATCH)):
        part = None if labels is None else labels[done : done + BATCH]
        *_, last = sample(model, n=min(BATCH, n - done), seed=seed + index, labels=part, **asdict(chosen))
        yield quantized(last.x)


def quick_scores(
    model: LoadedModel, n: int, reference: Reference
) -> Generator[EvaluationProgress, None, tuple[float, float | None]]:
    """Frechet distance of `n` samples and agreement with the requested classes, at the model's default options."""
    shape = SHAPES[0]
    chosen, classes = resolve_sampling(model.config, 1)
    labels = None if classes is None else reference.validation.labels[:n]
    batches: list[feature_classifiers.Classification] = []
    for part in sample_uint8(model, n, labels, chosen, 0):
        batches.extend(feature_classifiers.classify_batches(reference.classifiers[shape].net, part))
        yield EvaluationProgress("sampling", sum(len(batch.classes) for batch in batches), n)
    outputs = feature_classifiers.concatenate(batches)
    agreement = None if labels is None else _agreement(outputs, labels, reference.info)
    return frechet_distance(reference.test_outputs[shape].features, outputs.features), agreement


def measure(
    images: Tensor,
    labels: Tensor | None,
    reference: Reference,
    model: str,
    sampling: str = "",
    seconds: float = 0.0,
    *,
    cas: bool = False,
    memorisation: bool = False,
) -> Generator[EvaluationProgress | Evaluation, None, None]:
    """Evaluate images of any origin, (N, C, H, W) uint8, with the requested classes, (N,), if any.

    `memorisation` also compares them with the training images.
    """
    n = len(images)
    _check_cas(cas, labels is not None and reference.info.classes > 1, model)
    check_n(n, len(reference.validation.images), reference.name)
    samples: dict[str, Scores] = {}
    baseline: dict[str, Scores] = {}
    for shape in SHAPES:
        # One classifier trained on the samples is enough.
        with_cas = cas and shape == SHAPES[0]
        samples[shape] = yield from _scores(shape, images, labels, reference, "samples", with_cas)
        real = reference.validation
        real_images, real_labels = real.images[:n], real.labels[:n]
        baseline[shape] = yield from _scores(shape, real_images, real_labels, reference, "real images", with_cas)
    checks = (yield from _memorisation(images, reference)) if memorisation else {}
    classifiers = reference.classifiers
    yield Evaluation(
        model=model,
        dataset=reference.name,
        n=n,
        sampling=sampling,
        seconds=seconds,
        samples=samples,
        baseline=baseline,
        accuracy={shape: classifier.accuracy for shape, classifier in classifiers.items()},
        sha256={shape: classifier.sha256 for shape, classifier in classifiers.items()},
        task=classifiers[SHAPES[0]].task,
        chance={shape: classifier.chance for shape, classifier in classifiers.items()},
        class_names=reference.info.class_names,
        memorisation=checks,
    )


def _memorisation(
    images: Tensor, reference: Reference
) -> Generator[EvaluationProgress, None, dict[str, MemorisationCheck]]:
    """Compare images with the training images, in pixels and in the features of the main classifier."""
    shape = SHAPES[0]
    features = []
    for part in (images, reference.train.images):
        outputs = yield from _classified(shape, part, reference, "samples" if part is images else "training images")
        features.append(outputs.features)
    compared = {
        "pixels": (images, reference.train.images, reference.test.images),
        "features": (*features, reference.test_outputs[shape].features),
    }
    checks = {}
    for space, (samples, training, fresh) in compared.items():
        search = check_memorisation(samples, training, fresh)
        checks[space] = yield from with_progress(search, f"looking for the nearest training images in {space}")
    return checks


def _classified(
    shape: Shape, images: Tensor, reference: Reference, name: str
) -> Generator[EvaluationProgress, None, feature_classifiers.Classification]:
    batches = []
    for batch in feature_classifiers.classify_batches(reference.classifiers[shape].net, images):
        batches.append(batch)
        done = sum(len(batch.classes) for batch in batches)
        yield EvaluationProgress(f"classifying {name} ({shape})", done, len(images))
    return feature_classifiers.concatenate(batches)


def _scores(
    shape: Shape, images: Tensor, labels: Tensor | None, reference: Reference, name: str, cas: bool
) -> Generator[EvaluationProgress, None, Scores]:
    outputs = yield from _classified(shape, images, reference, name)
    real = reference.test_outputs[shape].features
    precision, recall = precision_recall(real, outputs.features)
    cas_accuracy, classes = None, reference.info.classes
    if cas and labels is not None:
        training = feature_classifiers.fit("conv", LabeledImages(images, labels), reference.info, epochs=CAS_EPOCHS)
        net = yield from with_progress(training, f"training a classifier on {name} only")
        cas_accuracy = feature_classifiers.accuracy(net, reference.test)
    return Scores(
        frechet=frechet_distance(real, outputs.features),
        kernel=kernel_distance(real, outputs.features),
        precision=precision,
        recall=recall,
        classes=tuple(torch.bincount(outputs.classes, minlength=classes).tolist()) if classes > 1 else (),
        confidence=float(outputs.confidence.mean()),
        agreement=None if labels is None else _agreement(outputs, labels, reference.info),
        cas=cas_accuracy,
    )


def _agreement(outputs: feature_classifiers.Classification, labels: Tensor, info: DatasetInfo) -> float | None:
    """Fraction of images predicted as the requested class; None if the classifier does not predict classes."""
    return float((outputs.classes == labels).double().mean()) if info.classes > 1 else None


def _check_cas(cas: bool, class_conditional: bool, model: str) -> None:
    if cas and not class_conditional:
        raise MinidiffError(f"{model} is not class-conditional, which --cas needs; leave it out")
