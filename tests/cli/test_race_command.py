"""`minidiff race`: its table, JSON, errors and interruption."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from command_line import TINY, Capture, command, environment, error_line, wait_until

from core.cli import run
from core.cli.race_command import _seconds
from core.errors import ConfigError
from core.runs.status import Status, run_status

RACE = [
    *("race", *TINY, "--set", "learning_rate=1e-3,3e-3", "--images", "32", "--samples", "0"),
    *("--comparisons", "2", "--name", "rates"),
]


def test_a_race_prints_its_comparisons_the_winner_and_its_command(tmp_path: Path, capsys: Capture) -> None:
    assert run([*RACE, "--epochs", "8", "--steps", "8", "--seeds", "0,1", "--root", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    first, *rest = output.splitlines()
    assert first == f"race rates starts: 2 candidates, 4 runs in {tmp_path}"
    assert [line.split("  ")[0] for line in rest if line.startswith("step ")] == ["step 4", "step 8"]
    heading = next(line for line in rest if "verdict" in line)
    assert heading.split() == [*"candidate steps time loss difference 95% interval Frechet verdict".split()]
    assert "winner: candidate 2; `minidiff train --preset quick" in output
    assert "--learning-rate 0.003 --device cpu --threads 1` trains it alone" in output
    assert "note: the budget covers 50% of 8 epochs" in output
    assert {path.name for path in tmp_path.iterdir()} == {
        "rates", "rates-1-seed0", "rates-1-seed1", "rates-2-seed0", "rates-2-seed1"
    }  # fmt: skip


def test_the_records_as_json(tmp_path: Path, capsys: Capture) -> None:
    assert run([*RACE, "--steps", "2", "--root", str(tmp_path), "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [record.get("record") for record in records if "record" in record]
    assert kinds[0] == "race_started"
    assert kinds.count("race_comparison") == 2
    assert kinds[-1] == "race_result"
    assert records[-1]["winner"] in (1, 2)


def test_an_interrupted_race_says_how_to_continue_and_does(tmp_path: Path, capsys: Capture) -> None:
    arguments = [*RACE, "--epochs", "100000", "--budget", "1h", "--root", str(tmp_path)]
    process = subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: run_status(tmp_path / "rates-2") is Status.RUNNING, "the race runs")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues it" in errors
    assert {run_status(tmp_path / f"rates-{number}") for number in (1, 2)} == {Status.STOPPED}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "needs a budget"),
        (["--steps", "2", "--budget", "5s"], "needs a budget"),
        (["--budget", "soon"], "must be a time"),
        (["--steps", "2", "--seeds", "a"], "whole numbers"),
        (["--steps", "2", "--seeds", "0,1", "--seed", "3"], "leave one out"),
        (["--steps", "2", "--set", "root=a,b"], "named after the race"),
        (["--steps", "2", "--set", "optimiser=adam,muon"], "did you mean optimizer"),
        (["--steps", "2", "--set", "batch_size=8,many"], "candidate 2 (learning_rate=1e-3 batch_size=many)"),
    ],
    ids=str,
)
def test_a_wrong_command_line_is_one_line(flags: list[str], message: str, tmp_path: Path, capsys: Capture) -> None:
    assert message in error_line(capsys, *RACE, *flags, "--root", str(tmp_path), code=2)


def test_budgets_have_units() -> None:
    assert [_seconds(text) for text in ("90", "120s", "5min", "1.5 h")] == [90, 120, 300, 5400]
    with pytest.raises(ConfigError):
        _seconds("5 days")
