"""The command `minidiff-tui`: looks at its arguments and its terminal, then opens the app."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.app import MinidiffApp

SCREENS = ("sample", "train", "runs")


def main() -> None:
    """Open the app; exit code 2 where there is no terminal to open it on."""
    arguments = _parser().parse_args()
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
    from core.runs import root_directory
    from tui.app import MinidiffApp

    mode = arguments.screen or ("train" if arguments.run else "sample")
    app = MinidiffApp(root_directory(arguments.root), mode=mode, run=arguments.run)
    app.run(mouse=not arguments.no_mouse)
    if app.return_code != 128 + signal.SIGHUP:  # there is nobody left to tell
        for line in _farewell(app):
            print(line)
    sys.exit(app.return_code or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minidiff-tui", description="Watch a small diffusion model sample and train. Headless: `minidiff`."
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="where runs are kept ($MINIDIFF_HOME, ./checkpoints)")
    parser.add_argument("--screen", choices=SCREENS, help="the screen to open on (sample)")
    parser.add_argument("--run", metavar="NAME", help="a run to watch")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal, to select text")
    parser.add_argument("--version", action="version", version=f"minidiff {_version()}")
    return parser


def _version() -> str:
    from core import __version__

    return __version__


def _farewell(app: MinidiffApp) -> list[str]:
    """What stays in the terminal: the run that goes on, if one does, and the way back to it."""
    from core.errors import MinidiffError
    from core.runs import list_runs

    try:
        alive = {run.name: run for run in list_runs(app.root) if run.status.alive}
    except MinidiffError:
        return []  # an unreadable root was said on the screen; there is no run to tell of
    run = alive.get(app.watched or "") or next(iter(alive.values()), None)
    if run is None:
        return []
    progress = f"epoch {run.epoch} of {run.epochs}" if run.epochs else f"step {run.step}"
    root = f" --root {app.root}" if app.root != Path("checkpoints") else ""
    return [
        f"{run.name} is {run.status}, {progress}; it goes on without the screen.",
        f"Watch it again: minidiff-tui --run {run.name}{root}   Stop it: minidiff stop {run.name}{root}",
    ]


if __name__ == "__main__":
    main()
