"""The commands of `minidiff`. The options of `train` are the fields of TrainConfig."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from cyclopts.config import Env

from core import __version__
from core.cli import launch
from core.config.architecture import is_custom
from core.config.legacy import check_environment
from core.config.sampling import SamplingOptions, class_label
from core.config.training import TrackerName, TrainConfig, option_fields
from core.errors import ConfigError, MinidiffError, RunError
from core.generators import WithResult
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

    from core.models.custom import Network

STOP_SECONDS = 60.0  # for a trainer to finish its step and write a checkpoint
POLL_SECONDS = 0.1

app = App(
    name="minidiff",
    help="Train, monitor and sample small diffusion models. The terminal UI is `minidiff-tui`.",
    version=__version__,
    default_parameter=Parameter(negative_iterable=(), consume_multiple=True, show_env_var=False),
)
Root = Annotated[Path | None, Parameter(help="folder with the runs; default: $MINIDIFF_HOME, else ./checkpoints")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="print JSON instead of a table")]
Label = Annotated[
    str | None,
    Parameter(name="--class", help="name or number, from 0; -1: unconditional; default: cycle through all classes"),
]
Steps = Annotated[int | None, Parameter(help="sampling steps; default: depends on the model")]
Options = Annotated[SamplingOptions | None, Parameter(name="*")]
Device = Annotated[str | None, Parameter(help="auto, cpu, cuda, cuda:N or mps")]
OwnNetwork = Annotated[
    str | None,
    Parameter(name="--model", help="module:Class of a network of your own that the run was trained with; imported"),
]
EDITING = Group.create_ordered("Editing")


def _group_options() -> dict[str, Group]:
    """Group the options of `train` in its help by the groups in TrainConfig; returns the groups by name."""
    groups: dict[str, Group] = {}
    TrainConfig.model_fields["dataset_info"].metadata.append(Parameter(parse=False))
    for field in option_fields().values():
        assert isinstance(field.json_schema_extra, dict)
        name = str(field.json_schema_extra["group"])
        if name not in groups:
            groups[name] = Group.create_ordered(name)
        field.metadata.append(Parameter(group=groups[name]))  # where cyclopts looks; core.config does not import it
    return groups


GROUPS = _group_options()


# Environment variables are only for `train`: MINIDIFF_MODEL, for example, must not be the model that `sample` loads.
@app.command(config=Env("MINIDIFF_", command=False))
def train(
    *,
    config: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),  # noqa: B008 - it is frozen
    config_file: Annotated[
        Path | None, Parameter(name="--config", group=GROUPS["Run"], help="TOML file with options; flags override it")
    ] = None,
    detach: Annotated[
        bool, Parameter(negative=(), group=GROUPS["Run"], help="train in a process that outlives this terminal")
    ] = False,
    dry_run: Annotated[
        bool,
        Parameter(
            negative=(),
            group=GROUPS["Run"],
            help="only print the data, the number of parameters, and about how much time and memory training takes",
        ),
    ] = False,
) -> int:
    """Train a model and save everything in a run directory.

    Every option can also be set by an environment variable `MINIDIFF_<OPTION>`, such as
    `MINIDIFF_BATCH_SIZE=128`; `--root` by `MINIDIFF_HOME`, `--data-root` by `MINIDIFF_DATA`. Flags override it.
    """
    check_environment()
    values = {name: getattr(config, name) for name in config.model_fields_set}
    by_flag = "model" in values
    if config_file is not None:
        base = TrainConfig.from_toml(Path(os.path.expanduser(config_file)))
        values = {**{name: getattr(base, name) for name in base.model_fields_set}, **values}
    values["root"] = directory.root_directory(values.get("root"))
    config = TrainConfig(**values)
    launcher.check_processes(config.nproc)
    if dry_run:
        return _describe(config)
    network = config.model if is_custom(config.model) else None
    if network and not by_flag:
        raise ConfigError(f"model: {config_file} names {network}, which is imported only for --model {network}")
    net = _import_network(network)
    if detach:
        return launch.detach(create_run(config), network=network)
    if config.nproc > 1 and not launcher.rank_info().launcher:
        with Interrupts() as interrupts:
            return _follow(launch.launch_and_follow(create_run(config), interrupts, network=network))
    with loading():
        from core.training.api import train as start_training

    with Interrupts(patient=launcher.rank_info().size > 1) as interrupts:
        return _follow(start_training(config, net=net, interrupts=interrupts))


@app.command
def resume(
    name: str,
    /,
    *,
    root: Root = None,
    device: Device = None,
    epochs: Annotated[int | None, Parameter(help="new total number of epochs; also extends a finished run")] = None,
    nproc: Annotated[int | None, Parameter(help="number of training processes; default: as before")] = None,
    force: Annotated[bool, Parameter(negative=(), help="resume even if the lock names another host")] = False,
    network: OwnNetwork = None,
    detach: Annotated[bool, Parameter(negative=(), help="train in a process that outlives this terminal")] = False,
) -> int:
    """Resume a run from its last checkpoint, or train it for more epochs."""
    path = directory.find_run(name, directory.root_directory(root))
    if not launcher.rank_info().launcher:
        processes, note = launcher.resolve_processes(name, launcher.config_to_resume(path, epochs), nproc)
        if note:
            print(note, file=sys.stderr)
        options: dict[str, Any] = {"device": device, "force": force, "processes": processes, "epochs": epochs}
        options["network"] = network
        if detach:
            return launch.detach(path, **options)
        if processes > 1:
            with Interrupts() as interrupts:
                return _follow(launch.launch_and_follow(path, interrupts, **options))
    with loading():
        from core.training.api import resume as resume_training

    net = _import_network(network)
    with Interrupts(patient=launcher.rank_info().size > 1) as interrupts:
        return _follow(resume_training(path, device=device, force=force, epochs=epochs, net=net, interrupts=interrupts))


@app.command
def stop(name: str, /, *, root: Root = None) -> int:
    """Write a checkpoint and stop a run; waits until it has stopped."""
    path = directory.find_run(name, directory.root_directory(root))
    request(path, "stop")
    deadline = time.monotonic() + STOP_SECONDS
    while run_status(path).alive:
        if time.monotonic() > deadline:
            raise RunError(
                f"{name} has not stopped within {STOP_SECONDS:.0f} s; "
                f"`minidiff watch {shlex.quote(name)}` shows when it does"
            )
        time.sleep(POLL_SECONDS)
    summary = summarize(path)
    print(f"{name} is {summary.status} at step {summary.step:,}; {how_to_resume(path, summary.status)}")
    return 0


@app.command
def pause(name: str, /, *, root: Root = None) -> None:
    """Write a checkpoint and pause a run."""
    request(directory.find_run(name, directory.root_directory(root)), "pause")
    print(f"pausing {name}; `minidiff continue {shlex.quote(name)}` continues it")


@app.command(name="continue")
def continue_(name: str, /, *, root: Root = None) -> None:
    """Continue a paused run."""
    request(directory.find_run(name, directory.root_directory(root)), "continue")
    print(f"continuing {name}")


@app.command
def watch(name: str, /, *, root: Root = None) -> int:
    """Show the progress of a run; Ctrl-C stops watching, not the run."""
    path = directory.find_run(name, directory.root_directory(root))
    return _follow(_tail(path))


@app.command
def sample(
    model: str = directory.BUILTIN[0],
    /,
    *,
    n: Annotated[int, Parameter(help="number of images, at most 100,000")] = 8,
    steps: Steps = None,
    options: Options = None,
    label: Label = None,
    seed: Annotated[int, Parameter(help="random seed of the noise")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    output: Annotated[Path | None, Parameter(help="PNG grid of the samples; default: samples.png")] = None,
    figure: Annotated[Path | None, Parameter(help="PNG with one row per step")] = None,
    gif: Annotated[Path | None, Parameter(help="GIF of the denoising trajectory")] = None,
    output_dir: Annotated[
        Path | None, Parameter(help="new folder for one PNG per sample, 000000.png and so on")
    ] = None,
    start: Annotated[Path | None, Parameter(group=EDITING, help="image file to start from")] = None,
    noise_level: Annotated[
        float | None,
        Parameter(group=EDITING, help="noise added to --start, above 0 to 1; default: 0.6, with --mask 1"),
    ] = None,
    mask: Annotated[
        Path | None,
        Parameter(group=EDITING, help="image file: white where --start is generated anew, black where kept"),
    ] = None,
    interpolate: Annotated[
        tuple[str, str] | None,
        Parameter(group=EDITING, help="two seeds or two image files to go from and to in --n images"),
    ] = None,
    mix: Annotated[
        tuple[str, ...] | None, Parameter(group=EDITING, help="classes with weights, such as 3:0.5 8:0.5")
    ] = None,
    network: OwnNetwork = None,
    root: Root = None,
) -> None:
    """Generate samples from a run, a built-in model (default-mnist), a .safetensors file or a diffusers folder.

    Image files are cropped at the centre, resized to the model's size with a Lanczos filter, and converted to its
    channels. With --start or --interpolate the default is no class.
    """
    with loading():
        from core.cli.sampling import Editing, check_output_dir, generate
        from core.diffusion.loaded_model import find_model, load_model
        from core.export import images

    if output_dir is not None:
        output_dir = check_output_dir(output_dir)
    elif output is None and figure is None and gif is None:
        output = Path("samples.png")
    for path, formats in (
        (output, images.FORMATS),
        (figure, images.FORMATS),
        (gif, images.GIF_FORMATS),
    ):
        if path is not None:
            images.check_output(path, formats)
    file = find_model(model, directory.root_directory(root))
    loaded = load_model(file, device, net=_import_network(network))
    weights = "EMA" if loaded.config.ema else "online"
    details = "of diffusers" if loaded.schedule else f"step {loaded.step:,}, {weights} weights"
    print(sanitize(f"sampling from {loaded.name}: {file}, {details}"))
    every_step = figure is not None or gif is not None
    editing = Editing(start, noise_level, mask, interpolate, mix or ())
    denoising = generate(
        loaded,
        n,
        seed,
        every_step=every_step,
        editing=editing,
        grid=output is not None,
        output_dir=output_dir,
        steps=steps,
        labels=None if label is None else class_label(label, loaded.config.info),
        **(options or {}),
    )
    if output_dir is not None:
        print(f"wrote {n:,} images to {output_dir}")
    for path, write in ((output, images.write_grid), (figure, images.write_figure), (gif, images.write_gif)):
        if path is not None and denoising is not None:
            print(f"wrote {write(path, denoising)}")


@app.command(name="eval")
def eval_(
    model: str,
    /,
    *,
    n: Annotated[int, Parameter(help="number of samples, and of real images for the baseline")] = 10_000,
    steps: Steps = None,
    options: Options = None,
    seed: Annotated[int, Parameter(help="random seed of the noise")] = 0,
    cas: Annotated[bool, Parameter(negative=(), help="also train a classifier on the samples (CAS)")] = False,
    data_root: Annotated[Path | None, Parameter(help="folder with the dataset's files")] = None,
    limit: Annotated[int | None, Parameter(help="use only the first images of each split")] = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    network: OwnNetwork = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model's samples against real images, beside a real-vs-real baseline."""
    with loading():
        from core.cli import evaluation
        from core.diffusion.loaded_model import load_model
        from core.evaluation.scores import evaluate

    loaded = load_model(model, device, root, net=_import_network(network))
    events = evaluate(
        loaded,
        n,
        steps=steps,
        seed=seed,
        cas=cas,
        data_root=data_root,
        limit=limit,
        **(options or {}),
    )
    result = evaluation.follow(events, quiet=as_json)
    if as_json:
        _print_json(dataclasses.asdict(result))
    else:
        lines = [*evaluation.table(result), *evaluation.memorisation_table(result), *evaluation.notes(result)]
        print("\n".join(lines))


