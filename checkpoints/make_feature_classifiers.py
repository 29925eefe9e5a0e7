"""Trains the two feature classifiers of MNIST: `python checkpoints/make_feature_classifiers.py [--data-root FOLDER]`.

Trains on 50,000 training images, and prints the accuracy on the other 10,000 and on the test split. Takes some minutes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from core import load_dataset
from core.config.datasets import DIGITS
from core.data.datasets import LabeledImages
from core.evaluation import feature_classifiers
from core.evaluation.feature_nets import SHAPES, Classifier, Shape
from core.generators import WithResult

NAME = "mnist"
HERE = Path(__file__).resolve().parent
SECONDS = 10.0  # between progress lines


def trained(shape: Shape, data: LabeledImages) -> Classifier:
    """Train a classifier, and print progress."""
    training, last_report = WithResult(feature_classifiers.fit(shape, data)), time.monotonic()
    for done, total in training:
        if time.monotonic() - last_report > SECONDS:
            last_report = time.monotonic()
            print(f"{shape}: step {done:,} of {total:,}", flush=True)
    return training.result


def main() -> None:
    """Train both classifiers and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--output", type=Path, default=HERE / "feature_classifiers", help="folder to write to")
    arguments = parser.parse_args()
    train, test = (load_dataset(NAME, arguments.data_root, split=split) for split in ("train", "test"))
    training, validation = (
        LabeledImages(train.images[part], train.labels[part]) for part in feature_classifiers.split(len(train.images))
    )
    arguments.output.mkdir(exist_ok=True)
    for shape in SHAPES:
        start = time.monotonic()
        net = trained(shape, training)
        test_accuracy = feature_classifiers.accuracy(net, test)
        path = arguments.output / f"{NAME}-{shape}.safetensors"
        digests, by_chance = feature_classifiers.data_digests(train, DIGITS), feature_classifiers.chance(DIGITS, test)
        feature_classifiers.write_classifier(path, net, NAME, digests, test_accuracy, by_chance)
        seconds = time.monotonic() - start
        validation_accuracy = feature_classifiers.accuracy(net, validation)
        print(f"{shape}: test accuracy {test_accuracy:.2%}, validation {validation_accuracy:.2%}, {seconds:.0f} s")
        print(f"wrote {path}", flush=True)


if __name__ == "__main__":
    main()
