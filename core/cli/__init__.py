"""The headless command `minidiff`: parses, calls `core`, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 an error that the line on stderr explains, 2 an option or the command line itself is wrong,
130 Ctrl-C; a trainer that another signal ended, its checkpoint written, gives 128 + the signal's number.
"""

from __future__ import annotations

import difflib
import os
import sys
from typing import TYPE_CHECKING

from core.errors import ConfigError, MinidiffError
from core.system.import_path import CURE, LIBRARIES, shadows
from core.system.streams import prepare_streams
from core.text import sanitize

if TYPE_CHECKING:
    from cyclopts import UnknownOptionError

DONE, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run `minidiff` on `arguments` (those of the process by default) and exit with one of the documented codes."""
    arguments = sys.argv[1:] if arguments is None else arguments
    closed = prepare_streams()
    if 1 in closed and arguments[:1] not in (["train"], ["resume"]):  # which leave a run even if nobody sees it
        sys.exit(_show_error("standard output is closed; `> /dev/null` discards what is printed", ERROR))
    try:
        code = run(arguments)
    except KeyboardInterrupt:  # while the command itself was being imported
        code = INTERRUPTED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; its exit code. Whatever a user can get wrong comes back as one line on stderr."""
    if files := [shadow for shadow in shadows() if shadow.is_file and shadow.module in LIBRARIES]:
        return _show_error(f"{files[0]}; {CURE}", ERROR)
    try:
        return _run(arguments)
    except (ImportError, AttributeError):
        found = [shadow for shadow in shadows() if shadow.module not in ("core", "tui")]  # ours are imported by now
        if not found:
            raise
        return _show_error(f"{found[0]}; {CURE}", ERROR)


def _run(arguments: list[str]) -> int:
    from cyclopts import CycloptsError, UnknownOptionError

    from core.cli.commands import app

    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except UnknownOptionError as error:
        return _show_error(_unknown_option(error), USAGE)
    except CycloptsError as error:
        return _show_error(f"{_one_line(str(error))}; `minidiff --help` lists the commands", USAGE)
    except ConfigError as error:
        return _show_error(str(error), USAGE)
    except MinidiffError as error:
        return _show_error(str(error), ERROR)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has gone, as with `minidiff runs | head`
        _drop_output()
        return DONE
    except OSError as error:  # stdout on a full disk, or a folder that may not be read
        _drop_output()
        return _show_error(f"{error.filename or 'output'}: {error.strerror}", ERROR)


def _unknown_option(error: UnknownOptionError) -> str:
    """Name the option that was meant: by its earlier name, initials (`--lr`), a part (`--dropout`), or its spelling."""
    from core.config.legacy import OPTIONS, SAMPLING

    given = (error.token.keyword or error.token.value).partition("=")[0]
    names = [name for argument in error.argument_collection if argument.parse for name in argument.names]
    negative = given.startswith("--no-")
    renamed = (OPTIONS | SAMPLING).get(given.lstrip("-").removeprefix("no-").replace("-", "_"), "")
    flag = f"--{'no-' if negative else ''}{renamed.replace('_', '-')}"
    if renamed and flag in names:
        return f"{given} is now {flag}"
    short = given.lstrip("-").replace("-", "").lower()
    meant = [name for name in names if "".join(part[:1] for part in name.split("-")) == short]
    meant += [name for name in names if len(short) > 2 and short in name.replace("-", "")]
    meant += difflib.get_close_matches(given, names, n=1, cutoff=0.7)
    suggestion = f"did you mean {meant[0]}?" if meant else "`--help` lists the options of a command"
    return f"Unknown option: {given}; {suggestion}"


def _drop_output() -> None:
    """Let Python's own flush at exit, which would fail again, write to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _show_error(words: str, code: int) -> int:
    print(f"minidiff: {sanitize(words)}", file=sys.stderr)
    return code


def _one_line(words: str) -> str:
    return " ".join(words.split()).rstrip(" ,.?")
