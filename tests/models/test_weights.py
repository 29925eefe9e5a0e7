"""Weights on disk: a round trip, and one-line errors for anything invalid."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from core import BasicUNet, MinidiffError, TrainConfig, build_model, load_model, train
from core.config.datasets import MAX_CLASS_NAME, MAX_CLASSES, DatasetInfo
from core.config.legacy import MODULES, upgrade_tensor_name
from core.errors import CheckpointError
from core.models.weights import fill, read_weights, write_tensors
from core.models.weights_layout import HEADER_BYTES
from core.runs.directory import MODEL, STATE, builtin_directories
from core.runs.events import Epoch
from core.system.atomic_write import write_atomically
from core.training.api import resume
from core.training.state import read_state
from core.training.trainer import Trainer

CONFIG = TrainConfig(preset="quick", channels=(2, 2), name="a", seed=3)


def weights(path: Path, net: torch.nn.Module | None = None, kind: str = "model", config: TrainConfig = CONFIG) -> Path:
    net = net or build_model(config.model, **config.model_options)
    write_tensors(path, kind, net.state_dict(), config, 12)
    return path


def with_header(source: Path, target: Path, **changes: str | None) -> Path:
    """A copy of a checkpoint with some header entries changed, or removed if None."""
    with safetensors.safe_open(source, framework="pt") as file:
        header = {**file.metadata(), **changes}
    tensors = safetensors.torch.load_file(source)
    safetensors.torch.save_file(tensors, target, {key: value for key, value in header.items() if value is not None})
    return target


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(path, device="cpu")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


PROGRESS: dict[str, Any] = {
    "epoch": {"total": 0.5, "steps": 2, "seconds": 0.25, "skipped": 1},
    "seconds": 1.5,
    "data_sha256": "0" * 64,
    "device": "cpu",
    "torch": torch.__version__,
    "processes": 1,
}
RECIPES = {
    "adam": TrainConfig(preset="quick", channels=(2, 2), name="a", seed=3),
    "muon and average": TrainConfig(channels=(16, 16), name="a", precision="float32"),
}


def state(path: Path, config: TrainConfig = CONFIG, **progress: Any) -> Path:
    """The state of a trainer after two steps."""
    trainer = Trainer(config.changed(batch_size=4), torch.device("cpu"))
    trainer.set_data(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
    for _ in range(2):
        trainer.train_step()
    write_tensors(path, "state", trainer.state(), trainer.config, trainer.step, **{**PROGRESS, **progress})
    return path


@pytest.mark.parametrize("character", ["\U0001f600", '"', "\\"])
def test_a_thousand_of_the_longest_class_names_fit_a_header(tmp_path: Path, character: str) -> None:
    info = DatasetInfo(class_names=(character * MAX_CLASS_NAME,) * MAX_CLASSES)
    config = CONFIG.changed(dataset_info=info)
    assert read_weights(weights(tmp_path / MODEL, config=config))[1] == config
    assert read_state(state(tmp_path / STATE, config))[1].dataset_info == info


def with_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """A checkpoint with its tensors modified in place and its header unchanged."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, header)
    return path


def restored(path: Path, config: TrainConfig = CONFIG) -> Trainer:
    """A trainer that loaded a state like a resumed run."""
    tensors, _, step, _ = read_state(path)
    trainer = Trainer(config.changed(batch_size=4), torch.device("cpu"))
    trainer.restore(tensors, step, path)
    return trainer


@pytest.mark.parametrize("config", RECIPES.values(), ids=RECIPES)
def test_weights_survive_a_round_trip(tmp_path: Path, config: TrainConfig) -> None:
    written = safetensors.torch.load_file(state(tmp_path / "x", config))
    back, saved, step, more = read_state(tmp_path / "x")
    assert back.keys() == written.keys()
    assert all(torch.equal(back[name], written[name]) for name in written)
    assert (saved.changed(batch_size=config.batch_size), step, more) == (config, 2, PROGRESS)
    again = restored(tmp_path / "x", config).state()
    assert all(torch.equal(again[name], written[name]) for name in written)


