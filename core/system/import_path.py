"""Python's import path: removes the current folder, and finds modules that shadow needed ones."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the folder that holds `core`
# Imported packages and the names of their distributions.
LIBRARIES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "diffusers": "diffusers",
    "numpy": "numpy",
    "textual": "textual",
    "textual_plotext": "textual_plotext",
    "rich": "rich",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "pydantic": "pydantic",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "cyclopts": "cyclopts",
    "tomli_w": "tomli_w",
}


class Shadow(NamedTuple):
    """A file that Python would import instead of the needed module."""

    module: str
    path: str

    @property
    def is_file(self) -> bool:
        """Whether it is a single file; the libraries are all packages."""
        return os.path.basename(self.path) != "__init__.py"

    def __str__(self) -> str:
        return f"`import {self.module}` finds {self.path}, not the {self.module} that minidiff needs"


FIX = "rename it, or remove its folder from PYTHONPATH"


def leave_current_folder() -> None:
    """Remove the folder that `python -m` was started in from the import path, so that a torch.py there is ignored.

    It is kept if it contains this package, as in a clone. Call this before other imports.
    """
    if sys.flags.safe_path or not sys.path:
        return
    first = os.path.realpath(sys.path[0] or os.curdir)
    if first == os.path.realpath(os.curdir) != os.path.realpath(HOME):
        del sys.path[0]


def shadows(path: list[str] | None = None) -> list[Shadow]:
    """Files on the import path that shadow this project's packages, a library or a standard-library module."""
    entries = [os.path.abspath(entry or os.curdir) for entry in (sys.path if path is None else path)]
    shadowing = []
    for module in ("core", "tui"):
        files = list(filter(None, (_module_in(entry, module) for entry in entries)))
        if files and not os.path.realpath(files[0]).startswith(os.path.join(os.path.realpath(HOME), module)):
            shadowing.append(Shadow(module, files[0]))
    for module, distribution in LIBRARIES.items():
        files = list(filter(None, (_module_in(entry, module) for entry in entries)))
        if not files:
            continue
        shadow = Shadow(module, files[0])
        if shadow.is_file or (len(files) > 1 and not _has_metadata(files[0], distribution)):
            shadowing.append(shadow)
    library = os.path.dirname(os.__file__)
    if library in entries:
        entries = entries[: entries.index(library)]
    for entry in entries:
        if os.path.isdir(entry) and os.path.realpath(entry) != os.path.realpath(HOME):
            names = {name.removesuffix(".py") for name in os.listdir(entry) if name.endswith(".py")}
            shadowing += [
                Shadow(name, os.path.join(entry, f"{name}.py")) for name in sorted(names & sys.stdlib_module_names)
            ]
    return shadowing


def _module_in(entry: str, module: str) -> str | None:
    """The file that `import module` would load from one folder of the import path, if any."""
    for name in (os.path.join(module, "__init__.py"), f"{module}.py"):
        if os.path.isfile(path := os.path.join(entry, name)):
            return path
    return None


def _has_metadata(path: str, distribution: str) -> bool:
    """Whether the package has an installer's metadata beside it."""
    entry = os.path.dirname(os.path.dirname(path))
    prefixes = f"{distribution}-", f"{distribution}."
    return any(
        name.lower().startswith(prefixes) and name.endswith((".dist-info", ".egg-info")) for name in os.listdir(entry)
    )
