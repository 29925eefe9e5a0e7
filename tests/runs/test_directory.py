"""Run directories: status, requests, listing and deletion."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core import TrainConfig
from core.errors import MinidiffError, RunError
from core.runs import directory, locks, log_ends
from core.runs.directory import find_run
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
    Progress,
    Resumed,
    Started,
    Stopped,
    to_line,
)
from core.runs.launcher import launch
from core.runs.requests import CONTROL_BYTES, RequestName, request
from core.runs.status import Status, is_locked, list_runs, lock_holder, run_status, summarize
from core.runs.store import create_run, delete_run, free_name
from core.runs.writer import RESERVE_BYTES, RunWriter
from core.training.api import resume, train

Maker = Callable[..., TrainConfig]
STARTED = Started(name="a", device="cpu", threads=1, parameters=10, epochs=2)


def resumed(step: int) -> Resumed:
    return Resumed(name="a", device="cpu", threads=1, parameters=10, epochs=2, step=step)


def progress(step: int) -> Progress:
    return Progress(
        step=step, epoch=1, loss=0.5, loss_min=0.4, loss_max=0.6, images_per_second=9.0, learning_rate=0.1, memory=None
    )


@pytest.fixture
def run(tmp_path: Path, tiny: Maker) -> Path:
    """A created run with only its config, an hour old so that it is not starting."""
    path = create_run(tiny(root=tmp_path, name="a"))
    age(path)
    return path


def age(path: Path) -> None:
    os.utime(path / directory.CONFIG, (time.time() - 3600,) * 2)


def log(path: Path, *events: Event) -> None:
    with open(path / directory.EVENTS, "a") as file:
        file.writelines(map(to_line, events))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with open(path / directory.LOCK, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@pytest.mark.parametrize(
    ("events", "free", "held"),
    [
        ([], Status.INTERRUPTED, Status.STARTING),
        ([STARTED], Status.INTERRUPTED, Status.RUNNING),
        ([STARTED, Checkpoint(step=2)], Status.INTERRUPTED, Status.RUNNING),
        ([STARTED, Paused(step=2)], Status.INTERRUPTED, Status.PAUSED),
        ([STARTED, Paused(step=2), Continued(step=2)], Status.INTERRUPTED, Status.RUNNING),
        ([STARTED, Stopped(step=2, reason="on request")], Status.STOPPED, Status.STARTING),
        ([STARTED, Stopped(step=2, reason="on request"), resumed(2)], Status.INTERRUPTED, Status.RUNNING),
        ([STARTED, Failed(step=2, message="no")], Status.FAILED, Status.STARTING),
        ([STARTED, Finished(step=2, seconds=1.0)], Status.FINISHED, Status.STARTING),
    ],
)
def test_status_follows_the_lock_and_the_last_lifecycle_event(
    run: Path, events: list[Event], free: Status, held: Status
) -> None:
    log(run, *events)
    assert run_status(run) == free
    with locked(run):
        assert run_status(run) == held
        assert summarize(run).status == held
    assert run_status(run) == free


def test_a_new_run_is_starting_for_a_minute(run: Path) -> None:
    os.utime(run / directory.CONFIG)
    assert run_status(run) == Status.STARTING
    age(run)
    assert run_status(run) == Status.INTERRUPTED


def test_a_run_locked_on_another_host_is_elsewhere_until_it_ends(run: Path) -> None:
    (run / directory.LOCK).write_text(json.dumps({"host": "faraway", "pid": 1}))
    log(run, STARTED)
    assert run_status(run) == Status.ELSEWHERE
    assert summarize(run).host == "faraway"
    log(run, Finished(step=4, seconds=1.0))
    assert run_status(run) == Status.FINISHED


def test_the_other_host_is_found_in_a_log_of_any_length(run: Path) -> None:
    (run / directory.LOCK).write_text(json.dumps({"host": "faraway", "pid": 1}))
    log(run, STARTED, *map(progress, range(1, 2000)))
    assert (run / directory.EVENTS).stat().st_size > 2 * log_ends.TAIL_BYTES
    assert run_status(run) == Status.ELSEWHERE
    with pytest.raises(RunError, match="stop it first"):
        delete_run(run)


def test_a_long_run_that_continued_after_an_early_pause_is_running(run: Path) -> None:
    log(run, STARTED, Paused(step=0), Continued(step=0), *map(progress, range(1, 2000)))
    with locked(run):
        assert run_status(run) == Status.RUNNING
    log(run, Paused(step=1999))
    with locked(run):
        assert run_status(run) == Status.PAUSED


def test_a_run_of_another_host_needs_force(run: Path) -> None:
    log(run, STARTED)
    (run / directory.LOCK).write_text(json.dumps({"host": "faraway", "pid": 1}))
    with pytest.raises(RunError, match=r"faraway.*--force"), RunWriter(run):
        pass
    with RunWriter(run, force=True):
        assert is_locked(run)
        assert lock_holder(run)["pid"] == os.getpid()
    assert not is_locked(run)


def test_a_second_trainer_is_refused_and_the_first_continues(run: Path) -> None:
    with RunWriter(run) as first:
        first.append(STARTED)
        with pytest.raises(RunError, match=f"being trained by process {os.getpid()}"), RunWriter(run):
            pass
        assert run_status(run) == Status.RUNNING
    assert [event.kind for event in summarize_events(run)] == ["started"]


def summarize_events(path: Path) -> list[Event]:
    from core.runs.history import LogTail

    return LogTail(path / directory.EVENTS).read()[0]


def test_status_probes_do_not_block_each_other_or_the_trainer(run: Path) -> None:
    with open(run / directory.LOCK, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert not is_locked(run)
    with RunWriter(run):
        assert is_locked(run)
        assert is_locked(run)


def test_an_error_in_a_locked_run_is_its_last_event(run: Path) -> None:
    def train() -> None:
        with RunWriter(run) as held:
            held.append(Checkpoint(step=7))
            raise RunError("the disk sang")

    with pytest.raises(RunError, match="the disk sang"):
        train()
    last = summarize_events(run)[-1]
    assert isinstance(last, Failed)
    assert (last.step, last.message) == (7, "the disk sang")
    assert summarize(run).error == "the disk sang"


def test_a_second_ctrl_c_is_not_a_failure(run: Path) -> None:
    def train() -> None:
        with RunWriter(run) as held:
            held.append(STARTED)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert run_status(run) == Status.INTERRUPTED


def test_a_partial_line_left_by_a_killed_trainer_does_not_affect_the_next(run: Path) -> None:
    log(run, STARTED)
    with open(run / directory.EVENTS, "a") as file:
        file.write('{"event":"progr')
    with RunWriter(run) as held:
        held.append(resumed(0))
    assert [event.kind for event in summarize_events(run)] == ["started", "resumed"]


@pytest.fixture
def small_files() -> Iterator[int]:
    """Limits the size of files; yields the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = RESERVE_BYTES + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_lock_is_released_even_if_the_log_cannot_be_written(run: Path, small_files: int) -> None:
    (run / directory.EVENTS).write_bytes(b"\n" * small_files)
    with pytest.raises(RunError, match=r"cannot write .*events\.jsonl: File too large"), RunWriter(run) as held:
        held.append(STARTED)
    assert not is_locked(run)
    assert not (run / directory.RESERVE).exists()


