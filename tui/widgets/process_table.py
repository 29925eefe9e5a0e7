"""Table of processes on the Devices screen: those on GPUs, those of runs, and the busiest others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from core.text import memory_size
from tui.io.system_monitor import SystemMonitor
from tui.widgets.history_graph import MUTED
from tui.widgets.text_line import shortened

if TYPE_CHECKING:
    from core.system.gpu_processes import GpuProcess
    from core.system.process_usage import ProcessUsage

WIDE = 90  # columns from which processes on GPUs show main memory too


@dataclass(frozen=True)
class Row:
    """One process. GPU is the device that holds `gpu_memory`; values that are not known are None."""

    pid: int | None
    user: str | None
    cpu: float | None
    memory: int | None
    command: str
    run: str | None
    gpu: str = ""
    gpu_memory: int | None = None


class ProcessTable(Widget):
    """Shows as many processes as fit."""

    DEFAULT_CSS = """
    ProcessTable { height: 1fr; width: 1fr; text-wrap: nowrap; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []

    def show(self, monitor: SystemMonitor) -> None:
        """Show the latest readings."""
        rows = process_rows(monitor)
        if rows == self._rows:
            return
        same_header = any(row.gpu for row in rows) == any(row.gpu for row in self._rows)
        self._rows = rows
        if same_header:
            self.refresh(Region(0, 1, self.size.width, max(0, self.size.height - 1)))
        else:
            self.refresh()

    def render(self) -> Content:
        """Draw a header and a line per process."""
        width, height = self.size
        gpus = any(row.gpu for row in self._rows)
        lines = [Content.styled(_header(gpus, width), MUTED)]
        lines += [_line(row, gpus, width) for row in self._rows[: height - 1]]
        return Content("\n").join(lines)


def process_rows(monitor: SystemMonitor) -> list[Row]:
    """Processes on GPUs by memory, then of runs, then others by CPU time."""
    usages = {usage.pid: usage for usage in monitor.processes}
    labels = {device.uuid: (device.device or "?").replace("cuda:", "") for device in monitor.devices if device.uuid}
    rows = [
        _gpu_row(process, usages.get(process.pid or 0), labels.get(process.uuid or "", "?"), monitor)
        for process in monitor.gpu_processes
    ]
    listed = {process.pid for process in monitor.gpu_processes}
    others = [
        Row(usage.pid, usage.user, usage.cpu, usage.memory, usage.command or "N/A", run)
        for usage in monitor.processes
        if usage.pid not in listed
        for run in (monitor.run_of(usage.pid, usage.parent),)
    ]
    return rows + sorted(others, key=lambda row: row.run is None)  # stable: both parts keep their order


def _gpu_row(process: GpuProcess, usage: ProcessUsage | None, gpu: str, monitor: SystemMonitor) -> Row:
    command = process.name or ("N/A" if process.pid else "a process outside this container")
    cpu, memory, parent = (usage.cpu, usage.memory, usage.parent) if usage else (None, None, None)
    return Row(
        process.pid, process.user, cpu, memory, command, monitor.run_of(process.pid, parent), gpu, process.memory
    )


def _header(gpus: bool, width: int) -> str:
    text = f"{'PID':>7} {'USER':<8} {'CPU':>5}"
    if not gpus or width >= WIDE:
        text += f" {'MEMORY':>9}"
    if gpus:
        text += f" {'GPU':>3} {'GPU MEM':>9}"
    return shortened(f"{text}  COMMAND", width)


def _line(row: Row, gpus: bool, width: int) -> Content:
    pid = "N/A" if row.pid is None else str(row.pid)
    cpu = "N/A" if row.cpu is None else f"{row.cpu:.0f}%"
    text = f"{pid:>7} {shortened(row.user or 'N/A', 8):<8} {cpu:>5}"
    if not gpus or width >= WIDE:
        text += f" {memory_size(row.memory):>9}"
    if gpus:
        text += f" {row.gpu:>3} {memory_size(row.gpu_memory) if row.gpu else '':>9}"
    run = f"{row.run}: " if row.run else ""
    room = max(0, width - len(text) - 2)
    run = shortened(run, room)
    command = shortened(row.command, max(0, room - len(run)))
    return Content.assemble(f"{text}  ", (run, "bold $primary"), (command, "" if row.run else "$foreground 75%"))
