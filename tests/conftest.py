"""Shared fixtures: a tiny config, a finished run, the genuine MNIST files if available, and an isolated environment."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is imported, also in child processes: two tests run at a time, and threads spin while they wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from repository import REPOSITORY

from core.config.training import TrainConfig
from core.runs import directory
from core.runs.status import is_locked, lock_holder

TINY = {
    "preset": "quick",
    "dataset": "glyphs",
    "limit": 64,
    "batch_size": 32,
    "channels": (8, 8),
    "epochs": 2,
    "device": "cpu",
    "threads": 1,
}

ConfigMaker = Callable[..., TrainConfig]


def pytest_configure() -> None:
    """Restore signals: child processes inherit those that a shell in the background, or nohup, has ignored."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def _user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of a test user without settings who has already seen the welcome screen; all workers share its cache."""
    home = tmp_path_factory.mktemp("user")
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    cache.mkdir(exist_ok=True)
    (home / "cache").symlink_to(cache)
    welcomed = home / "state" / "minidiff" / "welcomed"
    welcomed.parent.mkdir(parents=True)
    welcomed.touch()
    return home


@pytest.fixture(autouse=True)
def _own_environment(_user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate tests from the cache, settings, runs and environment variables of the user."""
    for name in os.environ:
        if name.startswith("MINIDIFF_") and name != "MINIDIFF_DATA":
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for kind in ("cache", "config", "state"):
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(_user / kind))


@pytest.fixture(scope="session")
def tiny() -> ConfigMaker:
    """Returns a function that builds configs of very short runs; keyword arguments override options."""
    return lambda **changes: TrainConfig(**{**TINY, **changes})


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny: ConfigMaker) -> Path:
    """The directory of a finished run, the only one in its root. Do not modify it."""
    from core.training.api import train

    root = tmp_path_factory.mktemp("runs")
    for _ in train(tiny(root=root, name="done")):
        pass
    return root / "done"


@pytest.fixture
def home(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A default root with the finished run `done`; the working directory is empty."""
    root = tmp_path / "runs"
    shutil.copytree(finished_run, root / "done")
    monkeypatch.setenv("MINIDIFF_HOME", str(root))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return root


@pytest.fixture
def trainers(home: Path) -> Iterator[Path]:
    """`home`; trainers that still hold one of its runs are killed at teardown."""
    yield home
    for path in directory.run_directories(home):
        if is_locked(path):
            os.kill(lock_holder(path)["pid"], signal.SIGKILL)


@pytest.fixture(scope="session")
def genuine_mnist() -> Path:
    """A folder with the genuine MNIST files: $MINIDIFF_DATA, or shared/data next to the repository."""
    for folder in (os.environ.get("MINIDIFF_DATA"), REPOSITORY.parent / "shared" / "data"):
        if folder and any(Path(folder).rglob("train-images-idx3-ubyte*")):
            return Path(folder)
    pytest.skip("genuine MNIST is neither in $MINIDIFF_DATA nor in ../shared/data")