def with_old_names(tensors: dict[str, torch.Tensor]) -> int:
    """Give tensors the names that earlier versions wrote; returns how many were renamed."""
    old_names = {new: old for old, new in MODULES.items()}
    renamed = {name: ".".join(old_names.get(part, part) for part in name.split(".")) for name in tensors}
    values = {renamed[name]: tensors.pop(name) for name in list(tensors)}
    tensors.update(values)
    return sum(old != new for new, old in renamed.items())


def test_a_shipped_model_with_old_tensor_names_loads_bit_for_bit() -> None:
    path = builtin_directories()["default-mnist"] / MODEL
    stored = safetensors.torch.load_file(path)
    net = load_model(path, device="cpu").net.state_dict()
    assert any(name.startswith("clock.") for name in stored)
    assert {upgrade_tensor_name(name) for name in stored} == net.keys()
    for name, value in stored.items():
        assert torch.equal(net[upgrade_tensor_name(name)], value.float()), name


def test_a_state_with_old_tensor_names_is_restored_bit_for_bit(tmp_path: Path) -> None:
    config = RECIPES["muon and average"]
    written = safetensors.torch.load_file(state(tmp_path / "x", config))
    counts: list[int] = []
    with_tensors(tmp_path / "x", lambda tensors: counts.append(with_old_names(tensors)))
    in_ema = sum(name.startswith("ema.") for name in written)
    assert counts == [in_ema + 5]  # all EMA weights; two linear layers and an embedding of the network
    again = restored(tmp_path / "x", config).state()
    assert again.keys() == written.keys()
    assert all(torch.equal(again[name], written[name]) for name in written)


def test_a_tensor_under_both_names_is_refused(tmp_path: Path) -> None:
    config = RECIPES["muon and average"]
    path = weights(tmp_path / "x", config=config)
    with_tensors(path, lambda tensors: tensors.update({"classes.weight": tensors["class_embed.weight"].clone()}))
    assert "both its present and its old name" in refusal(path)


def test_weights_in_another_memory_format_survive_a_round_trip(tmp_path: Path) -> None:
    net = BasicUNet(channels=(2, 2)).to(memory_format=torch.channels_last)
    loaded = load_model(weights(tmp_path / "x.safetensors", net), device="cpu")
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], value)


def test_a_model_is_found_by_directory_name_or_file(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path_or_name, root in ((finished_run, None), ("done", finished_run.parent), (finished_run / MODEL, None)):
        loaded = load_model(path_or_name, device="cpu", root=root)
        assert (loaded.name, loaded.step, loaded.config.channels) == ("done", 4, (8, 8))
        assert not loaded.net.training
        assert loaded.device == torch.device("cpu")
    monkeypatch.setenv("MINIDIFF_HOME", str(finished_run.parent))
    assert load_model("done", device="cpu").name == "done"


def test_a_file_of_any_name_is_loaded(finished_run: Path, tmp_path: Path) -> None:
    shutil.copy(finished_run / MODEL, tmp_path / "mine.safetensors")
    assert load_model(tmp_path / "mine.safetensors", device="cpu").name == "mine"


def test_the_built_in_model_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.runs.directory import builtin_directories

    if "quick-mnist" not in builtin_directories():
        pytest.skip("this checkout has no built-in model")
    monkeypatch.chdir(tmp_path)
    assert load_model("quick-mnist", device="cpu").config.preset == "quick"


def test_a_header_does_not_contain_the_path_of_its_run(tmp_path: Path) -> None:
    config = CONFIG.changed(root=tmp_path / "secret", data_root=tmp_path / "secret")
    assert b"secret" not in weights(tmp_path / "x", config=config).read_bytes()


@pytest.mark.parametrize("name", ["nothing-here", "", "/", "a/b/c", "..", "~nobody-of-that-name", "x" * 400])
def test_a_missing_model_is_a_checkpoint_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_model(name, device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_model_error_lists_the_existing_ones(finished_run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"available: default-mnist, done"):
        load_model("dun", device="cpu", root=finished_run.parent)


def test_a_run_without_weights_reports_when_it_will_have_some(tmp_path: Path) -> None:
    (tmp_path / "young").mkdir()
    assert "first checkpoint" in refusal(tmp_path / "young")


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = weights(tmp_path / "whole").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    cuts = {0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1, *range(0, len(whole), len(whole) // 20)}
    for length in sorted(cuts):
        (tmp_path / "cut").write_bytes(whole[:length])
        assert "cut" in refusal(tmp_path / "cut"), length


@pytest.mark.parametrize(
    "content",
    [b"hello, I am a text file of some length", b"\x80\x04\x95pickle", b"\xff" * 64, b"\0" * 64, b"{}" * 50],
)
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert "not a safetensors file" in refusal(tmp_path / "x")


def test_trailing_bytes_are_refused(tmp_path: Path) -> None:
    path = weights(tmp_path / "x")
    path.write_bytes(path.read_bytes() + b"more")
    refusal(path)


def test_safetensors_of_another_program_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "x")
    assert "not one of minidiff" in refusal(tmp_path / "x")
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "x", {"format": "pt"})
    assert "not one of minidiff" in refusal(tmp_path / "x")


def test_a_newer_format_suggests_an_update(tmp_path: Path) -> None:
    assert "update minidiff" in refusal(with_header(weights(tmp_path / "a"), tmp_path / "b", version="2"))


def test_a_training_state_is_refused_as_a_model(finished_run: Path) -> None:
    assert "is a state file, not a model file" in refusal(finished_run / STATE)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "one"},
        {"version": None},
        {"kind": None},
        {"step": "x"},
        {"config": None},
        {"config": "{"},
        {"config": "[1]"},
        {"config": "5"},
        {"config": json.dumps({"epochs": 0})},
        {"config": json.dumps({"beauty": 1})},
        {"more": "{"},
    ],
)
def test_an_invalid_header_is_refused(tmp_path: Path, changes: dict[str, str | None]) -> None:
    assert "header" in refusal(with_header(weights(tmp_path / "a"), tmp_path / "b", **changes))


