"""The checks of a subject's images and labels."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from core.diagnosis import data_checks
from core.diagnosis.stage import NO_IMAGES, NO_VALIDATION, Check
from core.diagnosis.subject import Subject
from core.runs.findings import Finding


def image_checks_of(subject: Subject) -> Iterator[Check]:
    """What is checked of the images, without a network."""
    images, labels = subject.images, subject.labels
    none = "" if images is not None else subject.missing("images", NO_IMAGES)
    path, info = subject.model.path, subject.model.config.info
    some = torch.empty(0) if images is None else images
    classes = torch.empty(0, dtype=torch.int64) if labels is None else labels
    other = subject.validation
    without = "" if other is not None else subject.missing("images", NO_VALIDATION)
    conditional = subject.model.config.class_conditional
    unlabeled = "there are no labels" if labels is None else ""

    def splits() -> list[Finding]:
        assert other is not None
        mixed = some.dtype != other.dtype
        both = (subject.bytes(some), subject.bytes(other)) if mixed else (some, other)
        given = subject.validation_labels
        known = info.classes if labels is not None and given is not None else 0
        empty = torch.empty(0, dtype=torch.int64)
        return data_checks.check_splits(both[0], classes, both[1], empty if given is None else given, known)

    for name, skipped, run in (
        (data_checks.RANGE, none, lambda: data_checks.check_range(some, path.low, path.high)),
        (data_checks.BLANK, none, lambda: data_checks.check_blank(some[: data_checks.MAX_MEAN])),
        (data_checks.DUPLICATES, none, lambda: data_checks.check_duplicates(some)),
        (
            data_checks.CLASSES,
            none or unlabeled,
            lambda: data_checks.check_classes(classes, info.class_names, conditional=conditional),
        ),
        (data_checks.SPLITS, none or without, splits),
    ):
        yield Check(name, skipped, run, "the images")