def requests_of(held: RunWriter) -> list[str]:
    return list(iter(held.requests.next_request, None))


def test_requests_older_than_the_lock_are_ignored(run: Path) -> None:
    log(run, STARTED)
    (run / directory.CONTROL).write_text('{"request": "stop"}\n')
    with RunWriter(run) as held:
        held.append(STARTED)
        assert requests_of(held) == []
        request(run, "pause")
        request(run, "continue")
        with open(run / directory.CONTROL, "a") as control:
            control.write('nonsense\n5\n{"request": "sto')
        assert requests_of(held) == ["pause", "continue"]
        assert requests_of(held) == []


def test_a_request_between_launch_and_start_is_for_that_trainer(run: Path) -> None:
    log(run, STARTED, Stopped(step=1, reason="on request"))
    with locks.claim(run) as lock:
        locks.write_holder(lock, (run / directory.EVENTS).stat().st_size)
        assert run_status(run) == Status.STARTING
        request(run, "stop")
        os.environ[locks.INHERITED] = str(os.dup(lock.fileno()))  # as in the launched process
    try:
        assert run_status(run) == Status.STARTING
        with RunWriter(run) as held:
            assert lock_holder(run)["pid"] == os.getpid()
            assert requests_of(held) == ["stop"]
    finally:
        del os.environ[locks.INHERITED]
    assert not is_locked(run)


