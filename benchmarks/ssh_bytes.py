"""Bytes that the app sends over a real SSH connection: idle, while sampling, and while watching a training run.

    python benchmarks/ssh_bytes.py            a few minutes; needs the extra `bench` and an OpenSSH server
    python benchmarks/ssh_bytes.py --quick    each for a second or two; a smoke test

The client's connection to a server on loopback goes through a relay that counts the server's bytes: encrypted, with
SSH's overhead, but without TCP's, which adds some 50 bytes per packet. The terminal has 256 colors, as over most SSH
connections. A denoising trajectory plays in a loop; the run trains preset quick on drawn digits.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from pseudo_terminal import HOME, PseudoTerminal
from ssh_server import NoServerError, Server, free_port, serving

from core.config.training import TrainConfig
from core.runs.launcher import launch
from core.runs.requests import request
from core.runs.store import create_run

SIZES = ((80, 24), (120, 40))
SECONDS = 20.0
CHUNK = 65_536


class Relay:
    """Forwards connections to `port`, and counts the bytes of the replies."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.count = 0
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while content := source.recv(CHUNK):
                if counted:
                    self.count += len(content)
                target.sendall(content)
        except OSError:
            pass  # one end is gone; so is the other, then
        finally:
            target.close()


def during(terminal: PseudoTerminal, relay: Relay, seconds: float) -> float:
    """Bytes per second without key presses."""
    before, end = relay.count, time.monotonic() + seconds
    while time.monotonic() < end:
        terminal.read(0.1)
    return (relay.count - before) / seconds


def measure(server: Server, root: Path, size: tuple[int, int], compress: bool, seconds: float) -> dict[str, float]:
    """Bytes per second in each of the three situations."""
    relay = Relay(server.port)
    state = root / "state"
    (state / "minidiff").mkdir(parents=True, exist_ok=True)
    (state / "minidiff" / "welcomed").touch()
    app = f"cd {HOME} && XDG_STATE_HOME={state} {sys.executable} -m tui --root {root}"
    found = {}
    columns, lines = size
    command = server.command(app, port=relay.port, compress=compress)
    with PseudoTerminal(command=command, columns=columns, lines=lines) as terminal:
        terminal.wait_for("engine ready")
        terminal.wait_for("live")
        terminal.wait_for("■")  # paused at the last step
        terminal.wait_for_silence(1.0)
        found["at rest"] = during(terminal, relay, seconds)
        terminal.press("l", "space")
        terminal.wait_for("▶")
        found["sampling"] = during(terminal, relay, seconds)
        terminal.press("l", "end", "2")
        terminal.wait_for("load  ● running")
        terminal.wait_for_silence(0.5)
        found["training"] = during(terminal, relay, seconds)
        terminal.press("q")
        terminal.exit_status()
    return found


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each for a second or two")
    quick: bool = parser.parse_args().quick
    print("| terminal | compression | at rest | a denoising, looping | a training, watched |")
    print("| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        root, keys = Path(folder) / "runs", Path(folder) / "keys"
        keys.mkdir()
        small = {"preset": "quick", "dataset": "glyphs", "limit": 2_000, "epochs": 10_000, "device": "cpu"}
        run = create_run(TrainConfig(**small, threads=max(1, (os.cpu_count() or 2) // 2), root=root, name="load"))
        trainer = launch(run)
        try:
            with serving(keys) as server:
                for size in SIZES[: 1 if quick else None]:
                    for compress in (False, True):
                        found = measure(server, root, size, compress, 1.5 if quick else SECONDS)
                        shares = " | ".join(f"{value / 1000:.1f} kB/s" for value in found.values())
                        print(f"| {size[0]}x{size[1]} | {'yes' if compress else 'no'} | {shares} |", flush=True)
        except NoServerError as error:
            sys.exit(str(error))
        finally:
            request(run, "stop")
            trainer.wait()


if __name__ == "__main__":
    main()
