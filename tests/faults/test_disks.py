"""Full, read-only and failing disks: a one-line error, a readable checkpoint, and the same result after resuming."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from counts import count
from trainer_pool import QUICK, Ended, TrainerPool, assert_kept, assert_same_end, log_of, tensors

from core.runs.directory import MODEL, SNAPSHOTS, STATE
from core.runs.events import Checkpoint, Failed, Warned
from core.runs.snapshots import list_snapshots
from core.runs.status import Status, run_status, summarize

ERRORS = {"no space": errno.ENOSPC, "read-only": errno.EROFS, "quota": errno.EDQUOT, "broken": errno.EIO}


def some(points: list[str], number: int, seed: int) -> list[int]:
    """`number` indices of points, in random order."""
    places = list(range(1, len(points) + 1))
    random.Random(seed).shuffle(places)
    return sorted(places[:number])


def assert_refused(ended: Ended, where: str) -> None:
    """The trainer succeeded, after its last write, or failed with a one-line error."""
    assert ended.code in (0, 1), f"at {where}: {ended.stderr}"
    if ended.code:
        assert ended.stderr.startswith("minidiff: "), f"at {where}: {ended.stderr}"
        assert len(ended.stderr.splitlines()) == 1, ended.stderr


def assert_readable(path: Path) -> None:
    if any(isinstance(event, Checkpoint) for event in log_of(path)):
        assert int(tensors(path)["step"]) > 0


def test_a_disk_that_fills_up_stops_the_run_which_resumes_once_there_is_space(
    small_disk: TrainerPool, whole: Path
) -> None:
    points = small_disk.points("/mnt/listed")
    disk, failed = small_disk.disk, 0
    for place in some(points, count(6, 40), seed=1):
        name = f"full-{place}"
        ended = small_disk.train(f"/mnt/{name}", fault={"trace": "", "kind": "fill", "at": place})
        path, where = disk / name, points[place - 1]
        assert_refused(ended, where)
        if (path / "events.jsonl").exists() and ended.events:
            assert_kept(path, ended.events)
            assert_readable(path)
            if ended.code:
                failed += 1
                last = log_of(path)[-1]
                assert isinstance(last, Failed), where
                assert "cannot write" in last.message
                assert run_status(path) is Status.FAILED
        (disk / "filler").unlink()
        if ended.code:
            resumed = small_disk.train(f"/mnt/{name}")
            assert resumed.code == 0, f"after {where}: {resumed.stderr}"
        assert_same_end(path, whole)
        shutil.rmtree(path)
    assert failed


def test_a_folder_for_snapshots_that_cannot_be_made_does_not_stop_a_run(
    trainer_pool: TrainerPool, whole: Path, tmp_path: Path
) -> None:
    points = trainer_pool.points(tmp_path / "listed")
    made = [point for point in points if point.startswith("mkdir")]
    first = next(at for at, point in enumerate(made, 1) if SNAPSHOTS in point)
    fault = {"trace": "", "kind": "errno", "errno": errno.ENOSPC, "only": "mkdir", "at": first}
    ended = trainer_pool.train(tmp_path / "a", fault=fault)
    assert ended.code == 0, ended.stderr
    assert_same_end(tmp_path / "a", whole)
    (warning,) = (event.message for event in log_of(tmp_path / "a") if isinstance(event, Warned))
    assert "No space left on device" in warning


def test_snapshots_leave_the_space_that_checkpoints_need(small_disk: TrainerPool) -> None:
    """All of them together take more than the disk has."""
    config = {**QUICK, "channels": (16, 16), "batch_size": 4, "epochs": 4, "snapshots": 1000}
    ended = small_disk.train("/mnt/a", config)
    path = small_disk.disk / "a"
    assert ended.code == 0, ended.stderr
    steps = config["epochs"] * config["limit"] // config["batch_size"]
    snapshots = list_snapshots(path)
    assert 0 < len(snapshots) < steps
    size = snapshots[0].path.stat().st_size
    assert size * steps > 2**20
    (warning,) = (event.message for event in log_of(path) if isinstance(event, Warned))
    assert "the disk has only space for the next checkpoint" in warning
    shutil.rmtree(path)


@pytest.mark.parametrize("error", ERRORS)
def test_a_run_can_be_resumed_after_its_disk_starts_refusing_writes(
    trainer_pool: TrainerPool, whole: Path, tmp_path: Path, error: str
) -> None:
    points = trainer_pool.points(tmp_path / "listed")
    for place in some(points, count(3, 25), seed=ERRORS[error]):
        path, where = tmp_path / f"refused-{place}", points[place - 1]
        fault = {"trace": "", "kind": "errno", "errno": ERRORS[error], "at": place}
        ended = trainer_pool.train(path, fault=fault)
        assert_refused(ended, where)
        if ended.events:
            assert_kept(path, ended.events)
            assert_readable(path)
        if run_status(path) is not Status.FINISHED:
            resumed = trainer_pool.train(path)
            assert resumed.code == 0, f"after {where}: {resumed.stderr}"
        assert_same_end(path, whole)


def test_a_read_only_disk_is_reported_and_the_run_resumes_once_it_is_writable(
    small_disk: TrainerPool, whole: Path
) -> None:
    points = small_disk.points("/mnt/listed")
    saved = next(at for at, point in enumerate(points, 1) if point.startswith("after-rename") and MODEL in point)
    killed = small_disk.train("/mnt/a", fault={"trace": "", "kind": "kill", "at": saved})
    path = small_disk.disk / "a"
    assert killed.code < 0
    before = {name: (path / name).read_bytes() for name in (MODEL, STATE)}
    remount(small_disk, "ro")
    refused = small_disk.train("/mnt/a")
    assert refused.code == 1
    assert refused.stderr.startswith("minidiff: cannot write /mnt/a")
    assert "Read-only file system" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert summarize(path).status is Status.INTERRUPTED
    assert before == {name: (path / name).read_bytes() for name in (MODEL, STATE)}
    remount(small_disk, "rw")
    assert small_disk.train("/mnt/a").code == 0
    assert_same_end(path, whole)


@pytest.mark.parametrize("name", [STATE, MODEL, f".{STATE}.tmp", f".{MODEL}.tmp"])
def test_a_folder_in_place_of_a_checkpoint_is_reported_and_the_run_resumes_once_it_is_removed(
    trainer_pool: TrainerPool, whole: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "a"
    path.mkdir()
    points = trainer_pool.points(tmp_path / "listed")
    first = next(at for at, point in enumerate(points, 1) if point.startswith("after-rename") and MODEL in point)
    path.rmdir()
    killed = trainer_pool.train(path, fault={"trace": "", "kind": "kill", "at": first})
    assert killed.code == -9
    kept = (path / name).rename(tmp_path / "kept") if (path / name).exists() else None
    (path / name).mkdir()
    refused = trainer_pool.train(path)
    assert refused.code == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "is a directory" in refused.stderr.lower()
    assert "free space" not in refused.stderr
    if name != STATE:
        assert f"move {path / name} away, then resume" in refused.stderr
    (path / name).rmdir()
    if kept is not None:
        kept.rename(path / name)
    assert trainer_pool.train(path).code == 0
    assert_same_end(path, whole)


def remount(trainer_pool: TrainerPool, how: str) -> None:
    """Remount the small disk in its namespace."""
    pid = trainer_pool.disk.parts[2]
    options = ["--preserve-credentials"] if os.getuid() else []
    subprocess.run(
        ["nsenter", "-t", pid, "-U", "-m", *options, "mount", "-o", f"remount,{how}", "/mnt"],
        check=True,
        capture_output=True,
    )
