"""Output of `minidiff eval`: progress as a bar on a terminal, as plain lines elsewhere, then a table of metrics."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from core.cli.progress import PLAIN_SECONDS
from core.evaluation.feature_nets import SHAPES
from core.evaluation.memorisation import EXPECTED_CLOSER, EXPECTED_COPIES, Memorisation
from core.evaluation.reference import EvaluationProgress
from core.evaluation.scores import Evaluation, Scores
from core.runs.events import Event
from core.runs.history import in_words

Step = EvaluationProgress | Event | Evaluation

# Heading, value and number format of each row.
ROWS: tuple[tuple[str, Callable[[Scores], float | None], str], ...] = (
    ("Frechet", lambda scores: scores.frechet, ".4f"),
    ("KID x 1000", lambda scores: scores.kernel * 1000, ".3f"),
    ("precision", lambda scores: scores.precision, ".2%"),
    ("recall", lambda scores: scores.recall, ".2%"),
    ("agreement", lambda scores: scores.agreement, ".2%"),
    ("CAS", lambda scores: scores.cas, ".2%"),
)

MEMORISATION_ROWS: tuple[tuple[str, Callable[[Memorisation], float], float], ...] = (
    ("closer than real images", lambda memorisation: memorisation.closer, EXPECTED_CLOSER),
    ("copies", lambda memorisation: memorisation.copies, EXPECTED_COPIES),
)
MAX_CLASSES = 20  # whose counts are listed


def follow(steps: Iterable[Step], *, quiet: bool = False) -> Evaluation:
    """Run an evaluation to its end, showing progress unless `quiet`, and return its result."""
    with _no_display() if quiet else progress_display("loading the data") as add:
        for step in steps:
            if isinstance(step, Evaluation):
                return step
            add(step)
    raise AssertionError("the last step of an evaluation is its result")


def progress_display(task: str) -> AbstractContextManager[Callable[[EvaluationProgress | Event], None]]:
    """A bar labeled `task` on a terminal, plain lines elsewhere; the returned function shows one step."""
    return _bar(task) if sys.stdout.isatty() else _lines()


def table(result: Evaluation) -> list[str]:
    """The metrics in aligned lines: samples and real-vs-real baseline, for each feature classifier."""
    rows = [("", *(f"{name} ({shape})" for shape in SHAPES for name in ("samples", "baseline")))]
    columns = [scores for shape in SHAPES for scores in (result.samples[shape], result.baseline[shape])]
    for heading, metric, form in ROWS:
        values = [metric(scores) for scores in columns]
        if any(value is not None for value in values):  # CAS only if requested, agreement only with classes
            rows.append((heading, *("N/A" if value is None else format(value, form) for value in values)))
    accuracy = [cell for shape in SHAPES for cell in ("", f"{result.accuracy[shape]:.2%}")]  # on real images
    task = "" if result.task == "classes" else f" ({result.task})"
    rows.append((f"test accuracy{task}", *accuracy))
    return _aligned(rows)


def memorisation_table(result: Evaluation) -> list[str]:
    """The memorization check in aligned lines: samples and fresh real images, in pixels and in features."""
    if not result.memorisation:
        return []
    checks = result.memorisation
    names = [f"{name} ({space})" for space in checks for name in ("samples", "baseline")]
    rows = [("nearest training images", *names, "expected")]
    for heading, metric, expected in MEMORISATION_ROWS:
        values = [metric(part) for check in checks.values() for part in (check.samples, check.baseline)]
        rows.append((heading, *(f"{value:.2%}" for value in values), f"{expected:.0%}"))
    return _aligned(rows)


def loss_line(result: Evaluation) -> str:
    """The model's loss beside the least possible one, or why there is none."""
    if result.loss is None:
        return f"loss floor  N/A: {result.no_loss}"
    training, validation, below = result.loss.training, result.loss.validation, result.loss.memorising_below
    excess = f"excess {training.excess.mean:.4f} (standard error {training.excess.mean_error:.4f})"
    larger = "" if below is None else f", larger below noise level {below:.2f}"
    return (
        f"loss  training {training.network.mean:.4f}, floor {training.ideal.mean:.4f}, {excess}; "
        f"validation {validation.network.mean:.4f}, ideal denoiser {validation.ideal.mean:.4f}{larger}"
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def notes(result: Evaluation) -> list[str]:
    """Lines below the tables: samples per class, the closest samples, the sampling options, and the classifiers."""
    rate = result.n / result.seconds if result.seconds else 0
    hashes = ", ".join(f"{shape} {result.sha256[shape][:12]}" for shape in SHAPES)
    return [
        *_class_counts(result),
        *(
            f"closest samples ({space})  "
            + "  ".join(
                f"sample {sample:,}: training image {image:,} at {distance:.4f}"
                for sample, image, distance in check.closest
            )
            for space, check in result.memorisation.items()
        ),
        f"{result.n:,} samples of {result.model} against the test split of {result.dataset}; {result.sampling}; "
        f"{result.seconds:.1f} s, {rate:,.0f} images/s; baseline: real-vs-real; feature classifiers {hashes}",
    ]


def _class_counts(result: Evaluation) -> list[str]:
    """Samples per class; of more than 20 classes only the rarest and the most frequent."""
    counts = list(zip(result.samples[SHAPES[0]].classes, result.class_names, strict=False))
    if not counts:
        return []
    if len(counts) > MAX_CLASSES:
        (fewest, rarest), (most, frequent) = min(counts), max(counts)
        listed = f"from {fewest:,} ({rarest}) to {most:,} ({frequent}), of {len(counts):,} classes"
    else:
        listed = "  ".join(f"{name}: {count:,}" for count, name in counts)
    return [f"samples per class ({SHAPES[0]})  {listed}"]


def _text(step: EvaluationProgress | Event) -> str:
    if isinstance(step, EvaluationProgress):
        return f"{step.doing}: {step.done:,} of {step.total:,}" if step.total else step.doing
    return in_words(step)


@contextmanager
def _no_display() -> Iterator[Callable[[EvaluationProgress | Event], None]]:
    yield lambda step: None


@contextmanager
def _lines() -> Iterator[Callable[[EvaluationProgress | Event], None]]:
    """Prints a line when a new task starts, and at most one progress line in ten seconds."""
    printed, current = 0.0, ""

    def add(step: EvaluationProgress | Event) -> None:
        nonlocal printed, current
        now = time.monotonic()
        task = step.doing if isinstance(step, EvaluationProgress) else step.kind
        if task == current and now - printed < PLAIN_SECONDS:
            return
        printed, current = now, task
        print(_text(step), flush=True)

    yield add


@contextmanager
def _bar(first_task: str) -> Iterator[Callable[[EvaluationProgress | Event], None]]:
    """A rich progress bar for the current task, with warnings printed above it."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from core.runs.events import Download, Preparing

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
    )
    with Bar(*columns, TimeRemainingColumn(compact=True), transient=True) as bar:
        task, current = bar.add_task(first_task, total=None, rate=""), ""

        def add(step: EvaluationProgress | Event) -> None:
            nonlocal current
            if isinstance(step, EvaluationProgress):
                if step.doing != current:  # the remaining time is that of the current task
                    current = step.doing
                    bar.reset(task, total=step.total or None, description=current)
                rate = f"{step.done:,}/{step.total:,}" if step.total else ""
                bar.update(task, completed=step.done, rate=rate)
            elif isinstance(step, Download):
                bar.update(task, completed=step.received, total=step.total, description=in_words(step))
            elif isinstance(step, Preparing):
                bar.update(task, completed=step.done, total=step.total, description=in_words(step))
            else:
                bar.print(in_words(step), markup=False, emoji=False, highlight=False)

        yield add