def test_a_starting_run_is_not_started_twice(run: Path) -> None:
    with locks.claim(run) as lock:
        locks.write_holder(lock, 0)
        with pytest.raises(RunError, match="just starting"), RunWriter(run):
            pass
        with pytest.raises(RunError, match="just starting"):
            launch(run)


@pytest.mark.parametrize("again", [("stop",), ("checkpoint", "stop"), ("stop", "checkpoint", "pause")])
def test_requests_are_read_after_the_file_was_deleted_or_truncated(run: Path, again: tuple[RequestName, ...]) -> None:
    control = run / directory.CONTROL
    with RunWriter(run) as held:
        held.append(STARTED)
        for change in (control.unlink, lambda: os.truncate(control, 0), lambda: replace(control)):
            request(run, "pause")
            request(run, "continue")
            assert requests_of(held) == ["pause", "continue"]
            change()
            for what in again:
                request(run, what)
            assert requests_of(held) == list(again)


@pytest.mark.parametrize("again", [("pause",), ("pause", "stop")])
def test_requests_in_a_file_rewritten_to_its_old_size_are_read(run: Path, again: tuple[RequestName, ...]) -> None:
    with RunWriter(run) as held:
        held.append(STARTED)
        (run / directory.CONTROL).write_text('{"request": "pause", "time": 1.00}\n')
        assert requests_of(held) == ["pause"]
        lines = [json.dumps({"request": what, "time": 2.25 + number}) for number, what in enumerate(again)]
        (run / directory.CONTROL).write_text("".join(f"{line}\n" for line in lines))
        assert requests_of(held) == list(again)


def replace(file: Path) -> None:
    """Replace a file with a new, empty one, as an editor does."""
    new = file.with_suffix(".new")
    new.touch()
    new.rename(file)


def test_requests_made_before_the_file_was_deleted_are_not_lost(run: Path) -> None:
    with RunWriter(run) as held:
        held.append(STARTED)
        request(run, "checkpoint")
        assert requests_of(held) == ["checkpoint"]
        request(run, "pause")
        (run / directory.CONTROL).unlink()
        request(run, "stop")
        assert requests_of(held) == ["pause", "stop"]


def ask(run: Path, content: str = '{"request": "stop"}\n') -> Path:
    control = run / directory.CONTROL
    control.write_text(content)
    return control


