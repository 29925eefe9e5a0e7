"""Evaluation: how far a model's samples are from real images, beside how far real images are from one another."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Unpack

import torch
from torch import Tensor

from core.config.datasets import CLASSES
from core.config.numbers import whole_number
from core.config.sampling import Sampling, SamplingOptions, describe_sampling, resolve_sampling
from core.data import datasets
from core.data.datasets import Dataset
from core.diffusion.frames import quantized
from core.diffusion.sampling import sample
from core.errors import MinidiffError
from core.evaluation import feature_classifiers
from core.evaluation.distances import frechet_distance, kernel_distance, precision_recall
from core.runs.events import Warned

if TYPE_CHECKING:
    from core.diffusion.loaded_model import LoadedModel
    from core.runs.events import Event

T = TypeVar("T")
N = 10_000
BATCH = 250
CAS_EPOCHS = 20


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far an evaluation has come in what it does now."""

    doing: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Scores:
    """One set of images as one classifier sees it, against the test split."""

    frechet: float  # 0 is best
    kernel: float  # KID, around 0 is best
    precision: float  # share of the images that lie among the real ones
    recall: float  # share of the real ones that lie among the images
    classes: tuple[int, ...]  # how many images it takes for each class
    confidence: float  # its mean probability of the class it sees
    agreement: float | None  # share that it takes for the class asked for; None if none was asked
    cas: float | None  # accuracy on the test split of a classifier trained on these images alone


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found, by classifier: `conv`, whose figures are the headline, and `mlp`, which no tuning looks at."""

    model: str
    dataset: str
    n: int
    sampling: str  # how the samples were drawn, in words
    seconds: float  # that drawing them took
    samples: dict[str, Scores]
    floor: dict[str, Scores]  # the same of n training images that the classifiers never saw
    accuracy: dict[str, float]  # of each classifier on the test split
    sha256: dict[str, str]  # of each classifier's weights file


@dataclass(frozen=True)
class Reference:
    """The real images that samples are held against, and the classifiers that look at them."""

    name: str
    test: Dataset
    validation: Dataset
    classifiers: dict[feature_classifiers.Shape, feature_classifiers.FeatureClassifier]
    seen: dict[
        feature_classifiers.Shape, feature_classifiers.Classification
    ]  # what each classifier sees in the test split


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
) -> Generator[Progressed | Event | Evaluation, None, None]:
    """Draw `n` samples from a model and measure them on the data set that it learned.

    Args:
        model: what `load_model` gives.
        n: how many samples; figures of different n do not compare, and n must not exceed the validation images.
        steps: from noise to image, as for `sample`; the classes asked for are those of the validation images.
        seed: of the first batch of samples; the next ones follow it.
        cas: also train a classifier on the samples alone and test it on real images (Ravuri and Vinyals 2019); this
            needs a model that is asked for classes.
        data_root: where the data set lies, as for `load_dataset`.
        limit: use only the first images of each split.
        options: as for `sample`.

    Yields:
        `Progressed` and the events of finding the data; at the end one `Evaluation`.

    Raises:
        MinidiffError: the data or a classifier cannot be had, or n is out of range.
    """
    n, seed = whole_number(n, "n"), whole_number(seed, "seed")
    chosen, classes = resolve_sampling(model.config, 1, steps=steps, **options)
    _check_cas(cas, classes is not None, model.name)
    reference = yield from prepare(model.config.dataset, data_root, limit, n)
    asked = None if classes is None else reference.validation.labels[:n]
    began = time.monotonic()
    parts = []
    for part in drawn(model, n, asked, chosen, seed):
        parts.append(part)
        yield Progressed("sampling", sum(map(len, parts)), n)
    seconds = time.monotonic() - began
    sampling = f"{describe_sampling(chosen, model.config.path)}, seed {seed}"
    yield from measure(torch.cat(parts), asked, reference, model.name, sampling, seconds, cas=cas)


def drawn(model: LoadedModel, n: int, asked: Tensor | None, chosen: Sampling, seed: int) -> Iterator[Tensor]:
    """Samples as (B, 1, 28, 28) uint8, a batch at a time; batch k is drawn with seed + k."""
    for index, done in enumerate(range(0, n, BATCH)):
        labels = None if asked is None else asked[done : done + BATCH]
        *_, last = sample(model, n=min(BATCH, n - done), seed=seed + index, labels=labels, **asdict(chosen))
        yield quantized(last.x)


def quick_scores(
    model: LoadedModel, n: int, reference: Reference
) -> Generator[Progressed, None, tuple[float, float | None]]:
    """The Frechet distance of `n` samples and their agreement with the classes asked for, at the model's defaults."""
    shape = feature_classifiers.SHAPES[0]
    chosen, classes = resolve_sampling(model.config, 1)
    asked = None if classes is None else reference.validation.labels[:n]
    classify: list[feature_classifiers.Classification] = []
    for part in drawn(model, n, asked, chosen, 0):
        classify.extend(feature_classifiers.read(reference.classifiers[shape].net, part))
        yield Progressed("sampling", sum(len(one.classes) for one in classify), n)
    reading = feature_classifiers.joined(iter(classify))
    agreement = None if asked is None else float((reading.classes == asked).double().mean())
    return frechet_distance(reference.seen[shape].features, reading.features), agreement


