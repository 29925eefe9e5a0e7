"""The checks of a subject's samples: they are generated, compared with real images, and classified."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from core.config.sampling import Sampling, describe_sampling, resolve_sampling
from core.diagnosis import sample_checks
from core.diagnosis.measurements import full_precision
from core.diagnosis.stage import FEW, NO_IMAGES, NO_VALIDATION, chosen_images, image_count
from core.diagnosis.subject import Subject
from core.diffusion.frames import quantized
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import sample
from core.errors import NotFinite
from core.evaluation.feature_classifiers import classify_batches, concatenate
from core.evaluation.memorisation import check_memorisation
from core.evaluation.reference import EvaluationProgress
from core.generators import WithResult
from core.runs.findings import CheckResult, Finding

SAMPLES, REFERENCE = 128, 32
MIN_SAMPLES = FEW  # with fewer, their variance and mean differ from those of real images by chance
ACCURATE = Sampling("heun", 40, 1.0, 1.0)  # on every path
MEMORIZATION_VALUES = 50_000 * 32 * 32 * 3  # of training images that samples are compared with


def check_generated(
    subject: Subject, n: int, options: dict[str, Any]
) -> Generator[EvaluationProgress | CheckResult, None, None]:
    """Generate n samples with sampling options, unless the subject has samples, and check them."""
    model, images = subject.model, subject.images
    n = image_count(model, n)
    chosen, classes = resolve_sampling(model.config, n, **options)
    if subject.samples is not None:
        samples, requested, described = subject.unit(subject.samples)[:n], None, "your sampler"
    else:
        yield EvaluationProgress(f"sampling {n} images", 0, 0)
        requested = _labels(classes)
        described = _described(chosen, model)
        samples = _generated(model, chosen, n, requested)
    if findings := sample_checks.check_finite(samples):
        yield CheckResult(sample_checks.FINITE, tuple(findings))
        return
    yield CheckResult(sample_checks.FINITE)
    yield EvaluationProgress("checking the samples", 0, 0)
    compared = (
        (sample_checks.NOISE, sample_checks.check_noise),
        (sample_checks.CONTRAST, sample_checks.check_contrast),
        (sample_checks.VARIETY, sample_checks.check_variety),
        (sample_checks.BRIGHTNESS, sample_checks.check_brightness),
    )
    names = (*(name for name, _ in compared), sample_checks.SAMPLER, sample_checks.READ, sample_checks.MEMORIZATION)
    none = "" if images is not None else subject.missing("images", NO_IMAGES)
    if len(samples) < MIN_SAMPLES:
        none = none or f"there are fewer than {MIN_SAMPLES} samples"
    if none:
        yield from (CheckResult(name, skipped=none) for name in names)
        yield CheckResult(sample_checks.CLIPPED, tuple(sample_checks.check_saturation(samples)))
        return
    assert images is not None
    real = subject.unit(_like(images, subject.labels, requested, len(samples)))
    problems: list[Finding] = []
    for name, check in compared:
        problems += (findings := check(samples, real))
        yield CheckResult(name, tuple(findings))
    problems += (findings := sample_checks.check_saturation(samples))
    yield CheckResult(sample_checks.CLIPPED, tuple(findings))
    yield from _check_sampler(subject, samples, real, chosen, requested, described, bool(problems))
    yield from _check_classes(subject, samples, requested)
    yield from _check_memorization(subject, samples)


def _generated(model: LoadedModel, chosen: Sampling, n: int, labels: Tensor | None) -> Tensor:
    """Samples of the weights in float32, (n, C, H, W) around [0, 1] on the CPU; NaN if they are not finite."""
    exact = replace(model, net=full_precision(model.net))
    try:
        *_, last = sample(exact, n=n, labels=labels, **asdict(chosen))
    except NotFinite:
        return torch.full((n, *model.config.info.shape), torch.nan, dtype=torch.float32, device="cpu")
    return last.x.float().cpu()


def _described(chosen: Sampling, model: LoadedModel) -> str:
    """Sampling options in words, without the number of evaluations."""
    return describe_sampling(chosen, model.config.path).rpartition(", ")[0]


def _labels(classes: tuple[int, ...] | None) -> Tensor | None:
    return None if classes is None else torch.tensor(classes, dtype=torch.int64, device="cpu")


def _like(images: Tensor, labels: Tensor | None, requested: Tensor | None, n: int) -> Tensor:
    """Random images, n of them; with requested classes, of these as far as there are any."""
    order = chosen_images(len(images), len(images))
    if requested is None or labels is None:
        return images[order[:n]]
    known = labels[order]
    chosen = []
    for position, label in enumerate(requested.tolist()):
        (found,) = (known == label).nonzero(as_tuple=True)
        chosen.append(int(order[found[position % len(found)]]) if len(found) else int(order[position % len(order)]))
    return images[torch.tensor(chosen, device="cpu")]


def _check_sampler(
    subject: Subject,
    samples: Tensor,
    real: Tensor,
    chosen: Sampling,
    requested: Tensor | None,
    described: str,
    has_problems: bool,
) -> Generator[EvaluationProgress | CheckResult, None, None]:
    if not has_problems:
        yield CheckResult(sample_checks.SAMPLER)
        return
    model = subject.model
    accurate = ACCURATE
    if model.config.objective == "consistency":
        accurate, _ = resolve_sampling(model.config, 1)
    if subject.samples is None and replace(chosen, contrast=0.0, guidance=1.0) == accurate:
        yield CheckResult(sample_checks.SAMPLER, skipped="there is no more accurate sampler to compare with")
        return
    n = min(REFERENCE, len(real))
    yield EvaluationProgress(f"sampling {n} images more accurately", 0, 0)
    _, classes = resolve_sampling(model.config, n)
    labels = _labels(classes) if requested is None else requested[:n]
    reference = _generated(model, accurate, n, labels)
    findings = sample_checks.check_sampler(samples, reference, real, described, _described(accurate, model))
    yield CheckResult(sample_checks.SAMPLER, tuple(findings))


def _check_classes(
    subject: Subject, samples: Tensor, requested: Tensor | None
) -> Generator[EvaluationProgress | CheckResult, None, None]:
    name, classifier, info = sample_checks.READ, subject.classifier, subject.model.config.info
    if classifier is None or subject.labels is None:
        yield CheckResult(name, skipped="there is no classifier of these classes; `minidiff eval` trains one")
        return
    yield EvaluationProgress("classifying the samples", 0, 0)
    read = concatenate(classify_batches(classifier.net, quantized(samples))).classes
    if requested is not None:
        found = sample_checks.check_requested(requested, read, info.class_names, classifier.accuracy)
    else:
        shares = torch.bincount(subject.labels.clamp(min=0), minlength=info.classes) / len(subject.labels)
        found = sample_checks.check_unread(read, shares, info.class_names, classifier.accuracy)
    yield CheckResult(name, tuple(found))


def _check_memorization(subject: Subject, samples: Tensor) -> Generator[EvaluationProgress | CheckResult, None, None]:
    name, images, fresh = sample_checks.MEMORIZATION, subject.images, subject.validation
    if images is None or fresh is None:
        yield CheckResult(name, skipped=subject.missing("images", NO_VALIDATION))
        return
    if len(fresh) < sample_checks.MIN_FRESH or len(images) < sample_checks.MIN_FRESH:
        yield CheckResult(name, skipped=f"fewer than {sample_checks.MIN_FRESH} images to compare with")
        return
    most = max(1, MEMORIZATION_VALUES // images[0].numel())
    compared = [subject.bytes(part[:most]) for part in (images, fresh)]
    with WithResult(check_memorisation(quantized(samples), *compared)) as search:
        for done, total in search:
            yield EvaluationProgress("looking for the nearest training images", done, total)
    yield CheckResult(name, tuple(sample_checks.check_copies(search.result)))
