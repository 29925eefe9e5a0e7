"""Modules that shadow our packages, libraries or the standard library, and their error messages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import environment

SAMPLE = ["sample", "quick-mnist", "--n", "1", "--steps", "1", "--output", "out.png"]

Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(tmp_path: Path) -> Runner:
    """Returns a function that runs Python in an empty folder, with another folder first on PYTHONPATH if it exists."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        variables = environment()
        variables["PYTHONPATH"] = os.pathsep.join((str(tmp_path / "there"), variables["PYTHONPATH"]))
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path / "here",
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


@pytest.mark.parametrize("name", ["torch.py", "json.py", "argparse.py", "numpy.py", "rich.py"])
def test_files_in_the_current_folder_are_not_imported(launch: Runner, tmp_path: Path, name: str) -> None:
    (tmp_path / "here" / name).write_text("raise SystemExit('the wrong file was imported')")
    done = launch("-m", "core", *SAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    done = launch("-m", "tui", "--version")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["torch.py", "numpy.py", "safetensors.py"])
def test_a_file_on_pythonpath_that_shadows_a_library_is_a_one_line_error(
    launch: Runner, tmp_path: Path, name: str
) -> None:
    wrong = tmp_path / "there" / name
    wrong.write_text("")
    done = launch("-m", "core", *SAMPLE)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(wrong) in done.stderr
    assert "PYTHONPATH" in done.stderr


def test_a_module_that_shadows_our_package_or_the_standard_library_is_a_one_line_error(
    launch: Runner, tmp_path: Path
) -> None:
    wrong = tmp_path / "there" / "torch"
    wrong.mkdir()
    (wrong / "__init__.py").write_text("")
    done = launch("-m", "core", *SAMPLE)
    assert done.returncode == 1
    assert (
        done.stderr == f"minidiff: `import torch` finds {wrong / '__init__.py'}, not the torch that minidiff needs; "
        "rename it, or remove its folder from PYTHONPATH\n"
    )
    (wrong / "__init__.py").unlink()
    wrong.rmdir()
    (tmp_path / "there" / "colorsys.py").write_text("raise ImportError('nothing of ours')")
    (tmp_path / "there" / "csv.py").write_text("")
    done = launch("-m", "core", "doctor")
    assert f"`import csv` finds {tmp_path / 'there' / 'csv.py'}" in done.stdout


def test_doctor_names_the_shadowing_module_instead_of_advising_to_reinstall_torch(
    launch: Runner, tmp_path: Path
) -> None:
    (tmp_path / "here" / "torch.py").write_text("")
    done = launch("-m", "core", "doctor")
    assert "torch.py would be imported as `torch` by scripts in this folder" in done.stdout
    assert "force-reinstall" not in done.stdout
    assert done.returncode == 0, done.stdout


def test_doctor_reports_another_core_package(launch: Runner, tmp_path: Path) -> None:
    (tmp_path / "here" / "core.py").write_text("")
    done = launch("-P", "-m", "core", "doctor")
    assert "core.py would be imported as `core` by scripts in this folder" in done.stdout