def test_requests_in_a_file_of_another_user_are_not_obeyed(run: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    with RunWriter(run) as held:
        held.append(STARTED)
        os.chown(ask(run), 12345, -1)
        assert requests_of(held) == []
        with pytest.raises(RunError, match=r"control\.jsonl is not owned by the trainer's user.*delete it"):
            request(run, "stop")
        os.chown(run / directory.CONTROL, os.geteuid(), -1)
        assert requests_of(held) == ["stop"]


def test_requests_in_a_world_writable_file_are_not_obeyed(run: Path) -> None:
    with RunWriter(run) as held:
        held.append(STARTED)
        ask(run).chmod(0o666)
        assert requests_of(held) == []
        with pytest.raises(RunError, match="world-writable"):
            request(run, "pause")
        (run / directory.CONTROL).unlink()
        request(run, "pause")
        assert requests_of(held) == ["pause"]


def test_a_request_is_obeyed_under_any_umask(run: Path) -> None:
    before = os.umask(0)
    try:
        with RunWriter(run) as held:
            held.append(STARTED)
            request(run, "pause")
            assert requests_of(held) == ["pause"]
    finally:
        os.umask(before)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_requests_are_read_only_from_a_regular_file(run: Path, kind: str) -> None:
    control = run / directory.CONTROL
    with RunWriter(run) as held:
        held.append(STARTED)
        if kind == "link":
            ask(run).rename(run.parent / "elsewhere")
            control.symlink_to(run.parent / "elsewhere")
        elif kind == "pipe":
            os.mkfifo(control)
        else:
            control.mkdir()
        assert requests_of(held) == []
        with pytest.raises(RunError, match=r"cannot write .*control\.jsonl"):
            request(run, "stop")


def test_a_request_after_an_unterminated_line_is_read(run: Path) -> None:
    with RunWriter(run) as held:
        held.append(STARTED)
        ask(run, "x" * (5 * CONTROL_BYTES) + "\n" + "[" * 60_000 + '\n{"request": "stop"}\n')
        names = [word for _ in range(8) for word in requests_of(held)]
        assert names == ["stop"]


@pytest.mark.parametrize("name", [directory.EVENTS, directory.LOCK])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_trainer_does_not_write_through_links_or_into_pipes(run: Path, name: str, kind: str) -> None:
    target = run.parent / "precious"
    target.write_text("mine")
    (run / name).unlink(missing_ok=True)
    if kind == "link":
        (run / name).symlink_to(target)
    else:
        os.mkfifo(run / name)
    with pytest.raises(RunError, match=rf"cannot write .*{name}: it is"), RunWriter(run):
        pass
    assert target.read_text() == "mine"


@pytest.mark.parametrize("name", [directory.TRAINER_LOG, directory.CONTROL])
def test_other_processes_do_not_write_through_links_in_a_run(run: Path, name: str) -> None:
    target = run.parent / "precious"
    target.write_text("mine")
    (run / name).symlink_to(target)
    log(run, STARTED)
    with pytest.raises(RunError, match="it is a symbolic link"):
        if name == directory.TRAINER_LOG:
            launch(run)
        with locked(run):
            request(run, "stop")
    assert target.read_text() == "mine"


def test_a_run_whose_files_are_pipes_is_listed_without_blocking(run: Path) -> None:
    for name in (directory.EVENTS, directory.LOCK, directory.TRAINER_LOG, directory.MODEL):
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
    summary = summarize(run)
    assert (summary.step, summary.host, summary.sampleable) == (0, None, False)


def test_a_linked_config_is_not_a_run_but_a_link_to_a_run_is(run: Path) -> None:
    (run.parent / "link").symlink_to(run)
    (run.parent / "other").mkdir()
    (run.parent / "other" / directory.CONFIG).symlink_to(run / directory.CONFIG)
    assert [summary.name for summary in list_runs(run.parent)] == ["a", "link"]
    assert find_run("link", run.parent) == run.parent / "link"
    with pytest.raises(RunError, match="no run other"):
        find_run("other", run.parent)


def test_deleting_a_run_keeps_the_targets_of_its_links(run: Path) -> None:
    (run.parent / "precious").mkdir()
    (run.parent / "precious" / "file").write_text("mine")
    (run / "link").symlink_to(run.parent / "precious")
    log(run, STARTED)
    delete_run(run)
    assert (run.parent / "precious" / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "config",
    [
        "epochs = 0x" + "f" * 5000,
        "epochs = true\npreset = [1, 2]\ndataset = 5",
        "epochs = -1",
        "epochs" + ".a" * 3000 + " = 1",
        "x = " + "[" * 4000,
        "#" * 2**20,
    ],
)
def test_a_run_with_an_invalid_config_is_listed_without_its_values(run: Path, config: str) -> None:
    data = DatasetLoaded(name="glyphs", source="memory", train=64, test=64, sha256="0", steps_per_epoch=2**52)
    log(run, STARTED, data)
    (run / directory.CONFIG).write_text(config)
    summary = summarize(run)
    assert (summary.epochs, summary.total_steps, summary.preset, summary.dataset) == (None, None, None, "glyphs")


@pytest.mark.parametrize(
    "lock",
    ['{"host": 5, "started": "x", "pid": true}', "[1]", "5", "[" * 4000, " " * 10_000, '{"started": [1]}', "\0"],
)
def test_an_invalid_lock_is_ignored(run: Path, lock: str) -> None:
    log(run, STARTED, Stopped(step=1, reason="on request"))
    (run / directory.LOCK).write_text(lock)
    assert lock_holder(run) == {}
    with locked(run):
        assert run_status(run) == Status.STARTING


RENAMED = ["my run (copy)", "a[b]", "-x", "x" * 65, "é", "a'b"]  # by hand, or by a file manager


@pytest.mark.parametrize("name", RENAMED)
def test_a_renamed_folder_is_still_a_run(run: Path, name: str) -> None:
    log(run, STARTED, Stopped(step=1, reason="on request"))
    renamed = run.rename(run.parent / name)
    assert [summary.name for summary in list_runs(run.parent)] == [name]
    assert find_run(name, run.parent) == renamed
    with pytest.raises(RunError, match=re.escape(f"`minidiff resume {shlex.quote(name)}` resumes it")):
        request(renamed, "stop")
    fork = create_run(TrainConfig(root=run.parent, name=free_name(run.parent, name)))
    assert fork.parent == run.parent


@pytest.mark.parametrize("name", ["my run (copy)", "-x"])
def test_a_renamed_run_is_resumed_under_its_new_name(finished_run: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copytree(finished_run, tmp_path / name))
    assert launch(path, epochs=3).wait(60) == 0, (path / directory.TRAINER_LOG).read_text()
    assert summarize(path).epoch == 3


@pytest.mark.parametrize("name", ["a\x1b[31m", ".a", "\u202ea", "a\tb"])
def test_a_folder_with_an_unprintable_name_is_skipped(run: Path, name: str) -> None:
    run.rename(run.parent / name)
    assert list_runs(run.parent) == []
    with pytest.raises(RunError, match="existing runs: none yet"):
        find_run("b", run.parent)


def test_text_from_files_is_sanitized_for_the_terminal(run: Path) -> None:
    (run / directory.CONFIG).write_text('preset = "\\u001b]0;x\\u0007"\ndataset = "\\u202e"')
    (run / directory.LOCK).write_text(json.dumps({"host": "far\x1b[2Jaway"}))
    log(run, STARTED)
    summary = summarize(run)
    shown = (summary.preset, summary.dataset, summary.host)
    assert all(text is not None and text.isprintable() for text in shown), shown


@pytest.mark.parametrize("ending", [Stopped(step=1, reason="on request"), Finished(step=1, seconds=1.0), STARTED])
def test_requests_to_a_run_without_a_trainer_are_refused(run: Path, ending: Event) -> None:
    log(run, ending)
    with pytest.raises(RunError, match=r"a is not running.*resume"):
        request(run, "stop")
    assert not (run / directory.CONTROL).exists()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../a", "/a", ".hidden", "a\n", "a\0"])
def test_a_name_that_leaves_the_root_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="not a valid run name"):
        find_run(name, tmp_path)


