"""Feature classifiers: small networks trained on a data set's own images, whose features samples are measured in."""

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
from core.compute.torch_settings import own_modes
from core.config.datasets import CLASSES
from core.data.augmentation import padded, shifted
from core.data.datasets import Dataset
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
FEATURES = 128  # of either shape
SEED = 0
VALIDATION = 6  # a sixth of the training images is never shown to a classifier: 10,000 of MNIST's 60,000
MIN_ACCURACY = 0.8  # of the test split that a classifier must read right to be worth asking
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY, SHIFT = 12, 128, 2e-3, 0.02, 2


class Classifier(nn.Module):
    """Logits from `forward`; `features` gives what the last linear layer sees, (B, 128), for (B, 1, 28, 28) in [0, 1].

    `conv`: four convolutions, 28x28 -> 14x14 -> 7x7, and the mean over the 7x7 places. `mlp`: three linear layers on
    the pixels. Both normalise with the batch's statistics, so that few epochs are enough.
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
        """What the last layer sees: (B, 128)."""
        found: Tensor = self.body(x * 2 - 1)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, 10)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _convolution(wide: int, narrow: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(wide, narrow, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(narrow), nn.ReLU()


@dataclass(frozen=True)
class FeatureClassifier:
    """A trained classifier in evaluation mode, and what is known of it."""

    net: Classifier
    dataset: str
    accuracy: float  # share of the test split that it reads right
    sha256: str  # of its weights file


@dataclass(frozen=True, slots=True)
class Classification:
    """What a classifier sees in a set of images."""

    features: Tensor  # (N, 128) float32
    classes: Tensor  # (N,) int64, the class it takes each image for
    confidence: Tensor  # (N,) its probability of that class


def split(n: int) -> tuple[Tensor, Tensor]:
    """Positions of the training images that classifiers learn from, and of the sixth that is held out from them."""
    order = torch.randperm(n, generator=generator_for(SEED, SPLIT, 0), device="cpu")
    return order[n // VALIDATION :], order[: n // VALIDATION]


def fit(
    shape: Shape, data: Dataset, *, epochs: int = EPOCHS, device: torch.device | str = "cpu"
) -> Generator[tuple[int, int], None, Classifier]:
    """Train a classifier on all of `data`, shifted by up to two pixels; yields (steps done, of) and returns it.

    AdamW with a one-cycle learning rate (Smith and Topin 2017), float32, a pure function of the images and labels.
    """
    device = torch.device(device)
    n = len(data.images)
    per_epoch = -(-n // BATCH)
    total = epochs * per_epoch
    with own_modes(device):
        with initializing(generator_for(SEED, WEIGHTS, SHAPES.index(shape))):
            net = Classifier(shape)
        net = net.to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total, pct_start=0.2)
        images, labels = padded(data.images, SHIFT).to(device), data.labels.to(device)
    for step in range(total):
        with own_modes(device):
            epoch, position = divmod(step, per_epoch)
            if position == 0:
                order = epoch_order(SEED, epoch, n).to(device)
            chosen = order[position * BATCH : (position + 1) * BATCH]
            if len(chosen) > 1:  # a batch of one has no statistics
                x = shifted(images[chosen], SHIFT, generator_for(SEED, CORRUPTION, step)).float().div_(255)
                loss = functional.cross_entropy(net(x), labels[chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call] # torch's own
                optimizer.step()
            pace.step()
        yield step + 1, total
    net.eval()
    return net


def read(net: Classifier, images: Tensor, batch: int = 500) -> Iterator[Classification]:
    """What the classifier sees in (N, 1, 28, 28) uint8 images, a batch at a time, on the CPU."""
    device = next(net.parameters()).device
    for part in torch.split(images, batch):
        with torch.no_grad():
            features = net.features(part.to(device).float().div(255))
            likely, classes = net.head(features).softmax(1).max(1)
        yield Classification(features.cpu(), classes.cpu(), likely.cpu())


def joined(classify: Iterable[Classification]) -> Classification:
    """The readings of several batches as one."""
    parts = list(classify)
    return Classification(
        torch.cat([part.features for part in parts]),
        torch.cat([part.classes for part in parts]),
        torch.cat([part.confidence for part in parts]),
    )


def accuracy(net: Classifier, data: Dataset) -> float:
    """The share of images that the classifier reads as labelled."""
    return float((joined(read(net, data.images)).classes == data.labels).double().mean())


def get_classifier(
    shape: Shape, name: str, train: Dataset, test: Dataset
) -> Generator[tuple[int, int], None, FeatureClassifier]:
    """The classifier for a data set: shipped, from the user's cache, or trained now and kept there.

    Yields (steps done, of) while it trains, minutes on a CPU.

    Raises:
        CheckpointError: a weights file is damaged, or the cache cannot be written; the text names it.
    """
    seen = images_sha256(train)
    kept = Path(user_cache_dir("minidiff")) / "classifiers" / f"{name}-{shape}-{seen[:12]}.safetensors"
    for path in (*(home / "feature_classifiers" / f"{name}-{shape}.safetensors" for home in builtin_homes()), kept):
        if path.is_file() and (found := _load(path, shape, name, seen)) is not None:
            return found
    learned, _ = split(len(train.images))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)  # before minutes are spent in vain
        net = yield from fit(shape, Dataset(train.images[learned], train.labels[learned]))
        write_classifier(kept, net, name, seen, accuracy(net, test))
    except OSError as error:
        raise CheckpointError(
            f"the classifier for {name} cannot be kept in {kept.parent} ({error.strerror or error}); "
            f"free some space there or point XDG_CACHE_HOME at a folder you can write"
        ) from None
    written = _load(kept, shape, name, seen)
    assert written is not None, "what was just written for these images is theirs"
    return written


def available_classifier(shape: Shape, name: str) -> FeatureClassifier | None:
    """The most accurate classifier for a data set that ships or was trained before.

    None where there is none, or where none reads at least `MIN_ACCURACY` of the test images right: one trained on few
    images, for an evaluation with a limit, would call digits by the wrong names.
    """
    cached = sorted((Path(user_cache_dir("minidiff")) / "classifiers").glob(f"{name}-{shape}-*.safetensors"))
    shipped = [home / "feature_classifiers" / f"{name}-{shape}.safetensors" for home in builtin_homes()]
    found = [_load(path, shape, name, None) for path in (*shipped, *cached) if path.is_file()]
    good = [classifier for classifier in found if classifier is not None and classifier.accuracy >= MIN_ACCURACY]
    return max(good, key=lambda classifier: classifier.accuracy, default=None)


def classify(classifier: FeatureClassifier, images: Tensor) -> tuple[tuple[int, int], ...]:
    """The class that a classifier takes each of (B, 1, 28, 28) uint8 images for, and how sure it is, in percent."""
    seen = joined(read(classifier.net, images))
    sure = (round(100 * share) for share in seen.confidence.tolist())
    return tuple(zip(seen.classes.tolist(), sure, strict=True))


def images_sha256(data: Dataset) -> str:
    """The SHA-256 of a set's images, by which a classifier knows what it was trained for."""
    return hashlib.sha256(data.images.numpy().tobytes()).hexdigest()