def test_weights_of_another_model_are_refused_by_name_and_size(tmp_path: Path) -> None:
    message = refusal(weights(tmp_path / "x", BasicUNet(channels=(3, 2))))
    assert "another model" in message
    assert "(3,)" in message
    message = refusal(weights(tmp_path / "x", BasicUNet(channels=(2,))))
    assert "missing" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused_and_the_network_is_unchanged(tmp_path: Path, value: float) -> None:
    net = BasicUNet(channels=(2, 2))
    with torch.no_grad():
        net.down[1].bias[1] = value
    path = weights(tmp_path / "x", net)
    assert "NaN or infinite values" in refusal(path)
    network = BasicUNet(channels=(2, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError):
        fill(network, net.state_dict(), path)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_missing_device_is_an_error(finished_run: Path) -> None:
    with pytest.raises(MinidiffError, match="cuda:93"):
        load_model(finished_run, device="cuda:93")


def test_writing_replaces_the_file_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", b"old" * 1000)
    write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    write_atomically(tmp_path / "x", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="too large"):
            write_atomically(tmp_path / "x", b"n" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def with_length(length: int) -> bytes:
    return length.to_bytes(8, "little")


def test_a_header_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for length in (HEADER_BYTES + 1, 2**40, 2**64 - 1):
        path.write_bytes(with_length(length) + b"{")
        assert f"more than {HEADER_BYTES:,} bytes" in refusal(path)


def test_a_header_with_absurd_shapes_is_refused(tmp_path: Path) -> None:
    for shape in ([2**40, 2**40], [2**63], [2**64], [10**30], [-1], [1] * 10_000, ["x"], [1.5]):
        tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}
        head = json.dumps({"__metadata__": {"format": "minidiff"}, "a": tensor}).encode()
        (tmp_path / "x").write_bytes(with_length(len(head)) + head + bytes(4))
        refusal(tmp_path / "x")


def test_a_config_of_a_network_larger_than_its_weights_allocates_no_memory(tmp_path: Path) -> None:
    config = CONFIG.changed(channels=(2000, 2000))
    small = build_model(CONFIG.model, **CONFIG.model_options).state_dict()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, read in (("model", read_weights), ("state", read_state)):
        write_tensors(tmp_path / kind, kind, small, config, 2, **PROGRESS)
        with pytest.raises(CheckpointError, match=r"config needs|lacks what resuming needs"):
            read(tmp_path / kind)
    write_tensors(tmp_path / "huge", "model", small, CONFIG.changed(channels=(4096, 4096)), 1)
    assert "more than 268,435,456" in refusal(tmp_path / "huge")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_impossibly_large_network_is_a_one_line_error() -> None:
    with pytest.raises(MinidiffError, match=r"27,\d+,\d+,\d+ parameters .* use fewer channels"):
        build_model("unet2d", channels=(4096, 4096, 4096), layers_per_block=8)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "-1"},
        {"step": "9" * 5000},
        {"step": str(2**60)},
        {"more": "[]"},
        {"more": "[" * 100_000},
        {"config": "[" * 100_000},
        {"config": "5"},
        {"config": '{"channels": [1e999]}'},
        {"config": '{"seed": ' + "9" * 5000 + "}"},
        {"version": "\u0661\u0662"},
    ],
)
def test_a_header_with_invalid_values_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    refusal(with_header(weights(tmp_path / "a"), tmp_path / "b", **changes))


