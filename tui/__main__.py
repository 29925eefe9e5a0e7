"""The command `minidiff-tui`: parses its arguments, checks the terminal and runs the app."""

from __future__ import annotations

if __name__ == "__main__":  # before all other imports
    from core.system.import_path import leave_current_folder

    leave_current_folder()

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.system.streams import prepare_streams
from core.system.threads import limit_spinning

if TYPE_CHECKING:
    from tui.settings import Settings

SCREENS = ("sample", "train", "runs", "devices", "lab")


def main() -> None:
    """Run the app. Exits with 2 if there is no usable terminal or the settings are invalid."""
    limit_spinning()
    prepare_streams()
    arguments = _parser().parse_args()
    in_browser = "TEXTUAL_DRIVER" in os.environ  # textual-serve started this process, with all arguments
    if arguments.print_settings:
        from tui.settings import as_file

        print(as_file(), end="")
        return
    if arguments.serve is not None and not in_browser:
        _serve(arguments)
        return
    if not in_browser:
        _prepare_terminal()
    from core.runs.directory import root_directory
    from tui.app import MinidiffApp
    from tui.leaving import next_steps
    from tui.settings import settings_path
    from tui.state import is_first_start
    from tui.terminal.terminal_app import HUNG_UP

    settings, overrides, notice = _settings(arguments)
    mode = arguments.screen or ("train" if arguments.run else "sample")
    app = MinidiffApp(
        root_directory(arguments.root),
        mode=mode,
        run=arguments.run,
        model=arguments.model,
        settings=settings,
        settings_file=arguments.settings or settings_path(),
        overrides=overrides,
        notice=notice,
        welcome=is_first_start(),
        lead=arguments.lead,
        follow=arguments.follow,
    )
    app.run(mouse=not arguments.no_mouse)
    if app.return_code != HUNG_UP and not in_browser:  # otherwise the terminal is gone, or there is none
        for line in next_steps(app.root, app.watched):
            print(line)
    sys.exit(app.return_code or 0)


def _serve(arguments: argparse.Namespace) -> None:
    """Serve the app to browsers. Exits with 2 if that is not possible."""
    from core.errors import MinidiffError
    from tui.io.web_server import serve

    _settings(arguments)  # reports errors here, not on the page
    try:
        serve(sys.argv[1:], arguments.serve)
    except MinidiffError as error:
        print(f"minidiff-tui: {error}", file=sys.stderr)
        sys.exit(2)


def _prepare_terminal() -> None:
    """Check the terminal and describe it to Textual. Exits with 2 if the app cannot be drawn on it."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(
            "minidiff-tui needs a terminal; without one, use the headless command `minidiff` "
            "(try `minidiff sample default-mnist --output grid.png`)",
            file=sys.stderr,
        )
        sys.exit(2)
    if os.environ.get("TERM", "") in ("", "dumb"):
        print("minidiff-tui cannot draw on TERM=dumb; set TERM or use the headless command `minidiff`", file=sys.stderr)
        sys.exit(2)
    _describe_terminal_to_textual()
    for name in ("COLUMNS", "LINES"):  # a shell may export them, and they would override the window size
        os.environ.pop(name, None)


def _describe_terminal_to_textual() -> None:
    """Set TEXTUAL_COLOR_SYSTEM or NO_COLOR for this terminal. Textual reads both when it is imported."""
    from core.system.color_support import detect_colors

    colors = detect_colors(os.environ["TERM"]).system
    if colors == "none":
        os.environ["NO_COLOR"] = "1"
    else:
        os.environ["TEXTUAL_COLOR_SYSTEM"] = {"16": "standard"}.get(colors, colors)


def _settings(arguments: argparse.Namespace) -> tuple[Settings, dict[str, object], str]:
    """The settings of the file, those of the command line, and a line about the file if it has invalid entries.

    Exits with 2 if the command line is invalid, or the file that it names.
    """
    from core.errors import ConfigError, MinidiffError
    from tui.io.lead_file import check_replaceable
    from tui.settings import BY_NAME, check, load_settings, settings_path

    overrides = {name: value for name in BY_NAME if (value := getattr(arguments, name, None)) is not None}
    named: Path | None = arguments.settings
    try:
        if named and not named.exists():
            raise ConfigError(f"settings file {named} does not exist; --print-settings prints a template")
        for name, value in overrides.items():
            check(name, value)
        settings, problems = load_settings(named or settings_path())
        if named and problems:
            raise ConfigError(problems[0])
        if arguments.lead is not None:
            check_replaceable(arguments.lead)
    except MinidiffError as error:
        print(f"minidiff-tui: {error}", file=sys.stderr)
        sys.exit(2)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return settings, overrides, f"Setting ignored: {problems[0]}{more}" if problems else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minidiff-tui",
        description="Train, sample and inspect small diffusion models. The headless command is `minidiff`.",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="root directory of the runs (default: $MINIDIFF_HOME or ./checkpoints)"
    )
    parser.add_argument("--screen", choices=SCREENS, help="screen to open (default: sample)")
    parser.add_argument("--run", metavar="NAME", help="run to watch")
    parser.add_argument("--model", metavar="NAME", help="model to sample from: a run or a built-in model")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal, for selecting text")
    parser.add_argument(
        "--theme",
        help="auto, minidiff-dark, minidiff-light or another one listed by --print-settings",
    )
    parser.add_argument(
        "--drawing", help="how images are drawn: auto, half, quadrant, sextant, octant, kitty, shade or ascii"
    )
    parser.add_argument("--color-map", metavar="NAME", help="colors of gray images: grey, viridis, magma or inferno")
    parser.add_argument(
        "--frames", type=float, dest="frames_per_second", metavar="N", help="maximum frame rate (default: 30)"
    )
    parser.add_argument("--reduced-motion", action="store_true", default=None, help="no autoplay and no animations")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings file to use")
    parser.add_argument(
        "--print-settings", action="store_true", help="print a settings file with all defaults and exit"
    )
    class_mode = parser.add_mutually_exclusive_group()
    class_mode.add_argument(
        "--lead", type=Path, metavar="FILE", help="write what the screen shows to this file, for others to follow"
    )
    class_mode.add_argument(
        "--follow", type=Path, metavar="FILE", help="show what the app that leads with this file shows"
    )
    parser.add_argument(
        "--serve",
        nargs="?",
        type=_port,
        const=8000,
        metavar="PORT",
        help="show the app in a browser on this machine, on this port (default: 8000)",
    )
    parser.add_argument("--version", action="version", version=f"minidiff {_version()}")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a whole number from 0 (any) to 65535, not {text!r}")
    return int(text)


def _version() -> str:
    from core import __version__

    return __version__


if __name__ == "__main__":
    main()
