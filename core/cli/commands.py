"""Every command of `minidiff`; flags of `train` are the fields of TrainConfig."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.config import Env

from core import __version__
from core.cli import launch
from core.config.legacy import check_environment
from core.config.sampling import SamplingOptions
from core.config.training import TrainConfig
from core.errors import MinidiffError, RunError
from core.runs import directory, launcher
from core.runs.events import Event, Failed, Finished, Stopped
from core.runs.history import loss_text
from core.runs.requests import request
from core.runs.status import how_to_resume, list_runs, run_status, summarize
from core.runs.store import create_run
from core.system.signals import Interrupts, loading
from core.text import memory_size, sanitize

if TYPE_CHECKING:
    from collections.abc import Generator

STOP_SECONDS = 60.0  # to wait for a trainer to finish its step and write its checkpoint
POLL_SECONDS = 0.1

app = App(
    name="minidiff",
    help="Train, watch and sample small diffusion models. The screen is `minidiff-tui`.",
    version=__version__,
    default_parameter=Parameter(negative_iterable=(), consume_multiple=True),
)
Root = Annotated[Path | None, Parameter(help="folder that holds the runs: else $MINIDIFF_HOME, else ./checkpoints")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="print JSON instead of a table")]
Steps = Annotated[int | None, Parameter(help="steps from noise to image; default: the model's own")]
Way = Annotated[SamplingOptions | None, Parameter(name="*")]
Device = Annotated[str | None, Parameter(help="auto, cpu, cuda, cuda:N or mps")]


# Only the options of a recipe: MINIDIFF_MODEL, say, must not become the model that `sample` takes.
@app.command(config=Env("MINIDIFF_", command=False))
def train(
    *,
    config: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),  # noqa: B008 - it is frozen
    config_file: Annotated[Path | None, Parameter(name="--config", help="TOML file with options; flags win")] = None,
    detach: Annotated[bool, Parameter(negative=(), help="train in a process that outlives this terminal")] = False,
) -> int:
    """Train a model and keep everything in a run directory."""
    check_environment()
    chosen = {name: getattr(config, name) for name in config.model_fields_set}
    if config_file is not None:
        base = TrainConfig.from_toml(Path(os.path.expanduser(config_file)))
        chosen = {**{name: getattr(base, name) for name in base.model_fields_set}, **chosen}
    chosen["root"] = directory.root_directory(chosen.get("root"))
    config = TrainConfig(**chosen)
    launcher.check_processes(config.nproc)
    if detach:
        return launch.detach(create_run(config))
    if config.nproc > 1 and not launcher.rank_info().launcher:
        with Interrupts() as interrupts:
            return _follow(launch.together(create_run(config), interrupts))
    with loading():
        from core.training.api import train as begin

    with Interrupts(patient=launcher.rank_info().size > 1) as interrupts:
        return _follow(begin(config, interrupts=interrupts))


@app.command
def resume(
    name: str,
    /,
    *,
    root: Root = None,
    device: Device = None,
    epochs: Annotated[int | None, Parameter(help="train up to so many epochs, also a finished run")] = None,
    nproc: Annotated[int | None, Parameter(help="processes that train together; default: as many as before")] = None,
    force: Annotated[bool, Parameter(negative=(), help="take a run whose lock names another host")] = False,
    detach: Annotated[bool, Parameter(negative=(), help="train in a process that outlives this terminal")] = False,
) -> int:
    """Resume a run from its last checkpoint, or train it for more epochs."""
    path = directory.find_run(name, directory.root_directory(root))
    if not launcher.rank_info().launcher:
        processes, note = launcher.resolve_processes(name, launcher.config_to_resume(path, epochs), nproc)
        if note:
            print(note, file=sys.stderr)
        options: dict[str, Any] = {"device": device, "force": force, "processes": processes, "epochs": epochs}
        if detach:
            return launch.detach(path, **options)
        if processes > 1:
            with Interrupts() as interrupts:
                return _follow(launch.together(path, interrupts, **options))
    with loading():
        from core.training.api import resume as go_on

    with Interrupts(patient=launcher.rank_info().size > 1) as interrupts:
        return _follow(go_on(path, device=device, force=force, epochs=epochs, interrupts=interrupts))


@app.command
def stop(name: str, /, *, root: Root = None) -> int:
    """Ask a run's trainer to write a checkpoint and end; waits until it has."""
    path = directory.find_run(name, directory.root_directory(root))
    request(path, "stop")
    deadline = time.monotonic() + STOP_SECONDS
    while run_status(path).alive:
        if time.monotonic() > deadline:
            raise RunError(
                f"{name} has been asked to stop, but has not yet; "
                f"`minidiff watch {shlex.quote(name)}` shows when it does"
            )
        time.sleep(POLL_SECONDS)
    summary = summarize(path)
    print(f"{name} is {summary.status} at step {summary.step:,}; {how_to_resume(path, summary.status)}")
    return 0


