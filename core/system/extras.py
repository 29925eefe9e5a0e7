"""Optional packages, which the extras of pyproject.toml install."""

from __future__ import annotations

import importlib.util

from core.errors import MinidiffError


def require(package: str) -> None:
    """Check that an optional package is installed, without importing it.

    Raises:
        MinidiffError: It is not; the message says how to install it.
    """
    if importlib.util.find_spec(package) is None:
        raise MinidiffError(f"{package} is not installed; `pip install {package}` installs it")
