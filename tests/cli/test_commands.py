"""The headless command line: output and exit code of each command, and one-line error messages."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import TINY, Capture, environment, error_line
from PIL import Image

from core.cli import run
from core.config.training import TrainConfig, option_fields
from core.runs import directory
from core.runs.history import RunHistory
from core.runs.status import Status, run_status

COMMANDS = [
    *("train", "resume", "stop", "pause", "continue", "watch", "race"),
    *("sample", "eval", "diagnose", "metrics", "runs", "devices", "doctor", "download"),
]


def test_every_command_has_help(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    page = capsys.readouterr().out
    for name in COMMANDS:
        assert f" {name} " in page
        assert run([name, "--help"]) == 0
        assert f"minidiff {name}" in capsys.readouterr().out


def test_version_is_the_package_version(capsys: Capture) -> None:
    from core import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_train_help_is_grouped_and_names_the_environment_variables_once(capsys: Capture) -> None:
    assert run(["train", "--help"]) == 0
    page = capsys.readouterr().out
    groups = [field.json_schema_extra["group"] for field in option_fields().values()]  # type: ignore[index]
    titles = re.findall(r"^╭─ (\w+) ─", page, re.MULTILINE)
    assert titles == list(dict.fromkeys(groups))
    assert page.index("╭─ Data ") < page.index("--limit") < page.index("╭─ Model ") < page.index("--size")
    assert page.count("MINIDIFF_<OPTION>") == 1
    assert "env var" not in page


def test_a_dry_run_describes_the_run_and_creates_none(tmp_path: Path, capsys: Capture) -> None:
    assert run(["train", *TINY, "--root", str(tmp_path / "runs"), "--dry-run"]) == 0
    data, network, location = capsys.readouterr().out.splitlines()
    assert data == "glyphs · 28x28 gray · 10 classes · 64 + 64 images"
    figures = r"about \d+ \w+ on cpu · \d+ MiB of memory · [\d.]+ kB of snapshots"
    assert re.fullmatch(rf"basic_unet · [\d,]+ parameters · {figures}", network)
    assert location == "generated on this machine"
    assert not (tmp_path / "runs").exists()
    assert "there is no" in error_line(capsys, "train", "--dry-run", "--dataset", str(tmp_path / "nothing"))


def test_runs_as_json(home: Path, capsys: Capture) -> None:
    assert run(["runs", "--json"]) == 0
    (summary,) = json.loads(capsys.readouterr().out)
    assert summary["name"] == "done"
    assert summary["status"] == "finished"
    assert (summary["epoch"], summary["step"]) == (2, 4)
    assert 0 < summary["loss"] < 1


def test_runs_as_a_table_is_not_cut_in_a_pipe(home: Path, capsys: Capture) -> None:
    name = "n" * 64
    shutil.copytree(home / "done", home / name)
    assert run(["runs"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert "status" in heading
    assert {row.split()[0] for row in rows} == {"done", name}
    assert all(row.split()[1:5] == ["finished", "quick", "glyphs", "2/2"] for row in rows)


def test_a_non_finite_number_is_null_in_json(home: Path, capsys: Capture) -> None:
    with open(home / "done" / directory.EVENTS, "a") as log:
        log.write('{"event":"epoch","time":1.0,"epoch":3,"step":6,"loss":null,"validation_loss":null,"seconds":1.0}\n')
    assert run(["runs", "--json"]) == 0
    (summary,) = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert summary["loss"] is None


def test_an_empty_root_is_not_an_error(tmp_path: Path, capsys: Capture) -> None:
    assert run(["runs", "--root", str(tmp_path / "nowhere")]) == 0
    assert "no runs under" in capsys.readouterr().out
    assert run(["runs", "--root", str(tmp_path / "nowhere"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert not (tmp_path / "nowhere").exists()


def test_devices_lists_the_cpu(capsys: Capture) -> None:
    assert run(["devices", "--json"]) == 0
    cpu = json.loads(capsys.readouterr().out)[-1]
    assert cpu["device"] == "cpu"
    assert cpu["memory_total"] > 0
    assert run(["devices"]) == 0
    assert "cpu" in capsys.readouterr().out


def test_doctor_reports_as_json(home: Path, capsys: Capture) -> None:
    assert run(["doctor", "--json"]) in (0, 1)
    assert {"versions", "devices"} <= set(json.loads(capsys.readouterr().out))


def test_sample_writes_every_requested_file(home: Path, tmp_path: Path, capsys: Capture) -> None:
    files = {
        flag: tmp_path / "out" / name for flag, name in (("output", "g.png"), ("figure", "f.png"), ("gif", "w.gif"))
    }
    flags = [word for flag, path in files.items() for word in (f"--{flag}", str(path))]
    assert run(["sample", "done", "--n", "3", "--steps", "4", "--seed", "1", "--device", "cpu", *flags]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"wrote {path}" for path in files.values()]
    assert [Image.open(path).format for path in files.values()] == ["PNG", "PNG", "GIF"]
    assert Image.open(files["gif"]).n_frames == 5


def test_sample_writes_samples_png_by_default(home: Path) -> None:
    assert run(["sample", str(home / "done"), "--n", "1", "--steps", "1", "--device", "cpu"]) == 0
    assert [path.name for path in Path().iterdir()] == ["samples.png"]


def test_the_same_seed_gives_the_same_image(home: Path, tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["--n", "2", "--steps", "2", "--seed", seed, "--device", "cpu", "--output", str(tmp_path / name)]
        assert run(["sample", "done", *arguments]) == 0
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_metrics_writes_the_series_of_a_run(home: Path, tmp_path: Path) -> None:
    assert run(["metrics", "done", "--output", str(tmp_path / "m.csv")]) == 0
    history = RunHistory.of(home / "done" / directory.EVENTS)
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 1 + len(history.progress) + len(history.epochs)


def test_watching_a_finished_run_prints_it_and_exits(home: Path, capsys: Capture) -> None:
    assert run(["watch", "done"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("started on cpu")
    assert lines[-2].startswith("finished after 4 steps")
    assert lines[-1] == f"saved in {home / 'done'}; `minidiff sample done` samples from it"


def test_the_command_after_training_works_with_another_root(home: Path, tmp_path: Path, capsys: Capture) -> None:
    root = tmp_path / "another root"
    shutil.move(home, root)
    assert run(["watch", "done", "--root", str(root)]) == 0
    (command,) = re.findall("`minidiff (.*)`", capsys.readouterr().out)
    assert run([*shlex.split(command), "--n", "1", "--steps", "1", "--device", "cpu"]) == 0


def test_training_and_watching_print_the_log_as_json(home: Path, capsys: Capture) -> None:
    log = home / "new" / directory.EVENTS
    assert run(["train", *TINY, "--epochs", "1", "--name", "new", "--json"]) == 0
    assert capsys.readouterr().out == log.read_text()
    first = len(log.read_text())
    assert run(["resume", "new", "--epochs", "2", "--json"]) == 0
    assert capsys.readouterr().out == log.read_text()[first:]
    assert run(["watch", "new", "--json"]) == 0
    assert capsys.readouterr().out == log.read_text()


def test_errors_with_json_are_those_without(home: Path, capsys: Capture) -> None:
    assert "--detach" in error_line(capsys, "train", *TINY, "--detach", "--json", code=2)
    assert "--dry-run" in error_line(capsys, "train", *TINY, "--dry-run", "--json", code=2)
    assert run(["train", "--dataset", "mnst", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("minidiff: ")
    with open(home / "done" / directory.EVENTS, "a") as log:
        log.write('{"event":"failed","time":1.0,"step":4,"message":"out of memory"}\n')
    assert run(["watch", "done", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == (home / "done" / directory.EVENTS).read_text()
    assert captured.err == "minidiff: out of memory\n"


def test_watching_a_run_without_a_trainer_is_an_error(home: Path, capsys: Capture) -> None:
    log = home / "done" / directory.EVENTS
    log.write_text("".join(line for line in log.read_text().splitlines(keepends=True) if '"finished"' not in line))
    assert run(["watch", "done"]) == 1
    assert "the process exited unexpectedly" in capsys.readouterr().err


def test_train_prints_plain_lines_without_a_terminal(home: Path, capsys: Capture) -> None:
    assert run(["train", *TINY, "--epochs", "1", "--name", "a"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert [line.split()[0] for line in out.splitlines()] == [
        "started",
        "glyphs:",
        "step",
        "epoch",
        "checkpoint",
        "finished",
        "saved",
    ]


def test_flags_override_a_file_and_the_environment(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 1\nseed = 5\nbatch_size = 7\n")
    monkeypatch.setenv("MINIDIFF_LEARNING_RATE", "0.005")
    assert run(["train", *TINY, "--config", str(tmp_path / "mine.toml"), "--seed", "6", "--name", "a"]) == 0

    config = TrainConfig.from_toml(home / "a" / directory.CONFIG)
    assert (config.epochs, config.seed, config.batch_size, config.learning_rate) == (1, 6, 32, 0.005)


def test_a_flag_that_defaults_to_on_can_be_turned_off(home: Path) -> None:
    assert run(["train", *TINY, "--epochs", "1", "--no-channels-last", "--name", "a"]) == 0
    assert "channels_last = false" in (home / "a" / directory.CONFIG).read_text()


def test_download_prints_the_dataset_directory(genuine_mnist: Path, capsys: Capture) -> None:
    assert run(["download", "mnist", "--data-root", str(genuine_mnist), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["dataset"] == "mnist"
    assert Path(output["directory"]).is_dir()
    assert output["sha256"].startswith("ba891046")


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --dataset cifar", "dataset"),
        ("train --model gan", "model: gan is not a network, nor module:Class of your own; choose one of: patch_unet"),
        ("train --preset fast", "preset"),
        ("train --device tpu", "cuda:N"),
        ("train --speed 3", "--speed"),
        ("train --batch-size 0", "batch_size"),
        ("train --epochs 0", "epochs"),
        ("train --epochs -1", "epochs"),
        ("train --epochs three", "three"),
        ("train --limit 0", "limit"),
        ("train --learning-rate nan", "learning_rate"),
        ("train --name a/b", "is not a valid run name"),
        ("train --name ..", "is not a valid run name"),
        ("train --preset quick --channels 8 8 8 8", "divisible by 8, not 28x28"),
        ("train --layers-per-block 2", "layers_per_block"),
        ("train --config nothing.toml", "nothing.toml"),
        ("train extra", "extra"),
        ("dance", "dance"),
        ("runs --jsn", "--jsn"),
        ("stop", "NAME"),
        ("sample done --steps x", "x"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    home: Path, capsys: Capture, arguments: str, words: str
) -> None:
    assert words in error_line(capsys, *arguments.split(), code=2)
    assert [path.name for path in home.iterdir()] == ["done"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --device cuda:93", "cuda:93"),
        ("sample done --n 0", "n must be at least 1"),
        ("sample done --steps 0", "steps must be at least 1"),
        ("sample done --steps -3", "steps must be at least 1"),
        ("sample done --device tpu", "unknown device"),
        ("sample done --n 1000000000000", "n must be at most 100,000"),
        ("sample nothing", "available: default-mnist, done"),
        ("sample " + "x" * 300, "name"),
        ("stop done", "done is not running"),
        ("pause done", "done is not running"),
        ("continue done", "done is not running"),
        ("stop nothing", "existing runs: done"),
        ("watch nothing", "existing runs: done"),
        ("resume nothing", "existing runs: done"),
        ("resume ../done", "not a valid run name"),
        ("watch a/b", "not a valid run name"),
        ("resume done", "done is finished"),
        ("resume done --detach", "done is finished"),
        ("train --name done", "exists already"),
        ("train --name done --detach", "exists already"),
        ("metrics done --output .", "folder"),
        ("download cifar", "cifar"),
        ("download glyphs --data-root .", "glyphs are rendered into the user's cache"),
        ("download sprites", "sprites are drawn in memory when they are needed; there is nothing to download"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(home: Path, capsys: Capture, arguments: str, words: str) -> None:
    files = [path for path in (home / "done").rglob("*") if path.is_file() and path.name != directory.TRAINER_LOG]
    before = {path: path.read_bytes() for path in files}
    assert words in error_line(capsys, *arguments.split())
    assert [path.name for path in home.iterdir()] == ["done"]
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize(
    "command_line",
    ["train --name x --dataset mnist", "train --name x", "eval default-mnist --n 20", "train --name x --detach"],
)
def test_a_data_root_without_the_data_is_an_error_even_if_the_data_is_elsewhere(
    home: Path, capsys: Capture, command_line: str, genuine_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDIFF_DATA", str(genuine_mnist))
    (home / "data").mkdir()
    words = error_line(capsys, *command_line.split(), "--data-root", str(home / "data"))
    assert f"MNIST is not in {home / 'data'}; put its files into {home / 'data' / 'MNIST' / 'raw'}" in words


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], "truncated"),
        (lambda content: b"this is text, and a good deal of it", "not a safetensors file"),
        (lambda content: content.replace(b'"version":"1"', b'"version":"2"'), "update minidiff"),
        (lambda content: content.replace(b"[8,8]", b"[8,9]"), "another model"),
    ],
)
def test_a_damaged_checkpoint_is_a_one_line_error(
    home: Path, capsys: Capture, damage: Callable[[bytes], bytes], words: str
) -> None:
    path = home / "done" / directory.MODEL
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert words in error_line(capsys, "sample", "done", "--device", "cpu")


def test_a_damaged_config_is_a_one_line_error(home: Path, capsys: Capture) -> None:
    log = home / "done" / directory.EVENTS
    log.write_text(log.read_text().replace('"finished"', '"stopped"'))
    (home / "done" / directory.CONFIG).write_text("epochs = ")
    assert "config.toml" in error_line(capsys, "resume", "done", code=2)
    assert run(["runs"]) == 0


def test_a_damaged_idx_file_is_a_one_line_error(
    home: Path, tmp_path: Path, capsys: Capture, genuine_mnist: Path
) -> None:
    (tmp_path / "data").mkdir()
    for file in genuine_mnist.rglob("*-ubyte.gz"):
        shutil.copy(file, tmp_path / "data")
    cut = tmp_path / "data" / "train-images-idx3-ubyte.gz"
    cut.write_bytes(cut.read_bytes()[:-1000])
    flags = ["--dataset", "mnist", "--data-root", str(tmp_path / "data"), "--name", "a", "--device", "cpu"]
    assert cut.name in error_line(capsys, "train", *flags)
    assert run_status(home / "a") == Status.FAILED


def test_an_unwritable_root_is_a_one_line_error(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in error_line(capsys, "train", *TINY, "--root", str(tmp_path / "file"))
    if Path("/proc/self").is_dir():
        assert "cannot write" in error_line(capsys, "train", *TINY, "--root", "/proc/minidiff")


def test_a_read_only_run_directory_is_a_one_line_error(home: Path, capsys: Capture) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write to a read-only directory")
    log = home / "done" / directory.EVENTS
    log.write_text(log.read_text().replace('"finished"', '"stopped"'))
    (home / "done").chmod(0o500)
    try:
        assert "cannot write" in error_line(capsys, "resume", "done")
    finally:
        (home / "done").chmod(0o700)


@pytest.mark.parametrize("module", ["cyclopts", "core.cli.commands", "torch"])
def test_ctrl_c_during_an_import_prints_no_traceback(home: Path, module: str) -> None:
    program = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from core.cli import main\n"
        "main(['sample', 'done'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("flag", "suggestion"),
    [
        ("--lr", "--learning-rate"),
        ("--bs=64", "--batch-size"),
        ("--dropout", "--label-dropout"),
        ("--epohcs", "--epochs"),
        ("--xyzzy", "--help"),
    ],
)
def test_an_unknown_option_suggests_the_closest_one(capsys: Capture, flag: str, suggestion: str) -> None:
    assert suggestion in error_line(capsys, "train", flag, code=2)


def test_environment_variables_for_training_options_affect_only_train(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("MINIDIFF_MODEL", "unet2d")
    monkeypatch.setenv("MINIDIFF_NAME", "done")
    monkeypatch.setenv("MINIDIFF_N", "nonsense")
    assert "NAME" in error_line(capsys, "stop", code=2)
    assert run(["sample", "--steps", "1", "--n", "1", "--device", "cpu", "--output", os.devnull]) == 0
    monkeypatch.setenv("MINIDIFF_EPOCHS", "several")
    assert "epochs" in error_line(capsys, "train", code=2)


def test_a_config_file_with_a_byte_order_mark_is_read(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfpreset = 'quick'\r\nepochs = 0\r\n")
    assert "epochs: should be greater than or equal to 1" in error_line(
        capsys, "train", "--config", str(tmp_path / "c.toml"), code=2
    )


def test_a_run_cannot_have_the_name_of_a_built_in_model(home: Path, capsys: Capture) -> None:
    assert "built-in model" in error_line(capsys, "train", *TINY, "--root", str(home), "--name", directory.BUILTIN[0])
    assert not (home / directory.BUILTIN[0]).exists()


def test_sample_prints_the_model_it_uses(
    home: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["sample", "done", "--steps", "1", "--n", "1", "--device", "cpu"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"sampling from done: {home / 'done' / directory.MODEL}, step 4, online weights"
    assert second == "wrote samples.png"
