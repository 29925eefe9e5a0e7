"""The headless command line on a full disk: what is kept, and the error message."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY, command, environment, events

from core.cli import run
from core.runs import directory
from core.runs.events import Failed
from core.runs.status import Status, run_status


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_at_the_output_path_is_a_one_line_error(home: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("runs"), env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "minidiff: output: No space left on device\n"


def test_a_full_disk_at_a_checkpoint_keeps_the_last_one_and_marks_the_run_failed(home: Path) -> None:
    """Limits files to 100 kB: enough for the log, too small for a training state."""
    wide = ["32" if word == "8" else word for word in TINY]
    assert run(["train", *wide, "--epochs", "2", "--name", "a"]) == 0
    path = home / "a"
    kept = {name: (path / name).read_bytes() for name in (directory.MODEL, directory.STATE)}
    log = path / directory.EVENTS
    lines = [line for line in log.read_text().splitlines(keepends=True) if '"finished"' not in line]
    log.write_text("".join(lines))
    (path / directory.CONFIG).write_text((path / directory.CONFIG).read_text().replace("epochs = 2", "epochs = 4"))
    program = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "from core.cli import main\n"
        "main(['resume', 'a'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("minidiff: cannot write a checkpoint")
    assert "free space, then resume" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {name: (path / name).read_bytes() for name in kept} == kept
    last = events(path)[-1]
    assert isinstance(last, Failed)
    assert "the last one is intact" in last.message
    assert sorted(entry.name for entry in path.iterdir() if entry.name.startswith(".")) == []
    assert run(["resume", "a"]) == 0  # with space again
    assert run_status(path) == Status.FINISHED


def test_a_full_file_system_keeps_the_last_checkpoint_and_marks_the_run_failed(tmp_path: Path) -> None:
    """Uses a file system of 1 MB in its own namespace, filled completely by another file."""
    allowed = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"], capture_output=True, check=False
    ) if shutil.which("unshare") else None  # fmt: skip
    if allowed is None or allowed.returncode:
        pytest.skip("this user may not mount a small file system")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from core.cli import run\n"
        "from core.runs.events import Checkpoint\n"
        "from core.training.api import train\n"
        "from core import TrainConfig\n"
        "from core.runs import directory\n"
        "from core.runs.status import summarize\n"
        "from core.errors import MinidiffError\n"
        "config = TrainConfig(preset='quick', dataset='glyphs', limit=64, batch_size=32, channels=(16, 16),\n"
        "                     device='cpu', threads=1, epochs=1000, root='/mnt', name='a')\n"
        "kept = None\n"
        "try:\n"
        "    for event in train(config):\n"
        "        if isinstance(event, Checkpoint) and kept is None:\n"
        "            kept = [Path('/mnt/a', name).read_bytes() for name in (directory.MODEL, directory.STATE)]\n"
        "            with open('/mnt/filler', 'wb', buffering=0) as filler:\n"
        "                try:\n"
        "                    while filler.write(b'x' * 1000): pass\n"
        "                except OSError: pass\n"
        "except MinidiffError as error:\n"
        "    print('raised', error)\n"
        "summary = summarize(Path('/mnt/a'))\n"
        "print(summary.status, summary.error)\n"
        "print(kept == [Path('/mnt/a', name).read_bytes() for name in (directory.MODEL, directory.STATE)])\n"
        "Path('/mnt/filler').unlink()\n"
        "from core import load_model\n"
        "print(load_model('/mnt/a', device='cpu').step)\n"
    )
    (tmp_path / "program.py").write_text(program)
    mounted = f"mount -t tmpfs -o size=1m tmpfs /mnt && exec {sys.executable} {tmp_path}/program.py"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    raised, status, same, step = done.stdout.splitlines()
    assert raised.startswith("raised cannot write")
    assert status.startswith("failed cannot write")
    assert (same, step) == ("True", "2")
