"""Lint, types, import contracts and documentation links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from repository import REPOSITORY


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="lint"),
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["mypy"], id="types"),
        pytest.param(["importlinter"], id="import contracts"),
    ],
)
def test_the_code_passes_lint_type_and_import_checks(command: list[str]) -> None:
    module = ["-c", "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"]
    run = module if command == ["importlinter"] else ["-m", *command]
    done = subprocess.run([sys.executable, *run], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_child_processes_are_started_in_one_place() -> None:
    """Only core/system/subprocesses.py uses sys.executable, and nothing else forks or spawns Python."""
    forbidden = re.compile(r"sys\.executable|multiprocessing\.|import multiprocessing|os\.(exec|spawn|fork|posix)")
    files = [file for folder in ("core", "tui") for file in (REPOSITORY / folder).rglob("*.py")]
    users = [
        file.relative_to(REPOSITORY).as_posix() for file in files if forbidden.search(file.read_text(encoding="utf-8"))
    ]
    assert users == ["core/system/subprocesses.py"]


def test_links_in_the_docs_resolve() -> None:
    documents = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", REPOSITORY / "checkpoints" / "README.md"]
    documents += sorted((REPOSITORY / "docs").glob("*.md"))
    broken = [
        f"{document.relative_to(REPOSITORY)}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []


def test_python_code_in_the_docs_runs(tmp_path: Path) -> None:
    """Runs every Python block of docs/api.md in order, each with a namespace of its own, in an empty folder."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    script = f"for block in {blocks!r}: exec(block, {{'__name__': 'block'}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_svg_images_are_well_formed() -> None:
    images = sorted((REPOSITORY / "docs" / "images").glob("*.svg"))
    assert images
    for image in images:
        root = ElementTree.parse(image).getroot()
        assert root.tag.endswith("svg"), image.name
