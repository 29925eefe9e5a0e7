"""`minidiff eval`: its table, JSON, progress output and one-line error messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
import torch
from command_line import Capture, environment, error_line

from core import BasicUNet, TrainConfig, build_model
from core.cli import run
from core.evaluation import feature_classifiers
from core.models.weights import write_tensors
from core.runs.directory import MODEL

FEW = ["--n", "20", "--steps", "1", "--seed", "3", "--limit", "120", "--device", "cpu"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with the model `untrained`, of a run on glyphs; the working directory is empty."""
    root = tmp_path / "runs"
    (root / "untrained").mkdir(parents=True)
    torch.manual_seed(0)
    config = TrainConfig(preset="quick", dataset="glyphs", channels=(4, 4))
    write_tensors(root / "untrained" / MODEL, "model", BasicUNet(channels=(4, 4)).state_dict(), config, 0)
    monkeypatch.setenv("MINIDIFF_HOME", str(root))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return root


def test_eval_has_help_and_is_listed(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    assert " eval " in capsys.readouterr().out
    assert run(["eval", "--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"--{flag}" in page for flag in ("n", "steps", "seed", "cas", "data-root", "device", "root", "json"))


def test_json_output_is_only_the_evaluation(home: Path, capsys: Capture) -> None:
    assert run(["eval", "untrained", *FEW, "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert (evaluation["model"], evaluation["dataset"], evaluation["n"]) == ("untrained", "glyphs", 20)
    assert evaluation["sampling"] == "mix, 1 step, 1 evaluation each, seed 3"
    for what in ("samples", "baseline"):
        for shape in ("conv", "mlp"):
            assert sum(evaluation[what][shape]["classes"]) == 20
            assert evaluation[what][shape]["cas"] is None
    assert evaluation["samples"]["conv"]["agreement"] is None
    assert evaluation["samples"]["conv"]["frechet"] > evaluation["baseline"]["conv"]["frechet"]


def test_without_a_terminal_eval_prints_plain_progress_lines_and_then_a_table(home: Path) -> None:
    """The table has the numbers of the JSON, each under its heading."""
    done = subprocess.run(
        [sys.executable, "-m", "core", "eval", "untrained", *FEW],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["samples", "(conv)"])
    assert any(line.startswith("sampling: 20 of 20") for line in lines[:start])
    headings, frechet, kid, precision, recall, agreement, accuracy, *memorisation, loss, classes, _, _, last = lines[
        start:
    ]
    assert headings.split() == "samples (conv) baseline (conv) samples (mlp) baseline (mlp)".split()
    assert len({len(line) for line in (headings, frechet, kid, precision, recall, agreement, accuracy)}) == 1

    process = subprocess.run(
        [sys.executable, "-m", "core", "eval", "untrained", *FEW, "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    evaluation = json.loads(process.stdout)
    sets = [evaluation[what][shape] for shape in ("conv", "mlp") for what in ("samples", "baseline")]
    assert frechet.split() == ["Frechet", *(f"{one['frechet']:.4f}" for one in sets)]
    assert kid.split() == ["KID", "x", "1000", *(f"{one['kernel'] * 1000:.3f}" for one in sets)]
    assert precision.split() == ["precision", *(f"{one['precision']:.2%}" for one in sets)]
    assert recall.split() == ["recall", *(f"{one['recall']:.2%}" for one in sets)]
    baselines = [f"{evaluation['baseline'][shape]['agreement']:.2%}" for shape in ("conv", "mlp")]
    assert agreement.split() == ["agreement", "N/A", baselines[0], "N/A", baselines[1]]
    assert accuracy.split() == [
        "test",
        "accuracy",
        *(f"{evaluation['accuracy'][shape]:.2%}" for shape in evaluation["accuracy"]),
    ]
    parts = [
        evaluation["memorisation"][space][part] for space in ("pixels", "features") for part in ("samples", "baseline")
    ]
    names = "samples (pixels) baseline (pixels) samples (features) baseline (features)"
    assert [line.split() for line in memorisation] == [
        ["nearest", "training", "images", *names.split(), "expected"],
        ["closer", "than", "real", "images", *(f"{part['closer']:.2%}" for part in parts), "50%"],
        ["copies", *(f"{part['copies']:.2%}" for part in parts), "1%"],
    ]
    assert loss == "loss floor  N/A: the noise of the path mix is not Gaussian"
    counts = "  ".join(f"{digit}: {count}" for digit, count in enumerate(evaluation["samples"]["conv"]["classes"]))
    assert classes.endswith(counts)
    for words in (
        "20 samples of untrained",
        "mix, 1 step, 1 evaluation each, seed 3",
        "images/s",
        *(f"{s} {h[:12]}" for s, h in evaluation["sha256"].items()),
    ):
        assert words in last


def test_the_loss_is_printed_beside_the_least_possible_one(home: Path, capsys: Capture) -> None:
    for name, limit in (("small", 120), ("large", 130)):
        config = TrainConfig(dataset="glyphs", limit=limit, channels=(16, 16), name=name)
        net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
        (home / name).mkdir()
        write_tensors(home / name / MODEL, "model", net.state_dict(), config, 0)
    assert run(["eval", "small", *FEW]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("loss"))
    number = r"(\d\.\d{4})"
    found = re.fullmatch(
        rf"loss  training {number}, floor {number}, excess {number} \(standard error {number}\); "
        rf"validation {number}, ideal denoiser {number}(, larger below noise level 0\.\d\d)?",
        line,
    )
    assert found is not None, line
    training, floor, excess, _, validation, ideal = map(float, found.groups()[:6])
    assert training - floor == pytest.approx(excess, abs=2e-4)
    assert 0 < floor < ideal
    assert training == pytest.approx(validation, rel=0.1)
    assert run(["eval", "large", *FEW, "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert (evaluation["loss"], evaluation["no_loss"][:7]) == (None, "--limit")


def test_a_terminal_shows_a_progress_bar_and_then_a_table(home: Path, tmp_path: Path) -> None:
    env = environment(TERM="xterm-256color", COLUMNS="120", XDG_CACHE_HOME=str(tmp_path / "cache"))
    with pexpect.spawn(
        sys.executable,
        ["-m", "core", "eval", "untrained", *FEW],
        env=env,
        dimensions=(24, 120),
        timeout=60,
        encoding="utf-8",
    ) as terminal:
        terminal.expect("training the conv classifier for glyphs")
        terminal.expect("━")
        terminal.expect(r"Frechet +\d")
        terminal.expect("classifiers conv [0-9a-f]{12}, mlp [0-9a-f]{12}")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "eval untrained --limit 11 --n 20",
            "glyphs has 11 training and 11 test images",
        ),
        ("eval untrained --limit 120 --n 0", "n must be from 2 to 20"),
        ("eval untrained --limit 120 --n 20 --cas", "untrained is not class-conditional"),
        ("eval untrained --limit 120 --n 20 --steps 0", "steps must be at least 1"),
        ("eval untrained --limit 0 --n 20", "limit of images must be 1 or more"),
        ("eval untrained --device tpu", "unknown device"),
        ("eval nothing", "available: default-mnist, fast-mnist, quick-mnist"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(home: Path, capsys: Capture, arguments: str, words: str) -> None:
    assert words in error_line(capsys, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [("eval", "MODEL"), ("eval untrained --n many", "many"), ("eval untrained --speed 3", "--speed")],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    home: Path, capsys: Capture, arguments: str, words: str
) -> None:
    assert words in error_line(capsys, *arguments.split(), code=2)


def test_a_damaged_classifier_is_a_one_line_error_that_names_the_file(
    home: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_classifiers, "MIN_STEPS", 1)
    assert run(["eval", "untrained", *FEW]) == 0
    capsys.readouterr()
    kept = next((tmp_path / "cache" / "minidiff" / "classifiers").glob("glyphs-mlp-*"))
    kept.write_bytes(kept.read_bytes()[:-1000])
    assert kept.name in error_line(capsys, "eval", "untrained", *FEW)
