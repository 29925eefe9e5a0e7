"""The app: screens, help, palette, a missing or closed terminal, and no torch in its process."""

from __future__ import annotations

import dataclasses
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from repository import REPOSITORY
from runlogs import held, training, write_run
from textual.widgets import OptionList
from waiting import PATIENCE, until

from core.runs.status import RunSummary, Status
from tui.actions import ACTIONS
from tui.app import MinidiffApp
from tui.leaving import what_continues
from tui.screens.help import HelpScreen
from tui.screens.sample import SampleScreen
from tui.screens.too_small import TooSmallScreen
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header

COMMAND = [sys.executable, "-m", "tui"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (60, 20)])
async def test_every_screen_opens_at_every_size_and_shows_header_devices_and_keys(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=size) as pilot:
        for key, mode in (("2", "train"), ("3", "runs"), ("1", "sample")):
            app.set_focus(None)
            await pilot.press(key)
            await pilot.pause()
            assert app.current_mode == mode
            assert app.screen.query_one(Header).mode == mode
            panel = app.screen.query_one(DevicePanel)
            assert 0 < panel.region.y < size[1]
            assert panel.region.right <= size[0]


async def test_clicking_a_tab_opens_its_screen(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        text = app.screen.query_one(Header).render().plain
        await pilot.click(Header, offset=(text.index("Runs"), 0))
        assert app.current_mode == "runs"


async def test_the_app_opens_on_the_requested_screen(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.current_mode == "runs"


async def test_the_device_line_shows_na_for_unknown_values(tmp_path: Path) -> None:
    from core.system.devices import DeviceInfo

    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        panel = app.screen.query_one(DevicePanel)
        await until(pilot, lambda: bool(panel.monitor.devices), "the devices are read")
        assert "GiB" in panel.render().plain
        DevicePanel.monitor.devices = [DeviceInfo(name="A100", device="cuda:0", kind="cuda", memory_total=2**30)]
        assert panel.render().plain.count("N/A") == 4  # utilization, memory used, temperature, power
        assert "0%" not in panel.render().plain


async def test_a_terminal_that_is_too_small_shows_the_required_size_until_it_is_enlarged(
    tmp_path: Path,
) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(50, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, TooSmallScreen), "the message is shown")
        assert "60x20 cells, this terminal has 50x30" in str(app.screen.query_one("Static").render())
        await pilot.resize_terminal(70, 10)
        await until(pilot, lambda: "70x10" in str(app.screen.query_one("Static").render()), "the new size is shown")
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: isinstance(app.screen, SampleScreen), "the screen is shown again")
        await pilot.resize_terminal(59, 20)
        await until(pilot, lambda: isinstance(app.screen, TooSmallScreen), "the message is shown again")


async def test_help_lists_the_keys_of_the_screen_and_closes(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        shown = " ".join(str(widget.render()) for widget in app.screen.query("Static"))
        assert "New seed" in shown
        assert "Export" in shown
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpScreen)


async def test_the_palette_lists_the_screens_and_the_actions_of_the_current_one(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)):
        titles = {command.title for command in app.get_system_commands(app.screen)}
    assert {"Go to Train", "Go to Runs", "Export", "New seed", "Help", "Quit"} <= titles


async def test_ctrl_c_names_the_keys_that_quit(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+c")
        await until(pilot, lambda: bool(app._notifications), "the keys are named")
        assert [notice.message for notice in app._notifications] == ["Press q or Ctrl-Q to quit"]
        assert app.is_running


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"a": "running"}, "training of a continues"),
        ({"a": "paused"}, "a is paused and stays paused"),
        (
            {"a": "running", "b": "starting", "c": "paused"},
            "training of a and b continues, c is paused and stays paused",
        ),
        ({"a": "paused", "b": "paused"}, "a and b are paused and stay paused"),
        ({"a": "running", "b": "running", "c": "elsewhere"}, "training of 3 runs continues"),
        ({}, ""),
    ],
)
def test_what_continues_after_quitting(states: dict[str, str], expected: str) -> None:
    unknown: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(RunSummary))
    runs = [RunSummary(**unknown | {"name": name, "status": Status(state)}) for name, state in states.items()]
    assert what_continues(runs) == expected


