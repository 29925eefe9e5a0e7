"""Checks of images and labels: value range, blank and repeated images, classes, and the two splits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.runs.findings import Finding

RANGE, BLANK, DUPLICATES, CLASSES, SPLITS = "value range", "blank images", "duplicates", "classes", "splits"

TOLERANCE = 0.02  # of a value range, as a fraction of its width
BLANK_SHARE = 0.02  # of images without any contrast
DUPLICATE_SHARE = 0.05  # of images that occur before
LEAK_SHARE = 0.01  # of validation images that are training images
RARE = 0.1  # of the mean number of images per class
SHIFT = 0.1  # between the mean values of two splits, of the range
OPPOSITE = -0.5  # correlation of two mean images
MIN_SPREAD = 0.02  # standard deviation of a mean image, of the range, for its correlation to mean something
MIN_ERRORS = 1.5  # the same in standard errors of its pixels: a mean of few images is not yet their common structure
MIXED = 0.15  # total variation between the classes of two splits, besides the sampling error
MAX_BYTES = 256 * 2**20  # of images that are compared with each other
MAX_MEAN = 10_000  # images of a mean


def check_range(images: Tensor, low: float = -1.0, high: float = 1.0) -> list[Finding]:
    """Images in another value range than the path expects, as they are fed to the network.

    Noise has unit variance, so images in [0, 255] are never hidden by it, and images in [0, 1] in place of [-1, 1] use
    half of the range that samplers clip to. Among many images in [-1, 1] there are values below 0, so that a range is
    recognized by its limits.

    Args:
        images: (N, C, H, W); bytes are only checked for being 0 and 1.
        low: Smallest value of the expected range.
        high: Largest value of the expected range.
    """
    if not len(images):
        return []
    smallest, largest = float(images.min()), float(images.max())
    if images.dtype == torch.uint8:
        found = "bytes that are only 0 and 1" if 0 < largest <= 1 else ""
    elif not (math.isfinite(smallest) and math.isfinite(largest)):
        found = "values that are not finite"
    else:
        found = _other_range(smallest, largest, low, high)
    if not found:
        return []
    expected = "0 to 255" if images.dtype == torch.uint8 else f"{low:g} to {high:g}"
    return [
        Finding(
            RANGE,
            "error",
            f"the images have values from {smallest:g} to {largest:g}, and {expected} is expected",
            f"the images are {found}",
            _scaling(found, low, high),
        )
    ]


def _other_range(smallest: float, largest: float, low: float, high: float) -> str:
    """The range that the values are in, if it is not the expected one."""
    margin = TOLERANCE * (high - low)
    if largest > 4 and smallest >= -margin:
        return "in [0, 255]"
    if low < 0 and smallest >= -margin and largest <= 1 + margin:
        return "in [0, 1]"
    if low == 0 and smallest < -margin and largest <= 1 + margin and smallest >= -1 - margin:
        return "in [-1, 1]"
    if smallest < low - margin or largest > high + margin:
        return "standardized by mean and standard deviation, or not scaled at all"
    return ""


def _scaling(found: str, low: float, high: float) -> str:
    if found == "in [0, 255]":
        return "divide by 127.5 and subtract 1" if low < 0 else "divide by 255"
    if found == "in [0, 1]":
        return "feed 2 x - 1 to the network, and show samples as (x + 1) / 2"
    if found == "in [-1, 1]":
        return "feed (x + 1) / 2 to the network"
    if found.startswith("bytes"):
        return "images in [0, 1] were converted to bytes; multiply by 255 before"
    if "finite" in found:
        return "remove these images, or the division by zero that scaled them"
    return f"scale the images to [{low:g}, {high:g}] instead; samplers clip to this range"


def check_blank(images: Tensor) -> list[Finding]:
    """Images of a single color, which files that cannot be read often become: more than 2%.

    Args:
        images: (N, C, H, W), of any type.
    """
    if not len(images):
        return []
    flat = images.flatten(2)
    blank = ((flat.amax(2) - flat.amin(2)).amax(1) == 0).nonzero().flatten()
    share = len(blank) / len(images)
    if share <= BLANK_SHARE:
        return []
    return [
        Finding(
            BLANK,
            "warning" if share < 0.5 else "error",
            f"{share:.0%} of {len(images):,} images have a single color, such as image {int(blank[0]):,}",
            "files were read as empty, or values were rounded to 0",
            "look at these images, and remove or repair them",
        )
    ]


def check_duplicates(images: Tensor) -> list[Finding]:
    """Images that occur more than once, byte for byte: more than 5%.

    Repeated images are memorized first (Carlini et al. 2023, section 5.2). At most 256 MiB are compared.

    Args:
        images: (N, C, H, W), of any type.
    """
    keys = digests(images)
    first: dict[int, int] = {}
    repeated = [(index, first[key]) for index, key in enumerate(keys) if first.setdefault(key, index) != index]
    if len(repeated) <= DUPLICATE_SHARE * len(keys):
        return []
    index, other = repeated[0]
    return [
        Finding(
            DUPLICATES,
            "warning",
            f"{len(repeated) / len(keys):.0%} of {len(keys):,} images repeat an earlier one, such as image {index:,}, "
            f"which is image {other:,}",
            "files were copied, or a small set was repeated",
            "keep one of each; the network memorizes repeated images first",
        )
    ]


def check_classes(labels: Tensor, class_names: Sequence[str], *, conditional: bool = True) -> list[Finding]:
    """Labels out of range, classes without images, and classes with less than a tenth of the mean.

    Args:
        labels: (N,) int64; -1 without classes.
        class_names: Names of all classes; () without classes.
        conditional: Whether the network is given the class.
    """
    count = len(class_names)
    if not count or not len(labels):
        return []
    outside = (labels < 0) | (labels >= count)
    if bool(outside.any()):
        wrong = int(labels[outside][0])
        return [
            Finding(
                CLASSES,
                "error",
                f"{int(outside.sum()):,} labels are not from 0 to {count - 1}, such as {wrong}",
                "labels start at 1, or belong to another dataset",
                f"number the {count} classes from 0; -1 only marks images of sets without classes",
            )
        ]
    images = torch.bincount(labels, minlength=count)
    present = int((images > 0).sum())
    if present == 1 < count:
        only = class_names[int(images.argmax())]
        return [
            Finding(
                CLASSES,
                "error",
                f"all {len(labels):,} images have the class {only}, of {count} classes",
                "the images are sorted by class and were cut off, or labels were lost",
                "shuffle before limiting the images, and check how labels are read",
            )
        ]
    missing = (images == 0).nonzero().flatten().tolist()
    rare = ((images > 0) & (images < RARE * len(labels) / count)).nonzero().flatten().tolist()
    if not missing and not rare:
        return []
    part = [f"no image of {_named(missing, class_names)}"] if missing else []
    part += [f"few images of {_named(rare, class_names)}"] if rare else []
    asked = "the network never sees these classes, and cannot generate them" if missing else "the classes are unequal"
    return [
        Finding(
            CLASSES,
            "warning",
            f"{' and '.join(part)} among {len(labels):,} images",
            asked if conditional else "the classes are unequal, and so are those of the samples",
            "add images of these classes, use more images (--limit), or leave the classes out",
        )
    ]


def check_splits(
    train: Tensor, train_labels: Tensor, validation: Tensor, validation_labels: Tensor, classes: int
) -> list[Finding]:
    """Training and validation images that overlap, or differ in their brightness, polarity or classes.

    More than 1% of validation images among the training images; mean values that differ by more than a tenth of the
    range and four standard errors; mean images with a correlation below -0.5, as one inverted split has; or a total
    variation between the classes that is larger than that of two samples of one distribution. With n images in the
    smaller split the latter has a mean of about sqrt(classes / (pi n)) at most. Beyond it 0.15 are allowed, and at
    least 2 / sqrt(n), which it exceeds with a probability of at most exp(-4) (McDiarmid's inequality).

    Args:
        train, validation: (N, C, H, W) and (M, C, H, W), in the same range.
        train_labels, validation_labels: (N,) and (M,) int64.
        classes: Number of classes; 0: labels are ignored.
    """
    if not len(train) or not len(validation):
        return []
    findings = []
    known = set(digests(train))
    keys = digests(validation)
    shared = sum(key in known for key in keys)
    if shared > LEAK_SHARE * len(keys):
        findings.append(
            Finding(
                SPLITS,
                "warning",
                f"{shared / len(keys):.0%} of the validation images are also training images",
                "the images were split after copying or augmenting them, or both splits are the same",
                "split first; the validation loss and the memorization check mean nothing otherwise",
            )
        )
    mean, other = (float(images[:MAX_MEAN].float().mean()) for images in (train, validation))
    width = 255.0 if train.dtype == torch.uint8 else max(1.0, float(train.max() - train.min()))
    if inverted(train, validation, width):
        findings.append(
            Finding(
                SPLITS,
                "error",
                "the mean training image is the negative of the mean validation image",
                "one of the splits is inverted (dark on light instead of light on dark)",
                "invert one of them: 255 - x",
            )
        )
    elif abs(mean - other) > SHIFT * width + 4 * _mean_error(train, validation):
        findings.append(
            Finding(
                SPLITS,
                "warning",
                f"training images have a mean value of {mean:.3g}, validation images {other:.3g}",
                "the splits were scaled differently, or show different things",
                "treat both splits alike, and split at random",
            )
        )
    if classes and bool((train_labels >= 0).all()) and bool((validation_labels >= 0).all()):
        a, b = (torch.bincount(labels, minlength=classes) / len(labels) for labels in (train_labels, validation_labels))
        distance, n = float((a - b).abs().sum()) / 2, min(len(train_labels), len(validation_labels))
        if distance > math.sqrt(classes / (math.pi * n)) + max(MIXED, 2 / math.sqrt(n)):
            findings.append(
                Finding(
                    SPLITS,
                    "warning",
                    f"{distance:.0%} of the validation images would need another class to be distributed as the "
                    "training images are",
                    "the images were split in the order of their classes",
                    "split at random",
                )
            )
    return findings


def inverted(images: Tensor, others: Tensor, width: float) -> bool:
    """Whether the mean of some images is the negative of the mean of others.

    Args:
        images, others: (n, C, H, W) and (m, C, H, W). False if they are too few for their means to have a structure.
        width: Of the value range.
    """
    centered = []
    for some in (images, others):
        pixels = some[:MAX_MEAN].float().flatten(1)
        mean = pixels.mean(0)
        centered.append(mean - mean.mean())
        error = math.sqrt(float(pixels.var(0).mean()) / len(pixels)) if len(pixels) > 1 else math.inf
        if float(centered[-1].square().mean().sqrt()) < max(MIN_SPREAD * width, MIN_ERRORS * error):
            return False
    a, b = centered
    return float((a * b).sum() / (a.norm() * b.norm())) < OPPOSITE


def _mean_error(a: Tensor, b: Tensor) -> float:
    """Standard error of the difference of the mean values of two sets of images; infinite for a single image."""
    if min(len(a), len(b)) < 2:
        return math.inf
    means = [images[:MAX_MEAN].float().flatten(1).mean(1) for images in (a, b)]
    return math.sqrt(sum(float(mean.var()) / len(mean) for mean in means))


def digests(images: Tensor) -> list[int]:
    """A hash of each image, of as many as fit into 256 MiB."""
    some = images[: max(1, MAX_BYTES // max(1, images[:1].nbytes))].contiguous().cpu()
    return [hash(row.tobytes()) for row in some.flatten(1).numpy()]


def _named(classes: Sequence[int], names: Sequence[str]) -> str:
    listed = ", ".join(names[index] for index in classes[:5])
    return f"{listed} and {len(classes) - 5} more" if len(classes) > 5 else listed
