"""The app on a real pseudo-terminal, driven by keys only, and hung up as by a lost connection."""

from __future__ import annotations

import itertools
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from PIL import Image

from benchmarks.pseudo_terminal import PATIENCE, PseudoTerminal
from core.runs.directory import CONFIG, EVENTS
from core.runs.events import Epoch, Event, Finished, Paused
from core.runs.history import LogTail
from core.runs.requests import request
from core.runs.status import Status, lock_holder, run_status
from tui.__main__ import _parser
from tui.app import MODES

# A run of a few seconds: form values, in row order.
EPOCHS = 60
FORM = {
    "dataset": "glyphs",
    "limit": "128",
    "channels": "16, 16",
    "epochs": str(EPOCHS),
    "batch_size": "16",
    "device": "cpu",
    "threads": "1",
    "name": "tiny",
}
FILLED = {"dataset", "epochs", "batch_size", "device"}  # fields that have an initial value
ROWS = 50  # more rows than the form has
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
LABEL_WIDTH = 18  # columns of the form's labels; its fields are a little wider
HANGUP_SECONDS = 5.0  # the app exits within two on an idle machine


def open_app(root: Path, *arguments: str, env: Mapping[str, str] | None = None, **options: object) -> PseudoTerminal:
    """The app on runs in `root`/runs, working in `root`."""
    variables = {**ENVIRONMENT, **(env or {})}
    return PseudoTerminal("--root", str(root / "runs"), *arguments, cwd=root, env=variables, **options)  # type: ignore[arg-type]


def help_text(text: str) -> str:
    """The help text of the focused row, on the first line next to the button of the form."""
    return text[text.rfind("▔▔") :].partition("\n")[0]


def go_to(terminal: PseudoTerminal, name: str) -> None:
    """Move down to the form row `name`."""
    for _ in range(ROWS):
        before = help_text(terminal.text)
        if f" {name}: " in before:
            return
        terminal.press("down")
        terminal.wait_for(lambda text, before=before: help_text(text) != before)
    raise AssertionError(f"the form has no row {name}; the screen shows\n{terminal.text}")


def fill_in(terminal: PseudoTerminal) -> None:
    """Expand the form and fill in FORM; each key waits for the effect of the previous one."""
    terminal.wait_for(" preset: ")
    terminal.press("ctrl+o")
    terminal.wait_for(" label dropout ")
    for name, value in FORM.items():
        go_to(terminal, name)
        label = name.replace("_", " ")
        if name in FILLED:
            terminal.press("ctrl+u")
            terminal.wait_for(shows(label, ""))
        terminal.press(value)
        terminal.wait_for(shows(label, value))


def shows(label: str, *values: str) -> Callable[[str], bool]:
    """Whether the screen shows the form row `label` with one of `values` in its field."""

    def look(text: str) -> bool:
        for line in text.splitlines():
            start = line.find(f" {label} ") + 1
            if 0 < start < LABEL_WIDTH:
                return line[start + LABEL_WIDTH :][: LABEL_WIDTH - 1].strip() in values
        return False

    return look


def log_of(run: Path) -> list[Event]:
    return LogTail(run / EVENTS).read()[0]


def until_log(run: Path, kind: type[Event], after: int = 0) -> int:
    """Wait for an event of `kind` after the first `after` events of the log; returns the number of events."""
    deadline = time.monotonic() + PATIENCE
    while True:
        events = log_of(run)
        if any(isinstance(event, kind) for event in events[after:]):
            return len(events)
        assert time.monotonic() < deadline, f"no {kind.__name__} in {run / EVENTS} within {PATIENCE:.0f} s"
        time.sleep(0.02)