async def test_ctrl_c_says_which_run_continues(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    with held(write_run(tmp_path, "one", training(1.2, name="one"))):
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("ctrl+c")
            await until(pilot, lambda: bool(app._notifications), "the keys are named")
            (notice,) = app._notifications
            assert notice.message == "Press q or Ctrl-Q to quit; training of one continues"


@pytest.mark.parametrize("key", ["1", "2", "3", "5"])
async def test_the_palette_lists_each_action_once_with_its_keys(tmp_path: Path, key: str) -> None:
    app = MinidiffApp(tmp_path)
    with held(write_run(tmp_path, "one", training(1.2, name="one"))):
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press(key)
            await pilot.pause()
            commands = list(app.get_system_commands(app.screen))
    titles = [command.title for command in commands]
    assert sorted(set(titles)) == sorted(titles)
    assert {"Settings", "Theme", "Help", "Quit", "Screenshot"} <= set(titles)
    known = {key for action in ACTIONS for key in action.keys.split(",")} | {"?", "^q", "^t", "^s", "^o"}
    assert all(command.help.split(":")[0].split(" or ")[0] in known | set("[]/+-←→⏎") for command in commands)


async def test_the_screenshot_command_names_its_file_or_says_why_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "[b]"  # shown as it is, not as markup
    folder.mkdir()
    monkeypatch.chdir(folder)
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        (command,) = (command for command in app.get_system_commands(app.screen) if command.title == "Screenshot")
        command.callback()
        await until(pilot, lambda: bool(app._notifications), "the file is named")
        (picture,) = folder.glob("*.svg")
        assert [notice.message for notice in app._notifications] == [f"Saved {picture}"]
        assert "</svg>" in picture.read_text(encoding="utf-8")
        monkeypatch.setattr(app, "title", "x" * 300)  # too long for the name of a file
        app.clear_notifications()
        command.callback()
        await until(pilot, lambda: bool(app._notifications), "the failure is reported")
        (notice,) = app._notifications
        assert notice.message.startswith("cannot write the screenshot to ")


def test_without_a_terminal_it_names_the_headless_command_and_exits_2() -> None:
    done = subprocess.run(
        COMMAND, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "`minidiff`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


class Terminal:
    """The app on a pseudo-terminal of 80x24."""

    def __init__(self, *arguments: str, command: list[str] = COMMAND) -> None:
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(REPOSITORY)
            os.execve(command[0], [*command, *arguments], {**os.environ, "TERM": "xterm-256color"})
        self.pid = pid
        self.drawn = b""

    def read_until(self, text: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.drawn:
            assert time.monotonic() < deadline, f"{text!r} was never drawn"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.drawn += os.read(self.fd, 65_536)

    def exit_status(self) -> int:
        """Wait for the process to exit, reading its output, and return its exit status."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            try:
                if select.select([self.fd], [], [], 0.05)[0]:
                    self.drawn += os.read(self.fd, 65_536)
            except (OSError, ValueError):
                time.sleep(0.01)  # the terminal is closed: there is nothing to wait on but the clock
        raise AssertionError("the app did not end")


def test_quitting_restores_the_terminal_and_exits_0(tmp_path: Path) -> None:
    terminal = Terminal("--root", str(tmp_path))
    terminal.read_until(b"Quit")
    os.write(terminal.fd, b"q")
    assert os.waitstatus_to_exitcode(terminal.exit_status()) == 0
    assert b"\x1b[?1049l" in terminal.drawn  # the main screen is back
    assert terminal.drawn.rindex(b"\x1b[?25h") > terminal.drawn.rindex(b"\x1b[?25l")  # and its cursor


def test_sigterm_restores_the_terminal(tmp_path: Path) -> None:
    terminal = Terminal("--root", str(tmp_path))
    terminal.read_until(b"Quit")
    os.kill(terminal.pid, signal.SIGTERM)
    terminal.exit_status()
    assert b"\x1b[?1049l" in terminal.drawn


def test_the_app_and_its_engine_end_when_the_terminal_goes_away(tmp_path: Path) -> None:
    terminal = Terminal("--root", str(tmp_path))
    terminal.read_until(b"Quit")
    children = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children")
    if not children.exists():
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.exit_status()
        pytest.skip("this system has no /proc/PID/task/TID/children to find the engine by")
    deadline = time.monotonic() + PATIENCE
    while not (engines := [int(pid) for pid in children.read_text().split()]):
        assert time.monotonic() < deadline, "no engine was started"
        time.sleep(0.01)
    os.close(terminal.fd)
    began = time.monotonic()
    terminal.exit_status()
    assert time.monotonic() - began < 5
    while any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid) for pid in engines):
        assert time.monotonic() < deadline, "the engine outlived the app"
        time.sleep(0.01)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


BROKEN = """
import sys
from pathlib import Path
from typing import Any
from core.runs.status import RunSummary, Status
from tui.actions import ACTIONS
from tui.app import MinidiffApp
from tui.leaving import what_continues

class Broken(MinidiffApp):
    def action_help(self):
        raise ZeroDivisionError("unforeseen")

Broken(Path(sys.argv[1])).run()
"""


def test_an_unexpected_error_prints_one_line_and_writes_its_traceback_to_a_file(tmp_path: Path) -> None:
    terminal = Terminal(str(tmp_path), command=[sys.executable, "-c", BROKEN])
    terminal.read_until(b"Quit")
    os.write(terminal.fd, b"?")
    terminal.exit_status()
    after = terminal.drawn.rpartition(b"\x1b[?1049l")[2]
    assert b"Traceback" not in after
    assert b"minidiff-tui crashed (ZeroDivisionError)" in after
    named = re.search(r"/\S+/minidiff-tui-\S+?\.log", re.sub(r"\x1b\[[0-9;?]*[a-z]|[\r\n]", "", after.decode()))
    assert named is not None
    written = Path(named[0])
    assert "unforeseen" in written.read_text(encoding="utf-8")
    written.unlink()


VISIT = """
import asyncio, sys
from pathlib import Path
from typing import Any
from core.runs.status import RunSummary, Status
from tui.actions import ACTIONS
from tui.app import MinidiffApp
from tui.leaving import what_continues

async def visit():
    app = MinidiffApp(Path(sys.argv[1]))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "pydantic" not in sys.modules, "pydantic came before the first screen"
        assert "PIL" not in sys.modules, "Pillow came before the first export"
        for key in ("2", "3", "1", "question_mark", "escape", "ctrl+p", "escape"):
            app.set_focus(None)
            await pilot.press(key)
            await pilot.pause()

asyncio.run(visit())
loaded = [name for name in ("torch", "torchvision", "diffusers", "numpy", "safetensors") if name in sys.modules]
assert not loaded, loaded
maps = Path("/proc/self/maps")
assert not maps.exists() or "libtorch" not in maps.read_text()
"""


def test_the_ui_process_never_loads_torch(model_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", VISIT, str(model_root)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_fields_can_be_filled_before_the_first_screen_exists(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="train")  # Python 3.12 composes it so early, and a field that is filled asks this
    app.clear_selection()
    assert not app.screen_stack


async def test_page_keys_are_safe_in_a_list_without_height(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        choices = OptionList(*"abc")
        await app.screen.mount(choices)
        choices.styles.max_height = 0
        choices.focus()
        await pilot.pause()
        assert not choices.scrollable_content_region
        choices.highlighted = 2
        await pilot.press("pageup", "pagedown", "end")
        assert app.focused is choices
