"""Serves the app to browsers on this machine: textual-serve starts one app for each page that is opened.

Uses `Server._make_app` of textual-serve 1.1, which returns the aiohttp application with all routes.
"""

from __future__ import annotations

import os
import secrets
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

from core.errors import MinidiffError
from core.system import subprocesses
from core.system.extras import require

HOST = "127.0.0.1"  # not reachable from other machines
SHUTDOWN_SECONDS = 1.0  # for open pages, before their apps are told to exit
PAGE = Path(__file__).parents[1] / "web"  # the folder of the page, which loads nothing from the network


def serve(arguments: Sequence[str], port: int) -> None:
    """Serve the app with these command-line arguments until Ctrl-C or SIGTERM; prints the URL.

    The URL has a random part, because all users of this machine can connect to the port.

    Args:
        arguments: those of `minidiff-tui`, which the served app receives.
        port: the port to listen on; 0 for any that is free.

    Raises:
        MinidiffError: textual-serve is not installed, or the port is not available.
    """
    require("textual_serve")
    listener = _listen(port)
    port = listener.getsockname()[1]

    from aiohttp import web
    from rich.console import Console
    from textual_serve.server import Server

    _describe_browser()
    command = f"exec {shlex.join(subprocesses.command('tui', *arguments))}"  # run by a shell
    server = Server(command, HOST, port, title="minidiff", templates_path=PAGE)
    server.console = Console(quiet=True)  # it prints a banner
    token = secrets.token_urlsafe(12)

    async def application() -> web.Application:
        pages = web.Application()
        pages.add_subapp(f"/{token}/", await server._make_app())
        return pages

    print(f"minidiff is at http://localhost:{port}/{token}/ until you press Ctrl-C", flush=True)
    tunnel = f"ssh -L {port}:localhost:{port} user@{socket.gethostname()}"
    print(f"To open it on another machine, first run there: {tunnel}", flush=True)
    web.run_app(application(), sock=listener, print=None, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise MinidiffError(
            f"cannot listen on port {port}: {error.strerror}; choose another one: --serve PORT"
        ) from None
    return listener


def _describe_browser() -> None:
    """Replace what the environment says about this process's terminal by what holds for the page's."""
    os.environ.update(subprocesses.environment())
    os.environ.update(TERM="xterm-256color", PYTHONIOENCODING="utf-8")
    for name in ("TMUX", "VTE_VERSION"):
        os.environ.pop(name, None)
