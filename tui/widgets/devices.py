"""The device line: what each GPU is doing, or the CPU and memory where there is no GPU."""

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

BAR = 8  # cells of a utilisation bar
EIGHTHS = " ▏▎▍▌▋▊▉█"
TALL = 32  # rows of a terminal that has room for a line a device
MOST_LINES = 8


class DevicePanel(Widget):
    """Reads the devices once a second, in a thread, while its screen is in sight; N/A where a value is unknown."""

    DEFAULT_CSS = """
    DevicePanel {
        height: auto; text-wrap: nowrap; text-overflow: ellipsis;
        width: 1fr; background: $surface; color: $foreground 70%; padding: 0 1;
    }
    """
    meter: ClassVar[SystemMonitor] = SystemMonitor()  # shared, so that a screen opened later shows values at once

    @dataclass
    class Read(Message):
        """The meter has new values."""

    def __init__(self, root: Path | None = None) -> None:
        super().__init__()
        self._root = root  # of the runs, where processes and runs are to be read too
        self._reading = False

    def on_mount(self) -> None:
        """Begin to read once the screen has been drawn."""
        self.call_after_refresh(self._read)
        self.set_interval(SECONDS, self._read)

    def _read(self) -> None:
        if self.screen in self.app.screen_stack and not self._reading:
            self._reading = True  # a driver that hangs shall not gather threads
            self._sample()

    @work(group="devices")
    async def _sample(self) -> None:
        before = len(self.meter.devices)
        try:
            await asyncio.to_thread(self.meter.read)
            if self._root is not None:
                await asyncio.to_thread(self.meter.read_more, self._root)
        finally:
            self._reading = False
        self.refresh(layout=len(self.meter.devices) != before)
        self.post_message(self.Read())

    def render(self) -> Content:
        """One line, or a line a GPU where the terminal is tall."""
        shown = [device for device in self.meter.devices if device.kind == "cuda"] or self.meter.devices
        if not shown:
            return Content.styled("reading the devices", "$foreground 40%")
        width = self.content_size.width
        if self.app.size.height >= TALL and len(shown) > 1:
            return Content("\n").join([device_line(device, width) for device in shown[:MOST_LINES]])
        if len(shown) == 1:
            return device_line(shown[0], width)
        cells = [_brief(device) for device in shown]
        line = Content("   ").join(cells)
        while line.cell_length > width and len(cells) > 1:
            cells.pop()
            line = Content("   ").join([*cells, Content.styled(f"+{len(shown) - len(cells)}", "$foreground 40%")])
        return line


def device_line(device: DeviceInfo, width: int) -> Content:
    """A device with its bars, shortened from the name on when `width` cells do not hold it."""
    label = (device.device or "gpu").upper().replace("CUDA:", "GPU ")
    use = Content.assemble(*_bar(device.utilization), f" {_percent(device.utilization)}")
    memory = Content.assemble(("mem ", "$foreground 45%"), _memory(device))
    rest = []
    if device.kind == "cuda":
        rest = [_degrees(device), _watts(device)]
    values = Content("  ").join([use, memory, *map(Content, rest)])
    room = width - len(label) - values.cell_length - 4
    name = device.name if len(device.name) <= room else device.name[: max(0, room - 1)] + "…" if room >= 8 else ""
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
    colour = "$success" if percent < 80 else "$warning"
    return [(bar, f"{colour} on $panel"), (" " * (BAR - len(bar)), "on $panel")]


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
