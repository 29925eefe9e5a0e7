"""Feature classifiers: small networks, trained on the dataset, whose features evaluate samples."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from platformdirs import user_cache_dir
from torch import Tensor, nn
from torch.nn import functional

from core.compute.seeding import CORRUPTION, SPLIT, WEIGHTS, epoch_order, generator_for, initializing
from core.compute.torch_settings import training_mode
from core.config.datasets import CLASSES
from core.data.augmentation import padded, shifted
from core.data.datasets import LabeledImages
from core.errors import CheckpointError
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

Shape = Literal["conv", "mlp"]
SHAPES: tuple[Shape, ...] = ("conv", "mlp")
FEATURES = 128
SEED = 0
VALIDATION = 6  # one in this many training images is in the validation split: 10,000 of MNIST's 60,000
MIN_ACCURACY = 0.8  # on the test split, for a classifier to be used
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY, SHIFT = 12, 128, 2e-3, 0.02, 2


class Classifier(nn.Module):
    """Classifies images, (B, 1, 28, 28) in [0, 1].

    `conv`: four convolutions, 28x28 -> 14x14 -> 7x7, and global average pooling. `mlp`: three linear layers. Both use
    batch normalization.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape: Shape = shape
        if shape == "conv":
            self.body = nn.Sequential(
                *_convolution(1, 32, kernel=5, stride=2),
                *_convolution(32, 64),
                *_convolution(64, 64, stride=2),
                *_convolution(64, FEATURES),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
        else:
            widths = (784, 256, 256, FEATURES)
            layers: list[nn.Module] = [nn.Flatten()]
            for wide, narrow in pairwise(widths):
                layers += [nn.Linear(wide, narrow, bias=False), nn.BatchNorm1d(narrow), nn.ReLU()]
            self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Inputs of the last linear layer, (B, 128)."""
        features: Tensor = self.body(x * 2 - 1)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, 10)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _convolution(wide: int, narrow: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(wide, narrow, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(narrow), nn.ReLU()


@dataclass(frozen=True)
class FeatureClassifier:
    """A trained classifier in evaluation mode, with its metadata."""

    net: Classifier
    dataset: str
    accuracy: float  # on the test split, 0 to 1
    sha256: str  # of its weights file


@dataclass(frozen=True, slots=True)
class Classification:
    """A classifier's output for a set of images."""

    features: Tensor  # (N, 128) float32
    classes: Tensor  # (N,) int64, the most probable class
    confidence: Tensor  # (N,) probability of that class


def split(n: int) -> tuple[Tensor, Tensor]:
    """Indices of the training and validation images of the classifiers; validation is a sixth of `n`."""
    order = torch.randperm(n, generator=generator_for(SEED, SPLIT, 0), device="cpu")
    return order[n // VALIDATION :], order[: n // VALIDATION]


def fit(
    shape: Shape, data: LabeledImages, *, epochs: int = EPOCHS, device: torch.device | str = "cpu"
) -> Generator[tuple[int, int], None, Classifier]:
    """Train a classifier on `data` with random shifts of up to two pixels; a pure function of images and labels.

    AdamW with a one-cycle learning rate (Smith and Topin 2017), in float32.

    Yields:
        (steps done, total steps).

    Returns:
        The classifier in evaluation mode.
    """
    device = torch.device(device)
    n = len(data.images)
    per_epoch = -(-n // BATCH)
    total = epochs * per_epoch
    with training_mode(device):
        with initializing(generator_for(SEED, WEIGHTS, SHAPES.index(shape))):
            net = Classifier(shape)
        net = net.to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total, pct_start=0.2)
        images, labels = padded(data.images, SHIFT).to(device), data.labels.to(device)
    for step in range(total):
        with training_mode(device):
            epoch, position = divmod(step, per_epoch)
            if position == 0:
                order = epoch_order(SEED, epoch, n).to(device)
            chosen = order[position * BATCH : (position + 1) * BATCH]
            if len(chosen) > 1:  # batch normalization needs two
                x = shifted(images[chosen], SHIFT, generator_for(SEED, CORRUPTION, step)).float().div_(255)
                loss = functional.cross_entropy(net(x), labels[chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call] # torch's own
                optimizer.step()
            schedule.step()
        yield step + 1, total
    net.eval()
    return net


def classify_batches(net: Classifier, images: Tensor, batch: int = 500) -> Iterator[Classification]:
    """Classify (N, 1, 28, 28) uint8 images in batches; results are on the CPU."""
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
    """Accuracy on a labelled dataset, 0 to 1."""
    return float((concatenate(classify_batches(net, data.images)).classes == data.labels).double().mean())


def get_classifier(
    shape: Shape, name: str, train: LabeledImages, test: LabeledImages
) -> Generator[tuple[int, int], None, FeatureClassifier]:
    """The classifier of a dataset: shipped, from the user's cache, or trained now (minutes on a CPU) and cached.

    Yields:
        (steps done, total steps) while it trains.

    Raises:
        CheckpointError: A weights file is damaged, or the cache cannot be written.
    """
    sha256 = images_sha256(train)
    cached = Path(user_cache_dir("minidiff")) / "classifiers" / f"{name}-{shape}-{sha256[:12]}.safetensors"
    for path in (*(home / "feature_classifiers" / f"{name}-{shape}.safetensors" for home in builtin_homes()), cached):
        if path.is_file() and (classifier := _load(path, shape, name, sha256)) is not None:
            return classifier
    indices, _ = split(len(train.images))
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)  # fails before training, not after
        net = yield from fit(shape, LabeledImages(train.images[indices], train.labels[indices]))
        write_classifier(cached, net, name, sha256, accuracy(net, test))
    except OSError as error:
        raise CheckpointError(
            f"the classifier for {name} cannot be written to {cached.parent} ({error.strerror or error}); "
            f"free some space there or set XDG_CACHE_HOME to a writable folder"
        ) from None
    written = _load(cached, shape, name, sha256)
    assert written is not None, "just written for these images"
    return written


def available_classifier(shape: Shape, name: str) -> FeatureClassifier | None:
    """The most accurate shipped or cached classifier of a dataset; None if there is none.

    Classifiers below `MIN_ACCURACY` are ignored: they were trained on few images, for an evaluation with a limit.
    """
    cached = sorted((Path(user_cache_dir("minidiff")) / "classifiers").glob(f"{name}-{shape}-*.safetensors"))
    shipped = [home / "feature_classifiers" / f"{name}-{shape}.safetensors" for home in builtin_homes()]
    loaded = [_load(path, shape, name, None) for path in (*shipped, *cached) if path.is_file()]
    usable = [classifier for classifier in loaded if classifier is not None and classifier.accuracy >= MIN_ACCURACY]
    return max(usable, key=lambda classifier: classifier.accuracy, default=None)


def classify(classifier: FeatureClassifier, images: Tensor) -> tuple[tuple[int, int], ...]:
    """The most probable class of each of (B, 1, 28, 28) uint8 images, and its probability in percent."""
    result = concatenate(classify_batches(classifier.net, images))
    percent = (round(100 * value) for value in result.confidence.tolist())
    return tuple(zip(result.classes.tolist(), percent, strict=True))


def images_sha256(data: LabeledImages) -> str:
    """SHA-256 of a dataset's images, stored with classifiers trained on them."""
    return hashlib.sha256(data.images.numpy().tobytes()).hexdigest()


def write_classifier(path: Path, net: Classifier, name: str, train_sha256: str, test_accuracy: float) -> None:
    """Write a classifier, with its metadata in the header."""
    header = {
        "format": "minidiff classifier",
        "shape": net.shape,
        "dataset": name,
        "train_images_sha256": train_sha256,
        "accuracy": f"{test_accuracy:.4f}",
        "seed": str(SEED),
        "epochs": str(EPOCHS),
        "features": f"the {FEATURES} inputs of the last linear layer",
        "torch": torch.__version__,
    }
    tensors = {key: value.contiguous() for key, value in net.state_dict().items()}
    write_atomically(path, safetensors.torch.save(tensors, header))


def _load(path: Path, shape: Shape, name: str, train_sha256: str | None) -> FeatureClassifier | None:
    """Load a classifier; None if `train_sha256` is given and differs from the file's."""
    with initializing(torch.Generator()):
        net = Classifier(shape)  # weights follow from the file
    expected = {name: TensorInfo(part.dtypes[0], part.shape) for name, part in expected_layout(net, EXACT).items()}
    try:
        check_opening(path, follow=True)
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if train_sha256 is not None and header.get("train_images_sha256") != train_sha256:
                return None
            test_accuracy = float(header["accuracy"])
            if file_tensor_infos(file) != expected or not 0 <= test_accuracy <= 1:
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
    return FeatureClassifier(net.eval().to(memory_format=torch.channels_last), name, test_accuracy, sha256)
