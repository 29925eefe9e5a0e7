"""Run directories that are moved or copied, also during training, and file systems without locks."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
from counts import count
from trainer_pool import QUICK, Job, TrainerPool, assert_kept, assert_same_end, log_of, tensors

from core.runs.events import Failed
from core.runs.status import Status, run_status

LONGER = {**QUICK, "epochs": 8}
PATIENCE = 60.0


@pytest.fixture(scope="module")
def longer(trainer_pool: TrainerPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of `LONGER`."""
    path = tmp_path_factory.mktemp("longer") / "longer"
    assert trainer_pool.train(path, LONGER).code == 0
    return path


def until_seen(job: Job, kind: str, number: int = 1) -> None:
    """Wait until a trainer has yielded `count` events of `kind`."""
    deadline = time.monotonic() + PATIENCE
    while not job.files[1].exists() or job.files[1].read_text().count(f'"event":"{kind}"') < number:
        assert time.monotonic() < deadline, f"waited in vain for {kind}"
        time.sleep(0.002)


def test_moving_a_run_fails_its_trainer_with_an_error_and_the_run_resumes_at_its_new_path(
    trainer_pool: TrainerPool, longer: Path, tmp_path: Path
) -> None:
    for number in range(1, count(2, 10) + 1):
        old, new = tmp_path / f"old-{number}", tmp_path / f"new-{number}"
        job = trainer_pool.start(old, LONGER)
        until_seen(job, "checkpoint", number)
        old.rename(new)
        ended = trainer_pool.wait(job)
        assert ended.code == 1
        assert ended.stderr.startswith(f"minidiff: cannot write a checkpoint to {old}: No such file or directory")
        assert "restore the folder" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert_kept(new, ended.events)
        last = log_of(new)[-1]
        assert isinstance(last, Failed)
        assert run_status(new) is Status.FAILED
        assert trainer_pool.train(new).code == 0
        assert_same_end(new, longer)


def interrupted(trainer_pool: TrainerPool, path: Path) -> None:
    """A run whose trainer was killed during training."""
    job = trainer_pool.start(path, LONGER)
    until_seen(job, "checkpoint", 5)
    os.kill(job.pid, 9)
    assert trainer_pool.wait(job).code == -9


def test_a_run_moved_between_two_trainers_resumes(trainer_pool: TrainerPool, longer: Path, tmp_path: Path) -> None:
    interrupted(trainer_pool, tmp_path / "here")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "here", tmp_path / "elsewhere" / "there")
    assert trainer_pool.train(tmp_path / "elsewhere" / "there").code == 0
    assert_same_end(tmp_path / "elsewhere" / "there", longer)


def test_a_copied_run_and_its_original_resume_independently(
    trainer_pool: TrainerPool, longer: Path, tmp_path: Path
) -> None:
    interrupted(trainer_pool, tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    assert run_status(tmp_path / "copy") is Status.INTERRUPTED
    jobs = [trainer_pool.start(tmp_path / name) for name in ("copy", "original")]
    assert [trainer_pool.wait(job).code for job in jobs] == [0, 0]
    for name in ("copy", "original"):
        assert_same_end(tmp_path / name, longer)


def test_a_copy_taken_while_a_trainer_writes_can_be_resumed(
    trainer_pool: TrainerPool, longer: Path, tmp_path: Path
) -> None:
    for number in range(1, count(1, 10) + 1):
        original, copy = tmp_path / f"original-{number}", tmp_path / f"copy-{number}"
        job = trainer_pool.start(original, LONGER)
        until_seen(job, "checkpoint", number)
        file_missing = False
        try:
            shutil.copytree(original, copy)
        except shutil.Error:
            file_missing = True  # a temporary file was renamed during the copy; everything else was copied
        assert run_status(copy) in (Status.INTERRUPTED, Status.FINISHED), file_missing
        if run_status(copy) is not Status.FINISHED:
            assert trainer_pool.train(copy).code == 0
        assert trainer_pool.wait(job).code == 0
        assert_same_end(original, longer)
        actual, expected = tensors(copy), tensors(longer)
        assert all(bool((actual[name] == expected[name]).all()) for name in expected)


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks_is_a_one_line_error(
    trainer_pool: TrainerPool, whole: Path, tmp_path: Path, error: int
) -> None:
    path = tmp_path / "a"
    fault = {"trace": "", "kind": "errno", "errno": error, "only": "lock", "at": 1}
    refused = trainer_pool.train(path, fault=fault)
    assert refused.code == 1
    assert refused.stderr.startswith(f"minidiff: cannot lock {path / 'lock'}: {os.strerror(error)}; ")
    assert "choose a --root on another disk" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not refused.events
    assert trainer_pool.train(path).code == 0
    assert_same_end(path, whole)
