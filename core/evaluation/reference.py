"""What samples are compared with: a dataset's real images, and its feature classifiers."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.config.datasets import INFO, DatasetInfo, ImageOptions
from core.data import datasets
from core.data.datasets import LabeledImages
from core.errors import MinidiffError
from core.evaluation import feature_classifiers
from core.evaluation.feature_nets import SHAPES, Shape
from core.generators import WithResult
from core.runs.events import Warned

if TYPE_CHECKING:
    from core.runs.events import Event

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """Progress of the current stage of an evaluation."""

    doing: str
    done: int
    total: int  # 0: not known


@dataclass(frozen=True)
class Reference:
    """Real images to compare samples with, and the classifiers."""

    name: str
    info: DatasetInfo
    train: LabeledImages
    test: LabeledImages
    validation: LabeledImages  # part of the training images that the classifiers were not trained on
    classifiers: dict[Shape, feature_classifiers.FeatureClassifier]
    test_outputs: dict[Shape, feature_classifiers.Classification]  # for the test split


def prepare(
    name: str,
    root: str | Path | None = None,
    limit: int | None = None,
    n: int | None = None,
    info: DatasetInfo | None = None,
    options: ImageOptions = ImageOptions(),  # noqa: B008 - immutable
) -> Generator[EvaluationProgress | Event, None, Reference]:
    """Load the dataset and its classifiers, training missing ones; `info` is needed unless the dataset is built in.

    Raises:
        MinidiffError: The dataset is not available, or has too few images (checked before training).
    """
    located = yield from datasets.locate(name, root, limit=limit, options=options)
    train, test = datasets.read(located, "train", limit), datasets.read(located, "test", limit)
    return (
        yield from prepare_images(located.name, info or INFO[located.name], train, test, n, limited=limit is not None)
    )


def prepare_images(
    name: str, info: DatasetInfo, train: LabeledImages, test: LabeledImages, n: int | None = None, limited: bool = False
) -> Generator[EvaluationProgress | Event, None, Reference]:
    """`prepare` for images in memory; warns if `n` exceeds the number of validation images."""
    training, validation = feature_classifiers.split(len(train.images))
    if min(len(validation), len(test.images)) < 2:
        raise MinidiffError(
            f"{name} has {len(train.images):,} training and {len(test.images):,} test images; an evaluation needs at "
            f"least {2 * feature_classifiers.VALIDATION} and 2"
        )
    if n is not None and n > len(validation):
        yield Warned(
            message=f"n is {len(validation):,} instead of {n:,}: {name} has {len(train.images):,} training images, and "
            "the real-vs-real baseline needs n that no classifier was trained on"
        )
    check_n(len(validation) if n is None else min(n, len(validation)), len(validation), name)
    classifiers: dict[Shape, feature_classifiers.FeatureClassifier] = {}
    outputs: dict[Shape, feature_classifiers.Classification] = {}
    for shape in SHAPES:
        fitting = feature_classifiers.get_classifier(shape, name, train, test, info)
        classifiers[shape] = yield from with_progress(fitting, f"training the {shape} classifier for {name}")
        if not classifiers[shape].usable:
            yield Warned(message=_too_inaccurate(shape, classifiers[shape], len(training), limited))
        batches = feature_classifiers.classify_batches(classifiers[shape].net, test.images)
        outputs[shape] = feature_classifiers.concatenate(batches)
    real = LabeledImages(train.images[validation], train.labels[validation])
    return Reference(name, info, train, test, real, classifiers, outputs)


def _too_inaccurate(shape: Shape, classifier: feature_classifiers.FeatureClassifier, images: int, limited: bool) -> str:
    needed = feature_classifiers.min_accuracy(classifier.chance)
    advice = ": evaluate with more images (--limit)" if limited else ""
    return (
        f"the {shape} classifier for {classifier.dataset}, trained on {images:,} images, has a test accuracy of only "
        f"{classifier.accuracy:.1%} for {classifier.task}, where chance is {classifier.chance:.1%} and {needed:.1%} is "
        f"needed; its scores are not reliable{advice}"
    )


def with_progress(training: Generator[tuple[int, int], None, T], doing: str) -> Generator[EvaluationProgress, None, T]:
    """Convert the steps of a computation to `EvaluationProgress`."""
    steps = WithResult(training)
    for done, total in steps:
        yield EvaluationProgress(doing, done, total)
    return steps.result


def check_n(n: int, maximum: int, name: str) -> None:
    """Check the number of samples.

    Raises:
        MinidiffError: It is not from 2 to `maximum`.
    """
    if not 2 <= n <= maximum:
        raise MinidiffError(f"n must be from 2 to {maximum:,}, the number of validation images of {name}, not {n:,}")
