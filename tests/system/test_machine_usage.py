"""Readings of the machine and its processes; psutil's counters are replaced where rates are compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from core.system import machine_usage, process_usage
from core.system.machine_usage import MachineSampler, core_load
from core.system.process_usage import ProcessSampler


def bytes_of(read: int, written: int) -> Any:
    return SimpleNamespace(read_bytes=read, write_bytes=written)


def network(received: int, sent: int) -> Any:
    return SimpleNamespace(bytes_recv=received, bytes_sent=sent)


def test_rates_are_per_second_of_the_disk_of_the_path_and_without_the_loopback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = iter([10.0, 12.0])
    disks = iter([{"a": bytes_of(0, 0), "b": bytes_of(0, 0)}, {"a": bytes_of(500, 40), "b": bytes_of(7, 7)}])
    nets = iter([{"eth0": network(100, 10), "lo": network(0, 0)}, {"eth0": network(300, 10), "lo": network(9, 9)}])
    monkeypatch.setattr(machine_usage.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(psutil, "disk_io_counters", lambda perdisk: next(disks))
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: next(nets))
    monkeypatch.setattr(os, "readlink", lambda path: "../../devices/pci/block/a")
    sampler = MachineSampler()
    first = sampler.read(tmp_path)
    assert (first.disk_read, first.received) == (None, None)
    second = sampler.read(tmp_path)
    assert (second.disk, second.disk_read, second.disk_written) == ("a", 250.0, 20.0)
    assert (second.received, second.sent) == (100.0, 0.0)


def test_counters_that_cannot_be_read_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_: bool) -> None:
        raise PermissionError

    for name in ("disk_io_counters", "net_io_counters"):
        monkeypatch.setattr(psutil, name, refuse)
    sampler = MachineSampler()
    sampler.read(tmp_path)
    usage = sampler.read(tmp_path)
    assert (usage.disk, usage.disk_read, usage.received) == (None, None, None)
    assert usage.memory_total == psutil.virtual_memory().total


def test_each_core_has_a_load_in_percent(tmp_path: Path) -> None:
    sampler = MachineSampler()
    sampler.read(tmp_path)
    cores = sampler.read(tmp_path).cores
    assert len(cores) == psutil.cpu_count()
    assert all(0 <= load <= 100 for load in cores)


@pytest.mark.parametrize(
    ("before", "after", "load"), [((1, 4), (2, 8), 25.0), ((1, 4), (1, 4), 0.0), ((2, 4), (1, 5), 0.0)]
)
def test_the_load_of_a_core_is_its_busy_part_of_the_time(
    before: tuple[float, float], after: tuple[float, float], load: float
) -> None:
    assert core_load(before, after) == load


def test_processes_have_cpu_time_in_percent_of_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, idle = fake_process(11, seconds=[0.0, 3.0]), fake_process(12, seconds=[5.0, 5.0])
    clock = iter([100.0, 102.0])
    monkeypatch.setattr(process_usage.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([idle, busy]))
    sampler = ProcessSampler()
    sampler.read(5)
    assert [(process.pid, process.cpu) for process in sampler.read(5)] == [(11, 150.0), (12, 0.0)]


def test_processes_of_runs_are_listed_beyond_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = fake_process(11, memory=1), fake_process(12, memory=2)
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([small, large]))
    assert [process.pid for process in ProcessSampler().read(1)] == [12]
    assert [process.pid for process in ProcessSampler().read(1, {11})] == [12, 11]


def test_control_characters_in_command_lines_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([fake_process(11, command=["a", "\x1b[31mb\n\u202ec"])]))
    (process,) = ProcessSampler().read(1)
    assert process.command == "a \N{REPLACEMENT CHARACTER}[31mb \N{REPLACEMENT CHARACTER}c"


def test_a_process_that_hides_its_command_line_is_listed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = fake_process(11, command=psutil.AccessDenied(11))
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([hidden]))
    (process,) = ProcessSampler().read(1)
    assert (process.command, process.user) == ("name", "student")


def test_a_process_that_exited_is_not_listed() -> None:
    sampler = ProcessSampler()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.pid in [process.pid for process in sampler.read(0, {child.pid})]
    child.communicate(b"\n")
    assert sampler.read(0, {child.pid}) == []


def fake_process(pid: int, *, seconds: list[float] | None = None, memory: int = 0, command: Any = ("x",)) -> Any:
    """A process as psutil reports it; `seconds` has the CPU time of each reading."""
    times = iter(seconds or [0.0] * 9)

    def cmdline() -> list[str]:
        if isinstance(command, Exception):
            raise command
        return list(command)

    return SimpleNamespace(
        pid=pid,
        cpu_times=lambda: SimpleNamespace(user=next(times), system=0.0),
        memory_info=lambda: SimpleNamespace(rss=memory),
        is_running=lambda: True,
        ppid=lambda: 1,
        create_time=lambda: 0.0,
        username=lambda: "student",
        name=lambda: "name",
        cmdline=cmdline,
    )
