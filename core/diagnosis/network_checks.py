"""Checks of a network and its weights: finite, trained for what is declared, conditioned, precise, EMA, overfitted."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from core.runs.findings import Finding

WEIGHTS, TARGET, CONDITIONING, MODES = "finite weights", "training target", "conditioning", "evaluation mode"
PRECISION, EMA, GAP = "precision", "EMA", "validation gap"

LEARNED, FITS, CLEAR = 0.9, 0.5, 0.2  # errors, in units of the variance of the target
READ = 1e-3  # change of the output, relative to its size
STATISTICS = 1.5  # loss in evaluation mode, relative to training mode
ROUNDING = 0.05  # of the loss
EMA_LOSS = 1.3  # of the EMA weights, relative to the online weights
INITIAL_SHARE = 0.01  # of the random initial weights that may be left in the EMA weights
GENERALIZATION = 0.1  # of the training loss, and three standard errors


def check_weights(tensors: Mapping[str, Tensor]) -> list[Finding]:
    """Weights that are NaN or infinite.

    Args:
        tensors: Weights by name.
    """
    wrong = [name for name, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if not wrong:
        return []
    return [
        Finding(
            WEIGHTS,
            "error",
            f"{len(wrong)} of {len(tensors)} weights are not finite, such as {wrong[0]}",
            "training diverged and was continued: the learning rate is too high, or a precision overflows",
            "go back to an earlier checkpoint, or train again with a third of the learning rate and clipped gradients",
        )
    ]


def check_target(declared: str, errors: Mapping[str, float]) -> list[Finding]:
    """A network that predicts something else than it is used for, or nothing.

    The error of a prediction is measured in units of the target's variance, so that the best constant has an error of
    1. Of trained networks it is 0.05 to 0.3 on average over the noise levels. Another target must explain the output
    twice as well, and more than half of its own variance; a noise prediction that is used as a velocity has an error of
    the images' share of the velocity's variance, 0.3 for MNIST.

    Args:
        declared: The path, prediction and scale of the noise level that the network is used with.
        errors: The error for `declared`, and for other combinations; for other paths and scales if it is 0.2 or more.
    """
    error = errors[declared]
    best = min(errors, key=lambda name: errors[name] if math.isfinite(errors[name]) else math.inf)
    if best != declared and errors[best] < FITS and not errors[best] > error / 2:
        return [
            Finding(
                TARGET,
                "error",
                f"for {declared} the network has an error of {error:.2f} of the target's variance, for {best} of "
                f"{errors[best]:.2f}",
                f"the network was trained for {best}",
                "use it with that path, prediction and noise level, or train it for the declared ones",
            )
        ]
    if math.isfinite(error) and error < LEARNED:
        return []
    return [
        Finding(
            TARGET,
            "error",
            f"the network's error is {error:.2f} of the variance of its target ({declared}); that of the best constant "
            "is 1",
            "the network is not trained, did not learn, or was trained on other images or for another target",
            "look at the loss curve: if it fell, training and this check treat the images differently, else change "
            "--learning-rate by a factor of 10",
        )
    ]


def check_conditioning(level: float | None, classes: float | None) -> list[Finding]:
    """A network whose output does not depend on the noise level or the class.

    Args:
        level: Root mean square change of the output with the noise level it is given, for the same noisy images, and
            relative to the output; None if it is given none.
        classes: The same for the class.
    """
    findings = []
    if level is not None and level < READ:
        findings.append(
            Finding(
                CONDITIONING,
                "warning",
                f"another noise level changes the output by {level:.2%}",
                "the network does not use the noise level that it is given, or it is scaled to almost nothing",
                "pass t to an embedding of sines and cosines of several frequencies that is added in each block",
            )
        )
    if classes is not None and classes < READ:
        findings.append(
            Finding(
                CONDITIONING,
                "error",
                f"another class changes the output by {classes:.2%}",
                "the network does not use the class: its embedding is not connected or not trained, or "
                "--label-dropout is 1",
                "check that labels reach the network, that their embedding has gradients, and that --label-dropout "
                "is about 0.1",
            )
        )
    return findings


def check_modes(training: float, evaluation: float) -> list[Finding]:
    """Running statistics of BatchNorm that do not fit the weights: half as much loss again in evaluation mode.

    Args:
        training: The loss of a batch in training mode.
        evaluation: Its loss in evaluation mode.
    """
    if math.isfinite(evaluation) and evaluation <= STATISTICS * training:
        return []
    return [
        Finding(
            MODES,
            "error",
            f"the loss is {evaluation:.4f} in evaluation mode and {training:.4f} in training mode",
            "running statistics of BatchNorm belong to other weights: they were not copied with the EMA weights, or "
            "mix all noise levels",
            "copy buffers to the EMA network too, or use GroupNorm, which has none",
        )
    ]


def check_precision(name: str, low: float, full: float) -> list[Finding]:
    """A loss that is another one in float32: by more than 5%.

    bfloat16 rounds to 8 bits, 0.4%, and float16 to 11, so that rounding changes a mean loss by less than 1%; float16
    overflows above 65,504.

    Args:
        name: The precision that the network is used in.
        low: The loss of a batch in it.
        full: The loss of the same batch in float32.
    """
    if not math.isfinite(full) or (math.isfinite(low) and abs(low - full) <= ROUNDING * full):
        return []
    return [
        Finding(
            PRECISION,
            "error",
            f"the loss of the same batch is {low:.4f} in {name} and {full:.4f} in float32",
            f"{name} {'overflows, or ' if name == 'float16' else ''}rounds too much for this network",
            "use --precision float32, or bfloat16 in place of float16; keep weights, normalization and the loss in "
            "float32",
        )
    ]


def check_ema(averaged: float, online: float, *, decay: float | None = None, steps: int | None = None) -> list[Finding]:
    """EMA weights that are far behind: 30% more loss than the online weights, or 1% of the initial weights left.

    An average with a constant decay contains decay^steps of its random start. A decay of 0.9999 needs 46,000 steps
    until 1% is left. An average over a fraction of the past steps (Karras et al. 2024, section 3.1), which minidiff
    uses, contains nothing of it.

    Args:
        averaged: The loss of a batch with the EMA weights.
        online: The loss of the same batch with the weights in training.
        decay: Per step, if it is constant.
        steps: Number of steps that the average was taken over.
    """
    share = decay**steps if decay is not None and steps is not None else 0.0
    behind = not math.isfinite(averaged) or (math.isfinite(online) and averaged > EMA_LOSS * online)
    if share <= INITIAL_SHARE and not behind:
        return []
    evidence = f"the loss of a batch is {averaged:.4f} with EMA weights and {online:.4f} with the weights in training"
    if share > INITIAL_SHARE:
        evidence += f"; after {steps:,} steps with decay {decay:g} the average contains {share:.0%} of its start"
    return [
        Finding(
            EMA,
            "error" if behind else "warning",
            evidence,
            "the average covers more steps than were trained, so random initial weights are part of it",
            "sample the weights in training for now; let the decay grow with the steps, such as min(decay, (1 + step) "
            "/ (10 + step)), or average over a fraction of the steps (--ema 0.1)",
        )
    ]


def check_gap(training: Tensor, validation: Tensor) -> list[Finding]:
    """A validation loss above the training loss: by 10% and three standard errors.

    Args:
        training: The losses of training images, (n,) with n at least 2, at noise levels that are the same in both.
        validation: Those of validation images, (n,).
    """
    mean, difference = float(training.mean()), (validation - training).double()
    gap, error = float(difference.mean()) / mean, float(difference.std()) / math.sqrt(len(difference)) / mean
    if not gap > GENERALIZATION + 3 * error:  # also if one of them is not a number
        return []
    return [
        Finding(
            GAP,
            "warning",
            f"the loss is {mean:.4f} on training images and {float(validation.mean()):.4f} on validation images, "
            f"{gap:.0%} more",
            "the network memorizes its training images, or both splits show different things",
            "use more images, --augment-shift or --flip, fewer --epochs or a smaller --size; see the check of splits",
        )
    ]
