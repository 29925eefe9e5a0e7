"""Fixtures for fault tests: processes that fork trainers, on the normal disk and on a 1 MB disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from trainer_pool import TrainerPool, can_mount


@pytest.fixture(scope="session")
def trainer_pool(_user: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainerPool]:
    """Forks trainers."""
    made = TrainerPool(tmp_path_factory.mktemp("trainer_pool"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(trainer_pool: TrainerPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of `QUICK`."""
    path = tmp_path_factory.mktemp("whole") / "whole"
    assert trainer_pool.train(path).code == 0
    return path


@pytest.fixture
def small_disk(_user: Path, tmp_path: Path) -> Iterator[TrainerPool]:
    """Forks trainers with a 1 MB disk at /mnt."""
    if not can_mount():
        pytest.skip("this user may not mount a small disk")
    made = TrainerPool(tmp_path / "trainer_pool", disk="1m")
    yield made
    made.close()
