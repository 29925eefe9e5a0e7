"""The Devices screen: graphs, panels, and the table of processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenes import enter, open_app, scenery
from textual.app import App
from textual.widget import Widget

from core.system.devices import DeviceInfo
from core.system.gpu_processes import GpuProcess
from core.system.gpu_sensors import GpuSensors
from core.system.process_usage import ProcessUsage
from tui.io.system_monitor import MAX_DELAY, History, SystemMonitor
from tui.widgets.core_bars import CoreBars
from tui.widgets.history_graph import HistoryGraph, Scale, area_rows, round_scale, time_axis
from tui.widgets.panels import GpuPanel
from tui.widgets.process_table import ProcessTable, process_rows

GIB = 2**30
GPU = DeviceInfo("NVIDIA H200", "cuda:0", "cuda", "GPU-1", 2 * GIB, 140 * GIB, 22.0, 42.0, 137.0)


def drawn(widget: Widget) -> str:
    return str(widget.render())


def test_an_area_graph_has_eighths_of_rows_and_the_newest_value_on_the_right() -> None:
    assert area_rows([9, 0, None, 50, 75, 100, 200], 6, 2, 100) == ["   ▄██", "▁ ████"]
    assert area_rows([100], 3, 1, 100) == ["  █"]


def test_the_time_axis_labels_the_columns_with_their_age() -> None:
    axis = time_axis(130)
    assert len(axis) == 130
    assert axis.endswith("now")
    assert axis[: 130 - 60].endswith("1 min")
    assert axis[: 130 - 120].endswith("2 min")
    assert time_axis(40).split() == ["30", "s", "15", "s", "now"]


@pytest.mark.parametrize(("highest", "top"), [(None, 100.0), (100, 100.0), (101, 150.0), (7_500, 8_000.0)])
def test_a_scale_ends_at_a_round_number(highest: float | None, top: float) -> None:
    assert round_scale([None, 3.0, highest], "W", 100).top == top


def test_a_scale_writes_its_unit() -> None:
    assert [Scale(100).label(50), Scale(700, "W").label(350), Scale(2e6, "B/s").label(2e6)] == [
        "50%",
        "350 W",
        "2.0 MB/s",
    ]


def test_a_history_has_one_value_per_second() -> None:
    history = History()
    for value, now in ((1.0, 10.0), (2.0, 11.1), (3.0, 11.2), (4.0, 14.0), (5.0, 16.0 + MAX_DELAY)):
        history.add(value, now)
    assert list(history.values) == [1.0, 3.0, 4.0, 4.0, 4.0, *[None] * (MAX_DELAY + 1), 5.0]


async def test_a_graph_shows_its_value_scale_and_time() -> None:
    app = App[None]()
    async with app.run_test(size=(40, 8)) as pilot:
        graph = HistoryGraph("load")
        await app.screen.mount(graph)
        graph.show([50.0] * 60, ["50%"])
        await pilot.pause()
        lines = drawn(graph).splitlines()
        assert lines[0] == "load 50%"
        assert [line[:5].strip() for line in lines[1:-1]] == ["100%", "", "", "50%", "", "0%"]
        assert [line[5:].strip() for line in lines[1:-1]] == ["", "", "", "█" * 35, "█" * 35, "█" * 35]
        assert lines[-1].endswith("now")


@pytest.mark.parametrize(("width", "texts"), [(60, ["22%", "2.0/140.0 GiB", "137/700 W", "42 °C"]), (120, ["N/A MHz"])])
async def test_a_gpu_panel_shows_values_and_names_the_run(width: int, texts: list[str]) -> None:
    sensors = {"GPU-1": GpuSensors(power_limit=700.0, clock=1980.0, received=1.2e9)}
    monitor = SystemMonitor(devices=[GPU], sensors=sensors, runs={"cuda:0": ["night"]})
    app = App[None]()
    async with app.run_test(size=(width, 12)) as pilot:
        panel = GpuPanel()
        await app.screen.mount(panel)
        panel.show(GPU, monitor)
        await pilot.pause()
        shown = "\n".join(drawn(graph) for graph in panel.query(HistoryGraph) if graph.display)
        assert str(panel.border_title) == "GPU 0 · NVIDIA H200"
        assert str(panel.border_subtitle) == "in use by night"
        for text in (*texts, "1,980 MHz", "1.2 GB/s"):
            assert text in shown


@pytest.mark.parametrize("count", [1, 2, 16, 192, 1_000])
async def test_the_loads_of_any_number_of_cores_fit(count: int) -> None:
    app = App[None]()
    async with app.run_test(size=(40, 6)) as pilot:
        cores = CoreBars()
        await app.screen.mount(cores)
        cores.show([100.0] * count, [[100.0]] * count if count <= 2 else [])
        await pilot.pause()
        lines = drawn(cores).splitlines()
        assert len(lines) <= 6
        assert all(len(line) <= 40 for line in lines)
        assert "█" in lines[-1] if count != 1 else "100%" in lines[0]


def test_processes_of_gpus_come_first_and_those_of_runs_next_and_have_the_name_of_the_run() -> None:
    monitor = SystemMonitor(
        devices=[GPU],
        gpu_processes=[GpuProcess("GPU-1", 7, "python", "student", GIB), GpuProcess("GPU-1", None, None, None, GIB)],
        processes=[
            ProcessUsage(5, 1, "root", 90.0, GIB, "busy"),
            ProcessUsage(7, 1, "student", 50.0, 2 * GIB, "python"),
            ProcessUsage(9, 8, "student", 10.0, GIB, "python worker"),
        ],
        run_pids={7: "night", 8: "day"},
    )
    rows = process_rows(monitor)
    assert [(row.pid, row.run, row.gpu, row.cpu) for row in rows] == [
        (7, "night", "0", 50.0),
        (None, None, "0", None),
        (9, "day", "", 10.0),
        (5, None, "", 90.0),
    ]
    assert rows[1].command == "a process outside this container"


@pytest.mark.parametrize("width", [58, 118])
async def test_a_process_takes_one_line(width: int) -> None:
    usage = ProcessUsage(4_194_304, 1, "someone-with-a-long-name", 1600.0, 99 * GIB, "python " * 90)
    app = App[None]()
    async with app.run_test(size=(width, 4)) as pilot:
        table = ProcessTable()
        await app.screen.mount(table)
        table.show(SystemMonitor(processes=[usage], run_pids={usage.pid: "night"}))
        await pilot.pause()
        header, line = drawn(table).splitlines()
        assert "MEMORY  COMMAND" in header
        assert line.startswith("4194304 someone… 1600%  99.0 GiB  night: python")
        assert len(line) == width


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_all_panels_are_on_the_screen_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    with scenery(tmp_path) as root:
        app = open_app("devices", root)
        async with app.run_test(size=size) as pilot:
            await enter("devices", pilot)
            screen = app.screen
            assert screen.query_one("#panels").max_scroll_y == 0
            for name in ("#cpu", "#memory", "#disk", "#network", "#processes"):
                region = screen.query_one(name).region
                assert region.height >= 4
                assert region.bottom < size[1]
                assert region.right <= size[0]
            table = drawn(screen.query_one(ProcessTable))
            assert "running: " in table
