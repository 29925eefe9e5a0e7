"""Signals at random times in every process: no traceback, documented exit codes, and runs that resume."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from command_line import FOREVER, TINY, command, environment, events, wait_until
from counts import FULL, count
from trainer_pool import QUICK, TrainerPool, assert_kept

from benchmarks.pseudo_terminal import PseudoTerminal
from core.cli import run
from core.runs import directory
from core.runs.directory import STATE
from core.runs.events import Stopped
from core.runs.status import Status, is_locked, lock_holder, run_status
from core.training.api import resume
from core.training.state import read_state

# exit codes of a trainer that saved its state
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
STARTING_SECONDS = 3.0  # in which Python and torch start and the run is created, except on slow machines
TAKES = 2.0  # seconds of endless training in which the signal arrives
ENDLESS = {**QUICK, "epochs": 100_000}


def assert_clean(stderr: str) -> None:
    assert "Traceback" not in stderr, stderr
    assert "Exception ignored" not in stderr, stderr


@pytest.mark.parametrize("number", EXIT_CODES)
def test_a_trainer_signalled_at_a_random_time_saves_its_state_and_exits_with_the_documented_code(
    trainer_pool: TrainerPool, tmp_path: Path, number: signal.Signals
) -> None:
    generator = random.Random(int(number))
    for turn in range(count(2, 25)):
        path = tmp_path / f"{number.name}-{turn}"
        job = trainer_pool.start(path, ENDLESS, each_step=bool(turn % 2))
        wait_until(lambda path=path: is_locked(path), "a trainer holds the run")  # type: ignore[misc]
        time.sleep(generator.uniform(0.0, TAKES) if turn else 0.0)  # the random time itself
        os.kill(job.pid, number)
        ended = trainer_pool.wait(job)
        # until it handles signals there is nothing to save, and the signal itself ends it
        assert ended.code in (EXIT_CODES[number], -number), ended.stderr
        assert ended.code == EXIT_CODES[number] or not ended.events
        assert_clean(ended.stderr)
        if not ended.events:
            continue
        assert_kept(path, ended.events)
        last = events(path)[-1]
        assert isinstance(last, Stopped)
        assert run_status(path) is Status.STOPPED
        if last.step:
            assert read_state(path / STATE)[2] == last.step
        again = resume(path)
        next(again)
        again.close()


@pytest.mark.parametrize("number", EXIT_CODES)
def test_the_command_prints_no_traceback_when_signalled_at_any_time(home: Path, number: signal.Signals) -> None:
    """During startup of Python, import of torch, and creation, training and end of a run."""
    generator = random.Random(int(number))
    for turn in range(count(1, 15)):
        name = f"{number.name}-{turn}"
        process = subprocess.Popen(
            command("train", *TINY, "--epochs", "60", "--name", name),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda pid=process.pid: has_python(pid), "Python runs there")  # type: ignore[misc]
        time.sleep(generator.uniform(0.0, 2 * STARTING_SECONDS))  # the random time itself
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode in (0, EXIT_CODES[number], -number), stderr
        assert_clean(stderr)
        if (home / name / "config.toml").exists() and run_status(home / name) is not Status.FINISHED:
            again = resume(home / name)
            next(again)
            again.close()


def has_python(pid: int) -> bool:
    """Whether Python is past its startup, during which Ctrl-C cannot be handled: it imports our packages."""
    try:
        return any("pydantic" in part.path or "libcrypto" in part.path for part in psutil.Process(pid).memory_maps())
    except psutil.Error:
        return True


@pytest.mark.parametrize("number", [*EXIT_CODES, signal.SIGKILL] if FULL else [signal.SIGTERM])
def test_a_signalled_detached_trainer_leaves_no_traceback_in_its_log(trainers: Path, number: signal.Signals) -> None:
    for turn in range(count(1, 5)):
        path = trainers / f"{number.name}-{turn}"
        assert run(["train", *FOREVER, "--name", path.name, "--detach"]) == 0
        os.kill(lock_holder(path)["pid"], number)
        wait_until(lambda path=path: not is_locked(path), "it has let go")  # type: ignore[misc]
        assert_clean((path / directory.TRAINER_LOG).read_text())
        assert run_status(path) is (Status.INTERRUPTED if number == signal.SIGKILL else Status.STOPPED)


def test_suspending_a_trainer_at_random_times_does_not_change_the_result(
    trainer_pool: TrainerPool, tmp_path: Path
) -> None:
    from trainer_pool import assert_same_end

    longer, generator = {**QUICK, "epochs": 12}, random.Random(7)
    assert trainer_pool.train(tmp_path / "whole", longer).code == 0
    for turn in range(count(2, 20)):
        path = tmp_path / f"a-{turn}"
        job = trainer_pool.start(path, longer)
        for _ in range(4):
            time.sleep(generator.uniform(0.0, 0.2))  # the random time itself
            try:
                os.kill(job.pid, signal.SIGSTOP)
                if is_locked(path):
                    assert run_status(path).alive
                os.kill(job.pid, signal.SIGCONT)
            except ProcessLookupError:
                break
        assert trainer_pool.wait(job).code == 0
        assert_same_end(path, tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_app_signalled_at_a_random_time_restores_the_terminal(tmp_path: Path, number: signal.Signals) -> None:
    generator = random.Random(int(number))
    for _ in range(count(1, 10)):
        with PseudoTerminal("--root", str(tmp_path / "runs"), cwd=tmp_path) as terminal:
            terminal.wait_for("Quit")
            terminal.read(generator.uniform(0.0, 1.0))
            os.kill(terminal.pid, signal.SIGSTOP)
            os.kill(terminal.pid, signal.SIGCONT)
            os.kill(terminal.pid, number)
            code = terminal.exit_status()
            assert code in (0, 128 + number, -number), code
            assert b"Traceback" not in terminal.output
            for mode in (b"?1049", b"?1003", b"?2004"):
                on, off = (terminal.output.rfind(b"\x1b[" + mode + end) for end in (b"h", b"l"))
                assert off >= on, mode


def test_killing_the_app_ends_its_engine_but_no_trainer(trainers: Path, tmp_path: Path) -> None:
    path = trainers / "a"
    for _ in range(count(1, 5)):
        arguments = ["train", *FOREVER, "--name", "a"] if not path.exists() else ["resume", "a"]
        assert run([*arguments, "--detach"]) == 0
        with PseudoTerminal("--root", str(trainers), cwd=tmp_path) as terminal:
            terminal.wait_for("Quit")
            screen = psutil.Process(terminal.pid)
            wait_until(lambda screen=screen: bool(screen.children()), "its engine is there")  # type: ignore[misc]
            engines = screen.children()
            os.kill(terminal.pid, signal.SIGKILL)
            terminal.exit_status()
            gone, alive = psutil.wait_procs(engines, timeout=60)
            assert gone
            assert not alive, "the engine outlived its screen"
        event_count = len(events(path))
        wait_until(lambda event_count=event_count: len(events(path)) > event_count, "the training goes on")  # type: ignore[misc]
        assert run(["stop", "a"]) == 0
