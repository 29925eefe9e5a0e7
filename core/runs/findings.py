"""Findings of a diagnosis, and the checks that need only the log of a run; without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from core.runs.events import Failed, Progress, Warned
from core.runs.history import RunHistory, loss_text

Severity = Literal["error", "warning"]

FINITE_LOSS, LOSS_CURVE, VALIDATION_CURVE = "finite loss", "loss curve", "validation loss"  # names of the checks

PARTS = 10  # of a loss curve, in equal numbers of steps
MIN_STEPS, MIN_WINDOWS = 200, 20  # for a loss curve to be judged: the warmup takes up to 100 steps
MAX_WINDOWS = 2_000  # of a loss curve that are read, evenly spaced
RISE = 1.5  # of the median loss of a part; in the logs of the built-in models it never rises
RISE_ERRORS = 4.0  # standard errors of a rise: with small batches windows differ by more than RISE
FLAT = 0.8  # fraction of the first loss that remains; of the built-in models less than 0.2
VALIDATION_RISE = 1.15  # over the smallest validation loss; of the built-in models at most 1.11
VALIDATION_EPOCHS = 2  # for which it has been above its minimum
TINY = 1e-12  # in place of a loss of 0
_SKIPPED = re.compile(r"skipped ([\d,]+) of the steps up to [\d,]+, whose loss or gradient was not finite")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is probably wrong with a training, its data or its samples."""

    check: str  # name of the check that found it
    severity: Severity  # "error": the result is not usable; "warning": it is worse than it could be
    evidence: str  # what was measured
    cause: str  # what most likely causes it
    advice: str  # what to change


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check."""

    check: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""  # why it could not be checked; "" if it was

    @property
    def passed(self) -> bool:
        """Whether it was checked without a finding."""
        return not self.findings and not self.skipped


def check_log(history: RunHistory, *, fine_tuned: bool = False) -> list[CheckResult]:
    """Check the losses in the log of a run.

    Args:
        history: The run's history.
        fine_tuned: Whether the run started from trained weights, so that its loss need not fall.
    """
    return [
        CheckResult(FINITE_LOSS, tuple(check_finite_loss(history))),
        CheckResult(LOSS_CURVE, tuple(check_loss_curve(history, fine_tuned=fine_tuned))),
        CheckResult(VALIDATION_CURVE, tuple(check_validation_curve(history))),
    ]


def log_hint(history: RunHistory, *, fine_tuned: bool = False) -> Finding | None:
    """The most severe finding of `check_log`, the first one if there are several; None without a finding."""
    findings = [finding for result in check_log(history, fine_tuned=fine_tuned) for finding in result.findings]
    return min(findings, key=lambda finding: finding.severity != "error", default=None)


def is_fine_tuned(options: dict[str, Any] | None) -> bool:
    """Whether the options of a run, as `config_options` returns them, name weights to start from."""
    return bool(options and options.get("init_from"))


def check_finite_loss(history: RunHistory) -> list[Finding]:
    """Steps without a finite loss or gradient: such steps are skipped, and after 20 in a row a run fails.

    In a run that works there are none, so each is reported.
    """
    skipped = sum(_skipped_steps(note.message) for note in history.notes if isinstance(note, Warned))
    windows = sum(not math.isfinite(window.loss) for window in history.progress)
    failure = history.lifecycle
    diverged = isinstance(failure, Failed) and "not finite" in failure.message
    if not (skipped or windows or diverged):
        return []
    step = history.step
    if skipped:
        evidence = f"{_steps(skipped)} without a finite loss or gradient up to step {step:,}"
    else:
        evidence = f"the loss or a gradient was not finite at step {step:,}"
    last = history.progress[-1].loss if history.progress else math.nan
    return [
        Finding(
            FINITE_LOSS,
            "error" if diverged or not math.isfinite(last) else "warning",
            evidence,
            "the learning rate is too high; less often images with NaN, or a precision in which values overflow",
            "lower --learning-rate to a third, set --clip-grad-norm 1, or train with --precision float32",
        )
    ]


def check_loss_curve(history: RunHistory, *, fine_tuned: bool = False) -> list[Finding]:
    """A loss that rises again, or never falls.

    The curve is divided into ten parts of equal numbers of steps, of which the medians are compared. A rise counts if
    it is half of the lowest median and four standard errors, which follow from the median absolute deviation of the
    logarithm of the loss within the parts. A flat loss after a fall is normal: noise levels and noise are random, and
    most of the loss cannot be avoided.
    """
    windows = [window for window in history.progress if math.isfinite(window.loss)]
    if len(windows) < MIN_WINDOWS or windows[-1].step < MIN_STEPS:
        return []
    parts = _parts(windows[:: -(-len(windows) // MAX_WINDOWS)])
    lowest = parts[0]
    worst: tuple[float, _Part, _Part] | None = None  # rise, before and after it
    for part in parts[1:]:
        rise = part.loss / max(lowest.loss, TINY)
        if part.rose_from(lowest) and (worst is None or rise > worst[0]):
            worst = rise, lowest, part
        lowest = min(lowest, part, key=lambda each: each.loss)
    last = parts[-1]
    if worst is not None:
        _, before, after = worst
        recovered = last.loss < RISE * lowest.loss
        return [
            Finding(
                LOSS_CURVE,
                "warning" if recovered else "error",
                f"the loss rose from {loss_text(before.loss)} to {loss_text(after.loss)}, between steps "
                f"{before.step:,} and {after.step:,}{', and fell again' if recovered else ''}",
                "training diverged: the learning rate is too high, or the warmup too short",
                "lower --learning-rate to a third, use --lr-schedule linear with more --warmup-steps, or set "
                "--clip-grad-norm 1",
            )
        ]
    first = max(window.loss for window in windows[:3])
    if not fine_tuned and last.loss > FLAT * first:
        return [
            Finding(
                LOSS_CURVE,
                "error",
                f"the loss is {loss_text(last.loss)} after {windows[-1].step:,} steps, and was {loss_text(first)} "
                "at the start",
                "the network does not learn: the learning rate is too low or far too high, images and target do not "
                "fit, or the network cannot represent the prediction",
                "change --learning-rate by a factor of 10, look at the images that are trained on, and try one of the "
                "built-in networks",
            )
        ]
    return []


def check_validation_curve(history: RunHistory) -> list[Finding]:
    """A validation loss that rises while the training loss falls: the network memorizes its training images."""
    epochs = [epoch for epoch in history.epochs if math.isfinite(epoch.validation_loss) and math.isfinite(epoch.loss)]
    if not epochs:
        return []
    last, best = epochs[-1], min(epochs, key=lambda epoch: epoch.validation_loss)
    if (
        last.epoch - best.epoch < VALIDATION_EPOCHS
        or last.validation_loss < VALIDATION_RISE * best.validation_loss
        or last.loss >= best.loss
    ):
        return []
    return [
        Finding(
            VALIDATION_CURVE,
            "warning",
            f"the validation loss rose from {loss_text(best.validation_loss)} in epoch {best.epoch:,} to "
            f"{loss_text(last.validation_loss)} in epoch {last.epoch:,}, while the training loss fell",
            "the network memorizes its training images: there are too few of them for so many epochs or weights",
            f"train for about {best.epoch:,} epochs, on more images, with --augment-shift or --flip, or with a smaller "
            "--size",
        )
    ]


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count:,} steps"


def _skipped_steps(message: str) -> int:
    """The number of skipped steps that a warning of the training loop reports."""
    found = _SKIPPED.match(message)
    return int(found[1].replace(",", "")) if found else 0


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a loss curve."""

    step: int  # its middle
    loss: float  # median of its windows
    error: float  # standard error of the logarithm of the median

    def rose_from(self, other: _Part) -> bool:
        """Whether the loss is higher than in another part by more than windows differ by chance."""
        return self.loss > RISE * other.loss and (
            math.log(self.loss / max(other.loss, TINY)) > RISE_ERRORS * math.hypot(self.error, other.error)
        )


def _parts(windows: Sequence[Progress]) -> list[_Part]:
    """The parts of a curve that have windows."""
    first, last = windows[0].step, windows[-1].step
    length = max(1, -(-(last - first + 1) // PARTS))
    losses: dict[int, list[float]] = {}
    for window in windows:
        losses.setdefault((window.step - first) // length, []).append(window.loss)
    medians = {index: median(values) for index, values in losses.items()}
    ratios = [
        abs(math.log(max(loss, TINY) / max(medians[index], TINY)))
        for index, values in losses.items()
        for loss in values
    ]
    deviation = 1.4826 * median(ratios)  # of a normal distribution with this median absolute deviation
    return [
        _Part(first + index * length + length // 2, medians[index], deviation * math.sqrt(math.pi / 2 / len(values)))
        for index, values in sorted(losses.items())
    ]
