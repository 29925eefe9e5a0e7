"""A sampler and an option added only in the files that CONTRIBUTING.md names appear everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import REPOSITORY

SAMPLER = '''
def midpoint(denoiser: Denoiser, x: Tensor, times: Sequence[float], generators: Generators) -> Steps:
    """The explicit midpoint method for dx/dt, with an Euler step at the end."""
    for t, t_next in pairwise(times):
        predicted = denoiser(x, t)
        d = predicted.velocity
        if t_next > 0:
            middle = (t + t_next) / 2
            d = denoiser(x + (middle - t) * d, middle).velocity
        x = x + (t_next - t) * d
        yield x, predicted.denoised


'''
SAMPLER_INFO = """    "midpoint": SamplerInfo(
        "midpoint", "midpoint method", "the midpoint method, second order", evaluations=2, second_at=0.5
    ),
"""
OPTION = '    patience: int = _option(3, "Training", "epochs without improvement", ge=1, le=100)\n'

SAMPLE = """
import torch
from core import load_model, sample
*_, last = sample(load_model("quick-mnist", device="cpu"), n=1, steps=2, sampler="midpoint")
print(bool(torch.isfinite(last.x).all()))
"""
CONTROLS = """
import asyncio
from pathlib import Path
from textual.app import App
from core.config.training import TrainConfig
from tui.widgets.run_form import RunForm
from tui.widgets.sampling_controls import SamplingControls

class Both(App):
    def compose(self):
        yield SamplingControls(["quick-mnist"])
        yield RunForm(Path("runs"))

async def main():
    app = Both()
    async with app.run_test(size=(120, 60)):
        controls = app.query_one(SamplingControls)
        controls.set_config(TrainConfig(preset="quick"))
        print(controls.query_one("#sampler").values)
        print(app.query_one("#field-patience").value)

asyncio.run(main())
"""


def insert_before(path: Path, line: str, text: str) -> None:
    content = path.read_text()
    assert content.count(line) == 1, line
    path.write_text(content.replace(line, text + line))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a new sampler and option, added in the files that CONTRIBUTING.md names."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("core", "tui", "docs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "images", "__snapshots__")
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=ignored)
    (copy / "checkpoints").symlink_to(REPOSITORY / "checkpoints")
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    insert_before(copy / "core/diffusion/samplers.py", "SAMPLERS: dict[str, Sampler] =", SAMPLER)
    insert_before(copy / "core/config/sampling.py", "}\nSAMPLER_NAMES =", SAMPLER_INFO)
    insert_before(copy / "core/config/training.py", '    seed: int = _option(0, "Training"', OPTION)
    return copy


def output(folder: Path, *arguments: str, **variables: str) -> str:
    """The output of Python run with the copy of the project."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_sampler_and_option_are_on_the_command_line(changed: Path) -> None:
    assert "midpoint" in output(changed, "-m", "core", "sample", "--help", COLUMNS="200")
    assert "--patience" in output(changed, "-m", "core", "train", "--help", COLUMNS="200")
    assert output(changed, "-c", SAMPLE).strip() == "True"


def test_a_new_option_is_an_environment_variable(changed: Path) -> None:
    code = "from core.config.training import TrainConfig; print(TrainConfig(patience=7).to_toml())"
    assert "patience = 7" in output(changed, "-c", code)
    wrong = subprocess.run(
        [sys.executable, "-m", "core", "train"],
        cwd=changed,
        env={**os.environ, "PYTHONPATH": str(changed), "MINIDIFF_PATIENCE": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 2
    assert "patience" in wrong.stderr


def test_a_new_sampler_and_option_are_in_the_docs(changed: Path) -> None:
    output(changed, "docs/make_options.py")
    page = (changed / "docs/options.md").read_text()
    assert "| `midpoint` | the midpoint method, second order | `mix`, `flow`, `vp` | 2 |" in page
    assert "| `--patience` | whole number, at least 1, at most 100 | `3` | epochs without improvement |" in page


def test_a_new_sampler_and_option_are_in_the_ui(changed: Path) -> None:
    samplers, patience = output(changed, "-c", CONTROLS).splitlines()
    assert "midpoint" in samplers
    assert patience == "3"


def test_the_existing_tests_cover_a_new_sampler_and_pass(changed: Path) -> None:
    tests = output(
        changed, "-m", "pytest", "-rp", "-n", "0", "-p", "no:cacheprovider", "-k", "midpoint or perfect_network",
        "tests/diffusion/test_samplers.py", "tests/diffusion/test_sampling.py",
    )  # fmt: skip
    passed = [line for line in tests.splitlines() if "midpoint" in line and line.startswith("PASSED")]
    assert len(passed) > 10
