"""`diagnose` and `diagnose_run`: generators that check a network or a run and yield one result per check."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from torch import Tensor, nn

from core.config.numbers import whole_number
from core.config.sampling import MAX_IMAGES, SamplingOptions, resolve_sampling
from core.config.training import PathName, PrecisionName, PredictionName, TrainConfig
from core.diagnosis import network_checks
from core.diagnosis.image_stage import image_checks_of
from core.diagnosis.measurements import evaluated
from core.diagnosis.network_stage import network_checks_of
from core.diagnosis.sample_stage import MIN_SAMPLES, SAMPLES, check_generated
from core.diagnosis.stage import Check
from core.diagnosis.subject import Subject, locate, network_subject, run_subject, stored_weights
from core.diffusion.loaded_model import LoadedModel
from core.errors import MinidiffError
from core.evaluation.reference import EvaluationProgress
from core.models.custom import Network
from core.runs.directory import EVENTS, config_options
from core.runs.findings import CheckResult, check_log, is_fine_tuned
from core.runs.history import RunHistory

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike
    from core.runs.events import Event


def diagnose(
    model: nn.Module | LoadedModel,
    images: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    validation: ArrayLike | None = None,
    validation_labels: ArrayLike | None = None,
    samples: ArrayLike | None = None,
    ema: nn.Module | None = None,
    ema_decay: float | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    batch_size: int = 64,
    path: PathName = "flow",
    prediction: PredictionName = "velocity",
    precision: PrecisionName = "float32",
    n: int = SAMPLES,
) -> Generator[EvaluationProgress | CheckResult, None, None]:
    """Check a network, its images and its samples for what goes wrong in training again and again.

    The network is not changed, and is used in evaluation mode. What is left out is not checked.

    Args:
        model: A network, called as net(x, t, labels), net(x, t) or net(x) with t in [0, 1] and noise at 1; or a model
            from `load_model`, whose config replaces `batch_size` and the arguments after it.
        images: Images that it was trained on, (N, C, H, W): floating point exactly as fed to the network, or bytes.
        labels: Their classes, (N,); None: without classes.
        validation, validation_labels: Images that it was not trained on, likewise.
        samples: Samples of your own sampler, (n, C, H, W), in the value range of the images; None: they are generated.
        ema: A network with the EMA weights, which is then sampled.
        ema_decay: Its decay per step, if that is constant.
        steps: Training steps.
        learning_rate: Peak learning rate of an optimizer like Adam.
        batch_size: Of the training.
        path, prediction: What the network was trained for: "flow" (or "vp", "mix"), and "velocity", "noise", "clean" or
            "v".
        precision: Precision of the training, "float32" or "bfloat16".
        n: Number of samples, at least 8; for images larger than 32x32 pixels a quarter of it, but at least 8.

    Yields:
        `EvaluationProgress`, and a `CheckResult` for each check: its name, its findings, and why it was skipped.

    Raises:
        MinidiffError: The images do not fit the network, or it cannot be called.
    """
    config = TrainConfig(
        preset="default",
        dataset="auto",
        path=path,
        prediction=prediction,
        precision=precision,
        time_sampling="uniform",
        optimizer="adam",
        batch_size=batch_size,
        ema=0.0,
    )
    subject = network_subject(
        model,
        images,
        labels,
        validation,
        validation_labels,
        samples,
        ema,
        ema_decay,
        steps,
        learning_rate,
        config,
    )
    weights = subject.model.net.state_dict() | {
        f"online.{name}": value for name, value in (subject.online.state_dict() if subject.online else {}).items()
    }
    yield from _check_subject(subject, weights, _checked(n), {})


def diagnose_run(
    name: str | Path,
    root: str | Path | None = None,
    *,
    net: Network | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    n: int = SAMPLES,
    steps: int | None = None,
    **options: Unpack[SamplingOptions],
) -> Generator[EvaluationProgress | Event | CheckResult, None, None]:
    """`diagnose` for a run, with its log and its data, a built-in model or a .safetensors file.

    Args:
        name: As for `load_model`; also a run that has no weights yet.
        root: Folder of the runs; None: $MINIDIFF_HOME, else ./checkpoints.
        net: The network, or its class, of a run that was trained on a network of the user's own.
        device: As for `pick_device`.
        data_root: Folder of the dataset, as for `load_dataset`.
        n: As for `diagnose`.
        steps, options: As for `sample`; the samples are generated with them.

    Yields:
        Data events, `EvaluationProgress`, and a `CheckResult` for each check.

    Raises:
        MinidiffError: There is no such run or model, or it cannot be read.
    """
    n = _checked(n)
    located = locate(name, root)
    if located.folder is not None:
        fine_tuned = is_fine_tuned(config_options(located.folder))
        yield from check_log(RunHistory.of(located.folder / EVENTS), fine_tuned=fine_tuned)
    stored = stored_weights(located, net)
    if stored is not None and (findings := network_checks.check_weights(stored[0])):
        yield CheckResult(network_checks.WEIGHTS, tuple(findings))
        return
    yield EvaluationProgress("loading the images", 0, 0)
    subject = yield from run_subject(located, None if stored is None else stored[1], net, device, data_root)
    if located.file is None:
        yield CheckResult(network_checks.WEIGHTS, skipped="the run has no weights yet")
        if subject.images is not None:
            yield from _run_checks(list(image_checks_of(subject)))
        return
    resolve_sampling(subject.model.config, 1, steps=steps, **options)  # raises before the work
    yield from _check_subject(subject, {} if stored is None else stored[0], n, {"steps": steps, **options})


def _check_subject(
    subject: Subject, weights: dict[str, Tensor], n: int, options: dict[str, Any]
) -> Generator[EvaluationProgress | CheckResult, None, None]:
    """All checks, in the order in which one may explain the next."""
    findings = network_checks.check_weights(weights)
    yield CheckResult(network_checks.WEIGHTS, tuple(findings))
    if findings:
        return
    nets = [subject.model.net, *([subject.online] if subject.online is not None else [])]
    with evaluated(nets[0]), evaluated(nets[1]) if len(nets) > 1 else nullcontext():
        yield from _run_checks([*image_checks_of(subject), *network_checks_of(subject)])
        yield from check_generated(subject, n, options)


def _checked(n: int) -> int:
    n = whole_number(n, "n")
    if not MIN_SAMPLES <= n <= MAX_IMAGES:
        raise MinidiffError(f"n must be from {MIN_SAMPLES} to {MAX_IMAGES:,}, not {n}")
    return n


def _run_checks(checks: list[Check]) -> Generator[EvaluationProgress | CheckResult, None, None]:
    for index, check in enumerate(checks):
        yield EvaluationProgress(f"checking {check.doing}", index, len(checks))
        yield CheckResult(check.name, () if check.skipped else tuple(check.run()), skipped=check.skipped)
