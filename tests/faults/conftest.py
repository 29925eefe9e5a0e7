"""What the tests of faults share: processes that fork trainers, on the usual disk and on one of a megabyte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import Nursery, can_mount


@pytest.fixture(scope="session")
def nursery(_user: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Forks trainers."""
    made = Nursery(tmp_path_factory.mktemp("nursery"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `QUICK` that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole") / "whole"
    assert nursery.train(path).code == 0
    return path


@pytest.fixture
def small_disk(_user: Path, tmp_path: Path) -> Iterator[Nursery]:
    """Forks trainers that see a disk of a megabyte at /mnt."""
    if not can_mount():
        pytest.skip("this user may not mount a small disk")
    made = Nursery(tmp_path / "nursery", disk="1m")
    yield made
    made.close()