def test_train_lose_the_terminal_reattach_finish_sample_and_export_by_keys_alone(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny"

    with open_app(tmp_path, columns=100, lines=30) as first:
        first.wait_for("Quit")
        first.press("2")
        first.wait_for("Start training")
        fill_in(first)
        first.press("ctrl+s")
        first.wait_for(lambda text: "tiny  ●" in text)
        assert 'dataset = "glyphs"' in (run / CONFIG).read_text()
        until_log(run, Epoch)
        first.wait_for("samples after epoch")
        trainer = psutil.Process(lock_holder(run)["pid"])
        first.hang_up()
        hung_up = time.monotonic()
        assert first.exit_status(HANGUP_SECONDS) in (128 + signal.SIGHUP, -signal.SIGHUP)
        assert time.monotonic() - hung_up < HANGUP_SECONDS
    known = len(log_of(run))
    assert not any(isinstance(event, Finished) for event in log_of(run)), "the run was too short to lose a terminal in"
    until_log(run, Epoch, after=known)  # training continues without terminal and app
    assert trainer.is_running()
    request(run, "pause")  # so it does not finish before the next app starts
    until_log(run, Paused)

    with open_app(tmp_path, columns=100, lines=30) as second:
        second.wait_for("Quit")
        second.press("2")
        second.wait_for("tiny  ● paused")  # attached automatically
        second.press("p")
        until_log(run, Finished)
        assert run_status(run) is Status.FINISHED
        epochs = [event.epoch for event in log_of(run) if isinstance(event, Epoch)]
        assert epochs == list(range(1, EPOCHS + 1)), "each epoch was trained once"
        second.wait_for("● finished")

        second.press("3")
        second.wait_for(lambda text: re.search(rf"tiny .*● finished .*{EPOCHS}/{EPOCHS}", text) is not None)
        second.press("s")
        second.wait_for(lambda text: "● live" in text and "step 12/12" in text)
        second.press("e")
        second.wait_for("Animation as GIF")
        second.press("enter")
        second.wait_for("wrote")
        pictures = list(tmp_path.glob("*.png"))
        assert len(pictures) == 1
        assert pictures[0].name.startswith("tiny-seed")
        with Image.open(pictures[0]) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert len(picture.getcolors() or ()) > 2, "samples, not a blank sheet"

        second.press("q")
        assert second.exit_status() == 0
        assert_restored(second.output)


def assert_restored(output: bytes) -> None:
    """The main screen and cursor are restored; mouse reporting and bracketed paste are off."""
    for mode, name in ((b"?1049", "alternate screen"), (b"?1003", "mouse"), (b"?2004", "bracketed paste")):
        on, off = (output.rfind(b"\x1b[" + mode + end) for end in (b"h", b"l"))
        assert off > on, f"{name} was left on"
    assert output.rindex(b"\x1b[?25h") > output.rindex(b"\x1b[?25l"), "the cursor was left hidden"


def test_quitting_during_training_prints_two_lines_on_how_to_reattach(tmp_path: Path) -> None:
    with open_app(tmp_path, "--screen", "train", columns=100, lines=30) as terminal:
        terminal.wait_for("Start training")
        fill_in(terminal)
        terminal.press("ctrl+s")
        terminal.wait_for("samples after epoch")
        terminal.press("p")  # so it is still running after the terminal is restored
        terminal.wait_for("● paused")
        terminal.press("q")
        assert terminal.exit_status() == 0
        after_exit = terminal.output.rpartition(b"\x1b[?1049l")[2].decode()
        lines = [line for line in after_exit.split("\r\n") if "tiny" in line]
        assert len(lines) == 2, after_exit
        assert "paused" in lines[0]
        assert "minidiff-tui --run=tiny" in lines[1]
        assert "Traceback" not in after_exit
        assert "Warning" not in after_exit

    run = tmp_path / "runs" / "tiny"
    with open_app(tmp_path, "--run", "tiny", columns=100, lines=30) as again:
        again.wait_for("● paused")
        again.press("x")
        again.wait_for("● stopped")
        again.press("q")
        assert again.exit_status() == 0
    assert run_status(run) is Status.STOPPED


def test_ctrl_c_in_the_terminal_does_not_reach_the_trainer(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny"
    with open_app(tmp_path, "--screen", "train", columns=100, lines=30) as terminal:
        terminal.wait_for("Start training")
        fill_in(terminal)
        terminal.press("ctrl+s")
        terminal.wait_for("samples after epoch")
        terminal.press("ctrl+c")
        until_log(run, Epoch, after=len(log_of(run)))
        terminal.press("x")
        terminal.wait_for("● stopped")
        assert terminal.running()


def test_after_twenty_resizes_the_app_has_the_last_size(tmp_path: Path) -> None:
    sizes = itertools.cycle([(60, 20), (200, 60), (80, 24), (30, 8), (120, 40), (10, 3)])
    with open_app(tmp_path, columns=60, lines=20) as terminal:
        terminal.wait_for("minidiff")
        for mode in ("1", "2", "3"):
            terminal.press(mode)
            for columns, lines in itertools.islice(sizes, 20):
                terminal.resize(columns, lines)
                terminal.read(0.05)
            terminal.resize(100, 30)
            terminal.wait_for(lambda text: "CPU" in text.splitlines()[-2] and "Quit" in text.splitlines()[-1])
        terminal.press("q")
        assert terminal.exit_status() == 0
        assert b"Traceback" not in terminal.output


def test_the_window_size_overrides_the_exported_one(tmp_path: Path) -> None:
    with open_app(tmp_path, columns=100, lines=30, env={"COLUMNS": "80", "LINES": "24"}) as terminal:
        terminal.wait_for(lambda text: "Quit" in text.splitlines()[-1])
        terminal.press("q")
        assert terminal.exit_status() == 0


@pytest.mark.parametrize(
    ("term", "colorterm", "truecolor"),
    [("xterm-256color", None, False), ("xterm-256color", "truecolor", True), ("xterm-ghostty", None, True)],
)
def test_colours_are_sent_in_a_format_the_terminal_supports(
    tmp_path: Path, term: str, colorterm: str | None, truecolor: bool
) -> None:
    with open_app(tmp_path, term=term, colorterm=colorterm) as terminal:
        terminal.wait_for("Quit")
        assert (b"38;2;" in terminal.output or b"48;2;" in terminal.output) == truecolor
        assert (b"38;5;" in terminal.output or b"48;5;" in terminal.output) != truecolor


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="CPU time of another process is read from /proc")
def test_end_of_input_exits_the_app_without_busy_waiting(tmp_path: Path) -> None:
    with open_app(tmp_path) as terminal:
        terminal.wait_for("Quit")
        process = psutil.Process(terminal.pid)
        before = sum(process.cpu_times()[:2])
        terminal.hang_up()
        began, spent = time.monotonic(), before
        while terminal.running():
            assert time.monotonic() - began < HANGUP_SECONDS, "the app outlived its terminal"
            try:
                spent = sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                break
            time.sleep(0.01)
        assert spent - before < 1.5, "CPU seconds between the end of input and the end of the app"


def test_a_root_that_is_a_file_is_shown_as_an_error_and_the_app_keeps_running(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with open_app(tmp_path, "--screen", "train", columns=120) as terminal:
        terminal.wait_for("Start training")
        fill_in(terminal)
        terminal.press("ctrl+s")
        terminal.wait_for("cannot write")
        assert terminal.running()


def test_a_missing_settings_file_is_a_one_line_error(tmp_path: Path) -> None:
    missing = tmp_path / "mine.toml"
    with open_app(tmp_path, "--settings", str(missing), columns=200) as terminal:
        assert terminal.exit_status() == 2
        terminal.draw()
        assert f"settings file {missing} does not exist" in terminal.text


@pytest.mark.parametrize("mode", MODES)
def test_every_screen_can_be_opened_from_the_command_line(mode: str) -> None:
    assert _parser().parse_args(["--screen", mode]).screen == mode