def test_a_pipe_in_place_of_weights_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    refusal(tmp_path / "x")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_weights(tmp_path / "x")


def test_linked_weights_of_a_run_are_refused_but_a_link_given_by_path_is_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / MODEL).symlink_to(weights(tmp_path / "x"))
    assert "is a symbolic link" in refusal(tmp_path / "run")
    assert load_model(tmp_path / "run" / MODEL, device="cpu").step == 12
    (tmp_path / STATE).symlink_to(weights(tmp_path / "state", kind="state"))
    with pytest.raises(CheckpointError, match="symbolic link"):
        read_state(tmp_path / STATE)


# Invalid types, shapes and values

OTHER_TYPES = (
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float64, torch.complex64),
    *(torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool),
)


def retyped(name: str, dtype: torch.dtype) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({name: tensors[name].to(dtype)})


@pytest.mark.parametrize("dtype", OTHER_TYPES, ids=str)
def test_weights_of_another_type_are_refused_by_name(tmp_path: Path, dtype: torch.dtype) -> None:
    message = refusal(with_tensors(weights(tmp_path / "x"), retyped("down.1.bias", dtype)))
    assert "down.1.bias" in message
    assert "F32 or F16 or BF16" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_may_be_stored_in_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    loaded = load_model(with_tensors(weights(tmp_path / "x"), retyped("down.1.bias", dtype)), device="cpu")
    assert loaded.net.get_parameter("down.1.bias").dtype == torch.float32


@pytest.mark.parametrize("name", ["net.down.1.bias", "optimizer.adam.0.exp_avg", "optimizer.adam.0.step"])
@pytest.mark.parametrize("dtype", [*OTHER_TYPES, torch.float16], ids=str)
def test_a_state_of_another_type_is_refused_by_name(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    with pytest.raises(CheckpointError, match=f"{name} as .* instead of F32"):
        restored(with_tensors(state(tmp_path / "x"), retyped(name, dtype)))


def renamed(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({new: tensors.pop(old)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed("optimizer.adam.0.exp_avg", "optimizer.adam.0"), "optimizer.adam.0.exp_avg is missing"),
        (renamed("optimizer.adam.0.exp_avg", "optimizer.adam.999.exp_avg"), "optimizer.adam.0.exp_avg is missing"),
        (renamed("optimizer.adam.0.step", f"optimizer.adam.{10**20}.step"), "optimizer.adam.0.step is missing"),
        (renamed("optimizer.adam.0.step", "optimizer.sgd.0.step"), "optimizer.adam.0.step is missing"),
        (lambda tensors: tensors.update({"optimizer.adam.0": torch.zeros(1)}), r"optimizer.adam.0 is \(1,\)"),
        (lambda tensors: tensors.update({"optimizer.adam.999.exp_avg": torch.zeros(1)}), "adam.999.exp_avg is"),
        (lambda tensors: tensors.update({f"optimizer.muon.{10**20}": torch.zeros(1)}), "another model"),
        (lambda tensors: tensors.update({"other": torch.zeros(1)}), "another model: other is"),
        (lambda tensors: tensors.update({"ema.down.0.bias": torch.zeros(2)}), "another model: ema.down.0.bias"),
        (lambda tensors: tensors.update({"optimizer.adam.1.exp_avg_sq": torch.zeros(3)}), "adam.1.exp_avg_sq is"),
        (lambda tensors: tensors.update({"optimizer.adam.1.step": torch.zeros(2)}), "adam.1.step is"),
        (lambda tensors: tensors.pop("net.down.0.bias"), "net.down.0.bias is missing"),
    ],
)
def test_a_state_with_other_tensors_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        restored(with_tensors(state(tmp_path / "x"), change))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.down.1.bias", torch.nan),
        ("optimizer.adam.0.exp_avg", torch.nan),
        ("optimizer.adam.0.exp_avg", torch.inf),
        ("optimizer.adam.0.exp_avg_sq", -1.0),
        ("optimizer.adam.0.step", -1.0),
        ("optimizer.adam.0.step", 3.0),  # of 2 steps
        ("optimizer.adam.0.step", torch.nan),
    ],
)
def test_a_state_with_impossible_values_is_refused_by_name(tmp_path: Path, name: str, value: float) -> None:
    path = with_tensors(state(tmp_path / "x"), lambda tensors: tensors[name].fill_(value))
    with pytest.raises(CheckpointError, match=name.removeprefix("net.").removeprefix("optimizer.")):
        restored(path)


