"""Commands for runs: train, resume, stop, pause, continue, watch, runs and metrics.

The options of `train` are the fields of TrainConfig.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.config import Env

from core.cli import launch
from core.cli.app import Device, Json, JsonEvents, OwnNetwork, Root, app, import_network
from core.cli.tables import cell, print_json, print_table
from core.config.architecture import is_custom
from core.config.legacy import check_environment
from core.config.training import TrainConfig, option_fields
from core.errors import ConfigError, MinidiffError, RunError
from core.runs import directory, launcher
from core.runs.events import Event, Failed, Finished, Resumed, Started, Stopped
from core.runs.requests import request
from core.runs.status import how_to_resume, list_runs, run_status, summarize
from core.runs.store import create_run
from core.system.signals import Interrupts, loading
from core.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Generator

STOP_SECONDS = 60.0  # for a trainer to finish its step and write a checkpoint
POLL_SECONDS = 0.1


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
    as_json: Annotated[JsonEvents, Parameter(group=GROUPS["Run"])] = False,
) -> int:
    """Train a model and save everything in a run directory.

    Every option can also be set by an environment variable `MINIDIFF_<OPTION>`, such as
    `MINIDIFF_BATCH_SIZE=128`; `--root` by `MINIDIFF_HOME`, `--data-root` by `MINIDIFF_DATA`. Flags override it.
    """
    check_environment()
    _check_json(as_json, detach=detach, dry_run=dry_run)
    values = {name: getattr(config, name) for name in config.model_fields_set}
    by_flag = "model" in values
    if config_file is not None:
        base = TrainConfig.from_toml(Path(os.path.expanduser(config_file)))
        values = {**{name: getattr(base, name) for name in base.model_fields_set}, **values}
    root = values["root"] = directory.root_directory(values.get("root"))
    config = TrainConfig(**values)
    launcher.check_processes(config.nproc)
    if dry_run:
        return _describe(config)
    network = config.model if is_custom(config.model) else None
    if network and not by_flag:
        raise ConfigError(f"model: {config_file} names {network}, which is imported only for --model {network}")
    net = import_network(network)
    if detach:
        return launch.detach(create_run(config), network=network)
    if config.nproc > 1 and not launcher.rank_info().launcher:
        with Interrupts() as interrupts:
            events = launch.launch_and_follow(create_run(config), interrupts, network=network)
            return _follow(events, root, as_json=as_json)
    with loading():
        from core.training.api import train as start_training

    with Interrupts(patient=launcher.rank_info().size > 1) as interrupts:
        return _follow(start_training(config, net=net, interrupts=interrupts), root, as_json=as_json)


@app.command
def distill(
    model: str,
    /,
    *,
    config: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),  # noqa: B008 - it is frozen
    detach: Annotated[
        bool, Parameter(negative=(), group=GROUPS["Run"], help="train in a process that outlives this terminal")
    ] = False,
    as_json: Annotated[JsonEvents, Parameter(group=GROUPS["Run"])] = False,
) -> int:
    """Train a copy of a model that samples in one to four steps, by consistency distillation.

    The model is a run, a built-in model or a .safetensors file. The new run has its network and data; defaults are 3
    epochs, batches of 128, AdamW with a learning rate of 0.001, and gradients clipped to a norm of 1.
    """
    _check_json(as_json, detach=detach)
    with loading():
        from core.training.api import train as start_training
        from core.training.distillation import distillation_config

    values = {name: getattr(config, name) for name in config.model_fields_set}
    root = directory.root_directory(values.pop("root", None))
    config = distillation_config(model, root, **values)
    if detach:
        return launch.detach(create_run(config))
    with Interrupts() as interrupts:
        return _follow(start_training(config, interrupts=interrupts), root, as_json=as_json)


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
    as_json: JsonEvents = False,
) -> int:
    """Resume a run from its last checkpoint, or train it for more epochs."""
    _check_json(as_json, detach=detach)
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
                return _follow(launch.launch_and_follow(path, interrupts, **options), path.parent, as_json=as_json)
    with loading():
        from core.training.api import resume as resume_training

    net = import_network(network)
    with Interrupts(patient=launcher.rank_info().size > 1) as interrupts:
        events = resume_training(path, device=device, force=force, epochs=epochs, net=net, interrupts=interrupts)
        return _follow(events, path.parent, as_json=as_json)


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
def watch(name: str, /, *, root: Root = None, as_json: JsonEvents = False) -> int:
    """Show the progress of a run; Ctrl-C stops watching, not the run."""
    path = directory.find_run(name, directory.root_directory(root))
    return _follow(_tail(path), path.parent, as_json=as_json)


@app.command(name="runs")
def runs_(*, root: Root = None, as_json: Json = False) -> None:
    """List the runs, most recently updated first."""
    summaries = list_runs(directory.root_directory(root))
    if unreadable := directory.unreadable_directories(directory.root_directory(root)):
        print(f"minidiff: {directory.unreadable_message([path.name for path in unreadable])}", file=sys.stderr)
    if as_json:
        print_json([dataclasses.asdict(run) for run in summaries])
    elif not summaries:
        print(f"no runs under {directory.root_directory(root)}; `minidiff train` starts one")
    else:
        print_table(
            ("name", "status", "preset", "data", "epoch", "step", "loss", "validation"),
            [
                (
                    run.name,
                    f"{run.status}: {run.error}" if run.error else str(run.status),
                    run.preset,
                    run.dataset,
                    None if run.epoch is None else f"{run.epoch}/{cell(run.epochs)}",
                    run.step,
                    run.loss,
                    run.validation_loss,
                )
                for run in summaries
            ],
        )


@app.command
def metrics(name: str, /, *, output: Annotated[Path, Parameter(help="CSV file")], root: Root = None) -> None:
    """Write a run's losses and throughput as CSV."""
    from core.export.images import write_csv
    from core.runs.history import RunHistory

    path = directory.find_run(name, directory.root_directory(root))
    print(f"wrote {write_csv(output, RunHistory.of(path / directory.EVENTS))}")


def _follow(events: Generator[Event, None, None], root: Path, *, as_json: bool = False) -> int:
    """Show the events of a run in `root`, and then how to sample from it."""
    from core.cli.progress import event_display

    last, name = None, None
    with closing(events), event_display(as_json=as_json) as display:  # closing makes the trainer write a checkpoint
        for last in events:
            if isinstance(last, Started | Resumed):
                name = last.name
            display.add(last)
    if isinstance(last, Failed):
        raise MinidiffError(last.message)
    if not isinstance(last, Finished | Stopped) and launcher.rank_info().rank == 0:
        print("the process exited unexpectedly", file=sys.stderr)
        return 1
    if isinstance(last, Finished) and name is not None and not as_json:
        options = [] if root == directory.root_directory(None) else ["--root", str(root)]
        print(
            sanitize(f"saved in {root / name}; `{shlex.join(['minidiff', 'sample', name, *options])}` samples from it")
        )
    return 0


def _check_json(as_json: bool, **others: bool) -> None:
    """Raise if `--json` is combined with an option that prints no events."""
    if as_json and (given := [name.replace("_", "-") for name, value in others.items() if value]):
        raise ConfigError(f"--json prints the events of a run, and --{given[0]} prints none; use only one of them")


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