def write_classifier(path: Path, net: Classifier, name: str, train_sha256: str, right: float) -> None:
    """Keep a classifier with what is known of it in the header."""
    header = {
        "format": "minidiff classifier",
        "shape": net.shape,
        "dataset": name,
        "train_images_sha256": train_sha256,
        "accuracy": f"{right:.4f}",
        "seed": str(SEED),
        "epochs": str(EPOCHS),
        "features": f"the {FEATURES} inputs of the last linear layer",
        "torch": torch.__version__,
    }
    tensors = {key: value.contiguous() for key, value in net.state_dict().items()}
    write_atomically(path, safetensors.torch.save(tensors, header))


def _load(path: Path, shape: Shape, name: str, train_sha256: str | None) -> FeatureClassifier | None:
    """The classifier in a file, or None if it was trained on other images than those named, if any are."""
    with initializing(torch.Generator()):
        net = Classifier(shape)  # its weights are replaced by the file's
    wanted = {name: TensorInfo(part.dtypes[0], part.shape) for name, part in expected_layout(net, EXACT).items()}
    try:
        check_opening(path, follow=True)
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if train_sha256 is not None and header.get("train_images_sha256") != train_sha256:
                return None
            right = float(header["accuracy"])
            if file_tensor_infos(file) != wanted or not 0 <= right <= 1:
                raise ValueError(f"it does not hold the weights and the accuracy of a {shape} classifier")
            with torch.device("cpu"):
                tensors = {key: file.get_tensor(key) for key in wanted}
        check_finite(path, tensors)
        with torch.inference_mode(False):
            net.load_state_dict(tensors)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, safetensors.SafetensorError, CheckpointError, KeyError, ValueError) as error:
        first, *_ = [*str(error).splitlines(), type(error).__name__]
        raise CheckpointError(f"{path} is not a usable classifier ({first}); delete it or put it back") from None
    return FeatureClassifier(net.eval().to(memory_format=torch.channels_last), name, right, sha256)