@app.command
def pause(name: str, /, *, root: Root = None) -> None:
    """Ask a run's trainer to write a checkpoint and wait."""
    request(directory.find_run(name, directory.root_directory(root)), "pause")
    print(f"asked {name} to pause; `minidiff continue {shlex.quote(name)}` goes on")


@app.command(name="continue")
def continue_(name: str, /, *, root: Root = None) -> None:
    """Ask a paused run's trainer to go on."""
    request(directory.find_run(name, directory.root_directory(root)), "continue")
    print(f"asked {name} to continue")


@app.command
def watch(name: str, /, *, root: Root = None) -> int:
    """Show a run as it goes on; Ctrl-C ends the watching, not the run."""
    path = directory.find_run(name, directory.root_directory(root))
    return _follow(_tail(path))


@app.command
def sample(
    model: str = directory.BUILTIN[0],
    /,
    *,
    n: Annotated[int, Parameter(help="images, at most 100,000")] = 8,
    steps: Steps = None,
    way: Way = None,
    label: Annotated[int | None, Parameter(name="--class", help="0 to 9; -1: any; default: in turn")] = None,
    seed: Annotated[int, Parameter(help="of all noise")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    output: Annotated[Path | None, Parameter(help="PNG of the samples; samples.png if no file is named")] = None,
    figure: Annotated[Path | None, Parameter(help="PNG with a row for each step")] = None,
    gif: Annotated[Path | None, Parameter(help="GIF of the whole denoising")] = None,
    root: Root = None,
) -> None:
    """Draw samples with a run, a built-in model (default-mnist) or a .safetensors file."""
    with loading():
        from core.cli.sampling import sampled
        from core.diffusion.loaded_model import find_model, load_model
        from core.export import images

    if output is None and figure is None and gif is None:
        output = Path("samples.png")
    for path, formats in ((output, images.PICTURES), (figure, images.PICTURES), (gif, images.ANIMATIONS)):
        if path is not None:
            images.check_output(path, formats)
    file = find_model(model, directory.root_directory(root))
    loaded = load_model(file, device)
    weights = "EMA" if loaded.config.ema else "online"
    print(sanitize(f"sampling from {loaded.name}: {file}, step {loaded.step:,}, {weights} weights"))
    every_step = figure is not None or gif is not None
    denoising = sampled(loaded, n, seed, every_step=every_step, steps=steps, labels=label, **(way or {}))
    for path, write in ((output, images.write_grid), (figure, images.write_figure), (gif, images.write_gif)):
        if path is not None:
            print(f"wrote {write(path, denoising)}")


@app.command(name="eval")
def eval_(
    model: str,
    /,
    *,
    n: Annotated[int, Parameter(help="samples, and real images for the floor")] = 10_000,
    steps: Steps = None,
    way: Way = None,
    seed: Annotated[int, Parameter(help="of all noise")] = 0,
    cas: Annotated[bool, Parameter(negative=(), help="also train a classifier on the samples alone")] = False,
    data_root: Annotated[Path | None, Parameter(help="folder that holds the data set's files")] = None,
    limit: Annotated[int | None, Parameter(help="use only the first images of each split")] = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Measure how far a model's samples are from real images, beside how far real images are from one another."""
    with loading():
        from core.cli import evaluation
        from core.diffusion.loaded_model import load_model
        from core.evaluation.scores import evaluate

    loaded = load_model(model, device, root)
    steps_taken = evaluate(
        loaded,
        n,
        steps=steps,
        seed=seed,
        cas=cas,
        data_root=data_root,
        limit=limit,
        **(way or {}),
    )
    found = evaluation.shown(steps_taken, quiet=as_json)
    if as_json:
        _print_json(dataclasses.asdict(found))
    else:
        print("\n".join([*evaluation.table(found), *evaluation.notes(found)]))


@app.command
def metrics(name: str, /, *, output: Annotated[Path, Parameter(help="CSV file")], root: Root = None) -> None:
    """Write a run's losses and pace as CSV."""
    from core.export.images import write_csv
    from core.runs.history import RunHistory

    path = directory.find_run(name, directory.root_directory(root))
    print(f"wrote {write_csv(output, RunHistory.of(path / directory.EVENTS))}")


@app.command(name="runs")
def runs_(*, root: Root = None, as_json: Json = False) -> None:
    """List the runs under the root, the one with the newest event first."""
    found = list_runs(directory.root_directory(root))
    if unreadable := directory.unreadable_directories(directory.root_directory(root)):
        print(f"minidiff: {directory.unreadable_message([path.name for path in unreadable])}", file=sys.stderr)
    if as_json:
        _print_json([dataclasses.asdict(run) for run in found])
    elif not found:
        print(f"no runs under {directory.root_directory(root)}; `minidiff train` starts one")
    else:
        _print_table(
            ("name", "status", "recipe", "data", "epoch", "step", "loss", "validation"),
            [
                (
                    run.name,
                    f"{run.status}: {run.error}" if run.error else str(run.status),
                    run.preset,
                    run.dataset,
                    f"{run.epoch}/{_cell(run.epochs)}",
                    run.step,
                    run.loss,
                    run.validation_loss,
                )
                for run in found
            ],
        )


@app.command
def devices(*, as_json: Json = False) -> None:
    """List GPUs and the CPU with their memory, load, temperature and power."""
    from core.system.devices import list_devices

    found = list_devices()
    if as_json:
        _print_json([dataclasses.asdict(device) for device in found])
        return
    _print_table(
        ("device", "name", "memory used", "of", "load", "temperature", "power"),
        [
            (
                device.device or "hidden",
                device.name,
                memory_size(device.memory_used),
                memory_size(device.memory_total),
                _rounded(device.utilization, "%"),
                _rounded(device.temperature, "°C"),
                _rounded(device.power, "W"),
            )
            for device in found
        ],
    )


@app.command
def doctor(*, root: Root = None, as_json: Json = False) -> int:
    """Report versions, devices, data and terminal, and what is known to be bad, with its cure; 1 if something is."""
    from core.cli import doctor as physician

    report = physician.report(directory.root_directory(root))
    if as_json:
        _print_json(dataclasses.asdict(report))
    else:
        print("\n".join(physician.lines(report)))
    return int(any(problem.level == "problem" for problem in report.problems))


@app.command
def download(
    dataset: Annotated[str, Parameter(help="mnist, fashion-mnist, kmnist or glyphs")] = "mnist",
    /,
    *,
    data_root: Annotated[Path | None, Parameter(help="folder to look in and download to: else the cache")] = None,
    as_json: Json = False,
) -> None:
    """Download a data set to the user's cache or to --data-root, unless it is on disk already."""
    from core.cli.progress import show_for_output
    from core.data import datasets

    if dataset == "glyphs" and data_root is not None:
        raise MinidiffError("glyphs are drawn to the user's cache, not downloaded; leave --data-root out")
    finding = datasets.locate(dataset, data_root, download_to_root=True)
    with show_for_output() as show:
        while True:
            try:
                event = next(finding)
            except StopIteration as found:
                located: datasets.Located = found.value
                break
            if not as_json:
                show.add(event)
    said = {"dataset": located.name, "directory": str(located.directory), "sha256": located.sha256("train")}
    if as_json:
        _print_json(said)
    else:
        print(f"{located.name} is in {located.directory}")


def _follow(events: Generator[Event, None, None]) -> int:
    from core.cli.progress import show_all

    with closing(events):  # so that a trainer whose reader has gone writes its checkpoint now
        last = show_all(events)
    if isinstance(last, Failed):
        raise MinidiffError(last.message)
    if not isinstance(last, Finished | Stopped) and launcher.rank_info().rank == 0:
        print("the trainer is gone without a word", file=sys.stderr)
        return 1
    return 0


def _tail(path: Path) -> Generator[Event, None, None]:
    """A run's events, those that are there and those to come, until its last word or its trainer's death."""
    from core.runs.history import LogTail

    log = LogTail(path / directory.EVENTS)
    alive = True
    while True:
        events, _ = log.read()
        yield from events
        if not events:
            if not alive:  # and it has been read once more since it was found so
                return
            alive = run_status(path).alive
        time.sleep(POLL_SECONDS)


def _print_json(value: Any) -> None:
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)  # JSON has no NaN
    print(json.dumps(finite, indent=2))


def _print_table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a pipe has no width of its own, and cells must not be cut
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "N/A"
    if isinstance(value, float):
        return loss_text(value)
    return f"{value:,}" if isinstance(value, int) else sanitize(str(value))


def _rounded(value: float | None, unit: str) -> str:
    return "N/A" if value is None else f"{value:.0f} {unit}"
