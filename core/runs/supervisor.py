"""Runs the processes of distributed training on this machine, and restarts all of them if one is killed.

`python -m core.runs.supervisor COUNT ARGUMENTS...` starts `minidiff ARGUMENTS...` COUNT times, with the environment
variables that torchrun sets. The rendezvous uses a file store in a folder that only this user can access: unlike
torchrun's store, it opens no port and uses no pickle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import psutil

from core.runs import locks
from core.runs.launcher import ERROR_PREFIX, RENDEZVOUS
from core.system import subprocesses
from core.system.signals import SIGNALS

MAX_RESTARTS = 3  # of all processes after one was killed; they resume from the last checkpoint
POLL_SECONDS = 0.1
GRACE_SECONDS = 30.0  # for the remaining processes to exit before they are killed


class Workers:
    """The processes of one attempt, by rank. Signals that this process receives are forwarded to all of them."""

    def __init__(self, count: int, arguments: list[str]) -> None:
        self._count = count
        self._command = subprocesses.command("core", *arguments)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.received: signal.Signals | None = None
        inherited = os.environ.pop(locks.INHERITED, "")
        self._lock = [int(inherited)] if inherited else []  # the run's lock, kept open to stay locked between attempts
        for number in SIGNALS:
            signal.signal(number, self._forward)

    def run(self, attempt: int) -> list[int]:
        """Start the processes and wait for them; returns their exit codes, negative for a signal.

        If one fails, the others are terminated, and 0 is returned for those that were still running.
        """
        with tempfile.TemporaryDirectory(prefix="minidiff-") as folder:
            try:
                for rank in range(self._count):
                    self._processes.append(self._start(rank, attempt, Path(folder)))
                if self.received is not None:  # before all of them were started
                    self._forward(self.received, None)
                while all(code == 0 for code in self._codes()) and self._running():
                    time.sleep(POLL_SECONDS)
                codes = self._codes()
                self._end(signal.SIGTERM if self.received is None else None)
            finally:
                self._end(signal.SIGKILL)
                self._processes.clear()
        return codes

    def _start(self, rank: int, attempt: int, folder: Path) -> subprocess.Popen[bytes]:
        variables: dict[str, int | Path] = {
            "RANK": rank,
            "WORLD_SIZE": self._count,
            "LOCAL_RANK": rank,
            "LOCAL_WORLD_SIZE": self._count,
            "TORCHELASTIC_RESTART_COUNT": attempt,
            RENDEZVOUS: folder / "store",
        }
        descriptors = self._lock if rank == 0 else []
        if descriptors:
            variables[locks.INHERITED] = descriptors[0]
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            env={
                "GLOO_SOCKET_IFNAME": loopback(),
                **os.environ,
                **{name: str(value) for name, value in variables.items()},
            },
            pass_fds=descriptors,
        )

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for process in self._processes:
            process.send_signal(number)

    def _codes(self) -> list[int]:
        return [process.poll() or 0 for process in self._processes]

    def _running(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def _end(self, number: signal.Signals | None) -> None:
        """Send a signal to the processes that still run, and wait up to `GRACE_SECONDS` for them to exit."""
        for process in self._processes:
            if number is not None:
                process.send_signal(number)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._running() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def supervise(count: int, arguments: list[str]) -> int:
    """Run `count` processes, restarting all if one is killed; returns the exit code of the first that failed."""
    workers = Workers(count, arguments)
    for attempt in range(MAX_RESTARTS + 1):
        codes = workers.run(attempt)
        killed = [rank for rank, code in enumerate(codes) if code < 0]
        if not killed or workers.received is not None:
            break
        name = signal.Signals(-codes[killed[0]]).name
        cause = " (possibly out of memory)" if name == "SIGKILL" else ""
        action = "restarting all processes from the last checkpoint"
        if attempt == MAX_RESTARTS:
            action = f"giving up after {MAX_RESTARTS} restarts"
        print(f"{ERROR_PREFIX}process {killed[0]} of {count} was killed by {name}{cause}; {action}", file=sys.stderr)
    return next((code if code > 0 else 128 - code for code in codes if code), 0)


def loopback() -> str:
    """The name of the loopback network interface, on which Gloo's processes connect."""
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, addresses in interfaces if any(a.address == "127.0.0.1" for a in addresses)), "lo")


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
