"""The Devices screen: load, memory and processes of all GPUs and the CPU, and free disk space."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from core.text import file_size, memory_size
from tui.actions import bindings
from tui.io.system_monitor import HISTORY_LENGTH, SystemMonitor, device_key
from tui.widgets.devices import DevicePanel, device_line
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.text_line import update_text

if TYPE_CHECKING:
    from core.system.devices import DeviceInfo
    from core.system.gpu_processes import GpuProcess

LEVELS = " ▁▂▃▄▅▆▇█"
ROWS = (1, 8)  # minimum and maximum height of a sparkline
MAX_PROCESSES = 8  # shown per GPU


class PercentHistory(Widget):
    """History of a value in percent as a bar chart from 0 to 100, newest on the right."""

    DEFAULT_CSS = """
    PercentHistory { height: 2; width: 1fr; }
    """

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._values: list[float | None] = []
        self._rows: list[str] = []  # as drawn

    def show(self, values: Iterable[float | None]) -> None:
        """Draw `values`, oldest first. None: unknown."""
        self._values = list(values)
        old_rows, rows = self._rows, self._bars()
        if len(old_rows) != len(rows):
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(old_rows, rows, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render(self) -> Content:
        """Draw the newest values, one per column; stretched if wider than `HISTORY_LENGTH`."""
        self._rows = self._bars()
        return Content("\n".join(self._rows)) if self._rows else Content.styled("N/A", "$foreground 50%")

    def _bars(self) -> list[str]:
        """Text of each row; empty if no value is known."""
        width, height = self.size
        if not any(value is not None for value in self._values):
            return []
        past = [None] * (HISTORY_LENGTH - len(self._values)) + self._values
        shown = [
            past[len(past) - 1 - (width - 1 - x) * HISTORY_LENGTH // max(width, HISTORY_LENGTH)] for x in range(width)
        ]
        rows = []
        for row in reversed(range(height)):
            filled = (0.0 if value is None else value / 100 * height * 8 - 8 * row for value in shown)
            rows.append("".join(LEVELS[max(0, min(8, round(eighths)))] for eighths in filled))
        return rows


class DeviceCard(Vertical):
    """One device: current values, load and memory history, and processes."""

    DEFAULT_CSS = """
    DeviceCard {
        height: auto; margin: 0 1 1 1;
        & Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
        & PercentHistory { margin: 0 0 0 2; }
        & .load { color: $success; }
        & .memory { color: $primary; }
        & .values { height: 1; }
        & .name { height: 1; color: $foreground 60%; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static(classes="values")
        yield Static(classes="name about-load")
        yield PercentHistory(classes="load")
        yield Static("  memory", classes="name")
        yield PercentHistory(classes="memory")
        yield Static(classes="processes")

    def show(self, device: DeviceInfo, monitor: SystemMonitor) -> None:
        """Show the latest readings of `device`."""
        width = max(20, self.content_size.width)
        runs = monitor.runs.get(device.device or "", [])
        used = Content.assemble(("  ◀ in use by ", "$accent"), (", ".join(runs), "bold $accent")) if runs else Content()
        line = device_line(device, width - used.cell_length)
        about = Content("  load, last two minutes")
        if line.cell_length + used.cell_length > width:  # move it to the next line
            line, about, used = device_line(device, width), about + used, Content()
        update_text(self.query_one(".values", Static), line + used, layout=False)
        update_text(self.query_one(".about-load", Static), about, layout=False)
        history = monitor.histories[device_key(device)]
        for name, values in (("load", history.utilization), ("memory", history.memory)):
            self.query_one(f".{name}", PercentHistory).show(values)
        processes = monitor.processes_on(device)
        lines = [_process(process, width) for process in processes[:MAX_PROCESSES]]
        if len(processes) > MAX_PROCESSES:
            lines.append(Content.styled(f"  and {len(processes) - MAX_PROCESSES} more", "$foreground 50%"))
        if not processes and device.kind == "cuda":
            lines.append(Content.styled("  no processes reported", "$foreground 50%"))
        update_text(self.query_one(".processes", Static), Content("\n").join(lines))


class DevicesScreen(Screen[None]):
    """Shows the readings of the system monitor."""

    TITLE = "Devices"
    HELP = (
        "Load and memory of each GPU and the CPU over the last two minutes, the processes that use GPU memory, and the "
        "free disk space. N/A means that the driver does not report a value, for example with MIG."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("devices")
    DEFAULT_CSS = """
    DevicesScreen {
        #cards { height: 1fr; padding: 1 0; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
        DevicePanel { display: none; }  /* polls the monitor; the cards show its readings in full */
        #disk { height: 1; padding: 0 1; color: $foreground 70%; }
    }
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def compose(self) -> ComposeResult:
        yield Header("devices")
        yield VerticalScroll(Static("Reading device status…", id="waiting"), id="cards")
        yield Static(id="disk")
        yield DevicePanel(self.root)
        yield KeyBar()

    def on_mount(self) -> None:
        """Focus the cards, so that keys scroll them."""
        self.query_one("#cards").focus()

    async def on_device_panel_updated(self) -> None:
        """Show the new readings."""
        await self._show()

    def on_resize(self) -> None:
        """Lay out the cards for the new size."""
        self.call_after_refresh(self._show)

    async def _show(self) -> None:
        monitor = DevicePanel.monitor
        cards = list(self.query(DeviceCard))
        if len(cards) != len(monitor.devices):
            await self.query_one("#cards").remove_children()
            await self.query_one("#cards").mount(*(DeviceCard() for _ in monitor.devices))
            self.call_after_refresh(self._show)  # after layout, when their width is known
            return
        # Lines of a card besides the two charts: values, two titles, a blank line, and the processes of a GPU.
        other_lines = sum(4 + _process_lines(device, monitor) for device in monitor.devices)
        rows = (self.query_one("#cards").size.height - 2 - other_lines) // max(1, 2 * len(cards))
        for card, device in zip(cards, monitor.devices, strict=True):
            for chart in card.query(PercentHistory):
                chart.styles.height = max(ROWS[0], min(ROWS[1], rows))
            card.show(device, monitor)
        update_text(self.query_one("#disk", Static), _disk(monitor, self.root), layout=False)


def _process_lines(device: DeviceInfo, monitor: SystemMonitor) -> int:
    """Number of lines that list the processes on `device`."""
    count = len(monitor.processes_on(device))
    return min(count, MAX_PROCESSES + 1) if count else int(device.kind == "cuda")


def _disk(monitor: SystemMonitor, root: Path) -> Content:
    if monitor.disk is None:
        return Content.assemble(("DISK  ", "bold"), "N/A")
    free, total = map(file_size, monitor.disk)
    return Content.assemble(
        ("DISK  ", "bold"), f"{free} free of {total}", (f"  on the disk of {root}", "$foreground 50%")
    )


def _process(process: GpuProcess, width: int) -> Content:
    memory = memory_size(process.memory)
    pid, unnamed = process.pid or "N/A", "N/A" if process.pid else "a process outside this container"
    text = f"  {pid:>8} {process.user or 'N/A':<12.12} {memory:>9}  {process.name or unnamed}"
    return Content(text if len(text) <= width else text[: width - 1] + "…")
