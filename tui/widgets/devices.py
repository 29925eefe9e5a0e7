"""The device line: utilization and memory of each GPU, or of the CPU without a GPU."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui.io.system_monitor import SECONDS, SystemMonitor

if TYPE_CHECKING:
    from core.system.devices import DeviceInfo

BAR = 8  # width of a utilization bar
EIGHTHS = " ▏▎▍▌▋▊▉█"
TALL = 32  # terminal height from which each GPU has its own line
MAX_LINES = 8


class DevicePanel(Widget):
    """Displays the devices, read in a thread once per second while its screen is on the stack; posts `Updated`.

    Attributes:
        monitor: Shared by all instances, so new screens have values at once.
    """

    DEFAULT_CSS = """
    DevicePanel {
        height: auto; text-wrap: nowrap; text-overflow: ellipsis;
        width: 1fr; background: $surface; color: $foreground 70%; padding: 0 1;
    }
    """
    monitor: ClassVar[SystemMonitor] = SystemMonitor()

    @dataclass
    class Updated(Message):
        """Posted when `monitor` has new values."""

    def __init__(self, root: Path | None = None) -> None:
        super().__init__()
        self._root = root  # of the runs; None reads only the devices
        self._reading = False

    def on_mount(self) -> None:
        self.call_after_refresh(self._read)
        self.set_interval(SECONDS, self._read)

    def _read(self) -> None:
        if self.screen in self.app.screen_stack and not self._reading:
            self._reading = True  # at most one thread, even if a driver hangs
            self._sample()

    @work(group="devices")
    async def _sample(self) -> None:
        old_count = len(self.monitor.devices)
        try:
            await asyncio.to_thread(self.monitor.read)
            if self._root is not None:
                await asyncio.to_thread(self.monitor.read_machine, self._root)
        finally:
            self._reading = False
        self.refresh(layout=len(self.monitor.devices) != old_count)
        self.post_message(self.Updated())

    def render(self) -> Content:
        """Render one line, or one per GPU in a tall terminal."""
        shown = [device for device in self.monitor.devices if device.kind == "cuda"] or self.monitor.devices
        if not shown:
            return Content.styled("reading devices", "$foreground 40%")
        width = self.content_size.width
        if self.app.size.height >= TALL and len(shown) > 1:
            return Content("\n").join([device_line(device, width) for device in shown[:MAX_LINES]])
        if len(shown) == 1:
            return device_line(shown[0], width)
        cells = [_brief(device) for device in shown]
        line = Content("   ").join(cells)
        while line.cell_length > width and len(cells) > 1:
            cells.pop()
            line = Content("   ").join([*cells, Content.styled(f"+{len(shown) - len(cells)}", "$foreground 40%")])
        return line


def device_line(device: DeviceInfo, width: int) -> Content:
    """Render a device in one line; the name is truncated or omitted if it does not fit."""
    label = (device.device or "gpu").upper().replace("CUDA:", "GPU ")
    use = Content.assemble(*_bar(device.utilization), f" {_percent(device.utilization)}")
    memory = Content.assemble(("mem ", "$foreground 45%"), _memory(device))
    sensors = []
    if device.kind == "cuda":
        sensors = [_degrees(device), _watts(device)]
    values = Content("  ").join([use, memory, *map(Content, sensors)])
    name_width = width - len(label) - values.cell_length - 4
    name = device.name
    if len(name) > name_width:
        name = name[: name_width - 1] + "…" if name_width >= 8 else ""
    head = Content.assemble((label, "bold"), "  ", (f"{name}  " if name else "", "$foreground 45%"))
    return head + values


def _brief(device: DeviceInfo) -> Content:
    label = (device.device or "gpu").replace("cuda:", "")
    values = f"{_percent(device.utilization).strip()} {_memory(device)} {_degrees(device)} {_watts(device)}"
    return Content.assemble((f"{label} ", "bold"), values)


def _bar(percent: float | None) -> list[tuple[str, str]]:
    if percent is None:
        return [("·" * BAR, "$foreground 25%")]
    eighths = round(min(100.0, max(0.0, percent)) / 100 * BAR * 8)
    full, part = divmod(eighths, 8)
    bar = "█" * full + (EIGHTHS[part] if part else "")
    color = "$success" if percent < 80 else "$warning"
    return [(bar, f"{color} on $panel"), (" " * (BAR - len(bar)), "on $panel")]


def _percent(value: float | None) -> str:
    return " N/A" if value is None else f"{value:3.0f}%"


def _memory(device: DeviceInfo) -> str:
    used = "N/A" if device.memory_used is None else f"{device.memory_used / 2**30:.1f}"
    total = "N/A" if device.memory_total is None else f"{device.memory_total / 2**30:.1f}"
    return "N/A" if used == total == "N/A" else f"{used}/{total} GiB"


def _degrees(device: DeviceInfo) -> str:
    return "N/A °C" if device.temperature is None else f"{device.temperature:.0f} °C"


def _watts(device: DeviceInfo) -> str:
    return "N/A W" if device.power is None else f"{device.power:.0f} W"
