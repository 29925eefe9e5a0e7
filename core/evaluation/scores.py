"""Evaluation: distance of a model's samples to real images, beside the baseline of real images."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Unpack

import torch
from torch import Tensor

from core.config.datasets import CLASSES, ImageOptions
from core.config.numbers import whole_number
from core.config.sampling import Sampling, SamplingOptions, describe_sampling, resolve_sampling
from core.data import datasets
from core.data.datasets import LabeledImages
from core.diffusion.frames import quantized
from core.diffusion.sampling import sample
from core.errors import MinidiffError
from core.evaluation import feature_classifiers
from core.evaluation.distances import frechet_distance, kernel_distance, precision_recall
from core.generators import WithResult
from core.runs.events import Warned

if TYPE_CHECKING:
    from core.diffusion.loaded_model import LoadedModel
    from core.runs.events import Event

T = TypeVar("T")
N = 10_000
BATCH = 250
CAS_EPOCHS = 20


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """Progress of the current stage of an evaluation."""

    doing: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a set of images, by one classifier, against the test split."""

    frechet: float  # lower is better
    kernel: float  # KID; lower is better, about 0 for real images
    precision: float  # fraction of the images in the manifold of the real ones
    recall: float  # fraction of the real ones in the manifold of the images
    classes: tuple[int, ...]  # images per predicted class
    confidence: float  # mean probability of the predicted class
    agreement: float | None  # fraction predicted as the requested class; None for an unconditional model
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


@dataclass(frozen=True)
class Reference:
    """Real images to compare samples with, and the classifiers."""

    name: str
    test: LabeledImages
    validation: LabeledImages
    classifiers: dict[feature_classifiers.Shape, feature_classifiers.FeatureClassifier]
    test_outputs: dict[feature_classifiers.Shape, feature_classifiers.Classification]  # for the test split


def evaluate(
    model: LoadedModel,
    n: int = N,
    *,
    steps: int | None = None,
    seed: int = 0,
    cas: bool = False,
    data_root: str | Path | None = None,
    limit: int | None = None,
    **options: Unpack[SamplingOptions],
) -> Generator[EvaluationProgress | Event | Evaluation, None, None]:
    """Generate samples and compare them with the model's dataset.

    Args:
        model: A model from `load_model`.
        n: Number of samples, at most the number of validation images. Scores of different n are not comparable.
        steps: As for `sample`. Requested classes are the labels of the validation images.
        seed: Seed of the first batch; later batches use the following integers.
        cas: Also train a classifier only on the samples and test it on real images (classification accuracy score,
            Ravuri and Vinyals 2019); needs a class-conditional model.
        data_root: Folder of the dataset, as for `load_dataset`.
        limit: Use only the first images of each split.
        options: As for `sample`.

    Yields:
        `EvaluationProgress` and data events; at the end one `Evaluation`.

    Raises:
        MinidiffError: The data or a classifier is not available, or an argument is out of range.
    """
    n, seed = whole_number(n, "n"), whole_number(seed, "seed")
    chosen, classes = resolve_sampling(model.config, 1, steps=steps, **options)
    _check_cas(cas, classes is not None, model.name)
    reference = yield from prepare(model.config.dataset, data_root, limit, n, options=model.config.image_options)
    labels = None if classes is None else reference.validation.labels[:n]
    start = time.monotonic()
    parts = []
    for part in sample_uint8(model, n, labels, chosen, seed):
        parts.append(part)
        yield EvaluationProgress("sampling", sum(map(len, parts)), n)
    seconds = time.monotonic() - start
    sampling = f"{describe_sampling(chosen, model.config.path)}, seed {seed}"
    yield from measure(torch.cat(parts), labels, reference, model.name, sampling, seconds, cas=cas)


def sample_uint8(model: LoadedModel, n: int, labels: Tensor | None, chosen: Sampling, seed: int) -> Iterator[Tensor]:
    """Generate samples in batches of (B, 1, 28, 28) uint8; batch k uses seed + k."""
    for index, done in enumerate(range(0, n, BATCH)):
        part = None if labels is None else labels[done : done + BATCH]
        *_, last = sample(model, n=min(BATCH, n - done), seed=seed + index, labels=part, **asdict(chosen))
        yield quantized(last.x)


def quick_scores(
    model: LoadedModel, n: int, reference: Reference
) -> Generator[EvaluationProgress, None, tuple[float, float | None]]:
    """Frechet distance of `n` samples and agreement with the requested classes, at the model's default options."""
    shape = feature_classifiers.SHAPES[0]
    chosen, classes = resolve_sampling(model.config, 1)
    labels = None if classes is None else reference.validation.labels[:n]
    batches: list[feature_classifiers.Classification] = []
    for part in sample_uint8(model, n, labels, chosen, 0):
        batches.extend(feature_classifiers.classify_batches(reference.classifiers[shape].net, part))
        yield EvaluationProgress("sampling", sum(len(batch.classes) for batch in batches), n)
    outputs = feature_classifiers.concatenate(batches)
    agreement = None if labels is None else float((outputs.classes == labels).double().mean())
    return frechet_distance(reference.test_outputs[shape].features, outputs.features), agreement