def test_a_missing_run_error_lists_the_existing_ones(run: Path) -> None:
    with pytest.raises(RunError, match=r"no run b .*existing runs: a$"):
        find_run("b", run.parent)


def test_creating_a_run_twice_is_refused_and_keeps_the_first(run: Path, tiny: Maker) -> None:
    (run / directory.MODEL).write_bytes(b"weights")
    with pytest.raises(RunError, match="exists already; choose another --name"):
        create_run(tiny(root=run.parent, name="a"))
    assert (run / directory.MODEL).read_bytes() == b"weights"


def test_a_handwritten_config_is_not_overwritten(run: Path, tiny: Maker) -> None:
    with pytest.raises(RunError, match="resume a"):
        create_run(tiny(root=run.parent, name="a"))
    assert (run / directory.CONFIG).is_file()


@pytest.mark.parametrize("alien", ["notes.txt", directory.STATE, ".config.toml.tmp"])
def test_a_failed_run_with_other_files_is_not_overwritten(run: Path, tiny: Maker, alien: str) -> None:
    log(run, Failed(step=0, message="no data"))
    (run / alien).write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        create_run(tiny(root=run.parent, name="a"))
    assert (run / alien).read_text() == "mine"


def test_the_log_of_a_finished_run_without_weights_is_not_overwritten(run: Path, tiny: Maker) -> None:
    log(run, STARTED, Finished(step=4, seconds=1.0))
    with pytest.raises(RunError, match="exists already"):
        create_run(tiny(root=run.parent, name="a"))


