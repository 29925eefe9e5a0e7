"""The headless command line as a process: signals, terminals, closed pipes, detached trainers."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from command_line import FOREVER, TINY, Capture, command, environment, error_line, events, wait_until

from core.cli import run
from core.runs import directory
from core.runs.events import Stopped
from core.runs.status import Status, is_locked, lock_holder, run_status


def begin(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch "):
            return process
    raise AssertionError(f"it ended: {process.stderr.read() if process.stderr else ''}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_training_and_saves_its_state(home: Path, number: signal.Signals, code: int) -> None:
    process = begin("train", *FOREVER, "--name", "a")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "")
    assert "stopped at step" in out
    last = events(home / "a")[-1]
    assert isinstance(last, Stopped)
    assert run_status(home / "a") == Status.STOPPED
    from core.training.state import read_state

    assert read_state(home / "a" / directory.STATE)[2] == last.step
    assert not (home / "a" / directory.RESERVE).exists()


def test_a_closed_pipe_stops_training_and_saves_its_state(home: Path) -> None:
    process = begin("train", *FOREVER, "--name", "a")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # as `minidiff train | head` does
    process.wait(60)
    assert process.stderr.read() == ""
    process.stderr.close()
    assert run_status(home / "a") == Status.STOPPED


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "<&-", ">&-", "2>&-"])
def test_training_with_closed_streams_does_not_write_output_into_its_own_files(home: Path, closed: str) -> None:
    trained = shlex.join(command("train", *TINY, "--epochs", "1", "--name", "a"))
    shell = subprocess.run(["sh", "-c", f"{trained} {closed}"], env=environment(), capture_output=True, check=False)
    assert shell.returncode == 0, shell.stderr
    assert run_status(home / "a") == Status.FINISHED
    lines = (home / "a" / directory.EVENTS).read_text().splitlines()
    assert len(events(home / "a")) == len(lines), "each line is an event"
    assert lock_holder(home / "a")["log"] == 0


def test_a_terminal_shows_a_progress_bar(home: Path) -> None:
    arguments = ["train", *TINY, "--epochs", "20", "--name", "a"]
    env = environment(TERM="xterm-256color", COLUMNS="120")
    with pexpect.spawn(
        sys.executable, ["-m", "core", *arguments], env=env, dimensions=(24, 120), timeout=60, encoding="utf-8"
    ) as terminal:
        terminal.expect(r"epoch \d+/20")
        terminal.expect("━")
        terminal.expect("finished after 40 steps")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 0


def test_the_progress_bar_returns_when_a_stopped_run_resumes(capsys: Capture) -> None:
    from core.cli.progress import ProgressBar
    from core.runs.events import Progress, Resumed

    started: dict[str, Any] = {"name": "a", "device": "cpu", "threads": 1, "parameters": 1, "epochs": 2}
    window = Progress(
        step=3, epoch=1, loss=0.1, loss_min=0.1, loss_max=0.1, images_per_second=1.0, learning_rate=0.1, memory=None
    )
    with ProgressBar() as bar:
        for event in (Stopped(step=2, reason="on request"), Resumed(step=2, **started), window):
            bar.add(event)
    assert "epoch 1/2" in capsys.readouterr().out


def test_a_detached_trainer_can_be_paused_continued_stopped_resumed_and_watched(
    trainers: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trainers / "a"
    monkeypatch.setenv("MINIDIFF_DETACH", "1")  # which the trainer itself must not handle
    assert run(["train", *FOREVER, "--name", "a"]) == 0
    monkeypatch.delenv("MINIDIFF_DETACH")
    pid = lock_holder(path)["pid"]
    assert f"a is training in process {pid}" in capsys.readouterr().out
    assert os.getsid(pid) == pid != os.getsid(0)

    assert f"being trained by process {pid}" in error_line(capsys, "resume", "a")
    assert f"being trained by process {pid}" in error_line(capsys, "resume", "a", "--detach")
    assert "exists already" in error_line(capsys, "train", *FOREVER, "--name", "a")
    assert run_status(path) == Status.RUNNING

    assert run(["pause", "a"]) == 0
    wait_until(lambda: run_status(path) == Status.PAUSED, "it is paused")
    assert run(["runs", "--json"]) == 0
    capsys.readouterr()
    assert run(["continue", "a"]) == 0
    wait_until(lambda: run_status(path) == Status.RUNNING, "it goes on")
    assert run(["stop", "a"]) == 0
    assert "a is stopped at step" in capsys.readouterr().out
    stopped = events(path)[-1]
    assert isinstance(stopped, Stopped)
    assert not is_locked(path)

    config = (path / directory.CONFIG).read_text()
    (path / directory.CONFIG).write_text(config.replace("epochs = 1000000", f"epochs = {stopped.step // 2 + 20}"))
    assert run(["resume", "a", "--detach"]) == 0
    assert run(["watch", "a"]) == 0
    out = capsys.readouterr().out
    assert f"resumed at step {stopped.step:,}" in out
    assert out.splitlines()[-2].startswith("finished after")
    wait_until(lambda: run_status(path) == Status.FINISHED, "it is finished")
    assert "Traceback" not in (path / directory.TRAINER_LOG).read_text()


def test_a_detached_trainer_that_cannot_start_reports_the_reason(trainers: Path, capsys: Capture) -> None:
    elsewhere = ["cuda:93" if word == "cpu" else word for word in TINY]
    assert "cuda:93" in error_line(capsys, "train", *elsewhere, "--name", "a", "--detach")
    assert run_status(trainers / "a") == Status.FAILED
    assert run(["train", *TINY, "--epochs", "1", "--name", "a"]) == 0  # the name is still available
