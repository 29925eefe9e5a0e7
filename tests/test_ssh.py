"""The app over a real SSH connection: open, train, lose the connection, reattach."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from test_end_to_end import until_log

from benchmarks.pseudo_terminal import HOME, PseudoTerminal
from benchmarks.ssh_server import NoServerError, Server, serving
from core.runs.events import Epoch
from core.runs.requests import request
from core.runs.status import run_status

FROZEN_SECONDS = 60.0  # 20 until the app is silent, then the server timeout; never without silence
TRAINING = """
[training]
preset = "quick"
name = "far"
dataset = "glyphs"
limit = 128
channels = [8, 8, 8]
epochs = 500
batch_size = 16
device = "cpu"
threads = 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An SSH server run by this user."""
    try:
        with serving(tmp_path_factory.mktemp("ssh")) as server:
            yield server
    except NoServerError as error:
        pytest.skip(str(error))


def test_training_survives_a_lost_connection_and_can_be_reattached(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    run = root / "far"
    settings = tmp_path / "settings.toml"
    settings.write_text(TRAINING)
    state = tmp_path / "minidiff"
    state.mkdir()
    (state / "welcomed").touch()
    there = f"cd {HOME} && XDG_STATE_HOME={tmp_path} OMP_NUM_THREADS=1 {sys.executable} -m tui --root {root}"

    start = server.command(f"{there} --screen train --settings {settings}")
    with PseudoTerminal(command=start, columns=100, lines=30) as first:
        first.wait_for("Start training")
        first.wait_for("glyphs")
        first.press("ctrl+s")
        first.wait_for("far  ● running")
        until_log(run, Epoch)
        screens = [
            p
            for p in psutil.process_iter(["cmdline"])
            if "tui" in (p.info["cmdline"] or []) and str(root) in p.info["cmdline"]
        ]
        assert len(screens) == 1
        os.kill(first.pid, signal.SIGKILL)  # the client was killed, and its connection is closed
        screens[0].wait(timeout=10)
    assert run_status(run).alive
    known = len(run.joinpath("events.jsonl").read_bytes().splitlines())
    until_log(run, Epoch, after=known)

    with PseudoTerminal(command=server.command(f"{there} --run far"), columns=100, lines=30) as second:
        second.wait_for("far  ● running")
        request(run, "stop")
        second.wait_for("far  ● stopped")
        second.press("q")
        assert second.exit_status() == 0


def test_over_ssh_the_terminal_has_256_colours(server: Server, tmp_path: Path) -> None:
    (tmp_path / "minidiff").mkdir()
    (tmp_path / "minidiff" / "welcomed").touch()
    app = f"cd {HOME} && XDG_STATE_HOME={tmp_path} {sys.executable} -m tui --root {tmp_path}"
    command = server.command(app)
    with PseudoTerminal(command=command, columns=80, lines=24, colorterm="truecolor") as terminal:
        terminal.wait_for("Quit")
        terminal.wait_for(lambda text: "▀" in text or "▄" in text or "█" in text)
        assert b"38;5;" in terminal.output
        assert b"38;2;" not in terminal.output
        terminal.press("q")
        assert terminal.exit_status() == 0


def test_a_connection_to_a_frozen_client_is_closed(tmp_path: Path) -> None:
    """The server sends keepalives only while the app writes nothing."""
    (tmp_path / "minidiff").mkdir()
    (tmp_path / "minidiff" / "welcomed").touch()
    (tmp_path / "keys").mkdir()
    app = f"cd {HOME} && XDG_STATE_HOME={tmp_path} {sys.executable} -m tui --root {tmp_path / 'runs'} --screen devices"
    with ExitStack() as stack:
        try:
            server = stack.enter_context(serving(tmp_path / "keys", ClientAliveInterval=1, ClientAliveCountMax=2))
        except NoServerError as error:
            pytest.skip(str(error))
        terminal = stack.enter_context(PseudoTerminal(command=server.command(app), columns=80, lines=24))
        terminal.wait_for("CPU")
        screens = [
            process
            for process in psutil.process_iter(["cmdline"])
            if "tui" in (process.info["cmdline"] or []) and str(tmp_path / "runs") in process.info["cmdline"]
        ]
        assert len(screens) == 1
        os.kill(terminal.pid, signal.SIGSTOP)
        try:
            screens[0].wait(timeout=FROZEN_SECONDS)
        finally:
            os.kill(terminal.pid, signal.SIGCONT)
