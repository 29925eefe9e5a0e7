"""The Devices screen: every processor with its last two minutes, who computes on it, and memory and disk."""

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
ROWS = (1, 8)  # of a track, at least and at most
MOST_PROCESSES = 8  # of a GPU; how many more there are is said


class Track(Widget):
    """The past of a value in percent, from 0 at the bottom to 100 at the top, the newest on the right."""

    DEFAULT_CSS = """
    Track { height: 2; width: 1fr; }
    """

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._values: list[float | None] = []
        self._rows: list[str] = []  # those drawn

    def show(self, values: Iterable[float | None]) -> None:
        """Draw `values`, a reading each, from the oldest on; None is one that is not known."""
        self._values = list(values)
        before, rows = self._rows, self._bars()
        if len(before) != len(rows):
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, rows, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render(self) -> Content:
        """As many of the newest as there are columns, at most `HISTORY_LENGTH` of them over the whole width."""
        self._rows = self._bars()
        return Content("\n".join(self._rows)) if self._rows else Content.styled("N/A", "$foreground 50%")

    def _bars(self) -> list[str]:
        """The rows of bars; none while no value is known."""
        width, height = self.size
        if not any(value is not None for value in self._values):
            return []
        past, length = [None] * (HISTORY_LENGTH - len(self._values)) + self._values, HISTORY_LENGTH
        shown = [past[len(past) - 1 - (width - 1 - x) * length // max(width, length)] for x in range(width)]
        rows = []
        for row in reversed(range(height)):
            filled = (0.0 if value is None else value / 100 * height * 8 - 8 * row for value in shown)
            rows.append("".join(LEVELS[max(0, min(8, round(eighths)))] for eighths in filled))
        return rows


class DeviceCard(Vertical):
    """One device: its values, the curves of its load and memory, and its processes."""

    DEFAULT_CSS = """
    DeviceCard {
        height: auto; margin: 0 1 1 1;
        & Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
        & Track { margin: 0 0 0 2; }
        & .load { color: $success; }
        & .memory { color: $primary; }
        & .values { height: 1; }
        & .name { height: 1; color: $foreground 60%; }
    }
    """

    def compose(self) -> ComposeResult:
        """Values, two curves with their names, processes."""
        yield Static(classes="values")
        yield Static(classes="name about-load")
        yield Track(classes="load")
        yield Static("  memory", classes="name")
        yield Track(classes="memory")
        yield Static(classes="processes")

    def show(self, device: DeviceInfo, meter: SystemMonitor) -> None:
        """Show what was read of `device`."""
        width = max(20, self.content_size.width)
        runs = meter.runs.get(device.device or "", [])
        used = Content.assemble(("  ◀ in use by ", "$accent"), (", ".join(runs), "bold $accent")) if runs else Content()
        line = device_line(device, width - used.cell_length)
        about = Content("  load, the last two minutes")
        if line.cell_length + used.cell_length > width:  # there is room below
            line, about, used = device_line(device, width), about + used, Content()
        update_text(self.query_one(".values", Static), line + used, layout=False)
        update_text(self.query_one(".about-load", Static), about, layout=False)
        history = meter.histories[device_key(device)]
        for name, values in (("load", history.utilization), ("memory", history.memory)):
            self.query_one(f".{name}", Track).show(values)
        mine = meter.processes_on(device)
        lines = [_process(process, width) for process in mine[:MOST_PROCESSES]]
        if len(mine) > MOST_PROCESSES:
            lines.append(Content.styled(f"  and {len(mine) - MOST_PROCESSES} more", "$foreground 50%"))
        if not mine and device.kind == "cuda":
            lines.append(Content.styled("  no process is known to hold memory here", "$foreground 50%"))
        update_text(self.query_one(".processes", Static), Content("\n").join(lines))


class DevicesScreen(Screen[None]):
    """Follows the meter while it is in sight."""

    TITLE = "Devices"
    HELP = (
        "Every GPU that the driver shows, and the processor: load and memory over the last two minutes, and who holds "
        "memory on each GPU. N/A is what a driver or MIG does not tell."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("devices")
    DEFAULT_CSS = """
    DevicesScreen {
        #cards { height: 1fr; padding: 1 0; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
        DevicePanel { display: none; }  /* it reads; the cards say the same in full */
        #disk { height: 1; padding: 0 1; color: $foreground 70%; }
    }
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def compose(self) -> ComposeResult:
        """A card a device, the disk, and the line that every screen has."""
        yield Header("devices")
        yield VerticalScroll(Static("reading the devices", id="waiting"), id="cards")
        yield Static(id="disk")
        yield DevicePanel(self.root)
        yield KeyBar()

    def on_mount(self) -> None:
        """The cards take the keys that scroll."""
        self.query_one("#cards").focus()

    async def on_device_panel_updated(self) -> None:
        """Show what was read."""
        await self._show()

    def on_resize(self) -> None:
        """Fit the cards anew."""
        self.call_after_refresh(self._show)

    async def _show(self) -> None:
        meter = DevicePanel.monitor
        cards = list(self.query(DeviceCard))
        if len(cards) != len(meter.devices):
            await self.query_one("#cards").remove_children()
            await self.query_one("#cards").mount(*(DeviceCard() for _ in meter.devices))
            self.call_after_refresh(self._show)  # once it is known how wide they are
            return
        # What is above and below the two tracks of a card: values, two names, a blank line, and a GPU's processes.
        besides = sum(4 + _process_lines(device, meter) for device in meter.devices)
        room = (self.query_one("#cards").size.height - 2 - besides) // max(1, 2 * len(cards))
        for card, device in zip(cards, meter.devices, strict=True):
            for track in card.query(Track):
                track.styles.height = max(ROWS[0], min(ROWS[1], room))
            card.show(device, meter)
        update_text(self.query_one("#disk", Static), _disk(meter, self.root), layout=False)


def _process_lines(device: DeviceInfo, meter: SystemMonitor) -> int:
    """How many lines a card says of the processes on its device."""
    count = len(meter.processes_on(device))
    return min(count, MOST_PROCESSES + 1) if count else int(device.kind == "cuda")


def _disk(meter: SystemMonitor, root: Path) -> Content:
    if meter.disk is None:
        return Content.assemble(("disk ", "bold"), "N/A")
    free, total = map(file_size, meter.disk)
    return Content.assemble(("DISK  ", "bold"), f"{free} free of {total}", (f"  where {root} is", "$foreground 50%"))


def _process(process: GpuProcess, width: int) -> Content:
    memory = memory_size(process.memory)
    pid, hidden = process.pid or "N/A", "N/A" if process.pid else "a process outside this container"
    text = f"  {pid:>8} {process.user or 'N/A':<12.12} {memory:>9}  {process.name or hidden}"
    return Content(text if len(text) <= width else text[: width - 1] + "…")