@app.command
def metrics(name: str, /, *, output: Annotated[Path, Parameter(help="CSV file")], root: Root = None) -> None:
    """Write a run's losses and throughput as CSV."""
    from core.export.images import write_csv
    from core.runs.history import RunHistory

    path = directory.find_run(name, directory.root_directory(root))
    print(f"wrote {write_csv(output, RunHistory.of(path / directory.EVENTS))}")


@app.command
def export(
    model: Annotated[str, Parameter(help="a run; for diffusers also a built-in model or a .safetensors file")],
    folder: Annotated[Path, Parameter(help="folder to write; for diffusers it must be new or empty")],
    /,
    *,
    to: Annotated[Literal["diffusers", TrackerName], Parameter(help="format")],
    root: Root = None,
) -> None:
    """Export a model as a folder that diffusers loads, or a run's curves and previews to a tracker."""
    folder = Path(os.path.expanduser(folder))
    if to != "diffusers":
        from core.export.trackers import export_events

        count = export_events(directory.find_run(model, directory.root_directory(root)), to, folder)
        print(f"wrote {count:,} events of {model} to {folder}")
        return
    with loading():
        from core.diffusion.loaded_model import load_model
        from core.export.diffusers_pipelines import describe_export, export_diffusers

    loaded = load_model(model, "cpu", root)
    print(f"wrote {export_diffusers(loaded, folder)}; {describe_export(loaded.config)}")


