"""The wheel holds all that is needed to run, and works from any folder without the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_wheel_holds_packages_checkpoint_and_stylesheet_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "core/builtin/quick-mnist/model.safetensors",
        "core/builtin/quick-mnist/denoising.json",
        "core/builtin/quick-mnist/config.toml",
        "core/builtin/default-mnist/model.safetensors",
        "core/builtin/default-mnist/denoising.json",
        "core/builtin/judges/mnist-conv.safetensors",
        "core/builtin/judges/mnist-mlp.safetensors",
        "tui/app.tcss",
    } <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"core", "tui"}
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 8_000_000


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "core", "sample", "quick-mnist", "--n", "2", "--steps", "2", "--output", "out.png"],
        ["-m", "core", "runs", "--json"],
        ["-m", "tui", "--version"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_installed_wheel_works_from_any_folder(installed: Path, tmp_path: Path, command: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    check = f"import core; assert core.__file__.startswith({str(installed)!r}), core.__file__"
    subprocess.run([sys.executable, "-c", check], cwd=tmp_path, env=environment, check=True)
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "out.png" in command:
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