def prepare(
    name: str,
    root: str | Path | None = None,
    limit: int | None = None,
    n: int | None = None,
    *,
    options: ImageOptions = ImageOptions(),  # noqa: B008 - immutable
) -> Generator[EvaluationProgress | Event, None, Reference]:
    """Load the dataset and its classifiers, training missing ones.

    Raises:
        MinidiffError: The dataset is not available, or `n` exceeds its validation images (checked before training).
    """
    located = yield from datasets.locate(name, root, limit=limit, options=options)
    train, test = datasets.read(located, "train", limit), datasets.read(located, "test", limit)
    _, validation = feature_classifiers.split(len(train.images))
    if n is not None:
        _check_n(n, len(validation), located.name)
    classifiers: dict[feature_classifiers.Shape, feature_classifiers.FeatureClassifier] = {}
    outputs: dict[feature_classifiers.Shape, feature_classifiers.Classification] = {}
    for shape in feature_classifiers.SHAPES:
        training = feature_classifiers.get_classifier(shape, located.name, train, test)
        classifiers[shape] = yield from _progress(training, f"training the {shape} classifier for {located.name}")
        if classifiers[shape].accuracy < feature_classifiers.MIN_ACCURACY:
            yield Warned(
                message=f"the {shape} classifier for {located.name}, trained on "
                f"{len(train.images) - len(validation):,} images, has a test accuracy of only "
                f"{classifiers[shape].accuracy:.1%}; "
                "its scores mean little: evaluate with more images (--limit)"
            )
        batches = feature_classifiers.classify_batches(classifiers[shape].net, test.images)
        outputs[shape] = feature_classifiers.concatenate(batches)
    real = LabeledImages(train.images[validation], train.labels[validation])
    return Reference(located.name, test, real, classifiers, outputs)


def measure(
    images: Tensor,
    labels: Tensor | None,
    reference: Reference,
    model: str,
    sampling: str = "",
    seconds: float = 0.0,
    *,
    cas: bool = False,
) -> Generator[EvaluationProgress | Evaluation, None, None]:
    """Evaluate images of any origin, (N, 1, 28, 28) uint8, with the requested classes, (N,), if any."""
    n = len(images)
    _check_cas(cas, labels is not None, model)
    _check_n(n, len(reference.validation.images), reference.name)
    samples: dict[str, Scores] = {}
    baseline: dict[str, Scores] = {}
    for shape in feature_classifiers.SHAPES:
        # One classifier trained on the samples is enough.
        with_cas = cas and shape == feature_classifiers.SHAPES[0]
        samples[shape] = yield from _scores(shape, images, labels, reference, "samples", with_cas)
        real = reference.validation
        real_images, real_labels = real.images[:n], real.labels[:n]
        baseline[shape] = yield from _scores(shape, real_images, real_labels, reference, "real images", with_cas)
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
    )


def _scores(
    shape: feature_classifiers.Shape, images: Tensor, labels: Tensor | None, reference: Reference, name: str, cas: bool
) -> Generator[EvaluationProgress, None, Scores]:
    batches = []
    for batch in feature_classifiers.classify_batches(reference.classifiers[shape].net, images):
        batches.append(batch)
        done = sum(len(batch.classes) for batch in batches)
        yield EvaluationProgress(f"classifying {name} ({shape})", done, len(images))
    outputs = feature_classifiers.concatenate(batches)
    real = reference.test_outputs[shape].features
    precision, recall = precision_recall(real, outputs.features)
    cas_accuracy = None
    if cas and labels is not None:
        training = feature_classifiers.fit("conv", LabeledImages(images, labels), epochs=CAS_EPOCHS)
        net = yield from _progress(training, f"training a classifier on {name} only")
        cas_accuracy = feature_classifiers.accuracy(net, reference.test)
    return Scores(
        frechet=frechet_distance(real, outputs.features),
        kernel=kernel_distance(real, outputs.features),
        precision=precision,
        recall=recall,
        classes=tuple(torch.bincount(outputs.classes, minlength=CLASSES).tolist()),
        confidence=float(outputs.confidence.mean()),
        agreement=None if labels is None else float((outputs.classes == labels).double().mean()),
        cas=cas_accuracy,
    )


def _progress(training: Generator[tuple[int, int], None, T], doing: str) -> Generator[EvaluationProgress, None, T]:
    """Convert the steps of a classifier's training to `EvaluationProgress`."""
    steps = WithResult(training)
    for done, total in steps:
        yield EvaluationProgress(doing, done, total)
    return steps.result


def _check_cas(cas: bool, class_conditional: bool, model: str) -> None:
    if cas and not class_conditional:
        raise MinidiffError(f"{model} is not class-conditional, which --cas needs; leave it out")


def _check_n(n: int, maximum: int, name: str) -> None:
    if not 2 <= n <= maximum:
        raise MinidiffError(f"n must be from 2 to {maximum:,}, the number of validation images of {name}, not {n:,}")