@app.command(name="runs")
def runs_(*, root: Root = None, as_json: Json = False) -> None:
    """List the runs, most recently updated first."""
    summaries = list_runs(directory.root_directory(root))
    if unreadable := directory.unreadable_directories(directory.root_directory(root)):
        print(f"minidiff: {directory.unreadable_message([path.name for path in unreadable])}", file=sys.stderr)
    if as_json:
        _print_json([dataclasses.asdict(run) for run in summaries])
    elif not summaries:
        print(f"no runs under {directory.root_directory(root)}; `minidiff train` starts one")
    else:
        _print_table(
            ("name", "status", "preset", "data", "epoch", "step", "loss", "validation"),
            [
                (
                    run.name,
                    f"{run.status}: {run.error}" if run.error else str(run.status),
                    run.preset,
                    run.dataset,
                    None if run.epoch is None else f"{run.epoch}/{_cell(run.epochs)}",
                    run.step,
                    run.loss,
                    run.validation_loss,
                )
                for run in summaries
            ],
        )


@app.command
def devices(*, as_json: Json = False) -> None:
    """List the GPUs and the CPU with their memory, utilization, temperature and power."""
    from core.system.devices import list_devices

    infos = list_devices()
    if as_json:
        _print_json([dataclasses.asdict(device) for device in infos])
        return
    _print_table(
        ("device", "name", "memory used", "total", "utilization", "temperature", "power"),
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
            for device in infos
        ],
    )


