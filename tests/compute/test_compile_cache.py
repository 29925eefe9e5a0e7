"""torch.compile reads and writes nothing that another user can reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core.compute import compile_cache
from core.compute.compile_cache import secure_compile_cache
from core.system import subprocesses

NOBODY = 65_534

# Trains with torch.compile and prints the files it opened in the given folder.
COMPILED = """
import json, os, sys
opened = set()
def hook(name, arguments):
    if name in ("open", "os.rename", "ctypes.dlopen") and arguments and isinstance(arguments[0], (str, bytes)):
        if os.fsdecode(arguments[0]).startswith(sys.argv[1] + "/"):
            opened.add(os.fsdecode(arguments[0]))
sys.addaudithook(hook)
from core import TrainConfig, train
options = {"preset": "quick", "dataset": "glyphs", "limit": 32, "batch_size": 16, "channels": (2, 2), "epochs": 1}
list(train(TrainConfig(device="cpu", threads=1, compile=True, **options)))
print(json.dumps(sorted(opened)))
"""


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's default cache folder, inside a temporary shared folder; it does not exist yet."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    monkeypatch.setattr(compile_cache, "_temporary", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    folder = Path(default_cache_dir())
    assert folder.parent == shared
    return folder


def plant(folder: Path) -> None:
    """Create a folder owned by another user, or at least a world-writable one."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)


def secured() -> Path:
    """Torch's cache folder after it is secured."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir, default_cache_dir

    secure_compile_cache()
    assert os.path.dirname(cache_dir()) == os.environ["TMPDIR"] == tempfile.gettempdir()
    assert cache_dir() == default_cache_dir()
    return Path(cache_dir())


@pytest.mark.parametrize("mode", [None, 0o700, 0o755])
def test_a_private_folder_is_used_and_created_if_missing(default: Path, mode: int | None) -> None:
    if mode is not None:
        default.mkdir()
        default.chmod(mode)
    assert secured() == default
    assert (default.stat().st_uid, default.stat().st_mode & 0o777) == (os.geteuid(), mode or 0o700)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_folder_writable_by_others_is_not_used(default: Path, tmp_path: Path, mode: int) -> None:
    default.mkdir()
    default.chmod(mode)
    private = secured().parent
    assert private == tmp_path / "cache" / "minidiff" / "compiled"
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(default.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder as another user")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_folder_of_another_user_is_not_used(default: Path, tmp_path: Path, mode: int) -> None:
    plant(default)
    default.chmod(mode)
    assert secured().parent == tmp_path / "cache" / "minidiff" / "compiled"


def test_a_link_or_a_folder_that_others_can_replace_is_not_used(default: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    default.symlink_to(tmp_path / "elsewhere")
    private = secured().parent
    assert private == tmp_path / "cache" / "minidiff" / "compiled"


def test_a_folder_in_a_world_writable_parent_is_not_used(default: Path, tmp_path: Path) -> None:
    default.parent.chmod(0o777)  # without the sticky bit
    assert secured().parent == tmp_path / "cache" / "minidiff" / "compiled"


def test_a_new_folder_is_used_if_the_user_cache_is_not_private_either(default: Path, tmp_path: Path) -> None:
    plant(default)
    plant(tmp_path / "cache" / "minidiff" / "compiled")
    folder = secured().parent
    assert folder.name.startswith("minidiff-compiled-")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert compile_cache._temporary is not None
    compile_cache._temporary.cleanup()


def test_a_cache_already_chosen_in_a_planted_folder_is_abandoned(
    default: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(default)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(default))
    assert secured().parent == tmp_path / "cache" / "minidiff" / "compiled"


@pytest.mark.slow
def test_compiled_training_opens_nothing_in_a_planted_folder(default: Path) -> None:
    plant(default)
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, str(default)],
        env=subprocesses.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert list(default.iterdir()) == []
