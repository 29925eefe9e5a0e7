"""The processes that use most of this machine."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

import psutil

from core.text import sanitize


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One process. Values that this user may not see are None."""

    pid: int
    parent: int | None  # process id
    user: str | None
    cpu: float  # percent of one core since the previous reading
    memory: int | None  # resident bytes
    command: str | None  # its command line, or only its name; sanitized


class ProcessSampler:
    """Reads the processes of this machine, with their CPU time since the previous reading. Not thread-safe."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._seconds: dict[int, float] = {}  # CPU time of each process
        self._described: dict[tuple[int, float], tuple[str | None, str | None]] = {}  # user and command

    def read(self, count: int, always: Collection[int] = ()) -> list[ProcessUsage]:
        """The processes in `always`, and up to `count` others that use most CPU time, then memory; busiest first.

        The first reading shows no CPU time, only the processes with most memory.
        """
        now = time.monotonic()
        elapsed, self._time = None if self._time is None else now - self._time, now
        old, self._seconds = self._seconds, {}
        found = []
        for process in psutil.process_iter():
            try:
                times = process.cpu_times()
                memory = process.memory_info().rss
            except (OSError, psutil.Error):  # exited, or no permission
                continue
            seconds = times.user + times.system
            self._seconds[process.pid] = seconds
            cpu = max(0.0, seconds - old.get(process.pid, seconds)) / elapsed * 100 if elapsed else 0.0
            found.append((cpu, memory, process))
        found.sort(key=lambda entry: entry[:2], reverse=True)
        kept = [entry for entry in found if entry[2].pid in always]
        kept += [entry for entry in found if entry[2].pid not in always][:count]
        kept.sort(key=lambda entry: entry[:2], reverse=True)
        usages = [self._describe(process, cpu, memory) for cpu, memory, process in kept]
        return [usage for usage in usages if usage is not None]

    def _describe(self, process: psutil.Process, cpu: float, memory: int) -> ProcessUsage | None:
        try:
            if not process.is_running():  # exited, and its id was perhaps used again
                return None
            parent, key = process.ppid(), (process.pid, process.create_time())
        except (OSError, psutil.Error):
            return None
        if key not in self._described:
            if len(self._described) > 1000:
                self._described.clear()
            self._described[key] = _user_and_command(process)
        user, command = self._described[key]
        return ProcessUsage(process.pid, parent or None, user, cpu, memory, command)


def _user_and_command(process: psutil.Process) -> tuple[str | None, str | None]:
    user = command = None
    try:
        user = sanitize(process.username())
        command = sanitize(process.name())  # of a kernel thread, or of a process that hides its command line
        command = sanitize(" ".join(process.cmdline())).strip() or command
    except (OSError, KeyError, psutil.Error):
        pass
    return user, command
