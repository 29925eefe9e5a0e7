"""Threads beside other processes: busy cores, and how long threads spin."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import psutil
import pytest
from repository import REPOSITORY

from core.system.devices import cores
from core.system.threads import SPINS, SPINS_NAME, THREADS_NAME, WAIT_NAMES, busy_cores, limit_spinning


def test_a_process_that_occupies_a_core_is_counted_unless_the_user_has_set_the_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(THREADS_NAME, "2")
    assert busy_cores() == 0
    monkeypatch.delenv(THREADS_NAME)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        psutil.Process(busy.pid).cpu_percent(1.0)  # it has started
        found = max(busy_cores() for _ in range(3))
    finally:
        busy.kill()
        busy.wait()
    assert 1 <= found <= cores()


@pytest.mark.parametrize(("given", "expected"), [({}, {SPINS_NAME: str(SPINS)}), ({WAIT_NAMES[0]: "ACTIVE"}, {})])
def test_spinning_is_limited_unless_the_user_has_chosen(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: dict[str, str]
) -> None:
    for name in WAIT_NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limit_spinning()
    assert {name: os.environ[name] for name in WAIT_NAMES if name in os.environ} == {**given, **expected}
    monkeypatch.delenv(SPINS_NAME, raising=False)


def test_training_leaves_a_busy_core_to_the_process_that_uses_it_and_says_so() -> None:
    if cores() < 2:
        pytest.skip("this machine has one core")
    code = (
        "from core import TrainConfig, train\n"
        "events = train(TrainConfig(dataset='glyphs', limit=32, size='tiny', device='cpu', epochs=1))\n"
        "print([event.message for event in events if event.kind == 'warning'])\n"
    )
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env={name: value for name, value in os.environ.items() if name != THREADS_NAME},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        busy.kill()
        busy.wait()
    assert re.search(
        rf"other processes use \d+ of this machine's {cores()} cores, so training uses \d+ thread", done.stdout
    )
