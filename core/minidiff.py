"""Installed as the module `minidiff`: the public names of `core`, and the entry points of the commands.

Other projects may also have packages named `core` or `tui`. This module finds the right ones even if others come first
on the import path. It does not exist in a clone that is not installed.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

_OWN_FILES = (
    ("core", "system", "import_path.py"),
    ("tui", "terminal", "driver.py"),
)  # identify this project's packages


def main() -> None:
    """Run the command `minidiff`."""
    _command("core.cli")


def tui() -> None:
    """Run the command `minidiff-tui`."""
    _command("tui.__main__")


def _command(module: str) -> None:
    home = _home()
    sys.path.insert(0, home)
    for package in ("core", "tui"):  # their submodules are then found through them
        importlib.import_module(package)
    sys.path.remove(home)
    importlib.import_module("core.system.import_path").leave_current_folder()
    importlib.import_module(module).main()


def _home() -> str:
    """The folder on the import path with this project's packages; folders with another `core` are skipped."""
    for entry in sys.path:
        if all(os.path.isfile(os.path.join(entry, *file)) for file in _OWN_FILES):
            return entry
    raise ImportError(
        "incomplete installation: minidiff's package `core` is not on the import path; reinstall minidiff"
    )


def _core() -> Any:
    """The package `core`; raises ImportError if `import core` finds another package."""
    core = importlib.import_module("core")
    home = os.path.realpath(_home())
    if os.path.realpath(getattr(core, "__file__", None) or "") != os.path.join(home, "core", "__init__.py"):
        raise ImportError(
            f"minidiff needs its own package `core` in {home}, but `import core` finds {core.__file__}; "
            "rename that one, or remove its folder from the import path"
        )
    return core


def __getattr__(name: str) -> Any:
    """A public name of `core`."""
    if name.startswith("__") and name not in ("__version__", "__all__"):
        raise AttributeError(f"module 'minidiff' has no attribute {name!r}")
    return getattr(_core(), name)


def __dir__() -> list[str]:
    return sorted({"main", "tui", "__version__", *_core().__all__})


if __name__ == "__main__":
    main()
