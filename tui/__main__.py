"""The command `minidiff-tui`: looks at its arguments and its terminal, then opens the app."""

from __future__ import annotations

if __name__ == "__main__":  # before all other imports
    from core.system.import_path import leave_current_folder

    leave_current_folder()

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.system.streams import prepare_streams

if TYPE_CHECKING:
    from tui.app import MinidiffApp
    from tui.settings import Settings

SCREENS = ("sample", "train", "runs", "devices", "lab")


def main() -> None:
    """Open the app; exit code 2 where there is no terminal to open it on."""
    prepare_streams()
    arguments = _parser().parse_args()
    if arguments.print_settings:
        from tui.settings import as_file

        print(as_file(), end="")
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(
            "minidiff-tui needs a terminal and found none; the command without a screen is `minidiff` "
            "(try `minidiff sample default-mnist --output grid.png`)",
            file=sys.stderr,
        )
        sys.exit(2)
    if os.environ.get("TERM", "") in ("", "dumb"):
        print(
            "minidiff-tui cannot draw on TERM=dumb; set TERM, or use the headless command `minidiff`", file=sys.stderr
        )
        sys.exit(2)
    _describe_terminal_to_textual()
    for name in ("COLUMNS", "LINES"):  # which a shell may export, and which would hold whatever the window's size is
        os.environ.pop(name, None)
    from core.runs.directory import root_directory
    from tui.app import HUNG_UP, MinidiffApp
    from tui.state import is_first_start

    settings = _settings(arguments)
    mode = arguments.screen or ("train" if arguments.run else "sample")
    app = MinidiffApp(
        root_directory(arguments.root), mode=mode, run=arguments.run, settings=settings, welcome=is_first_start()
    )
    app.run(mouse=not arguments.no_mouse)
    if app.return_code != HUNG_UP:  # there is nobody left to tell
        for line in _print_next_steps(app):
            print(line)
    sys.exit(app.return_code or 0)


def _describe_terminal_to_textual() -> None:
    """Let Textual use the colours that this terminal has; it reads the variable when it is first imported."""
    from core.system.terminal import colors

    found = colors(os.environ["TERM"])
    if found in ("truecolor", "256"):
        os.environ["TEXTUAL_COLOR_SYSTEM"] = found


def _settings(arguments: argparse.Namespace) -> Settings:
    """What the settings file says, but for what the command line says; a file that is wrong ends the program.

    The theme that was chosen on the screen holds where neither names one; `--theme auto` forgets it.
    """
    from core.errors import ConfigError
    from tui.settings import AUTO, KINDS, check, load_settings, settings_path
    from tui.state import forget_theme, remembered_theme

    said = {name: value for name in KINDS if (value := getattr(arguments, name, None)) is not None}
    try:
        if arguments.settings and not arguments.settings.exists():
            raise ConfigError(
                f"there is no settings file {arguments.settings}; --print-settings prints one to start from"
            )
        for name, value in said.items():
            check(name, value)
        settings = replace(load_settings(arguments.settings or settings_path()), **said)
        if arguments.theme == AUTO:
            forget_theme()
    except ConfigError as error:
        print(f"minidiff-tui: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"minidiff-tui: cannot remove {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    return replace(settings, theme=remembered_theme() or AUTO) if settings.theme == AUTO else settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minidiff-tui", description="Watch a small diffusion model sample and train. Headless: `minidiff`."
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="where runs are kept ($MINIDIFF_HOME, ./checkpoints)")
    parser.add_argument("--screen", choices=SCREENS, help="the screen to open on (sample)")
    parser.add_argument("--run", metavar="NAME", help="a run to watch")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal, to select text")
    parser.add_argument(
        "--theme",
        help="the colours: auto, minidiff-dark, minidiff-light and others of --print-settings",
    )
    parser.add_argument("--drawing", help="how digits are drawn: auto, half, quadrant, shade, ascii")
    parser.add_argument(
        "--frames", type=float, dest="frames_per_second", metavar="N", help="pictures a second, at most (30)"
    )
    parser.add_argument("--reduced-motion", action="store_true", default=None, help="nothing plays by itself")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the settings file")
    parser.add_argument("--print-settings", action="store_true", help="print a settings file to start from")
    parser.add_argument("--version", action="version", version=f"minidiff {_version()}")
    return parser


def _version() -> str:
    from core import __version__

    return __version__


def _print_next_steps(app: MinidiffApp) -> list[str]:
    """What stays in the terminal: a run that a trainer holds, if there is one, and the way back to it."""
    from core.errors import MinidiffError
    from core.runs.directory import EVENTS
    from core.runs.history import current_epoch
    from core.runs.log_ends import read_log_ends
    from core.runs.status import Status
    from tui.io.run_list import list_runs

    try:
        alive = {run.name: run for run in list_runs(app.root) if run.status.alive}
    except MinidiffError:
        return []  # an unreadable root was shown on the screen; there is no run to name
    run = alive.get(app.watched or "") or next(iter(alive.values()), None)
    if run is None:
        return []
    log = read_log_ends(Path(run.path) / EVENTS)
    progress = f"step {run.step:,}"
    if run.epochs:
        progress = f"epoch {current_epoch(run.epochs, log.window, run.epoch or 0)} of {run.epochs}"
    root = ["--root", str(app.root)] if app.root != Path("checkpoints") else []
    name = ["--", run.name] if run.name.startswith("-") else [run.name]

    def command(verb: str) -> str:
        return shlex.join(["minidiff", verb, *root, *name])

    watch = f"Watch it again: {shlex.join(['minidiff-tui', f'--run={run.name}', *root])}"
    match run.status:
        case Status.PAUSED:
            state, then = "it stays paused", f"Continue it: {command('continue')}"
        case Status.ELSEWHERE:
            state, then = f"its trainer is on {run.host}", ""
        case _:
            state, then = "its training continues without the screen", f"Stop it: {command('stop')}"
    return [f"{run.name} is {run.status}, {progress}; {state} in {run.path}", f"{watch}   {then}".rstrip()]


if __name__ == "__main__":
    main()
