"""Run history: steps discarded by resuming, partial lines, and restarted logs."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from core.runs.events import (
    LINE_BYTES,
    Checkpoint,
    Continued,
    DatasetLoaded,
    Download,
    Epoch,
    Event,
    Failed,
    Finished,
    Paused,
    Preview,
    Progress,
    Resumed,
    Started,
    Stopped,
    Warned,
    to_line,
)
from core.runs.history import LogTail, RunHistory, in_words

START = {"name": "a", "device": "cpu", "threads": 1, "parameters": 10, "epochs": 4}
DATA = DatasetLoaded(name="glyphs", source="memory", train=64, test=64, sha256="0", steps_per_epoch=10)


def progress(step: int, **changes: Any) -> Progress:
    values = {"epoch": 1, "loss": 0.1, "loss_min": 0.1, "loss_max": 0.1, "images_per_second": 1.0}
    return Progress(**{**values, "step": step, "learning_rate": 1e-3, "memory": None, **changes})


def epoch(number: int) -> Epoch:
    return Epoch(epoch=number, step=number * 10, loss=0.1, validation_loss=0.1, seconds=1.0)


def preview(number: int) -> Preview:
    return Preview(epoch=number, step=number * 10, count=1, height=1, width=1, images=b"\0")


def history(*events: Event) -> RunHistory:
    made = RunHistory()
    made.extend(events)
    return made


def test_resumed_drops_later_steps() -> None:
    made = history(
        Started(**START), DATA, progress(5), progress(10), preview(1), epoch(1), progress(15), progress(20), preview(2),
        epoch(2), Resumed(step=10, **START), progress(14),
    )  # fmt: skip
    assert [event.step for event in made.progress] == [5, 10, 14]
    assert [event.epoch for event in made.epochs] == [1]
    assert [event.epoch for event in made.previews] == [1]
    assert made.step == 14


def test_a_run_restarted_from_the_beginning_drops_everything() -> None:
    made = history(Started(**START), DATA, progress(5), epoch(1), Started(**START), progress(2))
    assert [event.step for event in made.progress] == [2]
    assert made.epochs == []
    assert made.step == 2


def test_a_repeated_epoch_counts_once() -> None:
    made = history(Started(**START), epoch(1), preview(1), epoch(1), preview(1))
    assert len(made.epochs) == len(made.previews) == 1


def test_the_step_is_known_right_after_resuming_and_after_the_end() -> None:
    assert history(Started(**START)).step == 0
    assert history(Resumed(step=30, **START)).step == 30
    assert history(Started(**START), Stopped(step=7, reason="on request")).step == 7
    assert history(Started(**START), Finished(step=40, seconds=1.0)).step == 40


def test_total_steps_are_unknown_until_the_data_is_loaded() -> None:
    assert history(Started(**START)).total_steps is None
    assert history(Started(**START), DATA).total_steps == 40


def test_time_left_follows_the_throughput_of_the_last_windows() -> None:
    made = history(Started(**START), DATA, progress(10, time=100.0), progress(20, time=105.0))
    assert made.seconds_left == pytest.approx(10.0)
    assert history(Started(**START), DATA, progress(10)).seconds_left is None


def test_a_download_ends_once_the_data_is_loaded() -> None:
    fetching = Download(name="mnist", file="x.gz", received=1, total=None)
    assert history(fetching).download == fetching
    assert history(fetching, DATA).download is None


def test_the_last_lifecycle_event_counts() -> None:
    failed = Failed(step=3, message="no")
    assert history(Started(**START), failed, Checkpoint(step=3)).lifecycle == failed


def test_every_event_has_a_description() -> None:
    for event in (Started(**START), DATA, progress(1), epoch(1), preview(1), Checkpoint(step=1), Warned(message="hm")):
        assert in_words(event)
        assert len(in_words(event).splitlines()) == 1


def write(path: Path, *events: Event, mode: str = "a") -> None:
    with open(path, mode, encoding="utf-8") as log:
        log.writelines(map(to_line, events))


def test_a_tail_gives_each_event_once(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "log")
    assert tail.read() == ([], False)
    write(tmp_path / "log", Checkpoint(step=1, time=1.0))
    assert tail.read() == ([Checkpoint(step=1, time=1.0)], False)
    assert tail.read() == ([], False)
    write(tmp_path / "log", Checkpoint(step=2, time=1.0))
    assert tail.read() == ([Checkpoint(step=2, time=1.0)], False)


def test_an_incomplete_line_is_not_read_yet(tmp_path: Path) -> None:
    line = to_line(Checkpoint(step=1, time=1.0))
    tail = LogTail(tmp_path / "log")
    for end in range(1, len(line)):
        (tmp_path / "log").write_text(line[:end])
        assert tail.read()[0] == []
    (tmp_path / "log").write_text(line)
    assert tail.read()[0] == [Checkpoint(step=1, time=1.0)]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    write(tmp_path / "log", Checkpoint(step=1, time=1.0))
    with open(tmp_path / "log", "ab") as log:
        log.write(b'{"event":"checkpoi\n\xff\xfe\x00\n\n\r\n')
    write(tmp_path / "log", Checkpoint(step=2, time=1.0))
    assert [event.step for event in LogTail(tmp_path / "log").read()[0]] == [1, 2]  # type: ignore[attr-defined]


def test_a_too_long_line_is_skipped_without_buffering_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, Checkpoint(step=1, time=1.0))
    with open(path, "ab") as log:
        log.seek(40 * 2**20, os.SEEK_END)  # a sparse line of zeros
        log.write(b"\n")
    write(path, Checkpoint(step=2, time=1.0))
    tail = LogTail(path)
    tracemalloc.start()
    try:
        assert [event.step for event in tail.read()[0]] == [1, 2]  # type: ignore[attr-defined]
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()
    assert tail.read() == ([], False)


def test_the_end_of_a_too_long_line_is_never_an_event(tmp_path: Path) -> None:
    path, tail = tmp_path / "log", LogTail(tmp_path / "log")
    write(path, Checkpoint(step=1, time=1.0))
    with open(path, "ab") as log:
        log.write(b"x" * (LINE_BYTES + 1))
    assert [event.step for event in tail.read()[0]] == [1]  # type: ignore[attr-defined]
    write(path, Checkpoint(step=2, time=1.0), Checkpoint(step=3, time=1.0))
    assert [event.step for event in tail.read()[0]] == [3]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_log_that_is_not_a_regular_file_is_refused_without_blocking(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    if kind == "link":
        write(tmp_path / "elsewhere", Checkpoint(step=1, time=1.0))
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    words = {"link": "a symbolic link", "pipe": "not a regular file", "folder": "a directory"}
    with pytest.raises(OSError, match=words[kind]):
        LogTail(path).read()


def test_a_restarted_log_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, Checkpoint(step=1, time=1.0), Checkpoint(step=2, time=1.0))
    tail = LogTail(path)
    tail.read()
    write(path, Checkpoint(step=3, time=1.0), mode="w")
    assert tail.read() == ([Checkpoint(step=3, time=1.0)], True)


def test_a_replaced_log_is_read_from_its_start(tmp_path: Path) -> None:
    """Also if the new file is longer and reuses the inode of the old one."""
    path = tmp_path / "log"
    write(path, Checkpoint(step=1, time=1.0))
    tail = LogTail(path)
    tail.read()
    path.unlink()
    assert tail.read() == ([], False)
    write(path, *(Checkpoint(step=step, time=1.0) for step in (7, 8, 9)))
    events, restarted = tail.read()
    assert restarted
    assert [event.step for event in events] == [7, 8, 9]  # type: ignore[attr-defined]


def test_a_finished_run_has_a_complete_history(finished_run: Path) -> None:
    made = RunHistory.of(finished_run / "events.jsonl")
    assert isinstance(made.lifecycle, Finished)
    assert (made.step, made.total_steps) == (4, 4)
    assert [event.epoch for event in made.epochs] == [event.epoch for event in made.previews] == [1, 2]


def test_time_left_follows_the_throughput_since_training_continued() -> None:
    """Ten steps per second before and after a pause of an hour: 80 steps take 8 s regardless of the pause."""
    history = RunHistory()
    history.extend(
        [
            Started(name="a", device="cpu", threads=1, parameters=1, epochs=1, time=0.0),
            DatasetLoaded(name="glyphs", source="", train=1, test=1, sha256="", steps_per_epoch=100, time=0.0),
            *(progress(step, time=step / 10) for step in (1, 5, 10)),
            Paused(step=10, time=1.0),
            Continued(step=10, time=3600.0),
            *(progress(step, time=3600 + (step - 10) / 10) for step in (11, 15, 20)),
        ]
    )
    assert history.seconds_left == pytest.approx(8.0)
