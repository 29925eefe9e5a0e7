"""Runs the processes of a distributed training on this machine, and restarts them together if one of them is killed.

`python -m core.runs.supervisor COUNT ARGUMENTS...` starts `minidiff ARGUMENTS...` COUNT times, with the environment
variables that torchrun sets. Its processes meet through a file in a folder that only this user may open: unlike
torchrun's, its store listens on no port and holds no pickle.
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
from core.runs.launcher import COMPLAINT, RENDEZVOUS
from core.system import subprocesses
from core.system.signals import SIGNALS

RESTARTS = 3  # of all processes, each time after one was killed; they resume from the last checkpoint
POLL_SECONDS = 0.1
GRACE_SECONDS = 30.0  # for processes to end after another one has, before they are killed


class Workers:
    """The processes of one attempt, numbered by rank. A signal that this process receives is passed on to all."""

    def __init__(self, count: int, arguments: list[str]) -> None:
        self._count = count
        self._command = subprocesses.command("core", *arguments)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.received: signal.Signals | None = None
        inherited = os.environ.pop(locks.INHERITED, "")
        self._lock = [int(inherited)] if inherited else []  # the run's, kept open so that it is held between attempts
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def run(self, attempt: int) -> list[int]:
        """Start the processes and wait for their end: their exit codes, or minus the signals that killed them.

        Once one of them fails, the others are terminated; what is returned for those that still ran then is 0.
        """
        with tempfile.TemporaryDirectory(prefix="minidiff-") as folder:
            try:
                for rank in range(self._count):
                    self._processes.append(self._start(rank, attempt, Path(folder)))
                if self.received is not None:  # before all of them were there
                    self._pass_on(self.received, None)
                while all(code == 0 for code in self._codes()) and self._running():
                    time.sleep(POLL_SECONDS)
                codes = self._codes()
                self._end(signal.SIGTERM if self.received is None else None)
            finally:
                self._end(signal.SIGKILL)
                self._processes.clear()
        return codes

    def _start(self, rank: int, attempt: int, folder: Path) -> subprocess.Popen[bytes]:
        place: dict[str, int | Path] = {
            "RANK": rank,
            "WORLD_SIZE": self._count,
            "LOCAL_RANK": rank,
            "LOCAL_WORLD_SIZE": self._count,
            "TORCHELASTIC_RESTART_COUNT": attempt,
            RENDEZVOUS: folder / "store",
        }
        passed = self._lock if rank == 0 else []
        if passed:
            place[locks.INHERITED] = passed[0]
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            env={
                "GLOO_SOCKET_IFNAME": loopback(),
                **os.environ,
                **{name: str(value) for name, value in place.items()},
            },
            pass_fds=passed,
        )

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for process in self._processes:
            process.send_signal(number)

    def _codes(self) -> list[int]:
        return [process.poll() or 0 for process in self._processes]

    def _running(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def _end(self, number: signal.Signals | None) -> None:
        """Send a signal to all that still run, and wait for their end for a while."""
        for process in self._processes:
            if number is not None:
                process.send_signal(number)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._running() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def supervise(count: int, arguments: list[str]) -> int:
    """Run `count` processes, restarting all of them when one is killed; the exit code of the first that failed."""
    workers = Workers(count, arguments)
    for attempt in range(RESTARTS + 1):
        codes = workers.run(attempt)
        killed = [rank for rank, code in enumerate(codes) if code < 0]
        if not killed or workers.received is not None:
            break
        name = signal.Signals(-codes[killed[0]]).name
        cause = " (the system kills processes where memory runs out)" if name == "SIGKILL" else ""
        then = "all are restarted from the last checkpoint" if attempt < RESTARTS else f"{RESTARTS} restarts were tried"
        print(f"{COMPLAINT}process {killed[0]} of {count} was killed by {name}{cause}; {then}", file=sys.stderr)
    return next((code if code > 0 else 128 - code for code in codes if code), 0)


def loopback() -> str:
    """The name of the network interface that only this machine reaches, on which Gloo's processes connect."""
    addresses = psutil.net_if_addrs().items()
    return next((name for name, found in addresses if any(entry.address == "127.0.0.1" for entry in found)), "lo")


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
