"""What continues after the app: said on Ctrl-C, and printed on exit with the commands that return to it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from core.errors import MinidiffError
from core.runs.directory import EVENTS
from core.runs.history import current_epoch
from core.runs.log_ends import read_log_ends
from core.runs.status import RunSummary, Status
from tui.io.run_list import list_runs

MAX_NAMES = 2  # of runs that one message names


def active_runs(root: Path) -> list[RunSummary]:
    """The runs that have a trainer, here or on another host; none if the root cannot be read."""
    try:
        return [run for run in list_runs(root) if run.status.alive]
    except MinidiffError:
        return []  # the app has already reported it


def what_continues(runs: Sequence[RunSummary]) -> str:
    """What the active `runs` do after the app has quit; empty without any."""
    paused = [run.name for run in runs if run.status is Status.PAUSED]
    training = [run.name for run in runs if run.status is not Status.PAUSED]
    parts = [f"training of {_names(training)} continues"] if training else []
    if paused:
        one = len(paused) == 1
        parts.append(f"{_names(paused)} {'is paused and stays' if one else 'are paused and stay'} paused")
    return ", ".join(parts)


def _names(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) <= MAX_NAMES else f"{len(names)} runs"


def next_steps(root: Path, watched: str | None) -> list[str]:
    """Lines to print on exit: the active run and the commands that return to it; none without one."""
    alive = {run.name: run for run in active_runs(root)}
    run = alive.get(watched or "") or next(iter(alive.values()), None)
    if run is None:
        return []
    log = read_log_ends(Path(run.path) / EVENTS)
    progress = f"step {run.step:,}"
    if run.epochs:
        progress = f"epoch {current_epoch(run.epochs, log.window, run.epoch or 0)} of {run.epochs}"
    place = ["--root", str(root)] if root != Path("checkpoints") else []
    name = ["--", run.name] if run.name.startswith("-") else [run.name]

    def command(verb: str) -> str:
        return shlex.join(["minidiff", verb, *place, *name])

    watch = f"Watch it: {shlex.join(['minidiff-tui', f'--run={run.name}', *place])}"
    match run.status:
        case Status.PAUSED:
            state, then = "it stays paused", f"Continue it: {command('continue')}"
        case Status.ELSEWHERE:
            state, then = f"its trainer is on {run.host}", ""
        case _:
            state, then = "training continues in the background", f"Stop it: {command('stop')}"
    count = len(alive) - 1
    others = [f"{count} other {'run is' if count == 1 else 'runs are'} active"] if count else []
    return [f"{run.name} is {run.status}, {progress}; {state} ({run.path})", f"{watch}   {then}".rstrip(), *others]
