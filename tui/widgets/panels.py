"""Bordered panels of the Devices screen: history graphs, the CPU with its cores, and a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from core.text import file_size
from tui.io.system_monitor import MAX_CORES, SystemMonitor, percent_of
from tui.widgets.core_bars import CoreBars
from tui.widgets.history_graph import PERCENT, HistoryGraph, Scale, round_scale

if TYPE_CHECKING:
    from core.system.devices import DeviceInfo
    from core.system.gpu_sensors import GpuSensors

GIB = 2**30
NARROW = 20  # columns below which the titles of panels are short
MIN_RATE = 100_000.0  # top of the scale of a transfer rate that is always lower, in bytes per second


class Panel(Container):
    """A border with a title above and a note below."""

    DEFAULT_CSS = """
    Panel {
        width: 1fr; height: 1fr; border: round $border-blurred; padding: 0 1;
        border-title-color: $primary; border-title-style: bold; border-subtitle-color: $foreground 60%;
    }
    """

    def set_titles(self, title: str, note: str = "") -> None:
        """Set title and note; both may hold any characters."""
        if str(self.border_title) != title:
            self.border_title = Content(title)
        if str(self.border_subtitle or "") != note:
            self.border_subtitle = Content(note)


class GraphPanel(Panel):
    """A panel with history graphs one above the other."""

    def __init__(self, title: str, *graphs: HistoryGraph, id: str | None = None) -> None:
        super().__init__(*graphs, id=id)
        self.graphs = graphs
        self.set_titles(title)


class CpuPanel(Panel):
    """Load of the CPU over time, and of each core."""

    DEFAULT_CSS = """
    CpuPanel {
        layout: horizontal;
        & HistoryGraph { width: 3fr; }
        & CoreBars { width: 2fr; margin: 0 0 0 2; }
        &.-graph-only CoreBars { display: none; }
    }
    """

    def compose(self) -> ComposeResult:
        yield HistoryGraph("load")
        yield CoreBars()

    def show(self, device: DeviceInfo, monitor: SystemMonitor) -> None:
        """Show the latest readings."""
        machine = monitor.machine
        loads = machine.cores if machine is not None else ()
        average = machine.load_average if machine is not None else None
        note = f"{len(loads)} cores" + ("" if average is None else f" · load average {average:.1f}") if loads else ""
        narrow = self.content_size.width < NARROW
        self.set_titles("CPU" if narrow else f"CPU · {device.name}", "" if narrow else note)
        self.query_one(HistoryGraph).show(monitor.history("load", device), [percent(device.utilization)])
        histories = [monitor.history(f"core {core}") for core in range(len(loads))] if len(loads) <= MAX_CORES else []
        self.query_one(CoreBars).show(loads, histories)

    def on_resize(self) -> None:
        """Hide the cores if there is no space for them."""
        self.set_class(self.content_size.width < 36, "-graph-only")


class GpuPanel(Panel):
    """History graphs of a GPU: as many as fit, the most important first."""

    DEFAULT_CSS = """
    GpuPanel { layout: grid; grid-gutter: 0 2; }
    """
    GRAPHS: ClassVar = (
        ("load", "load"),
        ("memory", ""),
        ("power", ""),
        ("temperature", "temp"),
        ("clock", ""),
        ("memory clock", ""),
        ("PCIe received", "PCIe in"),
        ("PCIe sent", "PCIe out"),
    )

    def compose(self) -> ComposeResult:
        for title, short in self.GRAPHS:
            yield HistoryGraph(title, short or title)

    def on_resize(self) -> None:
        """Arrange the graphs."""
        width, height = self.content_size
        columns = 8 if width >= 190 and height < 14 else 4 if width >= 100 else 2
        rows = max(1, min(len(self.GRAPHS) // columns, height))
        self.styles.grid_size_columns = columns
        self.styles.grid_size_rows = rows
        for number, graph in enumerate(self.query(HistoryGraph)):
            graph.display = number < columns * rows

    def show(self, device: DeviceInfo, monitor: SystemMonitor) -> None:
        """Show the latest readings of `device`."""
        sensors = monitor.sensors.get(device.uuid or "")
        runs = monitor.runs.get(device.device or "", [])
        label = (device.device or "GPU").upper().replace("CUDA:", "GPU ")
        self.set_titles(f"{label} · {device.name}", f"in use by {', '.join(runs)}" if runs else "")
        for graph, (values, texts, scale) in zip(
            self.query(HistoryGraph), _gpu_graphs(device, sensors, monitor), strict=True
        ):
            graph.show(values, texts, scale)


def _gpu_graphs(
    device: DeviceInfo, sensors: GpuSensors | None, monitor: SystemMonitor
) -> list[tuple[list[float | None], list[str], Scale]]:
    """Values, texts and scale of each of `GpuPanel.GRAPHS`."""
    limit = sensors.power_limit if sensors else None
    clock, memory_clock = (sensors.clock, sensors.memory_clock) if sensors else (None, None)
    power, clocks, memory_clocks = (monitor.history(name, device) for name in ("power", "clock", "memory clock"))
    received, sent = monitor.history("received", device), monitor.history("sent", device)
    watts = number(device.power, "W")
    texts = [watts] if limit is None or device.power is None else [f"{device.power:.0f}/{limit:.0f} W", watts]
    return [
        (monitor.history("load", device), [percent(device.utilization)], PERCENT),
        (monitor.history("memory", device), memory_texts(device.memory_used, device.memory_total), PERCENT),
        (power, texts, Scale(limit, "W") if limit else round_scale(power, "W", 100)),
        (monitor.history("temperature", device), [number(device.temperature, "°C")], Scale(100, "°C")),
        (clocks, [number(clock, "MHz")], round_scale(clocks, "MHz", 1000)),
        (memory_clocks, [number(memory_clock, "MHz")], round_scale(memory_clocks, "MHz", 1000)),
        (received, [rate(sensors.received if sensors else None)], round_scale(received, "B/s", MIN_RATE)),
        (sent, [rate(sensors.sent if sensors else None)], round_scale(sent, "B/s", MIN_RATE)),
    ]


class MachinePanels(Container):
    """Panels of the CPU, memory, disk and network: in one row, or the CPU above the others."""

    DEFAULT_CSS = """
    MachinePanels {
        layout: vertical;
        & #others { layout: horizontal; height: 1fr; }
        &.-one-row { layout: horizontal; & CpuPanel { width: 1fr; } & #others { width: 3fr; } }
    }
    """

    def compose(self) -> ComposeResult:
        yield CpuPanel(id="cpu")
        with Container(id="others"):
            yield GraphPanel("Memory", HistoryGraph("used"), HistoryGraph("swap", "swap"), id="memory")
            yield GraphPanel("Disk", HistoryGraph("read", "r"), HistoryGraph("written", "w"), id="disk")
            yield GraphPanel("Network", HistoryGraph("received", "in"), HistoryGraph("sent", "out"), id="network")

    def set_heights(self, height: int, cpu_height: int) -> None:
        """Set the height; with `cpu_height` 0 all panels are in one row."""
        self.styles.height = height
        self.set_class(cpu_height == 0, "-one-row")
        self.query_one("#cpu").styles.height = cpu_height or "1fr"

    def show(self, device: DeviceInfo, monitor: SystemMonitor) -> None:
        """Show the latest readings; `device` is the CPU."""
        self.query_one(CpuPanel).show(device, monitor)
        memory, disk, network = (self.query_one(f"#{name}", GraphPanel) for name in ("memory", "disk", "network"))
        used, swap = memory.graphs
        used.show(monitor.history("memory", device), memory_texts(device.memory_used, device.memory_total))
        usage = monitor.machine
        if usage is None:
            return
        swap.display = usage.swap_total != 0
        swap.show(monitor.history("swap"), memory_texts(usage.swap_used, usage.swap_total))
        for panel, names, rates in (
            (disk, ("read", "written"), (usage.disk_read, usage.disk_written)),
            (network, ("received", "sent"), (usage.received, usage.sent)),
        ):
            for graph, name, value in zip(panel.graphs, names, rates, strict=True):
                values = monitor.history(name)
                graph.show(values, [rate(value)], round_scale(values, "B/s", MIN_RATE))
        width = disk.content_size.width
        disk.set_titles(f"Disk {usage.disk}" if usage.disk and width >= NARROW else "Disk", self._free(monitor, width))

    @staticmethod
    def _free(monitor: SystemMonitor, width: int) -> str:
        if monitor.disk is None:
            return "free: N/A"
        free, total = map(file_size, monitor.disk)
        texts = (f"{free} free of {total}", f"{free} free", free)
        return next((text for text in texts if len(text) + 2 <= width), "")


def percent(value: float | None) -> str:
    """Write a value in percent."""
    return "N/A" if value is None else f"{value:.0f}%"


def number(value: float | None, unit: str) -> str:
    """Write a value with its unit."""
    return f"N/A {unit}" if value is None else f"{value:,.0f} {unit}"


def rate(value: float | None) -> str:
    """Write bytes per second."""
    return "N/A" if value is None else f"{file_size(value)}/s"


def memory_texts(used: int | None, total: int | None) -> list[str]:
    """Write used and total memory, and shorter texts for narrow panels."""
    if used is None and total is None:
        return ["N/A"]
    size = f"{'N/A' if used is None else f'{used / GIB:.1f}'}/{'N/A' if total is None else f'{total / GIB:.1f}'} GiB"
    share = percent_of(used, total)
    return [size] if share is None else [f"{size} {share:.0f}%", size, f"{share:.0f}%"]