EPOCH = PROGRESS["epoch"]


@pytest.mark.parametrize(
    "progress",
    [
        {"epoch": None},
        {"epoch": []},
        {"epoch": {**EPOCH, "steps": -(10**9)}},
        {"epoch": {**EPOCH, "steps": 10**30}},
        {"epoch": {**EPOCH, "steps": 3}},  # of 2
        {"epoch": {**EPOCH, "steps": "2"}},
        {"epoch": {**EPOCH, "steps": 1.5}},
        {"epoch": {**EPOCH, "steps": True}},
        {"epoch": {**EPOCH, "skipped": 9}},
        {"epoch": {**EPOCH, "total": None}},
        {"epoch": {**EPOCH, "total": float("nan")}},
        {"epoch": {**EPOCH, "seconds": "0"}},
        {"epoch": {**EPOCH, "other": 1}},
        {"seconds": "1.5"},
        {"seconds": None},
        {"seconds": -1.0},
        {"seconds": float("inf")},
        {"seconds": [1]},
        {"data_sha256": 5},
        {"data_sha256": ""},
        {"device": None},
        {"torch": "\x1b[31m"},
        {"processes": "two"},
        {"processes": -1},
        {"skipped": -1},
        {"skipped": "1"},
    ],
)
def test_a_state_that_records_impossible_progress_is_refused_before_a_tensor_is_read(
    tmp_path: Path, progress: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match="invalid header") as caught:
        read_state(state(tmp_path / "x", **progress))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", PROGRESS)
def test_a_state_with_incomplete_progress_is_refused_by_field_name(tmp_path: Path, name: str) -> None:
    tensors, config, step, more = read_state(state(tmp_path / "x"))
    del more[name]
    write_tensors(tmp_path / "x", "state", tensors, config, step, **more)
    if name == "processes":  # which was added later than the others
        assert read_state(tmp_path / "x")[3] == more
        return
    with pytest.raises(CheckpointError, match=rf"lacks what resuming needs \({name}\)"):
        read_state(tmp_path / "x")


def test_a_state_whose_epoch_does_not_fit_its_step_is_refused_when_it_is_resumed(tmp_path: Path) -> None:
    config = TrainConfig(preset="quick", dataset="glyphs", limit=48, batch_size=16, channels=(2, 2), epochs=2,
                         device="cpu", threads=1, root=tmp_path, name="a")  # fmt: skip
    events = train(config)
    next(event for event in events if isinstance(event, Epoch))
    events.close()
    path = tmp_path / "a" / STATE
    tensors, saved, step, more = read_state(path)
    assert step == 3
    write_tensors(path, "state", tensors, saved, step, **{**more, "epoch": {**more["epoch"], "steps": 1}})
    with pytest.raises(CheckpointError, match="1 steps into an epoch of 3 after 3 steps"):
        list(resume(tmp_path / "a"))
