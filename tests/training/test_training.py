"""`train`: events, loss windows, the run directory, requests and endings."""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from repository import REPOSITORY

from core import TrainConfig, load_model, train
from core.errors import CheckpointError, DatasetError, DeviceUnavailable, MinidiffError, RunError, TrainingError
from core.models.weights import write_tensors
from core.runs.events import Epoch, Event, Failed, Finished, Preview, Progress, Started, Stopped, Warned, to_line
from core.runs.history import LogTail, RunHistory
from core.runs.requests import request
from core.runs.status import run_status, summarize
from core.system.devices import cores
from core.system.signals import SIGNALS, Interrupts
from core.training.api import resume
from core.training.state import read_state

TINY = {
    "preset": "quick",
    "dataset": "glyphs",
    "limit": 64,
    "batch_size": 24,
    "channels": (4, 4),
    "device": "cpu",
    "threads": 1,
}


def tiny(**changes: object) -> TrainConfig:
    return TrainConfig(**{**TINY, "epochs": 2, **changes})


def until(events: Iterator[Event], kind: type[Event]) -> Event:
    return next(event for event in events if isinstance(event, kind))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path, device="cpu").net.state_dict()


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_events_cover_the_whole_run_in_order(tmp_path: Path) -> None:
    kinds = [event.kind for event in train(tiny(root=tmp_path, name="a")) if event.kind != "progress"]
    assert kinds == ["started", "dataset", *["preview", "epoch", "checkpoint"] * 2, "finished"]


def test_every_event_is_in_the_log_before_it_is_yielded(tmp_path: Path) -> None:
    log = LogTail(tmp_path / "a" / "events.jsonl")
    for event in train(tiny(root=tmp_path, name="a")):
        logged, _ = log.read()
        assert [event.kind] == [line.kind for line in logged]


def test_without_a_root_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = {event.kind for event in train(tiny())}
    assert {"started", "epoch", "finished"} <= kinds
    assert list(tmp_path.iterdir()) == []


def test_an_epochs_loss_is_the_average_over_its_steps(tmp_path: Path) -> None:
    events = list(train(tiny(epochs=1)))
    windows = [event for event in events if isinstance(event, Progress)]
    epoch = until(iter(events), Epoch)
    steps = [after.step - before for before, after in zip([0, *(w.step for w in windows)], windows, strict=False)]
    average = sum(window.loss * count for window, count in zip(windows, steps, strict=True)) / sum(steps)
    assert sum(steps) == 3
    assert epoch.loss == pytest.approx(average, rel=1e-6)
    assert all(window.loss_min <= window.loss <= window.loss_max for window in windows)


def test_validation_loss_and_preview_come_from_the_same_noise_in_every_epoch() -> None:
    """A network that does not learn must give the same values in every epoch."""
    events = list(train(tiny(learning_rate=1e-12)))
    first, second = (event for event in events if isinstance(event, Epoch))
    assert first.validation_loss == pytest.approx(second.validation_loss, rel=1e-6)
    before, after = (event for event in events if isinstance(event, Preview))
    assert before.images == after.images
    assert len(before.images) == 8 * 28 * 28


