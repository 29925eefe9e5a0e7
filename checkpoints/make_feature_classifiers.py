"""Trains the two feature classifiers for MNIST: `python checkpoints/make_feature_classifiers.py [--data-root FOLDER]`.

They learn 50,000 of the training images; the 10,000 held out and the test split say how well they read: some minutes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from core import load_dataset
from core.data.datasets import Dataset
from core.evaluation import feature_classifiers

NAME = "mnist"
HERE = Path(__file__).resolve().parent
SECONDS = 10.0  # between two lines


def trained(shape: feature_classifiers.Shape, data: Dataset) -> feature_classifiers.Classifier:
    """A classifier of this shape, with a line now and then on how far it has come."""
    fitting, has_written = feature_classifiers.fit(shape, data), time.monotonic()
    while True:
        try:
            done, total = next(fitting)
        except StopIteration as end:
            net: feature_classifiers.Classifier = end.value
            return net
        if time.monotonic() - has_written > SECONDS:
            has_written = time.monotonic()
            print(f"{shape}: step {done:,} of {total:,}", flush=True)


def main() -> None:
    """Train both shapes and write them beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder that holds the files of MNIST")
    parser.add_argument("--output", type=Path, default=HERE / "feature_classifiers", help="folder to write to")
    asked = parser.parse_args()
    train, test = (load_dataset(NAME, asked.data_root, split=split) for split in ("train", "test"))
    learned, validation_loss = (
        Dataset(train.images[part], train.labels[part]) for part in feature_classifiers.split(len(train.images))
    )
    asked.output.mkdir(exist_ok=True)
    for shape in feature_classifiers.SHAPES:
        began = time.monotonic()
        net = trained(shape, learned)
        right = feature_classifiers.accuracy(net, test)
        path = asked.output / f"{NAME}-{shape}.safetensors"
        feature_classifiers.write_classifier(path, net, NAME, feature_classifiers.images_sha256(train), right)
        seconds = time.monotonic() - began
        unseen = feature_classifiers.accuracy(net, validation_loss)
        print(f"{shape}: test {right:.2%}, held out {unseen:.2%}, {seconds:.0f} s; wrote {path}", flush=True)


if __name__ == "__main__":
    main()
