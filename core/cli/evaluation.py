"""What `minidiff eval` shows: a bar on a terminal and plain lines elsewhere while it runs, then a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from core.cli.progress import PLAIN_SECONDS
from core.evaluation.feature_classifiers import SHAPES
from core.evaluation.scores import Evaluation, EvaluationProgress, Scores
from core.runs.events import Event
from core.runs.history import in_words

Step = EvaluationProgress | Event | Evaluation

# Each row's heading, what it shows of a set of images, and how.
ROWS: tuple[tuple[str, Callable[[Scores], float | None], str], ...] = (
    ("Frechet", lambda scores: scores.frechet, ".4f"),
    ("KID x 1000", lambda scores: scores.kernel * 1000, ".3f"),
    ("precision", lambda scores: scores.precision, ".2%"),
    ("recall", lambda scores: scores.recall, ".2%"),
    ("agreement", lambda scores: scores.agreement, ".2%"),
    ("CAS", lambda scores: scores.cas, ".2%"),
)


def shown(steps: Iterable[Step], *, quiet: bool = False) -> Evaluation:
    """Follow an evaluation to its end, showing how far it is unless `quiet`; what it found."""
    with _nothing() if quiet else showing("finding the data") as add:
        for step in steps:
            if isinstance(step, Evaluation):
                return step
            add(step)
    raise AssertionError("an evaluation ends with what it found")


def showing(doing: str) -> AbstractContextManager[Callable[[EvaluationProgress | Event], None]]:
    """A bar on a terminal, which begins with what is being done, and plain lines elsewhere; takes each step."""
    return _bar(doing) if sys.stdout.isatty() else _lines()


def table(found: Evaluation) -> list[str]:
    """The figures in aligned lines: of the samples and of the floor beside them, as each classifier sees them."""
    rows = [("", *(f"{what} ({shape})" for shape in SHAPES for what in ("samples", "floor")))]
    sets = [scores for shape in SHAPES for scores in (found.samples[shape], found.floor[shape])]
    for heading, value, form in ROWS:
        values = [value(scores) for scores in sets]
        if any(one is not None for one in values):  # there is no CAS unless it was asked for
            rows.append((heading, *("N/A" if one is None else format(one, form) for one in values)))
    read = [cell for shape in SHAPES for cell in ("", f"{found.accuracy[shape]:.2%}")]  # real images, so the floor's
    rows.append(("classifier accuracy", *read))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def notes(found: Evaluation) -> list[str]:
    """What the figures hold for: the number of samples, how and how long they were drawn, and who looked at them."""
    counts = "  ".join(f"{digit}: {count:,}" for digit, count in enumerate(found.samples[SHAPES[0]].classes))
    pace = found.n / found.seconds if found.seconds else 0
    hashes = ", ".join(f"{shape} {found.sha256[shape][:12]}" for shape in SHAPES)
    return [
        f"samples by class ({SHAPES[0]})  {counts}",
        f"n {found.n:,} of {found.model} against the test split of {found.dataset}; {found.sampling}; "
        f"drawn in {found.seconds:.1f} s, {pace:,.0f} a second; classifiers {hashes}",
    ]


def _words(step: EvaluationProgress | Event) -> str:
    if isinstance(step, EvaluationProgress):
        return f"{step.doing}: {step.done:,} of {step.total:,}"
    return in_words(step)


@contextmanager
def _nothing() -> Iterator[Callable[[EvaluationProgress | Event], None]]:
    yield lambda step: None


@contextmanager
def _lines() -> Iterator[Callable[[EvaluationProgress | Event], None]]:
    """A line when something new begins, and at most one in ten seconds for how far it is."""
    printed, doing = 0.0, ""

    def add(step: EvaluationProgress | Event) -> None:
        nonlocal printed, doing
        now = time.monotonic()
        what = step.doing if isinstance(step, EvaluationProgress) else step.kind
        if what == doing and now - printed < PLAIN_SECONDS:
            return
        printed, doing = now, what
        print(_words(step), flush=True)

    yield add


@contextmanager
def _bar(opening: str) -> Iterator[Callable[[EvaluationProgress | Event], None]]:
    """rich's progress bar for what is being done now, with a line above it for each warning."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from core.runs.events import Download

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    with Bar(*columns, TimeRemainingColumn(compact=True), transient=True) as bar:
        task, doing = bar.add_task(opening, total=None, pace=""), ""

        def add(step: EvaluationProgress | Event) -> None:
            nonlocal doing
            if isinstance(step, EvaluationProgress):
                if step.doing != doing:  # so that the time that remains is that of this part
                    doing = step.doing
                    bar.reset(task, total=step.total, description=doing)
                bar.update(task, completed=step.done, pace=f"{step.done:,}/{step.total:,}")
            elif isinstance(step, Download):
                bar.update(task, completed=step.received, total=step.total, description=in_words(step))
            else:
                bar.print(in_words(step), markup=False, emoji=False, highlight=False)

        yield add
