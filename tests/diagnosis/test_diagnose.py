"""Diagnosis of runs and model files: a short normal run has no finding, and broken copies of it have theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Capture, error_line
from torch import Tensor

from core import TrainConfig, diagnose, diagnose_run, load_dataset, load_model, train
from core.cli import run
from core.cli.diagnosis import as_record, report
from core.diagnosis.subject import locate, run_subject
from core.generators import result_of
from core.models.weights import read_weights, write_tensors
from core.runs.directory import EVENTS, MODEL, STATE
from core.runs.events import Progress, Warned, to_line
from core.runs.findings import CheckResult, Finding
from core.training.state import read_state

LOG = {"finite loss", "loss curve", "validation loss"}


def bars(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Light bars on black, (n, 1, 8, 8) uint8, horizontal or vertical by their class."""
    drawn = torch.rand((3, n, 1, 1), generator=torch.Generator().manual_seed(seed))
    labels, line = torch.arange(n) % 2, torch.arange(8.0)
    at, length, value = 1 + 5 * drawn[0], 4 + 4 * drawn[1], 150 + 105 * drawn[2]
    image = value * (1.5 - (line[:, None] - at).abs()).clamp(0, 1) * (length - line).clamp(0, 1)
    image = torch.where(labels.view(-1, 1, 1) == 0, image, image.mT)
    return image.round().to(torch.uint8)[:, None], labels


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short normal run on bars, the only one in its root. Do not modify it."""
    root = tmp_path_factory.mktemp("diagnosed")
    config = TrainConfig(
        epochs=4,
        batch_size=64,
        channels=(16, 32),
        precision="float32",
        device="cpu",
        threads=1,
        root=root,
        name="bars",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        for _ in train(config, data=bars(3000)):
            pass
    return root / "bars"


@pytest.fixture
def copied(short_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, which may be broken; its images are in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(short_run.parent / "cache"))
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path))
    return Path(shutil.copytree(short_run, tmp_path / "bars"))


def results(*arguments: Any, **options: Any) -> dict[str, CheckResult]:
    return {step.check: step for step in diagnose_run(*arguments, **options) if isinstance(step, CheckResult)}


def findings(checks: dict[str, CheckResult]) -> list[Finding]:
    return [finding for result in checks.values() for finding in result.findings]


def test_a_short_normal_run_has_no_finding(copied: Path) -> None:
    checks = results("bars", device="cpu")
    assert findings(checks) == []
    skipped = {name: result.skipped for name, result in checks.items() if result.skipped}
    assert set(skipped) == {"precision", "requested classes"}
    assert LOG | {"EMA", "validation gap", "learning rate", "memorization", "sampler"} <= set(checks)


def test_the_built_in_model_has_no_finding_on_its_images(genuine_mnist: Path) -> None:
    images, labels = load_dataset("mnist", root=genuine_mnist, limit=100)
    others, other_labels = load_dataset("mnist", root=genuine_mnist, split="test", limit=100)
    model = load_model("default-mnist", device="cpu")
    steps = diagnose(model, images, labels, validation=others, validation_labels=other_labels, n=32)
    checks = {step.check: step for step in steps if isinstance(step, CheckResult)}
    assert findings(checks) == []
    assert set(checks) - {name for name, result in checks.items() if result.skipped} >= {"precision", "learning rate"}


def test_a_run_whose_weights_are_not_finite_is_found(copied: Path) -> None:
    tensors, config, step, _ = read_weights(copied / MODEL)
    name = next(iter(tensors))
    write_tensors(copied / MODEL, "model", tensors | {name: tensors[name] * torch.nan}, config, step)
    checks = results("bars")
    assert [finding.check for finding in findings(checks)] == ["finite weights"]
    assert name in findings(checks)[0].evidence


def test_ema_weights_of_another_training_are_found(copied: Path) -> None:
    tensors, config, step, _ = read_weights(copied / MODEL)
    generator = torch.Generator().manual_seed(0)
    mixed = {
        name: value if value.dim() < 2 else 0.5 * value + 0.05 * torch.randn(value.shape, generator=generator)
        for name, value in tensors.items()
    }
    write_tensors(copied / MODEL, "model", mixed, config, step)
    result = next(step for step in diagnose_run("bars") if isinstance(step, CheckResult) and step.check == "EMA")
    assert "random initial weights" in result.findings[0].cause


def test_few_steps_are_found_as_a_fault_of_the_sampler(copied: Path) -> None:
    checks = results(copied, n=32, steps=1, sampler="euler")
    assert "euler, 1 step," in checks["sampler"].findings[0].evidence
    assert checks["training target"].passed


def test_the_log_of_a_run_is_checked_and_without_weights_its_images(copied: Path) -> None:
    for name in (MODEL, STATE):
        (copied / name).unlink()
    message = "skipped 3 of the steps up to 12, whose loss or gradient was not finite; the weights are as before them"
    with open(copied / EVENTS, "a", encoding="utf-8") as log:
        log.write(to_line(Warned(message=message)))
    checks = results("bars")
    assert "3 steps" in checks["finite loss"].findings[0].evidence
    assert checks["finite weights"].skipped == "the run has no weights yet"
    assert checks["duplicates"].passed
    assert "noise" not in checks


def test_images_that_are_missing_are_the_reason_why_checks_are_skipped(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(tmp_path / "empty", ignore_errors=True)
    tensors, config, step, _ = read_weights(copied / MODEL)
    gone = config.changed(dataset=str(tmp_path / "gone.npz"))
    write_tensors(tmp_path / "moved.safetensors", "model", tensors, gone, step)
    checks = results(tmp_path / "moved.safetensors", n=16)
    assert findings(checks) == []
    assert "gone.npz" in checks["value range"].skipped
    assert checks["finite samples"].passed


def test_the_weights_in_training_are_those_of_the_state(copied: Path) -> None:
    tensors, *_ = read_state(copied / STATE)
    subject = result_of(run_subject(locate("bars", None), None, None, "cpu", None))
    assert subject.online is not None
    for name, value in subject.online.state_dict().items():
        assert torch.equal(value, tensors[f"net.{name}"])


# The command


def test_the_command_prints_what_passed_and_exits_with_0(copied: Path, capsys: Capture) -> None:
    assert run(["diagnose", "bars", "--device", "cpu", "--n", "16"]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output, "it is not a terminal"
    *progress, last = output.splitlines()
    assert last.startswith("bars: no findings in ")
    assert any(line.startswith("passed (") for line in progress)
    assert any(line.startswith("not checked: ") for line in progress)


def test_json_has_findings_and_the_exit_code_is_1(copied: Path, capsys: Capture) -> None:
    (copied / MODEL).unlink()
    with open(copied / EVENTS, "a", encoding="utf-8") as log:
        window = Progress(
            step=180, epoch=4, loss=torch.nan, loss_min=torch.nan, loss_max=torch.nan, images_per_second=9.0,
            learning_rate=1e-3, memory=None,
        )  # fmt: skip
        log.write(to_line(window))
    assert run(["diagnose", "bars", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    (finding,) = record["findings"]
    assert list(finding) == ["check", "severity", "evidence", "cause", "advice"]
    assert (finding["check"], finding["severity"], record["name"]) == ("finite loss", "error", "bars")
    assert "loss curve" in record["passed"]
    assert "finite weights" in record["skipped"]


def test_an_unknown_run_is_a_one_line_error(copied: Path, capsys: Capture) -> None:
    assert "available: bars, default-mnist" in error_line(capsys, "diagnose", "nothing")
    assert "steps must be at least 1" in error_line(capsys, "diagnose", "bars", "--steps", "0")
    assert "n must be from 8 to" in error_line(capsys, "diagnose", "bars", "--n", "7")


RESULTS = [
    CheckResult("duplicates", (Finding("duplicates", "warning", "found " * 20, "cause " * 20, "change " * 20),)),
    CheckResult("noise", (Finding("noise", "error", "much", "why", "what"),)),
    CheckResult("contrast"),
    CheckResult("EMA", skipped="not known"),
    CheckResult("precision", skipped="not known"),
]


@pytest.mark.parametrize("width", [40, 80])
def test_the_report_fits_the_width_and_lists_errors_first(width: int) -> None:
    lines = [text for text, _ in report("a-run", RESULTS, 1.5, width)]
    assert max(map(len, lines)) <= width
    assert lines[:5] == ["error: noise", "  found   much", "  cause   why", "  change  what", ""]
    assert lines[5] == "warning: duplicates"
    assert "passed (1): contrast" in lines
    assert "not checked: EMA, precision: not known" in lines or width < 50
    assert lines[-1] == "a-run: 2 findings in 1.5 s"


def test_a_record_has_everything_that_is_printed() -> None:
    record = as_record("a-run", RESULTS, 1.23456)
    assert [finding["check"] for finding in record["findings"]] == ["noise", "duplicates"]
    assert record["passed"] == ["contrast"]
    assert record["skipped"] == {"EMA": "not known", "precision": "not known"}
    assert record["seconds"] == 1.235
