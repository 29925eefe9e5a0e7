"""The checks of a subject's network on its images."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from core.diagnosis import measurements, network_checks
from core.diagnosis.learning_rate import LEARNING_RATE, check_learning_rate
from core.diagnosis.measurements import NoisyImages
from core.diagnosis.stage import FEW, NO_IMAGES, NO_VALIDATION, Check, chosen_images, image_count
from core.diagnosis.subject import Subject
from core.runs.findings import Finding

LOSSES, GRADIENTS, TARGETS, CHANGES = 256, 128, 128, 32  # images for each measurement


def network_checks_of(subject: Subject) -> Iterator[Check]:
    """What is checked of the network; each check measures what it needs when it is run."""
    model, images = subject.model, subject.images
    none = "" if images is not None else subject.missing("images", NO_IMAGES)
    online = "" if subject.online is not None else subject.missing("online", "the weights in training are not known")

    def mean(net: nn.Module) -> float:
        return float(measurements.losses(model, net, noisy(TARGETS)).mean())

    def noisy(n: int) -> NoisyImages:
        return _noisy(subject, images, subject.labels, image_count(model, n))

    def target() -> list[Finding]:
        errors = measurements.target_error(model, noisy(TARGETS))
        declared = next(iter(errors))
        if not errors[declared] < network_checks.CLEAR and model.schedule is None:
            for more in measurements.target_errors(model, noisy(TARGETS)):
                errors |= {name: error for name, error in more.items() if name not in errors}
        return network_checks.check_target(declared, errors)

    def conditioning() -> list[Finding]:
        some = noisy(CHANGES)
        level, classes = measurements.change_by_level(model, some), measurements.change_by_class(model, some)
        return network_checks.check_conditioning(level, classes)

    def modes() -> list[Finding]:
        training = measurements.loss_in_training_mode(model, noisy(TARGETS))
        return [] if training is None else network_checks.check_modes(training, mean(model.net))

    def precision() -> list[Finding]:
        some, full = noisy(TARGETS), measurements.full_precision(model.net)
        low = measurements.losses(model, model.net, some, subject.precision)
        exact = measurements.losses(model, full, some)
        return network_checks.check_precision(subject.precision, float(low.mean()), float(exact.mean()))

    def ema() -> list[Finding]:
        assert subject.online is not None
        averaged, trained = mean(model.net), mean(subject.online)
        return network_checks.check_ema(averaged, trained, decay=subject.ema_decay, steps=subject.steps)

    def gap() -> list[Finding]:
        assert images is not None
        assert subject.validation is not None
        n = min(image_count(model, LOSSES), len(images), len(subject.validation))
        both = (
            _noisy(subject, images, subject.labels, n),
            _noisy(subject, subject.validation, subject.validation_labels, n),
        )
        return network_checks.check_gap(*(measurements.losses(model, model.net, some) for some in both))

    def learning_rate() -> list[Finding]:
        assert subject.learning_rate is not None
        net = model.net if subject.online is None else subject.online
        found = measurements.gradient_statistics(model, net, noisy(GRADIENTS), subject.learning_rate)
        size = model.config.batch_size
        return check_learning_rate(
            found.update_ratio, found.before, found.after, found.noise_scale, size, subject.learning_rate
        )

    distilled = "a distilled model is trained for another loss" if model.config.objective == "consistency" else ""
    unlabeled = ""
    if model.config.class_conditional and subject.labels is None:
        unlabeled = "the network needs labels"
    none = none or unlabeled
    without = "" if subject.validation is not None else subject.missing("images", NO_VALIDATION)
    if images is not None and subject.validation is not None and min(len(images), len(subject.validation)) < FEW:
        without = "there are too few images"
    if model.config.class_conditional and subject.validation_labels is None:
        without = without or unlabeled or "the network needs labels of the validation images"
    few = "" if images is None or len(images) >= 2 * measurements.PARTS else "there are too few images"
    rate = "" if subject.learning_rate is not None else "the learning rate is not known"
    frozen = "" if any(True for _ in model.net.parameters()) else "the network has no weights"
    full = "" if subject.precision in measurements.DTYPES else "the network is trained in float32"
    for name, skipped, run in (
        (network_checks.TARGET, none, target),
        (network_checks.CONDITIONING, none, conditioning),
        (network_checks.MODES, none, modes),
        (network_checks.PRECISION, none or full, precision),
        (network_checks.EMA, none or online, ema),
        (network_checks.GAP, none or without or distilled, gap),
        (LEARNING_RATE, none or rate or distilled or few or frozen, learning_rate),
    ):
        yield Check(name, skipped, run, "the network")


def _noisy(subject: Subject, images: Tensor | None, labels: Tensor | None, n: int) -> NoisyImages:
    """At most n random images, always the same, with noise."""
    assert images is not None
    chosen = chosen_images(len(images), n)
    return measurements.noisy_images(
        subject.model, subject.clean(images[chosen]), None if labels is None else labels[chosen]
    )
