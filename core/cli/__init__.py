"""The headless command `minidiff`: parses, calls `core`, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 an error that the line on stderr explains, 2 an option or the command line itself is wrong,
130 Ctrl-C; a trainer that another signal ended, its checkpoint written, gives 128 + the signal's number.
"""

from __future__ import annotations

import os
import sys

from core.errors import ConfigError, MinidiffError
from core.foreign import harmless

DONE, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run `minidiff` on `arguments` (those of the process by default) and exit with one of the documented codes."""
    open_closed_streams()
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # while the command itself was being imported
        code = INTERRUPTED
    sys.exit(code)


def open_closed_streams() -> None:
    """Open /dev/null in place of each of stdin, stdout and stderr that was closed when Python started.

    Otherwise the next file to be opened takes the free number, and what is printed goes into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - takes the lowest free number, this one's
            setattr(sys, name, stream)


def run(arguments: list[str]) -> int:
    """Run one command; its exit code. Whatever a user can get wrong comes back as one line on stderr."""
    from cyclopts import CycloptsError

    from core.cli.commands import app

    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except CycloptsError as error:
        return _complain(f"{_one_line(str(error))}; `minidiff --help` lists the commands", USAGE)
    except ConfigError as error:
        return _complain(str(error), USAGE)
    except MinidiffError as error:
        return _complain(str(error), ERROR)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has gone, as with `minidiff runs | head`
        _drop_output()
        return DONE
    except OSError as error:  # stdout on a full disk, or a folder that may not be read
        _drop_output()
        return _complain(f"{error.filename or 'output'}: {error.strerror}", ERROR)


def _drop_output() -> None:
    """Let Python's own flush at exit, which would fail again, write to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(words: str, code: int) -> int:
    print(f"minidiff: {harmless(words)}", file=sys.stderr)
    return code


def _one_line(words: str) -> str:
    return " ".join(words.split()).rstrip(" ,.?")