@app.command
def doctor(*, root: Root = None, as_json: Json = False) -> int:
    """Report versions, devices, data, terminal and known problems with fixes; exits with status 1 if there is one."""
    from core.cli import doctor as doctor_report

    report = doctor_report.report(directory.root_directory(root))
    if as_json:
        _print_json(dataclasses.asdict(report))
    else:
        print("\n".join(doctor_report.lines(report)))
    return int(any(problem.level == "problem" for problem in report.problems))


@app.command
def download(
    dataset: Annotated[str, Parameter(help="mnist, fashion-mnist, kmnist, cifar10 or glyphs")] = "mnist",
    /,
    *,
    data_root: Annotated[Path | None, Parameter(help="folder to search and download to; default: the cache")] = None,
    as_json: Json = False,
) -> None:
    """Download a dataset to the user's cache or to --data-root, unless it is already there."""
    from core.cli.progress import event_display
    from core.data import datasets

    if dataset == "sprites":
        raise MinidiffError("sprites are drawn in memory when they are needed; there is nothing to download")
    if dataset == "glyphs" and data_root is not None:
        raise MinidiffError("glyphs are rendered into the user's cache, not downloaded; omit --data-root")
    search = WithResult(datasets.locate(dataset, data_root, download_to_root=True))
    with event_display() as display:
        for event in search:
            if not as_json:
                display.add(event)
    located = search.result
    if as_json:
        sha256 = located.sha256("train")
        _print_json({"dataset": located.name, "directory": str(located.directory), "sha256": sha256})
    else:
        print(f"{located.name} is in {located.directory}")


def _import_network(name: str | None) -> Network | None:
    """Import a network of the user's own, named by --model."""
    if name is None:
        return None
    with loading():
        from core.models.custom import import_network

    return import_network(name)


def _follow(events: Generator[Event, None, None]) -> int:
    from core.cli.progress import show_all

    with closing(events):  # makes the trainer write a checkpoint if showing its events fails
        last = show_all(events)
    if isinstance(last, Failed):
        raise MinidiffError(last.message)
    if not isinstance(last, Finished | Stopped) and launcher.rank_info().rank == 0:
        print("the process exited unexpectedly", file=sys.stderr)
        return 1
    return 0


def _tail(path: Path) -> Generator[Event, None, None]:
    """Yield a run's existing and new events until its trainer exits."""
    from core.runs.history import LogTail

    log = LogTail(path / directory.EVENTS)
    alive = True
    while True:
        events, _ = log.read()
        yield from events
        if not events:
            if not alive:  # and the log was read once more after that
                return
            alive = run_status(path).alive
        time.sleep(POLL_SECONDS)


def _describe(config: TrainConfig) -> int:
    with loading():
        from core.training.description import describe_run

    *_, description = describe_run(config)
    print("\n".join(versions[0] for versions in description.lines))
    return 0


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
        console.width = 200  # a pipe has no width, and cells must not be truncated
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "N/A"
    if isinstance(value, float):
        return loss_text(value)
    return f"{value:,}" if isinstance(value, int) else sanitize(str(value))


def _rounded(value: float | None, unit: str) -> str:
    return "N/A" if value is None else f"{value:.0f} {unit}"