def test_a_name_can_be_reused_if_its_run_failed_before_its_first_checkpoint(run: Path, tiny: Maker) -> None:
    log(run, Failed(step=0, message="no data"))
    assert create_run(tiny(root=run.parent, name="a", epochs=7)) == run
    assert "epochs = 7" in (run / directory.CONFIG).read_text()
    assert not (run / directory.EVENTS).exists()


def test_an_empty_folder_can_become_a_run_but_a_file_cannot(tmp_path: Path, tiny: Maker) -> None:
    (tmp_path / "empty").mkdir()
    assert create_run(tiny(root=tmp_path, name="empty")).is_dir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        create_run(tiny(root=tmp_path, name="file"))
    with pytest.raises(RunError, match="cannot write"):
        create_run(tiny(root=tmp_path / "file", name="x"))


def test_runs_without_a_name_are_numbered(tmp_path: Path, tiny: Maker) -> None:
    assert [create_run(tiny(root=tmp_path)).name for _ in range(2)] == ["quick-1", "quick-2"]


def test_a_data_root_is_stored_as_an_absolute_path(
    tmp_path: Path, tiny: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = create_run(tiny(root=tmp_path, name="a", data_root="my-data"))
    assert TrainConfig.from_toml(path / directory.CONFIG).data_root == tmp_path / "my-data"


def test_the_root_is_the_argument_or_the_environment_variable_or_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    assert directory.root_directory() == Path("checkpoints")
    monkeypatch.setenv("MINIDIFF_HOME", "/home/runs")
    assert directory.root_directory() == Path("/home/runs")
    assert directory.root_directory("/other") == Path("/other")
    assert directory.root_directory("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
    assert directory.root_directory("~/x") == Path.home() / "x"


def test_a_summary_matches_the_log(finished_run: Path) -> None:
    summary = summarize(finished_run)
    assert (summary.name, summary.status, summary.epoch, summary.epochs) == ("done", Status.FINISHED, 2, 2)
    assert (summary.step, summary.total_steps, summary.dataset, summary.preset) == (4, 4, "glyphs", "quick")
    assert summary.loss is not None
    assert summary.validation_loss is not None
    assert summary.sampleable
    assert summary.error is None


def test_a_summary_of_a_run_without_a_log_is_empty(run: Path) -> None:
    summary = summarize(run)
    assert (summary.step, summary.epoch, summary.loss, summary.validation_loss, summary.updated) == (
        0,
        0,
        None,
        None,
        None,
    )
    assert (summary.total_steps, summary.sampleable) == (None, False)


def test_a_summary_has_the_length_of_a_run_after_a_long_download(run: Path) -> None:
    slow = [Download(name="mnist", file="train-images-idx3-ubyte.gz", received=n, total=None) for n in range(3_000)]
    data = DatasetLoaded(name="mnist", source="/data", train=64, test=64, sha256="0", steps_per_epoch=1_000)
    log(run, STARTED, *slow, data, *map(progress, range(1, 2_000)))
    assert (run / directory.EVENTS).stat().st_size > 2 * log_ends.TAIL_BYTES
    summary = summarize(run)
    assert (summary.dataset, summary.total_steps, summary.step) == ("mnist", 2_000, 1_999)


def test_a_summary_drops_the_steps_that_resuming_discarded(run: Path) -> None:
    data = DatasetLoaded(name="glyphs", source="memory", train=64, test=64, sha256="0", steps_per_epoch=10)
    ended = Epoch(epoch=1, step=10, loss=0.1, validation_loss=0.1, seconds=1.0)
    log(run, STARTED, data, progress(8), progress(10), ended, progress(15), resumed(8), progress(9))
    summary = summarize(run)
    assert (summary.step, summary.epoch, summary.loss) == (9, 0, 0.5)


def test_a_damaged_config_or_log_does_not_hide_the_other_runs(run: Path, tiny: Maker) -> None:
    create_run(tiny(root=run.parent, name="b"))
    (run / directory.CONFIG).write_bytes(b"\xff = [")
    (run / directory.EVENTS).write_bytes(b"\x00\xff\n{}\n")
    assert {summary.name for summary in list_runs(run.parent)} == {"a", "b"}


def test_the_most_recently_updated_run_comes_first(tmp_path: Path, tiny: Maker) -> None:
    for name, moment in (("old", 100.0), ("new", 300.0), ("mid", 200.0)):
        log(create_run(tiny(root=tmp_path, name=name)), Checkpoint(step=1, time=moment))
    assert [summary.name for summary in list_runs(tmp_path)] == ["new", "mid", "old"]


def test_folders_that_are_not_runs_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert list_runs(tmp_path) == []
    assert list_runs(tmp_path / "missing") == []
    assert list_runs(tmp_path / "file") == []


def test_a_run_is_deleted_unless_a_trainer_holds_it(run: Path) -> None:
    log(run, STARTED)
    with locked(run), pytest.raises(RunError, match="stop it first"):
        delete_run(run)
    assert run.is_dir()
    delete_run(run)
    assert not run.exists()


def test_a_built_in_model_is_not_deleted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builtin = directory.builtin_directories()
    if not builtin:
        pytest.skip("this checkout has no built-in model")
    for path in builtin.values():
        with pytest.raises(RunError, match="ships with minidiff"):
            delete_run(path)
        assert path.is_dir()


def test_deleting_a_link_is_an_error(run: Path) -> None:
    log(run, STARTED)
    link = run.parent / "link"
    link.symlink_to(run)
    with pytest.raises(RunError, match="symbolic link"):
        delete_run(link)
    assert run.is_dir()


def test_a_finished_run_is_not_resumed(finished_run: Path) -> None:
    with pytest.raises(RunError, match="finished"):
        resume(finished_run)


def test_a_missing_device_leaves_no_run_behind(tmp_path: Path, tiny: Maker) -> None:
    with pytest.raises(MinidiffError, match="cuda:93"):
        train(tiny(root=tmp_path, name="a", device="cuda:93"))
    assert list(tmp_path.iterdir()) == []


def test_a_trainer_about_to_release_its_lock_has_ended_and_a_new_one_is_starting(run: Path) -> None:
    """The lock records the length of the log when it was acquired; later events are from its holder."""
    event_line = to_line(Stopped(time=10.0, step=3, reason="on request"))
    for length, status in ((0, Status.STOPPED), (len(event_line), Status.STARTING)):
        (run / directory.EVENTS).write_text(event_line)
        for began in (5.0, 1e12):
            holder = {"host": socket.gethostname(), "started": began, "log": length}
            (run / directory.LOCK).write_text(json.dumps(holder))
            with open(run / directory.LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                assert run_status(run) == status


def test_a_run_created_before_the_clock_was_set_back_does_not_stay_starting(run: Path) -> None:
    os.utime(run / directory.CONFIG, (time.time() + 10 * 3600,) * 2)
    assert run_status(run) == Status.INTERRUPTED


def test_the_lock_records_the_length_of_the_log(run: Path) -> None:
    log(run, STARTED, Stopped(step=0, reason="on request"))
    before = (run / directory.EVENTS).stat().st_size
    with RunWriter(run) as held:
        assert lock_holder(run)["log"] == before
        assert run_status(run) == Status.STARTING
        held.append(resumed(0))
        assert run_status(run) == Status.RUNNING
        held.append(Finished(step=2, seconds=1.0, time=0.0))  # a clock that was set back to the epoch
        assert run_status(run) == Status.FINISHED
