"""Event logs that are truncated, damaged or of a newer version: reading, status, plots and resume still work."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from counts import FULL, count
from trainer_pool import TrainerPool, assert_same_end, losses, tensors

from core.export.images import write_csv
from core.runs.directory import CONTROL, EVENTS, LOCK
from core.runs.events import to_line
from core.runs.history import LogTail, RunHistory, ThinnedSeries
from core.runs.status import Status, list_runs, run_status, summarize

GARBAGE: dict[str, bytes] = {
    "binary": bytes(range(256)).replace(b"\n", b"") + b"\n",
    "half of UTF-8": '{"event":"warning","message":"grün'.encode()[:-2] + b"\n",
    "zeros": b"\0" * 4096,
    "a huge line": b'{"event":"warning","message":"' + b"x" * 3_000_000 + b'"}\n',
    "a huge line of nothing": b"x" * 3_000_000 + b"\n",
    "JSON of another shape": b'[]\n5\nnull\n"event"\n{}\n{"event":[]}\n{"event":"progress","step":"many"}\n',
    "carriage returns": b"\r\r\n\r\n",
}
NEWER = (
    '{"event":"teleported","time":1.0,"where":"Mars"}\n'
    '{"event":"warning","time":1.0,"message":"hello","colour":"red","deep":{"a":[1]}}\n'
    '{"event":"checkpoint","time":1.0,"step":1,"shards":4}\n'
)


@pytest.fixture(scope="module")
def interrupted(trainer_pool: TrainerPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose trainer was killed halfway."""
    path = tmp_path_factory.mktemp("interrupted") / "a"
    points = trainer_pool.points(path.with_name("listed"))
    killed = trainer_pool.train(path, fault={"trace": "", "kind": "kill", "at": len(points) // 2})
    assert killed.code == -9
    return path


def assert_resumes(trainer_pool: TrainerPool, path: Path, whole: Path, *, full_log: bool = True) -> None:
    """The log can be read, and the run resumes to the same weights."""
    events, _ = LogTail(path / EVENTS).read()
    history = RunHistory()
    history.extend(events)
    assert history.seconds_left is None or history.seconds_left >= 0
    ThinnedSeries(8).of(history.progress)
    write_csv(path.with_suffix(".csv"), history)
    assert summarize(path).name == path.name
    assert path.name in [run.name for run in list_runs(path.parent)]
    resumed = trainer_pool.train(path)
    assert resumed.code == 0, resumed.stderr
    assert run_status(path) is Status.FINISHED
    if full_log:
        assert_same_end(path, whole)
    else:
        actual, expected = tensors(path), tensors(whole)
        assert all(bool((actual[name] == expected[name]).all()) for name in expected)
        assert losses(path)[0][-1] == losses(whole)[0][-1]


def test_a_log_truncated_at_any_byte_is_read_and_its_run_resumes(
    trainer_pool: TrainerPool, interrupted: Path, whole: Path, tmp_path: Path
) -> None:
    generator = random.Random(5)
    content = (interrupted / EVENTS).read_bytes()
    for number in range(count(4, 50)):
        path = tmp_path / f"cut-{number}"
        shutil.copytree(interrupted, path)
        cut = generator.randrange(len(content))
        (path / EVENTS).write_bytes(content[:cut])
        assert_resumes(trainer_pool, path, whole, full_log=False)  # only the truncated part is lost


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("place", ["first", "amid", "last"] if FULL else ["amid"])
def test_garbage_in_a_log_is_skipped(
    trainer_pool: TrainerPool, interrupted: Path, whole: Path, tmp_path: Path, kind: str, place: str
) -> None:
    shutil.copytree(interrupted, tmp_path / "a")
    lines = (interrupted / EVENTS).read_bytes().splitlines(keepends=True)
    at = {"first": 0, "amid": len(lines) // 2, "last": len(lines)}[place]
    (tmp_path / "a" / EVENTS).write_bytes(b"".join([*lines[:at], GARBAGE[kind], *lines[at:]]))
    swallows = not GARBAGE[kind].endswith(b"\n") and place != "last"  # the line it is joined to
    assert_resumes(trainer_pool, tmp_path / "a", whole, full_log=not swallows)


def test_unknown_events_and_fields_of_a_newer_version_are_skipped(
    trainer_pool: TrainerPool, interrupted: Path, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(interrupted, tmp_path / "a")
    log = tmp_path / "a" / EVENTS
    newer = []
    for line in log.read_text().splitlines():
        record = {**json.loads(line), "of_tomorrow": [1, {"a": None}]}
        newer.append(json.dumps(record) + "\n" + NEWER)
    before = [event for event in LogTail(log).read()[0] if event.kind != "checkpoint"]
    log.write_text("".join(newer))
    after = LogTail(log).read()[0]
    assert [event for event in after if event.kind not in ("checkpoint", "warning")] == before
    assert {event.kind for event in after} >= {"warning"}
    assert_resumes(trainer_pool, tmp_path / "a", whole)


def test_a_run_with_a_missing_or_empty_log_resumes(
    trainer_pool: TrainerPool, interrupted: Path, whole: Path, tmp_path: Path
) -> None:
    changes: dict[str, Callable[[Path], object]] = {
        "gone": Path.unlink,
        "empty": lambda log: log.write_bytes(b""),
        "newline": lambda log: log.write_bytes(b"\n"),
    }
    for name, change in changes.items():
        shutil.copytree(interrupted, tmp_path / name)
        change(tmp_path / name / EVENTS)
        assert_resumes(trainer_pool, tmp_path / name, whole, full_log=False)


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_in_requests_and_lock_is_ignored(
    trainer_pool: TrainerPool, interrupted: Path, whole: Path, tmp_path: Path, kind: str
) -> None:
    shutil.copytree(interrupted, tmp_path / "a")
    for name in (CONTROL, LOCK):
        (tmp_path / "a" / name).write_bytes(GARBAGE[kind])
    assert run_status(tmp_path / "a") is Status.INTERRUPTED
    assert_resumes(trainer_pool, tmp_path / "a", whole)


@pytest.mark.parametrize("holder", [{"host": 5}, {"log": "many"}, {"pid": None}, {"started": []}, {"host": None}])
def test_a_lock_with_odd_values_does_not_block_a_run(
    trainer_pool: TrainerPool, interrupted: Path, whole: Path, tmp_path: Path, holder: dict[str, object]
) -> None:
    from core.runs.events import Finished

    shutil.copytree(interrupted, tmp_path / "a")
    (tmp_path / "a" / LOCK).write_text(json.dumps(holder))
    assert run_status(tmp_path / "a") is Status.INTERRUPTED
    assert_resumes(trainer_pool, tmp_path / "a", whole)
    with open(tmp_path / "a" / EVENTS, "a") as log:
        log.write(to_line(Finished(step=6, seconds=1.0)))
    assert run_status(tmp_path / "a") is Status.FINISHED
