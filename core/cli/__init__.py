"""The headless command `minidiff`: parses arguments, calls `core`, and reports errors in one line with an exit code.

Exit codes: 0 success, 1 an error described on stderr, 2 an invalid option or command line, 130 Ctrl-C, and 128 + N for
a trainer that received signal N and wrote a checkpoint.
"""

from __future__ import annotations

import difflib
import os
import sys
from typing import TYPE_CHECKING

from core.errors import ConfigError, MinidiffError
from core.system.import_path import FIX, LIBRARIES, shadows
from core.system.streams import prepare_streams
from core.system.threads import limit_spinning
from core.text import sanitize

if TYPE_CHECKING:
    from cyclopts import UnknownOptionError

DONE, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run `minidiff` on `arguments` (those of the process by default) and exit with one of the documented codes."""
    arguments = sys.argv[1:] if arguments is None else arguments
    limit_spinning()
    closed = prepare_streams()
    if 1 in closed and arguments[:1] not in (["train"], ["resume"]):  # which write a run even without output
        sys.exit(_show_error("standard output is closed; `> /dev/null` discards what is printed", ERROR))
    try:
        code = run(arguments)
    except KeyboardInterrupt:  # while the command itself was being imported
        code = INTERRUPTED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; user errors are printed as one line on stderr."""
    if files := [shadow for shadow in shadows() if shadow.is_file and shadow.module in LIBRARIES]:
        return _show_error(f"{files[0]}; {FIX}", ERROR)
    try:
        return _run(arguments)
    except (ImportError, AttributeError):
        others = [shadow for shadow in shadows() if shadow.module not in ("core", "tui")]  # already imported
        if not others:
            raise
        return _show_error(f"{others[0]}; {FIX}", ERROR)


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
    except MemoryError:
        return _show_error("there is not enough memory; close other programs, or use less data", ERROR)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe exited, as with `minidiff runs | head`
        _drop_output()
        return DONE
    except OSError as error:  # stdout on a full disk, or a folder without read permission
        _drop_output()
        return _show_error(f"{error.filename or 'output'}: {error.strerror}", ERROR)


def _unknown_option(error: UnknownOptionError) -> str:
    """Suggest an option by its earlier name, initials (`--lr`), part of its name (`--dropout`), or spelling."""
    from core.config.legacy import OPTIONS, SAMPLING

    option = (error.token.keyword or error.token.value).partition("=")[0]
    names = [name for argument in error.argument_collection if argument.parse for name in argument.names]
    negative = option.startswith("--no-")
    renamed = (OPTIONS | SAMPLING).get(option.lstrip("-").removeprefix("no-").replace("-", "_"), "")
    flag = f"--{'no-' if negative else ''}{renamed.replace('_', '-')}"
    if renamed and flag in names:
        return f"{option} is now {flag}"
    short = option.lstrip("-").replace("-", "").lower()
    candidates = [name for name in names if "".join(part[:1] for part in name.split("-")) == short]
    candidates += [name for name in names if len(short) > 2 and short in name.replace("-", "")]
    candidates += difflib.get_close_matches(option, names, n=1, cutoff=0.7)
    suggestion = f"did you mean {candidates[0]}?" if candidates else "`--help` lists the options of a command"
    return f"Unknown option: {option}; {suggestion}"


def _drop_output() -> None:
    """Redirect stdout to /dev/null, so that Python's flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _show_error(message: str, code: int) -> int:
    print(f"minidiff: {sanitize(message)}", file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(" ,.?")
