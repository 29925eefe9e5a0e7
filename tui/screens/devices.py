"""The Devices screen: load, memory, sensors and processes of all GPUs and of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from tui.actions import bindings
from tui.io.lead_file import DevicesView
from tui.screens.shared import Shared
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.panels import GpuPanel, MachinePanels, Panel
from tui.widgets.process_table import ProcessTable

if TYPE_CHECKING:
    from core.system.devices import DeviceInfo

MIN_PANEL = 4  # rows of a panel with its border
MAX_PANEL = 24


class DevicesScreen(Screen[None], Shared):
    """Shows the readings of the system monitor."""

    TITLE = "Devices"
    HELP = (
        "Load, memory, power, temperature, clocks and PCIe throughput of each GPU; load of each CPU core, memory, disk "
        "and network of this machine; the processes that use most of it. Processes of runs begin with the run's name. "
        "CPU is in percent of one core. N/A means that the driver does not report a value, for example with MIG."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("devices")
    DEFAULT_CSS = """
    DevicesScreen {
        #panels { height: 1fr; scrollbar-size-vertical: 1; }
        #gpus { height: auto; }
        #waiting { padding: 1 2; }
        #processes { min-height: 4; }
        DevicePanel { display: none; }  /* polls the monitor; the panels show its readings in full */
        MachinePanels, #processes { display: none; }
        &.-narrow MachinePanels.-one-row Panel { padding: 0; }
        &.-read { MachinePanels, #processes { display: block; } #waiting { display: none; } }
    }
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    @property
    def shared_view(self) -> DevicesView:
        """Nothing: each machine has its own devices."""
        return DevicesView()

    async def follow(self, view: DevicesView) -> None:
        """Do nothing: the screen is shown already."""

    def compose(self) -> ComposeResult:
        yield Header("devices")
        with VerticalScroll(id="panels"):
            yield Static("Reading device status…", id="waiting")
            yield Vertical(id="gpus")
            yield MachinePanels()
            processes = Panel(ProcessTable(), id="processes")
            processes.set_titles("Processes")
            yield processes
        yield DevicePanel(self.root)
        yield KeyBar()

    def on_mount(self) -> None:
        """Focus the panels, so that keys scroll them."""
        self.query_one("#panels").focus()

    async def on_device_panel_updated(self) -> None:
        """Show the new readings."""
        await self._show()

    def on_resize(self) -> None:
        """Arrange the panels for the new size."""
        self.call_after_refresh(self._show)

    async def _show(self) -> None:
        monitor = DevicePanel.monitor
        if not monitor.devices:
            return
        *gpus, cpu = monitor.devices
        panels = list(self.query(GpuPanel))
        if len(panels) != len(gpus):
            await self.query_one("#gpus").remove_children()
            panels = [GpuPanel() for _ in gpus]
            await self.query_one("#gpus").mount(*panels)
        self.add_class("-read")
        self._arrange(dict(zip(panels, gpus, strict=True)))
        for panel, device in zip(panels, gpus, strict=True):
            panel.show(device, monitor)
        self.query_one(MachinePanels).show(cpu, monitor)
        self.query_one(ProcessTable).show(monitor)

    def _arrange(self, gpus: dict[GpuPanel, DeviceInfo]) -> None:
        """Divide the height between GPUs, machine and processes."""
        height = self.query_one("#panels").size.height
        machine = self.query_one(MachinePanels)
        if not gpus:
            cpu, others = max(6, round(0.32 * height)), max(MIN_PANEL, round(0.28 * height))
            machine.set_heights(cpu + others, cpu)
            self.query_one("#processes").styles.height = max(MIN_PANEL, height - cpu - others)
            return
        others = max(MIN_PANEL, round(0.22 * height))
        machine.set_heights(others, 0)
        processes = max(5, round(0.25 * height))
        # A device without a load, such as a MIG instance, has little to show.
        large = [panel for panel, device in gpus.items() if device.utilization is not None] or list(gpus)
        room = height - others - processes - MIN_PANEL * (len(gpus) - len(large))
        each = max(MIN_PANEL, min(MAX_PANEL, room // len(large)))
        for panel in gpus:
            panel.styles.height = each if panel in large else MIN_PANEL
        used = each * len(large) + MIN_PANEL * (len(gpus) - len(large))
        self.query_one("#processes").styles.height = max(processes, height - others - used)
