"""The wheel is complete, and works from any folder without the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from repository import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(REPOSITORY)],
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


def test_the_wheel_contains_only_packages_checkpoint_and_stylesheet(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "core/builtin/quick-mnist/model.safetensors",
        "core/builtin/quick-mnist/denoising.json",
        "core/builtin/quick-mnist/config.toml",
        "core/builtin/default-mnist/model.safetensors",
        "core/builtin/default-mnist/denoising.json",
        "core/builtin/fast-mnist/model.safetensors",
        "core/builtin/feature_classifiers/mnist-conv.safetensors",
        "core/builtin/feature_classifiers/mnist-mlp.safetensors",
        "tui/app.tcss",
        "tui/web/app_index.html",
    } <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"core", "tui", "minidiff.py"}
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 11_000_000


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "core", "sample", "quick-mnist", "--n", "2", "--steps", "2", "--output", "out.png"],
        ["-m", "core", "runs", "--json"],
        ["-m", "tui", "--version"],
        ["-m", "minidiff", "runs", "--json"],
        ["-c", "import minidiff; print(minidiff.train, minidiff.__version__, sorted(dir(minidiff)))"],
        ["-c", "from minidiff import *; print(load_model('quick-mnist', device='cpu').name)"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_the_installed_wheel_works_from_any_folder(installed: Path, tmp_path: Path, command: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    check = f"import core; assert core.__file__.startswith({str(installed)!r}), core.__file__"
    subprocess.run([sys.executable, "-c", check], cwd=tmp_path, env=environment, check=True)
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "out.png" in command:
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the site-packages files of `pip install -e .`."""
    pytest.importorskip("editables")
    target, site = tmp_path_factory.mktemp("editable"), tmp_path_factory.mktemp("site")
    program = f"import hatchling.build; hatchling.build.build_editable({str(target)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True)
    with zipfile.ZipFile(next(target.glob("*.whl"))) as archive:
        archive.extractall(site)
    return site


@pytest.mark.parametrize("kind", ["installed", "editable"])
def test_the_commands_work_alongside_other_core_and_tui_packages(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    site: Path = request.getfixturevalue(kind)
    for name in ("core", "tui"):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "__init__.py").write_text("")
    (tmp_path / "here").mkdir()
    for name in ("core", "torch", "json"):
        (tmp_path / "here" / f"{name}.py").write_text("raise SystemExit('the wrong file was imported')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "other")}
    scripts = (site / next(site.glob("*.dist-info")) / "entry_points.txt").read_text()
    assert "minidiff = minidiff:main" in scripts
    assert "minidiff-tui = minidiff:tui" in scripts

    def launch(program: str, *arguments: str, safe: bool = True) -> subprocess.CompletedProcess[str]:
        code = f"import site, sys; site.addsitedir({str(site)!r}); {program}"
        command = [sys.executable, *(["-P"] if safe else []), "-c", code, *arguments]
        return subprocess.run(
            command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, check=False
        )

    sampled = ("sample", "quick-mnist", "--n", "1", "--steps", "1", "--output", "out.png")
    done = launch("import minidiff; minidiff.main()", *sampled)  # like the script that pip generates
    assert (done.returncode, done.stderr) == (0, "")
    as_module = "import runpy; runpy.run_module('minidiff', run_name='__main__', alter_sys=True)"
    done = launch(as_module, *sampled)
    assert (done.returncode, done.stderr) == (0, "")
    done = launch("import minidiff; minidiff.tui()", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    done = launch("import minidiff; minidiff.train")
    last = done.stderr.splitlines()[-1]
    assert "minidiff needs its own package `core`" in last
    assert str(tmp_path / "other" / "core" / "__init__.py") in last
