"""Where Python imports from: not from the current folder, and what stands in the way of the libraries used here."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the folder that holds `core`
# Modules that are imported here, and the names of their distributions; all of them are packages.
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
    """A file that Python imports although another module is meant."""

    module: str
    path: str

    @property
    def is_file(self) -> bool:
        """Whether it is a lone file, which none of the libraries is."""
        return os.path.basename(self.path) != "__init__.py"

    def __str__(self) -> str:
        return f"`import {self.module}` finds {self.path}, not the {self.module} that minidiff needs"


FIX = "rename it, or remove its folder from PYTHONPATH"


def leave_current_folder() -> None:
    """Take the folder that `python -m` was started in off the import path: a torch.py there is not meant.

    It stays where this package itself lies in it, as in a clone. To be called before other imports.
    """
    if sys.flags.safe_path or not sys.path:
        return
    first = os.path.realpath(sys.path[0] or os.curdir)
    if first == os.path.realpath(os.curdir) != os.path.realpath(HOME):
        del sys.path[0]


def shadows(path: list[str] | None = None) -> list[Shadow]:
    """What comes first on the import path in place of our own packages, of a library, or of Python's own modules."""
    entries = [os.path.abspath(entry or os.curdir) for entry in (sys.path if path is None else path)]
    found = []
    for module in ("core", "tui"):
        places = list(filter(None, (_module_in(entry, module) for entry in entries)))
        if places and not os.path.realpath(places[0]).startswith(os.path.join(os.path.realpath(HOME), module)):
            found.append(Shadow(module, places[0]))
    for module, distribution in LIBRARIES.items():
        places = list(filter(None, (_module_in(entry, module) for entry in entries)))
        if not places:
            continue
        shadow = Shadow(module, places[0])
        if shadow.is_file or (len(places) > 1 and not _has_metadata(places[0], distribution)):
            found.append(shadow)
    library = os.path.dirname(os.__file__)
    if library in entries:
        entries = entries[: entries.index(library)]
    for entry in entries:
        if os.path.isdir(entry) and os.path.realpath(entry) != os.path.realpath(HOME):
            names = {name.removesuffix(".py") for name in os.listdir(entry) if name.endswith(".py")}
            found += [
                Shadow(name, os.path.join(entry, f"{name}.py")) for name in sorted(names & sys.stdlib_module_names)
            ]
    return found


def _module_in(entry: str, module: str) -> str | None:
    """The file that `import module` would read from a folder of the import path, if there is one."""
    for name in (os.path.join(module, "__init__.py"), f"{module}.py"):
        if os.path.isfile(path := os.path.join(entry, name)):
            return path
    return None


def _has_metadata(path: str, distribution: str) -> bool:
    """Whether a package's folder lies beside what an installer writes of it."""
    entry = os.path.dirname(os.path.dirname(path))
    beginnings = f"{distribution}-", f"{distribution}."
    return any(
        name.lower().startswith(beginnings) and name.endswith((".dist-info", ".egg-info")) for name in os.listdir(entry)
    )
