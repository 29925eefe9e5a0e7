"""Feature classifiers: small networks, trained on the dataset, whose features evaluate samples.

For a dataset with fewer than two classes the network classifies rotations instead, which needs no labels and whose
accuracy is measured in the same way (Gidaris et al. 2018); it only helps if the images have an upright orientation.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from platformdirs import user_cache_dir
from torch import Tensor
from torch.nn import functional

from core.compute.seeding import CORRUPTION, LABELS, SPLIT, WEIGHTS, epoch_order, generator_for, initializing
from core.compute.torch_settings import training_mode
from core.config.datasets import CLASSES, DIGITS, IMAGE_SIZE, DatasetInfo
from core.data.augmentation import padded, shifted
from core.data.datasets import LabeledImages, images_sha256
from core.errors import CheckpointError
from core.evaluation.feature_nets import FEATURES, SHAPES, Classifier, Shape, outputs, rotated, turns
from core.models.weights_layout import (
    EXACT,
    TensorInfo,
    check_finite,
    check_opening,
    expected_layout,
    file_tensor_infos,
)
from core.runs.directory import builtin_homes
from core.system.atomic_write import write_atomically

SEED = 0
# The validation split is one in this many training images, at most a number: 10,000 of MNIST's 60,000.
VALIDATION, MAX_VALIDATION = 6, 10_000
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY, SHIFT = 12, 128, 2e-3, 0.02, 2
MIN_STEPS, MAX_STEPS = 200, 5_000  # of a dataset's classifier: enough for few images, minutes for many


@dataclass(frozen=True)
class FeatureClassifier:
    """A trained classifier in evaluation mode, with its metadata."""

    net: Classifier
    dataset: str
    accuracy: float  # on the test split, 0 to 1
    sha256: str  # of its weights file
    chance: float  # accuracy on the test split of always choosing its most frequent class, 0 to 1

    @property
    def task(self) -> str:
        """What it was trained to predict: "classes" or "rotations"."""
        return "classes" if self.net.info.classes > 1 else "rotations"

    @property
    def usable(self) -> bool:
        """Whether it is accurate enough for its features and classes to mean something."""
        return self.accuracy >= min_accuracy(self.chance)


def min_accuracy(chance: float) -> float:
    """Lowest accuracy of a usable classifier: the cube root of `chance`, so that it resolves a third of the bits.

    46% for 10 equally frequent classes, 10% for 1,000, 79% for two, and 63% for the four rotations.
    """
    return math.cbrt(chance)


@dataclass(frozen=True, slots=True)
class Classification:
    """A classifier's output for a set of images."""

    features: Tensor  # (N, 128) float32
    classes: Tensor  # (N,) int64, the most probable class
    confidence: Tensor  # (N,) probability of that class


