"""`run_race`: trains candidates in turns, compares them after equal parts of the budget, and yields records."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from core.config.numbers import whole_number
from core.config.training import TrainConfig
from core.data import datasets
from core.diffusion.loaded_model import load_model
from core.errors import ConfigError, MinidiffError, RunError, TrainingError
from core.evaluation.reference import EvaluationProgress, prepare
from core.evaluation.scores import quick_scores
from core.generators import WithResult
from core.race.candidates import MAX_RUNS, make_candidates
from core.race.folder import Distance, Measurement, RaceFolder, Withdrawal, race_settings
from core.race.records import RaceRecord, RaceRules, RaceStarted
from core.race.report import RaceReport
from core.race.scoreboard import Scoreboard
from core.race.turns import RaceRun
from core.race.validation import ComparedImages, compared_images, compared_losses
from core.runs.directory import config_options, root_directory
from core.runs.events import Event, Warned
from core.runs.store import check_new_name
from core.system.signals import Interrupts
from core.training.distributed import DistributedContext
from core.training.loop import RunData
from core.training.start import choose_device

S = TypeVar("S")
T = TypeVar("T")
SLICE_SECONDS = 1.0  # of training, before it is the turn of the next run
Step = RaceRecord | EvaluationProgress | Event


def run_race(
    config: TrainConfig,
    settings: Mapping[str, Sequence[Any]],
    rules: RaceRules,
    *,
    seeds: Sequence[int] = (0,),
    interrupts: Interrupts | None = None,
) -> Generator[Step, None, None]:
    """Train every combination of settings with every seed, in turns on one device, and compare them in pairs.

    All candidates of a seed have the same initial weights (if their networks agree), batches, noise and noise levels,
    since a step is a pure function of (seed, step). They are measured on the same validation images with the same
    noise, by the loss of the first candidate's prediction, weighting and noise levels. Each is a run directory in
    `config.root`, named after the race. Everything measured is in the race's folder there, so that the same call
    continues an interrupted race; a complete one is not trained again. Closing the generator, or a signal, writes a
    checkpoint of every run.

    Args:
        config: The options that all candidates share. `config.name` names the race; None: a digest of its settings.
            `config.root` is the folder of the runs; None: $MINIDIFF_HOME, else ./checkpoints.
        settings: The values of each option that is raced, such as {"optimizer": ["adam", "muon"]}.
        rules: Budget, comparisons and the rule for stopping a candidate early.
        seeds: Each is a block: a seed of every candidate.
        interrupts: Entered by the caller, if signals should be recorded while the generator is suspended.

    Yields:
        `RaceStarted`, then `RaceProgress`, `RaceComparison` and `CandidateStopped`; `RaceResult` at the end. Between
        them events of the data, warnings of the runs, and `EvaluationProgress`.

    Raises:
        ConfigError: The settings cannot be raced.
        RunError: The name is taken, or the race is running in another process.
        TrainingError: Every candidate was stopped, or the candidates were never compared.
        MinidiffError: As for `train`; a candidate whose training diverges or runs out of memory is only taken out of
            the race.
    """
    candidates = make_candidates(config, settings)
    seeds = _checked_seeds(seeds, len(candidates))
    if DistributedContext().size > 1:
        raise ConfigError("a race trains in one process; start it without torchrun")
    root = root_directory(config.root)
    folder = RaceFolder(root, config.name, race_settings(candidates, seeds, rules))
    board = Scoreboard(len(candidates), seeds, rules)
    names = {
        (candidate.number, seed): f"{folder.name}-{candidate.number}{f'-seed{seed}' if len(seeds) > 1 else ''}"
        for candidate in candidates
        for seed in seeds
    }
    for name in names.values():
        if (root / check_new_name(name)).exists() and not folder.continued:
            raise RunError(f"{root / name} exists already; choose another --name for the race")
    with folder:
        yield from _race(RaceReport(folder, candidates, seeds, names, board, {}), interrupts)


def _race(report: RaceReport, interrupts: Interrupts | None) -> Generator[Step, None, None]:
    """The race, from what is in its folder to its result."""
    folder, board = report.folder, report.board
    yield RaceStarted(
        name=folder.name,
        folder=folder.path,
        labels=tuple(candidate.label for candidate in report.candidates),
        seeds=report.seeds,
        runs=tuple(
            tuple(report.names[candidate.number, seed] for seed in report.seeds) for candidate in report.candidates
        ),
        rules=board.rules,
        continued=folder.continued,
    )
    for entry in folder.entries():
        match entry:
            case Measurement():
                yield from board.add(entry)
            case Withdrawal():
                yield from board.withdraw(entry.candidate, entry.reason)
            case Distance():
                report.distances[entry.run] = entry.frechet

    runs = []
    for candidate in report.candidates:
        for seed in report.seeds:
            path = folder.path.parent / report.names[candidate.number, seed]
            runs.append(RaceRun(candidate, seed, path, board.rules, board.marks(candidate.number, seed)))
    yield from _train(runs, report, interrupts)
    if len(board.active) == 0:
        raise TrainingError("every candidate was stopped; see the log of each run, and race smaller learning rates")
    if len(board.active) > 1 and board.last is None:
        raise TrainingError(
            "the candidates were never compared: their runs were trained further outside of the race; race again with "
            "another --name"
        )
    if board.rules.samples:
        active = [run for run in runs if run.candidate.number in board.active]
        yield from _measure_distances(active, report, interrupts)
    yield report.write(complete=True)


def _checked_seeds(seeds: Sequence[int], candidates: int) -> tuple[int, ...]:
    checked = tuple(whole_number(seed, "a seed") for seed in seeds)
    if not checked or len(set(checked)) < len(checked) or min(checked) < 0:
        raise ConfigError(f"seeds: needs different whole numbers of at least 0, not {list(seeds)}")
    if candidates * len(checked) > MAX_RUNS:
        raise ConfigError(
            f"{candidates} candidates with {len(checked)} seeds are {candidates * len(checked)} runs; a race has at "
            f"most {MAX_RUNS}"
        )
    return checked


def _train(runs: list[RaceRun], report: RaceReport, interrupts: Interrupts | None) -> Generator[Step, None, None]:
    """Train the runs in turns until their budgets are spent, or one candidate is left."""
    board = report.board
    waiting = [run for run in runs if not run.done and run.candidate.number in board.active]
    if not waiting or len(board.active) < 2:
        return
    config = runs[0].candidate.config
    data = yield from _load_data(config, interrupts)
    _check_steps(runs, board.rules, len(data.train.images))
    images = compared_images(config, data.test, board.rules.images)
    threads = _threads(runs)
    report.folder.create()
    with ExitStack() as stack:
        for run in waiting:
            stack.callback(run.close)
            yield from _shown(run, run.open(data, threads, interrupts))
            yield from _measure(run, images, report)  # it may have been interrupted at a mark
        while len(board.active) > 1:
            left = [run for run in waiting if not run.done and run.candidate.number in board.active]
            if not left:
                break
            run = min(left, key=lambda run: run.used)
            try:
                yield from _shown(run, run.train(SLICE_SECONDS))
            except TrainingError as error:
                report.folder.append(Withdrawal(run.candidate.number, str(error)))
                yield from board.withdraw(run.candidate.number, str(error))
            else:
                yield run.progress
                if run.was_stopped:  # not in the race's log: the same call resumes it
                    reason = f"{run.path.name} was stopped on request at step {run.step:,}"
                    yield from board.withdraw(run.candidate.number, reason)
                else:
                    yield from _measure(run, images, report)
            for other in waiting:
                if other.candidate.number in board.stopped:
                    other.stop(board.stopped[other.candidate.number])
                elif other.done:
                    other.stop("the budget of the race is spent")
        for run in waiting:
            run.stop("the race is decided")


def _threads(runs: list[RaceRun]) -> int | None:
    """CPU threads of all runs, chosen once: those of an earlier process, if it has created any run."""
    used = ((config_options(run.path) or {}).get("threads") for run in runs)
    earlier = next((threads for threads in used if isinstance(threads, int)), None)
    return earlier or choose_device(runs[0].candidate.config, None, DistributedContext())[1].threads


def _measure(run: RaceRun, images: ComparedImages, report: RaceReport) -> Iterator[RaceRecord]:
    """Measure a run at the marks that it has reached; yields what follows, and writes the result so far."""
    if not (marks := run.take_marks()):
        return
    losses = compared_losses(run.model, images)
    records: list[RaceRecord] = []
    for mark in marks:
        name, number = run.path.name, run.candidate.number
        measured = Measurement(name, number, run.seed, mark, run.step, run.seconds, losses)
        report.folder.append(measured)
        records += report.board.add(measured)
    if records and report.board.last is not None:
        report.write(complete=False)
    yield from records


def _shown(run: RaceRun, events: Iterator[Event]) -> Iterator[Event]:
    """The warnings of a run, with its name."""
    for event in events:
        if isinstance(event, Warned):
            yield Warned(message=f"{run.path.name}: {event.message}")


def _load_data(config: TrainConfig, interrupts: Interrupts | None) -> Generator[Step, None, RunData]:
    """The images that all runs share."""
    search = datasets.locate(config.dataset, config.data_root, limit=config.limit, options=config.image_options)
    located = yield from _interruptible(search, interrupts)
    train, test = (datasets.read(located, split, config.limit) for split in ("train", "test"))
    return RunData(located, train, test)


def _check_steps(runs: list[RaceRun], rules: RaceRules, images: int) -> None:
    configs = [run.candidate.config for run in runs]
    steps = min(-(-images // config.batch_size) * config.epochs for config in configs)
    if rules.steps is not None and steps < rules.steps:
        raise ConfigError(f"steps: {rules.steps:,} are raced, but a run has only {steps:,}; use more --epochs")


def _measure_distances(
    active: list[RaceRun], report: RaceReport, interrupts: Interrupts | None
) -> Generator[Step, None, None]:
    """Compare samples of each run, from the same noise, with the test images, unless that was done before."""
    runs = [run for run in active if run.path.name not in report.distances]
    if not runs:
        return
    device = runs[0].candidate.config.device
    try:
        first = load_model(runs[0].path, device).config
        preparation = prepare(first.dataset, first.data_root, first.limit, info=first.info, options=first.image_options)
        reference = yield from _interruptible(preparation, interrupts)
    except MinidiffError as error:
        yield Warned(message=f"no Frechet distances: {error}")
        return
    n = min(report.board.rules.samples, len(reference.validation.images))
    for run in runs:
        try:
            scores = quick_scores(load_model(run.path, device), n, reference)
            distance, _ = yield from _interruptible(scores, interrupts)
        except MinidiffError as error:  # the samples are not finite, or it has no checkpoint
            yield Warned(message=f"{run.path.name}: {error}")
            continue
        report.folder.append(Distance(run.path.name, distance))
        report.distances[run.path.name] = distance


def _interruptible(work: Generator[S, None, T], interrupts: Interrupts | None) -> Generator[S, None, T]:
    """Pass on the steps of some work; a signal ends it between two of them."""
    with WithResult(work) as steps:
        for step in steps:
            if interrupts is not None:
                interrupts.raise_received()
            yield step
    return steps.result
