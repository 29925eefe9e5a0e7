"""Checks of samples, by comparing them with real images: noisy, gray, constant, off in color, clipped, misread."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from core.diagnosis.data_checks import inverted
from core.evaluation.memorisation import EXPECTED_COPIES, MemorisationCheck
from core.runs.findings import Finding

FINITE, NOISE, CONTRAST, VARIETY = "finite samples", "noise", "contrast", "variety"
BRIGHTNESS, CLIPPED, SAMPLER, READ = "brightness", "saturation", "sampler", "requested classes"
MEMORIZATION = "memorization"

NOISE_RATIO, NOISE_MARGIN = 2.0, 0.04  # of the noise of real images, and in addition
NOT_DENOISED = 0.2  # standard deviation of the noise from which samples are hardly denoised
CONTRAST_RATIO = 0.75  # of the contrast of real images
VARIETY_RATIO = 0.5  # of the variance of real images at a pixel
COLORS = ("red", "green", "blue")
BRIGHTNESS_SHIFT = 0.1  # of a channel's mean
OUTSIDE, CLIPPED_SHARE = 0.1, 0.05  # beyond [0, 1], and the share of such values
MIN_READ = 6  # samples of a class that must all be misread
MIN_ACCURACY = 0.6  # of a classifier whose classes count
COPIES = 0.15  # of samples; 1% is expected of new images
MIN_FRESH = 100  # real images that the memorization check needs
UNREAD_EXPECTED = 10.0  # samples of a class that are expected if none is read


def check_finite(samples: Tensor) -> list[Finding]:
    """Samples with NaN or infinity.

    Args:
        samples: (n, C, H, W).
    """
    wrong = int((~samples.isfinite()).flatten(1).any(1).sum())
    if not wrong:
        return []
    return [
        Finding(
            FINITE,
            "error",
            f"{wrong:,} of {len(samples):,} samples are not finite",
            "the network overflows in its precision, or the sampler divides by zero at its first or last noise level",
            "sample in float32, with guidance 1, and do not start at a noise level where alpha or sigma is 0",
        )
    ]


def noise_level(images: Tensor) -> Tensor:
    """Standard deviation of the white noise in each image, (n,), robust against edges and flat regions.

    The difference of two Laplacians does not respond to structure that is linear in x or y (Immerkaer 1996); in place
    of its mean the median over pixels is used, to which edges contribute little.

    Args:
        images: (n, C, H, W), at least 3 pixels a side.
    """
    kernel = (
        torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=torch.float32, device=images.device) / 6
    )  # of norm 1
    response = functional.conv2d(images.float().flatten(0, 1)[:, None], kernel[None, None]).abs()
    return response.view(len(images), -1).median(1).values / 0.6745  # median of |N(0, 1)|


def check_noise(samples: Tensor, real: Tensor) -> list[Finding]:
    """Samples with visible noise: twice that of real images and 4% of the value range more, in the median.

    Four percent of the range is ten of 255 steps, from where noise is seen on plain surfaces.

    Args:
        samples: (n, C, H, W) around [0, 1].
        real: (m, C, H, W) in [0, 1].
    """
    found, expected = (float(noise_level(images).median()) for images in (samples, real))
    if found <= NOISE_RATIO * expected + NOISE_MARGIN:
        return []
    untrained = found > NOT_DENOISED
    return [
        Finding(
            NOISE,
            "error" if untrained else "warning",
            f"noise with a standard deviation of {found:.3f} in samples and {expected:.3f} in real images",
            "the network is not trained, the sampler does not fit its path or prediction, or EMA weights lag behind"
            if untrained
            else "training is too short, or the last sampling step does not reach noise level 0",
            "see the findings on the network; train longer; compare with --sampler heun --steps 40",
        )
    ]


def check_contrast(samples: Tensor, real: Tensor) -> list[Finding]:
    """Gray samples: less than three quarters of the contrast within images, in the median.

    Samples of the built-in models have 101% to 103%. Averages of many images, which too few steps give, have 56% for
    MNIST and 20% for sprites.

    Args:
        samples, real: As for `check_noise`.
    """
    found, expected = (float(images.float().flatten(1).std(1).median()) for images in (samples, real))
    if found >= CONTRAST_RATIO * expected:
        return []
    return [
        Finding(
            CONTRAST,
            "error",
            f"a contrast of {found:.3f} within samples and {expected:.3f} within real images",
            "samples are averages of many images: training is too short, there are too few sampling steps, or images "
            "in [0, 1] are shown as if they were in [-1, 1]",
            "train longer, use more --steps, and check how images are scaled",
        )
    ]


def check_variety(samples: Tensor, real: Tensor) -> list[Finding]:
    """Samples that are all alike: less than half of the variance between images.

    Samples of the built-in models have 92% to 106%, and 4% to 37% in a single step.

    Args:
        samples, real: As for `check_noise`, at least two of each; requested classes are those of the real images.
    """
    if min(len(samples), len(real)) < 2:
        return []
    found, expected = (float(images.float().var(0).mean()) for images in (samples, real))
    if found >= VARIETY_RATIO * expected:
        return []
    return [
        Finding(
            VARIETY,
            "error",
            f"pixels have a variance of {found:.4f} between samples and {expected:.4f} between real images",
            "samples are averages of many images, after too few steps or too little training; or the same noise is "
            "used for all, guidance is far too strong, or the network ignores its input",
            "use more --steps, guidance 1 and new noise for each sample; see the findings on the network",
        )
    ]


def check_brightness(samples: Tensor, real: Tensor) -> list[Finding]:
    """Channels that are too bright or dark, or inverted: by a tenth of the range, and four standard errors.

    Colors that drift are common in short trainings that predict the noise, since the mean of an image is decided at
    the highest noise levels, where that prediction says least about it.

    Args:
        samples, real: As for `check_variety`.
    """
    if min(len(samples), len(real)) < 2:
        return []
    a, b = samples.float().mean((2, 3)), real.float().mean((2, 3))  # (n, C)
    if inverted(samples, real, 1.0):
        return [
            Finding(
                BRIGHTNESS,
                "error",
                f"the mean sample is the negative of the mean real image (mean {float(a.mean()):.2f} and "
                f"{float(b.mean()):.2f})",
                "images are inverted for training or for display, or the velocity has the wrong sign",
                "compare what the network is trained on with what is shown; integrate from noise to image with "
                "the sign of the path",
            )
        ]
    shift = a.mean(0) - b.mean(0)
    error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    worst = int(shift.abs().argmax())
    if float(shift[worst].abs()) <= BRIGHTNESS_SHIFT + 4 * float(error[worst]):
        return []
    channel = f" in channel {COLORS[worst]}" if len(shift) == 3 else ""
    return [
        Finding(
            BRIGHTNESS,
            "warning",
            f"samples have a mean of {float(a.mean(0)[worst]):.2f} and real images of {float(b.mean(0)[worst]):.2f}"
            f"{channel}",
            "the mean is decided at the highest noise levels: training is too short, noise is predicted there, or "
            "sampling does not start from pure noise",
            "train longer or with larger batches, predict the velocity or v instead of the noise, and use EMA weights",
        )
    ]


def check_saturation(samples: Tensor) -> list[Finding]:
    """Values far outside of the range, which are clipped: more than 5% beyond it by a tenth and three times the noise.

    Args:
        samples: (n, C, H, W) around [0, 1], not clipped.
    """
    margin = OUTSIDE + 3 * float(noise_level(samples).median())
    share = float(((samples < -margin) | (samples > 1 + margin)).float().mean())
    if share <= CLIPPED_SHARE:
        return []
    return [
        Finding(
            CLIPPED,
            "warning",
            f"{share:.0%} of the samples' values are beyond [0, 1] by more than {margin:.2f}",
            "guidance or contrast is too strong, or samples are in another value range than is shown",
            "lower --guidance and --contrast, and check how samples are scaled",
        )
    ]


def check_samples(samples: Tensor, real: Tensor) -> list[Finding]:
    """All checks above, of samples, (n, C, H, W), and real images, (m, C, H, W), around [0, 1]."""
    if findings := check_finite(samples):
        return findings
    compared = (check_noise, check_contrast, check_variety, check_brightness)
    return [finding for check in compared for finding in check(samples, real)] + check_saturation(samples)


def check_sampler(samples: Tensor, reference: Tensor, real: Tensor, chosen: str, accurate: str) -> list[Finding]:
    """A sampler that gives bad samples of a network, while an accurate one gives good ones.

    Args:
        samples: Samples of the sampler in question, (n, C, H, W) around [0, 1].
        reference: Those of an accurate sampler, likewise.
        real: Real images, (m, C, H, W) in [0, 1].
        chosen: The sampler in question, in words.
        accurate: The accurate one.
    """
    remaining = {problem.check for problem in check_samples(reference, real)}
    gone = [problem.check for problem in check_samples(samples, real) if problem.check not in remaining]
    if not gone:
        return []
    names = ", ".join(dict.fromkeys(gone))
    return [
        Finding(
            SAMPLER,
            "error",
            f"findings on {names} with {chosen}, and not with {accurate}",
            "the sampler does not fit the network's path or prediction, has too few steps, or too strong guidance",
            f"use {accurate}, and change one option after the other toward {chosen}",
        )
    ]


def check_requested(requested: Tensor, read: Tensor, class_names: Sequence[str], accuracy: float) -> list[Finding]:
    """Classes that a classifier never reads in the samples for which they are requested.

    A class counts if it was requested at least six times: of samples that are read correctly only every other time,
    one in 64 such classes is missed.

    Args:
        requested: (n,) int64.
        read: The classifier's classes, (n,) int64.
        class_names: Names of all classes.
        accuracy: Of the classifier on real images, 0 to 1; below 0.6 a class may be missed by itself, and none is
            reported.
    """
    if accuracy < MIN_ACCURACY:
        return []
    missed = [
        (index, read[requested == index])
        for index in range(len(class_names))
        if int((requested == index).sum()) >= MIN_READ and not bool((read[requested == index] == index).any())
    ]
    if not missed:
        return []
    agreement = float((requested == read).float().mean())
    listed = [f"{class_names[index]} (read as {class_names[int(seen.mode().values)]})" for index, seen in missed[:5]]
    return [
        Finding(
            READ,
            "error" if len(missed) > 1 else "warning",
            f"no sample of {', '.join(listed)} is read as such; of all samples {agreement:.0%}",
            "the network does not follow the class, its class was never trained, or labels of training and sampling "
            "are numbered differently",
            "check the labels, train longer, and raise --guidance to 1.5",
        )
    ]


def check_unread(read: Tensor, shares: Tensor, class_names: Sequence[str], accuracy: float) -> list[Finding]:
    """Classes of the training images that no sample of a network without classes shows, though ten are expected.

    If samples had the classes of the images, this would happen once in 22,000 times.

    Args:
        read: The classifier's classes of the samples, (n,) int64.
        shares: The share of each class among the training images, (classes,).
        class_names: Names of all classes.
        accuracy: As for `check_requested`.
    """
    if accuracy < MIN_ACCURACY:
        return []
    counts = torch.bincount(read, minlength=len(class_names))
    missing = [
        name
        for name, count, share in zip(class_names, counts.tolist(), shares.tolist(), strict=True)
        if not count and share * len(read) >= UNREAD_EXPECTED
    ]
    if not missing:
        return []
    return [
        Finding(
            READ,
            "warning",
            f"no sample of {len(read):,} is read as {', '.join(missing[:5])}",
            "the samples do not cover the training images: training is too short, or classes are missing in the data",
            "train longer, and check the number of images per class",
        )
    ]


def check_copies(check: MemorisationCheck) -> list[Finding]:
    """Samples that are copies of training images: more than 15%, where 1% is expected, from the memorization check.

    Of 128 new samples more than 8 are counted as copies once in 100,000 times.

    Args:
        check: In pixels, as `core.evaluation.memorisation.check_memorisation` returns it.
    """
    copies = check.samples.copies
    if check.real < MIN_FRESH or copies <= max(COPIES, 3 * check.baseline.copies):
        return []
    sample, image, distance = check.closest[0]
    return [
        Finding(
            MEMORIZATION,
            "warning",
            f"{copies:.0%} of the samples are much closer to one training image than to all others, and "
            f"{EXPECTED_COPIES:.0%} of real images are; sample {sample} is training image {image:,} with an error of "
            f"{distance:.3f}",
            "the network repeats its training images: there are too few of them for so many epochs or weights",
            "use more images, --augment-shift or --flip, fewer --epochs or a smaller --size",
        )
    ]
