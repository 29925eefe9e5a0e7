"""The public names of `core` as `minidiff`, and the commands: installed as the module `minidiff`.

`core` and `tui` are names that other projects use too. This one is this project's own, and finds its two packages also
where others of their names come first on the import path. In a clone that is not installed there is no such module.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

_OWN_FILES = (
    ("core", "system", "import_path.py"),
    ("tui", "terminal", "driver.py"),
)  # by which this project's packages are known


def main() -> None:
    """Run the command `minidiff`."""
    _command("core.cli")


def tui() -> None:
    """Run the command `minidiff-tui`."""
    _command("tui.__main__")


def _command(module: str) -> None:
    home = _home()
    sys.path.insert(0, home)
    for package in ("core", "tui"):  # from here on, their modules are found through them
        importlib.import_module(package)
    sys.path.remove(home)
    importlib.import_module("core.system.import_path").leave_current_folder()
    importlib.import_module(module).main()


def _home() -> str:
    """The folder on the import path that holds this project's packages; others with a `core` may come before it."""
    for entry in sys.path:
        if all(os.path.isfile(os.path.join(entry, *file)) for file in _OWN_FILES):
            return entry
    raise ImportError("minidiff is not installed whole: its package `core` is not on the import path; install it again")


def _core() -> Any:
    """The package `core`, unless another of that name is or would be imported in its place."""
    core = importlib.import_module("core")
    home = os.path.realpath(_home())
    if os.path.realpath(getattr(core, "__file__", None) or "") != os.path.join(home, "core", "__init__.py"):
        raise ImportError(
            f"minidiff needs its own package `core` in {home}, but `import core` finds {core.__file__}; "
            "rename that one, or take its folder off the import path"
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
