"""Which steps of a run have a snapshot, which are kept, and what is known about them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from core.errors import CheckpointError
from core.runs.directory import CONFIG, SNAPSHOTS, builtin_directories
from core.runs.events import Epoch, Evaluated, Progress
from core.runs.history import RunHistory
from core.runs.snapshots import (
    DEFAULT_BYTES,
    DEFAULT_COUNT,
    LoggedValues,
    file_name,
    find_snapshot,
    kept_steps,
    list_snapshots,
    logged_values,
    missing_snapshots,
    planned_steps,
    remove_snapshots,
    snapshot_steps,
    snapshots_bytes,
)


@pytest.mark.parametrize("total", [1, 2, 3, 39, 40, 41, 100, 4_690, 1_000_000])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 40, 1_000])
def test_there_are_as_many_snapshots_as_asked_for_or_one_for_each_step(total: int, count: int) -> None:
    steps = snapshot_steps(total, count)
    assert len(steps) == min(count, total + 1)
    assert steps == sorted(set(steps))
    assert steps[-1:] == [total][:count]  # the last is that of the finished run
    assert count < 2 or steps[0] == 0


def test_snapshots_are_evenly_spaced_in_the_logarithm_of_the_step() -> None:
    steps = snapshot_steps(4_690, 40)
    assert steps[:5] == [0, 1, 2, 3, 4]
    ratios = [after / before for before, after in itertools.pairwise(steps) if before > 20]
    assert len(ratios) > 25
    assert max(ratios) / min(ratios) < 1.06  # but for rounding
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert gaps == sorted(gaps)


def test_the_default_number_is_limited_by_their_size_and_a_chosen_one_is_not() -> None:
    assert len(planned_steps(None, 4_690, 2_000_000)) == DEFAULT_COUNT
    large = DEFAULT_BYTES // 10
    assert len(planned_steps(None, 4_690, large)) == 10
    assert planned_steps(None, 4_690, DEFAULT_BYTES) == []
    assert len(planned_steps(20, 4_690, large)) == 20
    assert planned_steps(0, 4_690, 1) == []


def test_training_further_any_number_of_times_keeps_the_number_and_the_spacing() -> None:
    count, kept, step = 12, [0], 0
    for total in (100, 150, 151, 600, 5_000, 5_001, 40_000):
        planned = snapshot_steps(total, count)
        kept = sorted(kept_steps(kept, planned, step) | {later for later in planned if later > step})
        step = total
        assert len(kept) <= count
        assert kept[0] == 0
        assert kept[-1] == total
    logs = [math.log1p(later) for later in kept]
    gaps = [after - before for before, after in itertools.pairwise(logs)]
    assert max(gaps) < 3 * logs[-1] / (count - 1)


def test_resuming_the_same_plan_keeps_what_is_there_but_for_steps_that_were_not_saved() -> None:
    planned = snapshot_steps(1_000, 20)
    written = [step for step in planned if step <= 500]
    assert kept_steps(written, planned, 500) == set(written)
    saved = written[-2]
    assert kept_steps(written, planned, saved) == set(written[:-1])
    assert kept_steps([], planned, 500) == set()
    assert kept_steps([900], planned, 500) == set()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with three snapshots and files of other kinds."""
    folder = tmp_path / "a" / SNAPSHOTS
    folder.mkdir(parents=True)
    for name in ("000000", "000012", "1000000"):
        (folder / f"{name}.safetensors").write_bytes(b"12345")
    for other in ("notes.txt", "12.safetensors", ".000007.safetensors.tmp"):
        (folder / other).write_bytes(b"1")
    (folder / "000013.safetensors").mkdir()
    (folder / "000014.safetensors").symlink_to(folder / "000012.safetensors")
    return tmp_path / "a"


def test_snapshots_are_listed_by_step_and_other_files_are_not(run: Path) -> None:
    snapshots = list_snapshots(run)
    assert [snapshot.step for snapshot in snapshots] == [0, 12, 1_000_000]
    assert [snapshot.path.name for snapshot in snapshots] == [file_name(step) for step in (0, 12, 1_000_000)]
    assert snapshots_bytes(run) == 15
    assert list_snapshots(run.parent) == []
    (run.parent / SNAPSHOTS).write_text("a file")
    assert list_snapshots(run.parent) == []


def test_removing_snapshots_leaves_other_files(run: Path) -> None:
    remove_snapshots(run, {12})
    left = {path.name for path in (run / SNAPSHOTS).iterdir()}
    assert left == {"000012.safetensors", "notes.txt", "12.safetensors", "000013.safetensors"}
    remove_snapshots(run.parent, ())  # without a folder of snapshots


def test_a_missing_snapshot_is_an_error_that_names_the_nearest_ones(run: Path) -> None:
    assert find_snapshot(run, 12).path == run / SNAPSHOTS / "000012.safetensors"
    with pytest.raises(CheckpointError, match="a has no snapshot of step 13; there are those of steps 0, 12, 1000000"):
        find_snapshot(run, 13)
    with pytest.raises(CheckpointError, match="has no snapshots"):
        find_snapshot(run.parent, 13)


def test_the_reason_for_missing_snapshots_is_that_of_the_run(tmp_path: Path) -> None:
    assert "it is a built-in model" in str(missing_snapshots(builtin_directories()["default-mnist"]))
    assert "network is too large" in str(missing_snapshots(tmp_path))
    (tmp_path / CONFIG).write_text("snapshots = 0\n")
    assert "trained with --snapshots 0;" in str(missing_snapshots(tmp_path))


def test_the_log_says_which_losses_belong_to_a_step() -> None:
    history = RunHistory()
    for step, loss in ((4, 0.5), (8, math.nan), (12, 0.25)):
        rates = {"images_per_second": 1.0, "learning_rate": 0.1, "memory": None}
        history.add(Progress(step=step, epoch=1, loss=loss, loss_min=loss, loss_max=loss, **rates))  # type: ignore[arg-type]
    for epoch, step, loss in ((1, 6, 0.4), (2, 12, 0.2)):
        history.add(Epoch(epoch=epoch, step=step, loss=1.0, validation_loss=loss, seconds=1.0))
    history.add(Evaluated(epoch=1, step=6, n=9, frechet=7.5, agreement=1.0, seconds=1.0))
    assert logged_values(history, 0) == LoggedValues()
    assert logged_values(history, 3) == LoggedValues(0.5)
    assert logged_values(history, 6) == LoggedValues(0.25, 0.4, 6, 7.5)
    assert logged_values(history, 12) == LoggedValues(0.25, 0.2, 12, 7.5)
    assert logged_values(history, 13) == LoggedValues(None, 0.2, 12, 7.5)
    assert logged_values(history, 6).text == "training loss 0.25000, validation loss 0.40000, distance 7.5"