def test_the_same_seed_gives_the_same_weights_and_another_seed_different_ones(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        list(train(tiny(root=tmp_path, name=name, seed=seed)))
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert not torch.equal(weights(tmp_path / "a")["down.0.weight"], weights(tmp_path / "c")["down.0.weight"])


def test_training_does_not_change_the_random_state_of_the_caller() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(train(tiny()))
    assert torch.equal(torch.rand(3), expected)


def test_closing_the_generator_saves_the_state_and_resuming_gives_the_same_weights(tmp_path: Path) -> None:
    list(train(tiny(root=tmp_path, name="whole", epochs=3)))
    events = train(tiny(root=tmp_path, name="parts", epochs=3))
    until(events, Progress)
    events.close()
    assert run_status(tmp_path / "parts") == "stopped"
    again = resume(tmp_path / "parts")
    until(again, Epoch)
    again.close()
    list(resume(tmp_path / "parts"))
    assert run_status(tmp_path / "parts") == "finished"
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    whole, parts = (RunHistory.of(tmp_path / name / "events.jsonl") for name in ("whole", "parts"))
    assert [e.loss for e in parts.epochs] == pytest.approx([e.loss for e in whole.epochs], rel=1e-6)
    assert [e.step for e in parts.epochs] == [3, 6, 9]


def test_a_stop_during_the_end_of_an_epoch_does_not_lose_that_epoch(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a", epochs=1))
    until(events, Preview)  # the steps of the epoch are done, but its event is not yielded yet
    events.close()
    finished = list(resume(tmp_path / "a"))
    assert [event.epoch for event in finished if isinstance(event, Epoch)] == [1]
    assert isinstance(finished[-1], Finished)


@pytest.mark.parametrize("root", [True, False], ids=["with a run directory", "without"])
def test_a_suspended_generator_leaves_signals_and_torch_settings_of_the_caller_unchanged(
    tmp_path: Path, root: bool
) -> None:
    received: list[int] = []
    before = {number: signal.signal(number, lambda signum, _: received.append(signum)) for number in SIGNALS}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        events = train(tiny(root=tmp_path if root else None, name="a", deterministic=True))
        for event in events:
            assert {number: signal.getsignal(number) for number in SIGNALS} == handlers, event.kind
            assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, False), event.kind
            if isinstance(event, Epoch):
                break
        for number in SIGNALS:
            signal.raise_signal(number)
        assert received == list(SIGNALS)
        events.close()
        assert {number: signal.getsignal(number) for number in SIGNALS} == handlers
    finally:
        torch.set_num_threads(threads)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_caller_can_handle_signals_between_events(tmp_path: Path) -> None:
    with Interrupts() as interrupts:
        events = train(tiny(root=tmp_path, name="a", epochs=1000), interrupts=interrupts)
        until(events, Progress)
        signal.raise_signal(signal.SIGTERM)  # while the generator is suspended
        with pytest.raises(SystemExit, match="143"):
            list(events)
    last = RunHistory.of(tmp_path / "a" / "events.jsonl").lifecycle
    assert isinstance(last, Stopped)
    assert last.reason == "SIGTERM"


def test_threads_are_capped_at_the_core_count_with_a_warning(tmp_path: Path) -> None:
    events = list(train(tiny(root=tmp_path, name="a", epochs=1, threads=1024)))
    assert isinstance(events[0], Started)
    assert events[0].threads == cores()
    (warning,) = (event.message for event in events if isinstance(event, Warned))
    assert warning.startswith(f"threads = 1,024 is more than this machine's {cores()} cores")
    assert TrainConfig.from_toml(tmp_path / "a" / "config.toml").threads == 1024, "another machine may have as many"


def test_requests_pause_continue_and_stop_a_trainer(tmp_path: Path) -> None:
    path = tmp_path / "a"
    events = train(tiny(root=tmp_path, name="a", epochs=1000))
    until(events, Progress)
    request(path, "pause")
    kinds = []
    for event in events:
        kinds.append(event.kind)
        if event.kind == "paused":
            assert run_status(path) == "paused"
            request(path, "continue")
        if event.kind == "continued":
            request(path, "stop")
    assert [kind for kind in kinds if kind in ("paused", "continued", "stopped")] == ["paused", "continued", "stopped"]
    assert run_status(path) == "stopped"


def test_requests_made_before_the_trainer_started_are_ignored(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a", epochs=1))
    until(events, Progress)
    events.close()
    with open(tmp_path / "a" / "control.jsonl", "a") as control:
        control.write('{"request": "stop"}\n')
    assert isinstance(list(resume(tmp_path / "a"))[-1], Finished)


def test_a_second_trainer_on_a_run_is_refused_and_the_first_continues(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a"))
    until(events, Progress)
    with pytest.raises(RunError, match="being trained by process"):
        next(resume(tmp_path / "a"))
    assert isinstance(list(events)[-1], Finished)


def test_a_finished_run_is_not_resumed(tmp_path: Path) -> None:
    list(train(tiny(root=tmp_path, name="a", epochs=1)))
    with pytest.raises(RunError, match="is finished"):
        resume(tmp_path / "a")


def test_a_nan_loss_fails_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """A learning rate of 1 on one wide level overflows within a few hundred steps; huge weights make sure of it."""
    events = train(tiny(root=tmp_path, name="a", epochs=50))
    until(events, Epoch)
    events.close()
    before = weights(tmp_path / "a")
    resumed = resume(tmp_path / "a")
    next(resumed)
    poison(resumed)
    with pytest.raises(TrainingError, match="not finite"):
        list(resumed)
    assert run_status(tmp_path / "a") == "failed"
    assert "not finite in the last" in (summarize(tmp_path / "a").error or "")
    after = weights(tmp_path / "a")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(math.isfinite(value) for tensor in after.values() for value in tensor.flatten().tolist())


def test_a_non_finite_preview_is_a_warning_and_training_continues(tmp_path: Path) -> None:
    """Finite weights so large that the outputs of the network overflow."""
    events = train(tiny(root=tmp_path, name="a", epochs=1))
    until(events, Progress)
    with torch.no_grad():
        for weight in net_of(events).parameters():
            weight.fill_(1e30)
    (warning,) = (event for event in events if isinstance(event, Warned) and "preview" in event.message)
    assert warning.message.startswith("no preview of epoch 1: the samples are not finite")


def poison(events: Iterator[Event]) -> None:
    """Put a NaN into the weights of the network that `events` is training."""
    with torch.no_grad():
        next(iter(net_of(events).parameters())).fill_(math.nan)


def net_of(events: Iterator[Event]) -> torch.nn.Module:
    """The network that `events` is training."""
    net: torch.nn.Module = events.gi_frame.f_locals["loop"]._trainer.net  # type: ignore[attr-defined]
    return net


def test_a_config_changed_under_a_run_is_refused_by_name(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a"))
    until(events, Epoch)
    events.close()
    config = tmp_path / "a" / "config.toml"
    config.write_text(config.read_text().replace("seed = 0", "seed = 1"))
    with pytest.raises(MinidiffError, match="seed = 1"):
        list(resume(tmp_path / "a"))


def test_raising_epochs_in_the_config_extends_a_stopped_run(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a", epochs=2))
    until(events, Epoch)
    events.close()
    config = tmp_path / "a" / "config.toml"
    config.write_text(config.read_text().replace("epochs = 2", "epochs = 3"))
    assert [event.epoch for event in resume(tmp_path / "a") if isinstance(event, Epoch)] == [2, 3]


@pytest.mark.parametrize("ended", ["finished", "stopped"])
def test_extending_a_run_can_be_resumed_bit_for_bit(tmp_path: Path, ended: str) -> None:
    schedule = {"lr_schedule": "linear", "ema": 0.1}
    events = train(tiny(root=tmp_path, name="whole", epochs=2, **schedule))
    until(events, Epoch)
    list(events) if ended == "finished" else events.close()
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    whole = list(resume(tmp_path / "whole", epochs=6))
    assert [event.epoch for event in whole if isinstance(event, Epoch)][-1] == 6
    assert isinstance(whole[-1], Finished)
    assert summarize(tmp_path / "whole").epochs == 6
    assert any("to 6 epochs" in event.message for event in whole if isinstance(event, Warned))
    first = next(event for event in whole if isinstance(event, Progress))
    assert first.learning_rate == pytest.approx(TrainConfig(preset="quick").learning_rate * (1 - first.step / 18))
    options: list[dict[str, int]] = [{"epochs": 6}, {}, {}]
    for more in options:
        events = resume(tmp_path / "parts", **more)
        until(events, Epoch)
        events.close()
    list(resume(tmp_path / "parts"))
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


def test_with_a_constant_learning_rate_an_extended_run_matches_a_run_of_that_length(tmp_path: Path) -> None:
    list(train(tiny(root=tmp_path, name="longer", epochs=4)))
    list(train(tiny(root=tmp_path, name="further", epochs=2)))
    list(resume(tmp_path / "further", epochs=4))
    assert_same_weights(tmp_path / "longer", tmp_path / "further")


@pytest.mark.parametrize("epochs", [None, 1, 2])
def test_a_finished_run_is_not_resumed_without_more_epochs(tmp_path: Path, epochs: int | None) -> None:
    list(train(tiny(root=tmp_path, name="a", epochs=2)))
    with pytest.raises(RunError, match=r"a is finished: 2 epochs are done; .*resume a --epochs 4` trains it further"):
        resume(tmp_path / "a", epochs=epochs)
    assert run_status(tmp_path / "a") == "finished"


def test_a_new_run_without_its_dataset_fails_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIDIFF_DATA", raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing is downloaded
    with pytest.raises(DatasetError, match="nowhere"):
        list(train(tiny(root=tmp_path, name="a", dataset="mnist", data_root=tmp_path / "nowhere")))
    last = RunHistory.of(tmp_path / "a" / "events.jsonl").lifecycle
    assert isinstance(last, Failed)
    assert "nowhere" in last.message


STOPPED_AT = 3  # the steps after which the run of the next test is stopped


@pytest.mark.parametrize("ended", ["stopped", "finished", "failed", "interrupted"])
@pytest.mark.parametrize("refused", ["before it begins", "after it began"])
def test_a_refused_resume_does_not_change_the_run(tmp_path: Path, ended: str, refused: str) -> None:
    path = tmp_path / "a"
    events = train(tiny(root=tmp_path, name="a", epochs=1 if ended == "finished" else 2))
    until(events, Epoch)
    list(events) if ended == "finished" else events.close()
    log = path / "events.jsonl"
    if ended == "failed":
        with log.open("a") as file:
            file.write(to_line(Failed(step=STOPPED_AT, message="the disk was full")))
    if ended == "interrupted":
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(line for line in lines if '"stopped"' not in line))
    assert run_status(path) == ended
    before = log.read_text()
    config = path / "config.toml"
    if refused == "before it begins":
        config.write_text(config.read_text().replace("seed = 0", "seed = 1"))
        message = "seed = 1"
    else:
        sha256 = change_state(path, data_sha256="0" * 64)
        message = "are not those that this run was trained on"
    with pytest.raises(MinidiffError, match=message):
        list(resume(path, epochs=9))
    if refused == "before it begins":
        assert log.read_text() == before
        assert run_status(path) == ended
        return
    assert run_status(path) == ("stopped" if ended == "interrupted" else ended)
    assert message in log.read_text()
    assert summarize(path).step == STOPPED_AT
    change_state(path, **sha256)
    assert isinstance(list(resume(path, epochs=3))[-1], Finished)


def change_state(path: Path, **changes: object) -> dict[str, object]:
    """Change the header of a run's state; returns the old one."""
    tensors, config, step, more = read_state(path / "state.safetensors")
    write_tensors(path / "state.safetensors", "state", tensors, config, step, **{**more, **changes})
    return {name: more[name] for name in changes}


def test_the_config_file_records_the_resolved_options(tmp_path: Path) -> None:
    list(train(tiny(root=tmp_path, name="a", epochs=1, device="auto", threads=None)))
    config = TrainConfig.from_toml(tmp_path / "a" / "config.toml")
    assert config.device in ("cpu", "cuda", "mps")
    assert config.threads == torch.get_num_threads()
    assert config.name == "a"


def test_stopped_is_the_last_event_after_a_request(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a", epochs=1000))
    until(events, Progress)
    request(tmp_path / "a", "stop")
    assert isinstance(list(events)[-1], Stopped)


def test_a_missing_device_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a"))
    until(events, Epoch)
    events.close()
    log = (tmp_path / "a" / "events.jsonl").read_bytes()
    with pytest.raises(DeviceUnavailable, match="cuda:77"):
        resume(tmp_path / "a", device="cuda:77")
    with pytest.raises(DeviceUnavailable, match="cuda:77"):
        train(tiny(root=tmp_path, name="b", device="cuda:77"))
    assert (tmp_path / "a" / "events.jsonl").read_bytes() == log
    assert not (tmp_path / "b").exists()


def test_a_state_without_a_required_field_is_refused_by_name(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a"))
    until(events, Epoch)
    events.close()
    state = tmp_path / "a" / "state.safetensors"
    tensors, config, step, more = read_state(state)
    write_tensors(state, "state", tensors, config, step, seconds=more["seconds"])
    with pytest.raises(CheckpointError, match="lacks what resuming needs"):
        list(resume(tmp_path / "a"))


def test_a_run_stopped_on_another_host_can_be_resumed_but_an_interrupted_one_cannot(tmp_path: Path) -> None:
    events = train(tiny(root=tmp_path, name="a"))
    until(events, Epoch)
    events.close()
    lock, log = tmp_path / "a" / "lock", tmp_path / "a" / "events.jsonl"
    stopped = log.read_text()
    log.write_text("".join(line for line in stopped.splitlines(keepends=True) if '"stopped"' not in line))
    lock.write_text('{"host": "another", "pid": 1, "started": 1.0}')
    with pytest.raises(RunError, match=r"another.*--force"):
        next(resume(tmp_path / "a"))
    log.write_text(stopped)
    assert isinstance(list(resume(tmp_path / "a"))[-1], Finished)


SCARCE = """
import resource, sys
from core import TrainConfig, train
import core.training.loop
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 800_000_000, resource.RLIM_INFINITY))
try:
    list(train(TrainConfig(preset="quick", dataset="glyphs", limit=2000, batch_size=2000, device="cpu", threads=1)))
except core.MinidiffError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited through /proc and RLIMIT_AS")
def test_a_batch_that_does_not_fit_in_memory_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", SCARCE], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("a batch of 2000 does not fit into memory; start again with --fit-memory, "), done
    assert len(done.stdout.splitlines()) == 1