def split(n: int) -> tuple[Tensor, Tensor]:
    """Indices of the training and validation images of the classifiers.

    Validation is a sixth of `n`, at most 10,000.
    """
    order = torch.randperm(n, generator=generator_for(SEED, SPLIT, 0), device="cpu")
    validation = min(n // VALIDATION, MAX_VALIDATION)
    return order[validation:], order[:validation]


def fit(
    shape: Shape,
    data: LabeledImages,
    info: DatasetInfo = DIGITS,
    *,
    epochs: int = EPOCHS,
    device: torch.device | str = "cpu",
) -> Generator[tuple[int, int], None, Classifier]:
    """Train a classifier on `data` with random shifts of up to two pixels; a pure function of images and labels.

    AdamW with a one-cycle learning rate (Smith and Topin 2017), in float32, for at most 5,000 steps. With fewer than
    two classes each image is rotated at random, and the network predicts the rotation (Gidaris et al. 2018, eq. 2-3).

    Yields:
        (steps done, total steps).

    Returns:
        The classifier in evaluation mode.
    """
    return (
        yield from _fit(shape, data, torch.arange(len(data.images), device="cpu"), info, epochs, torch.device(device))
    )


def _fit(
    shape: Shape, data: LabeledImages, indices: Tensor, info: DatasetInfo, epochs: int, device: torch.device
) -> Generator[tuple[int, int], None, Classifier]:
    """`fit` on the images at `indices`."""
    n = len(indices)
    per_epoch = -(-n // BATCH)
    total = min(epochs * per_epoch, MAX_STEPS)
    with training_mode(device):
        with initializing(generator_for(SEED, WEIGHTS, SHAPES.index(shape))):
            net = Classifier(shape, info)
        net = net.to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total, pct_start=0.2)
    for step in range(total):
        with training_mode(device):
            epoch, position = divmod(step, per_epoch)
            if position == 0:
                order = indices[epoch_order(SEED, epoch, n)]
            chosen = order[position * BATCH : (position + 1) * BATCH]
            if len(chosen) > 1:  # batch normalization needs two
                images, labels = data.images[chosen].to(device), data.labels[chosen].to(device)
                x = shifted(padded(images, SHIFT), SHIFT, generator_for(SEED, CORRUPTION, step))
                if info.classes < 2:
                    turned = generator_for(SEED, LABELS, step)
                    labels = torch.randint(outputs(info), (len(x),), generator=turned, device="cpu")
                    x, labels = rotated(x, labels, turns(info)), labels.to(device)
                loss = functional.cross_entropy(net(x.float().div_(255)), labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call] # torch's own
                optimizer.step()
            schedule.step()
        yield step + 1, total
    net.eval()
    return net


def classify_batches(net: Classifier, images: Tensor, batch: int = 500) -> Iterator[Classification]:
    """Classify (N, C, H, W) uint8 images in batches; results are on the CPU."""
    device = next(net.parameters()).device
    for part in torch.split(images, batch):
        with torch.no_grad():
            features = net.features(part.to(device).float().div(255))
            confidence, classes = net.head(features).softmax(1).max(1)
        yield Classification(features.cpu(), classes.cpu(), confidence.cpu())


def concatenate(batches: Iterable[Classification]) -> Classification:
    """The output for several batches as one."""
    parts = list(batches)
    return Classification(
        torch.cat([part.features for part in parts]),
        torch.cat([part.classes for part in parts]),
        torch.cat([part.confidence for part in parts]),
    )


def accuracy(net: Classifier, data: LabeledImages) -> float:
    """Accuracy on a dataset, 0 to 1; for rotations, that on image i rotated by the i-th rotation, in turn."""
    images, labels = data
    if net.info.classes < 2:
        labels = torch.arange(len(images), device="cpu") % outputs(net.info)
        images = rotated(images, labels, turns(net.info))
    return float((concatenate(classify_batches(net, images)).classes == labels).double().mean())


def chance(info: DatasetInfo, data: LabeledImages) -> float:
    """Accuracy on a dataset of always choosing its most frequent class, or rotation; 0 to 1."""
    if info.classes < 2:
        return 1 / outputs(info)
    return float(torch.bincount(data.labels).max()) / len(data.labels)


def get_classifier(
    shape: Shape, name: str, train: LabeledImages, test: LabeledImages, info: DatasetInfo = DIGITS
) -> Generator[tuple[int, int], None, FeatureClassifier]:
    """The classifier of a dataset: shipped, from the user's cache, or trained now (minutes on a CPU) and cached.

    Yields:
        (steps done, total steps) while it trains.

    Raises:
        CheckpointError: A weights file is damaged, or the cache cannot be written.
    """
    digests = data_digests(train, info)
    cached = _cache() / f"{_file_name(name)}-{shape}-{digests.all[:12]}.safetensors"
    for path in (*_shipped(shape, name), cached):
        if path.is_file() and (classifier := _load(path, shape, name, info, digests)) is not None:
            return classifier
    indices, _ = split(len(train.images))
    epochs = max(EPOCHS, -(-MIN_STEPS // -(-len(indices) // BATCH)))
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)  # fails before training, not after
        net = yield from _fit(shape, train, indices, info, epochs, torch.device("cpu"))
        write_classifier(cached, net, name, digests, accuracy(net, test), chance(info, test))
    except OSError as error:
        raise CheckpointError(
            f"the classifier for {name} cannot be written to {cached.parent} ({error.strerror or error}); "
            f"free some space there or set XDG_CACHE_HOME to a writable folder"
        ) from None
    written = _load(cached, shape, name, info, digests)
    assert written is not None, "just written for these images"
    return written


def available_classifier(shape: Shape, name: str, info: DatasetInfo = DIGITS) -> FeatureClassifier | None:
    """The most accurate usable classifier of a dataset's classes that is shipped or cached; None if there is none.

    Classifiers below `min_accuracy` are ignored: they were trained on few images, for an evaluation with a limit.
    """
    if info.classes < 2:
        return None
    cached = sorted(_cache().glob(f"{_file_name(name)}-{shape}-*.safetensors"))
    paths = [path for path in (*_shipped(shape, name), *cached) if path.is_file()]
    loaded = [_load(path, shape, name, info, None) for path in paths]
    usable = [classifier for classifier in loaded if classifier is not None and classifier.usable]
    return max(usable, key=lambda classifier: classifier.accuracy, default=None)


def _cache() -> Path:
    return Path(user_cache_dir("minidiff")) / "classifiers"


def _shipped(shape: Shape, name: str) -> list[Path]:
    """Where a shipped classifier would be."""
    return [home / "feature_classifiers" / f"{_file_name(name)}-{shape}.safetensors" for home in builtin_homes()]


def _file_name(name: str) -> str:
    """A dataset's name for use in a file name; that of a path is its last part."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", Path(name).name)[:40] or "data"


def classify(classifier: FeatureClassifier, images: Tensor) -> tuple[tuple[int, int], ...]:
    """The most probable class of each of (B, C, H, W) uint8 images, and its probability in percent."""
    result = concatenate(classify_batches(classifier.net, images))
    percent = (round(100 * value) for value in result.confidence.tolist())
    return tuple(zip(result.classes.tolist(), percent, strict=True))


class DataDigests(NamedTuple):
    """SHA-256 of a dataset's images, and of everything that a classifier depends on."""

    images: str
    all: str  # images, labels, shape and classes


def data_digests(data: LabeledImages, info: DatasetInfo) -> DataDigests:
    """The digests of a dataset's training images."""
    images = images_sha256(data)
    everything = hashlib.sha256(images.encode() + info.to_json().encode())
    everything.update(data.labels.contiguous().numpy().data)
    return DataDigests(images, everything.hexdigest())


def write_classifier(
    path: Path, net: Classifier, name: str, digests: DataDigests, test_accuracy: float, test_chance: float
) -> None:
    """Write a classifier, with its metadata in the header."""
    header = {
        "format": "minidiff classifier",
        "shape": net.shape,
        "dataset": name,
        "info": net.info.to_json(),
        "train_images_sha256": digests.images,
        "data_sha256": digests.all,
        "accuracy": f"{test_accuracy:.4f}",
        "chance": f"{test_chance:.4f}",
        "seed": str(SEED),
        "epochs": str(EPOCHS),
        "features": f"the {FEATURES} inputs of the last linear layer",
        "torch": torch.__version__,
    }
    tensors = {key: value.contiguous() for key, value in net.state_dict().items()}
    write_atomically(path, safetensors.torch.save(tensors, header))


def _load(
    path: Path, shape: Shape, name: str, info: DatasetInfo, digests: DataDigests | None
) -> FeatureClassifier | None:
    """Load a classifier; None if it is of another dataset, or does not have `digests`, if given."""
    with initializing(torch.Generator()):
        net = Classifier(shape, info)  # weights follow from the file
    expected = {name: TensorInfo(part.dtypes[0], part.shape) for name, part in expected_layout(net, EXACT).items()}
    try:
        check_opening(path, follow=True)
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if not _matches(header, name, info, digests):
                return None
            test_accuracy = float(header["accuracy"])
            by_chance = float(header.get("chance", 1 / outputs(info)))
            if file_tensor_infos(file) != expected or not 0 <= test_accuracy <= 1 or not 0 < by_chance <= 1:
                raise ValueError(f"it lacks the weights or the accuracy of a {shape} classifier")
            with torch.device("cpu"):
                tensors = {key: file.get_tensor(key) for key in expected}
        check_finite(path, tensors)
        with torch.inference_mode(False):
            net.load_state_dict(tensors)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, safetensors.SafetensorError, CheckpointError, KeyError, ValueError) as error:
        first, *_ = [*str(error).splitlines(), type(error).__name__]
        raise CheckpointError(f"{path} is not a usable classifier ({first}); delete or replace it") from None
    net = net.eval().to(memory_format=torch.channels_last)
    return FeatureClassifier(net, name, test_accuracy, sha256, by_chance)


def _matches(header: dict[str, str], name: str, info: DatasetInfo, digests: DataDigests | None) -> bool:
    """Whether a file's header is of this dataset. The earliest files lack `info` and `data_sha256`."""
    if header.get("dataset", name) != name:
        return False
    if "info" not in header:
        like_digits = (info.shape, info.classes) == ((1, IMAGE_SIZE, IMAGE_SIZE), CLASSES)
        return like_digits and (digests is None or header.get("train_images_sha256") == digests.images)
    same_data = digests is None or header.get("data_sha256") == digests.all
    return same_data and header["info"] == info.to_json()