def prepare(
    name: str, root: str | Path | None = None, limit: int | None = None, n: int | None = None
) -> Generator[Progressed | Event, None, Reference]:
    """Find the data set and its classifiers, training those that are nowhere yet.

    Raises MinidiffError, before any training, if `n` samples are more than its validation images.
    """
    located = yield from datasets.locate(name, root, limit=limit)
    train, test = datasets.read(located, "train", limit), datasets.read(located, "test", limit)
    _, validation = feature_classifiers.split(len(train.images))
    if n is not None:
        _check_n(n, len(validation), located.name)
    classifiers: dict[feature_classifiers.Shape, feature_classifiers.FeatureClassifier] = {}
    seen: dict[feature_classifiers.Shape, feature_classifiers.Classification] = {}
    for shape in feature_classifiers.SHAPES:
        fitting = feature_classifiers.get_classifier(shape, located.name, train, test)
        classifiers[shape] = yield from _progress(fitting, f"training the {shape} classifier for {located.name}")
        if classifiers[shape].accuracy < feature_classifiers.MIN_ACCURACY:
            yield Warned(
                message=f"the {shape} classifier for {located.name}, trained on "
                f"{len(train.images) - len(validation):,} images, is right on only "
                f"{classifiers[shape].accuracy:.1%} of the test images; "
                "its scores mean little: evaluate with more images (--limit)"
            )
        seen[shape] = feature_classifiers.joined(feature_classifiers.read(classifiers[shape].net, test.images))
    held = Dataset(train.images[validation], train.labels[validation])
    return Reference(located.name, test, held, classifiers, seen)


def measure(
    images: Tensor,
    asked: Tensor | None,
    reference: Reference,
    model: str,
    sampling: str = "",
    seconds: float = 0.0,
    *,
    cas: bool = False,
) -> Generator[Progressed | Evaluation, None, None]:
    """Measure images from anywhere, (N, 1, 28, 28) uint8, with the classes they were asked for, (N,), if any."""
    n = len(images)
    _check_cas(cas, asked is not None, model)
    _check_n(n, len(reference.validation.images), reference.name)
    samples: dict[str, Scores] = {}
    floor: dict[str, Scores] = {}
    for shape in feature_classifiers.SHAPES:
        # The second classifier repeats the headline, not the training of another one on samples.
        again = cas and shape == feature_classifiers.SHAPES[0]
        samples[shape] = yield from _scores(shape, images, asked, reference, "samples", again)
        real = reference.validation
        floor[shape] = yield from _scores(shape, real.images[:n], real.labels[:n], reference, "real images", again)
    classifiers = reference.classifiers
    yield Evaluation(
        model=model,
        dataset=reference.name,
        n=n,
        sampling=sampling,
        seconds=seconds,
        samples=samples,
        floor=floor,
        accuracy={shape: classifier.accuracy for shape, classifier in classifiers.items()},
        sha256={shape: classifier.sha256 for shape, classifier in classifiers.items()},
    )


def _scores(
    shape: feature_classifiers.Shape, images: Tensor, asked: Tensor | None, reference: Reference, what: str, cas: bool
) -> Generator[Progressed, None, Scores]:
    parts = []
    for part in feature_classifiers.read(reference.classifiers[shape].net, images):
        parts.append(part)
        yield Progressed(f"reading {what} ({shape})", sum(len(part.classes) for part in parts), len(images))
    reading = feature_classifiers.joined(iter(parts))
    real = reference.seen[shape].features
    precision, recall = precision_recall(real, reading.features)
    right = None
    if cas and asked is not None:
        fitting = feature_classifiers.fit("conv", Dataset(images, asked), epochs=CAS_EPOCHS)
        net = yield from _progress(fitting, f"training a classifier on {what} alone")
        right = feature_classifiers.accuracy(net, reference.test)
    return Scores(
        frechet=frechet_distance(real, reading.features),
        kernel=kernel_distance(real, reading.features),
        precision=precision,
        recall=recall,
        classes=tuple(torch.bincount(reading.classes, minlength=CLASSES).tolist()),
        confidence=float(reading.confidence.mean()),
        agreement=None if asked is None else float((reading.classes == asked).double().mean()),
        cas=right,
    )


def _progress(fitting: Generator[tuple[int, int], None, T], doing: str) -> Generator[Progressed, None, T]:
    """The steps of a classifier's training as progress."""
    while True:
        try:
            done, total = next(fitting)
        except StopIteration as end:
            result: T = end.value
            return result
        yield Progressed(doing, done, total)


def _check_cas(cas: bool, asked: bool, model: str) -> None:
    if cas and not asked:
        raise MinidiffError(f"{model} is not asked for classes, and --cas learns them from its samples; leave it out")


def _check_n(n: int, most: int, name: str) -> None:
    if not 2 <= n <= most:
        raise MinidiffError(f"n must lie between 2 and {most:,}, the real images held out of {name}, not {n:,}")
