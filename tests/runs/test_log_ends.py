"""Reading only the start and end of a log gives the same as reading all of it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from core.runs.events import (
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
    to_line,
)
from core.runs.history import RunHistory
from core.runs.log_ends import HEAD_BYTES, TAIL_BYTES, read_log_ends

STEPS = 20  # steps per epoch
STARTED = Started(name="a", device="cpu", threads=1, parameters=10, epochs=500, time=1.0)
DATA = DatasetLoaded(name="mnist", source="disk", train=9, test=9, sha256="0" * 64, steps_per_epoch=STEPS, time=2.0)


def window(step: int) -> Progress:
    return Progress(
        step=step, epoch=(step - 1) // STEPS + 1, loss=1 / step, loss_min=0.1, loss_max=1.0, images_per_second=9.0,
        learning_rate=0.1, memory=None, time=100.0 + step,
    )  # fmt: skip


def training(rng: random.Random, steps: int) -> list[Event]:
    """The log of a run that was paused, stopped and resumed several times."""
    events: list[Event] = [STARTED, DATA]
    step = checkpoint = 0
    for _ in range(steps):
        step += 1
        at = 100.0 + len(events)
        events.append(window(step))
        if step % STEPS == 0:
            epoch = step // STEPS
            events.append(Epoch(epoch=epoch, step=step, loss=0.5, validation_loss=0.4, seconds=1.0, time=at))
            events.append(Preview(epoch=epoch, step=step, count=1, height=8, width=8, images=bytes(64), time=at))
            events.append(Checkpoint(step=step, time=at))
            checkpoint = step
        if rng.random() < 0.01:
            events += [Paused(step=step, time=at), Continued(step=step, time=at)]
        if rng.random() < 0.01:
            if rng.random() < 0.5:
                events.append(Stopped(step=step, reason="on request", time=at))
            step = checkpoint
            again = Resumed(name="a", device="cpu", threads=1, parameters=10, epochs=500, step=step, time=at)
            events += [again, DATA]
    ends: tuple[list[Event], ...] = (
        [], [Paused(step=step)], [Finished(step=step, seconds=1.0)], [Failed(step=step, message="no")],
    )  # fmt: skip
    return events + rng.choice(ends)


@pytest.mark.parametrize("steps", [1, 15, 60, 700, 2_000])
def test_reading_the_ends_of_a_log_matches_reading_all_of_it(tmp_path: Path, steps: int) -> None:
    log = tmp_path / "events.jsonl"
    for seed in range(20):
        log.write_text("".join(map(to_line, training(random.Random(seed), steps))))
        assert (log.stat().st_size > HEAD_BYTES + TAIL_BYTES) == (steps > 500), "long logs are tested, and short ones"
        ends, whole = read_log_ends(log), RunHistory.of(log)
        assert ends.length == log.stat().st_size
        assert (ends.last, ends.lifecycle, ends.started, ends.dataset) == (
            whole.last, whole.lifecycle, whole.started, whole.dataset,
        ), seed  # fmt: skip
        assert (ends.window, ends.step) == (whole.progress[-1] if whole.progress else None, whole.step), seed
        assert ends.epoch == (whole.epochs[-1] if whole.epochs else None), seed


def test_the_dataset_is_found_after_a_long_download(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    downloads = [Download(name="mnist", file="train-images", received=n, total=60, time=2.0) for n in range(60)]
    head = "".join(map(to_line, [STARTED, *downloads]))
    assert len(head) > HEAD_BYTES
    windows = [to_line(window(step)) for step in range(1, 1_000)]
    log.write_text("".join([head, to_line(DATA), *windows]))
    assert read_log_ends(log).dataset == DATA


def test_a_missing_log_is_not_a_problem_but_a_link_in_its_place_is(tmp_path: Path) -> None:
    assert read_log_ends(tmp_path / "events.jsonl").problem is None
    (tmp_path / "other").write_text(to_line(STARTED))
    os.symlink(tmp_path / "other", tmp_path / "events.jsonl")
    ends = read_log_ends(tmp_path / "events.jsonl")
    assert (ends.problem, ends.last) == ("events.jsonl: it is a symbolic link", None)
