"""`minidiff sample` and its sampler options, run in this process like the entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
import torch
from command_line import Capture, environment, error_line
from PIL import Image, ImageChops

from core import TrainConfig, build_model, load_model, sample
from core.cli import run
from core.config.datasets import DatasetInfo
from core.diffusion.frames import record, to_uint8
from core.diffusion.sampling import BATCH
from core.export.images import GAP, grid_image, write_grid
from core.models.weights import write_tensors
from core.runs.directory import BUILTIN, builtin_directories
from core.runs.snapshots import list_snapshots


def written(folder: Path, name: str, **options: object) -> Path:
    config = TrainConfig(**options)
    torch.manual_seed(0)
    net = build_model(config.model, **config.model_options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.1)
    write_tensors(folder / name, "model", net.state_dict(), config, 1)
    return folder / name


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("weights")
    return str(written(folder, "m.safetensors", model="patch_unet", channels=(16, 16), precision="float32"))


@pytest.fixture(scope="module")
def without_classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("weights")
    return str(written(folder, "plain.safetensors", preset="quick", channels=(2,)))


def sampled_bytes(tmp_path: Path, *arguments: str) -> bytes:
    picture = tmp_path / "drawn.png"
    assert run(["sample", *arguments, "--device", "cpu", "--output", str(picture)]) == 0
    with Image.open(picture) as image:
        return image.tobytes()


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("", {}),
        ("--class 7 --guidance 2 --steps 4", {"labels": 7, "guidance": 2.0, "steps": 4}),
        ("--class -1 --steps 3", {"labels": -1, "steps": 3}),
        (
            "--sampler heun --steps 3 --shift 2.5 --contrast 0.1",
            {"sampler": "heun", "steps": 3, "shift": 2.5, "contrast": 0.1},
        ),
        (
            "--sampler diffusers:FlowMatchEulerDiscreteScheduler --steps 3",
            {"sampler": "diffusers:FlowMatchEulerDiscreteScheduler", "steps": 3},
        ),
    ],
)
def test_flags_match_the_options_of_sample(
    model: str, tmp_path: Path, flags: str, options: dict[str, object], capsys: Capture
) -> None:
    actual = sampled_bytes(tmp_path, model, "--n", "2", "--seed", "3", *flags.split())
    expected = record(sample(load_model(model, "cpu"), n=2, seed=3, **options), model="", seed=3)  # type: ignore[arg-type]
    with Image.open(write_grid(tmp_path / "expected.png", expected)) as image:
        assert actual == image.tobytes()
    assert "wrote" in capsys.readouterr().out


def test_a_tutorial_model_defaults_to_40_steps(without_classes: str, tmp_path: Path) -> None:
    whole = sampled_bytes(tmp_path, without_classes, "--n", "2")
    assert whole == sampled_bytes(tmp_path, without_classes, "--n", "2", "--steps", "40", "--sampler", "mix")
    assert whole != sampled_bytes(tmp_path, without_classes, "--n", "2", "--steps", "20")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--sampler hein", "did you mean heun"),
        ("--sampler diffusers:DDIMScheduler", "does not support the path flow"),
        ("--sampler diffusers:FlowMatchNothing", "is not tested on the path"),
        ("--class 12", "from 0 to 9"),
        ("--class seven", "seven"),
        ("--guidance -1", "guidance must be"),
        ("--guidance nan", "guidance must be"),
        ("--shift 0", "shift must be"),
        ("--steps 0", "steps must be"),
    ],
)
def test_an_invalid_request_is_a_one_line_error(model: str, flags: str, words: str, capsys: Capture) -> None:
    assert run(["sample", model, "--device", "cpu", *flags.split()]) != 0
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "Traceback" not in message


def test_a_class_is_given_by_name_or_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = DatasetInfo(height=16, width=16, class_names=("cat", "hot dog"))
    options = {"dataset_info": info, "channels": (16, 16), "precision": "float32"}
    model = str(written(tmp_path, "pets.safetensors", **options))
    flags = ("--n", "1", "--steps", "2", "--guidance", "2")
    by_name = sampled_bytes(tmp_path, model, "--class", "hot dog", *flags)
    assert by_name == sampled_bytes(tmp_path, model, "--class", "1", *flags)
    assert by_name != sampled_bytes(tmp_path, model, "--class", "cat", *flags)
    assert run(["sample", model, "--class", "hot dgo", "--device", "cpu"]) != 0
    assert "there is no class 'hot dgo'; did you mean hot dog?" in capsys.readouterr().err


@pytest.mark.parametrize("flags", ["--class 3", "--guidance 2"])
def test_labels_for_an_unconditional_model_are_an_error(without_classes: str, flags: str, capsys: Capture) -> None:
    assert run(["sample", without_classes, "--device", "cpu", *flags.split()]) == 1
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert "without classes" in message


def test_help_names_every_sampler(capsys: Capture) -> None:
    run(["sample", "--help"])
    output = capsys.readouterr().out
    for word in ("--sampler", "dpm2m", "heun", "--guidance", "--shift", "--class"):
        assert word in output


@pytest.mark.skipif(BUILTIN[0] not in builtin_directories(), reason="the built-in model is not in this tree")
def test_without_a_name_the_built_in_model_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["sample", "--class", "7", "--guidance", "2", "--steps", "16", "--n", "2"]) == 0
    steps = sample(load_model(BUILTIN[0]), n=2, labels=7, guidance=2.0, steps=16)
    write_grid(tmp_path / "expected.png", record(steps, model=BUILTIN[0], seed=0))
    with Image.open(tmp_path / "samples.png") as actual, Image.open(tmp_path / "expected.png") as expected:
        assert actual.tobytes() == expected.tobytes()


@pytest.mark.parametrize("terminal", [False, True])
def test_images_in_batches_match_one_batch_and_show_progress(
    model: str, tmp_path: Path, terminal: bool, capsys: Capture
) -> None:
    """Pixels may differ by one gray level, since torch sums in another order for another batch size."""
    n = 2 * BATCH + 5
    command_line = [
        "-m",
        "core",
        "sample",
        model,
        "--n",
        str(n),
        "--steps",
        "1",
        "--device",
        "cpu",
        "--output",
        "a.png",
    ]
    if terminal:
        with pexpect.spawn(
            sys.executable, command_line, cwd=tmp_path, env=environment(TERM="xterm-256color"), timeout=60
        ) as child:
            child.expect(rf"\d+/{n}")  # the bar is drawn ten times per second, so some counts are not shown
            child.expect("wrote a.png")
            child.expect(pexpect.EOF)
    else:
        done = subprocess.run(
            [sys.executable, *command_line], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[1:] == [f"sampling: {BATCH} of {n}", "wrote a.png"]
    *_, last = sample(load_model(model, "cpu"), n=n, steps=1)
    expected = grid_image(to_uint8(last.x), n, 28, 28)
    with Image.open(tmp_path / "a.png") as actual:
        scale = actual.width // expected.width
        assert actual.size == (expected.width * scale, expected.height * scale)
        difference = ImageChops.difference(actual.reduce(scale), expected)
    assert difference.getextrema()[1] <= 1


def test_a_figure_or_gif_too_large_for_memory_is_refused_with_the_size_that_fits(
    model: str, tmp_path: Path, capsys: Capture
) -> None:
    for flag in ("--figure", "--gif"):
        words = error_line(capsys, "sample", model, "--n", "50000", "--steps", "9", flag, str(tmp_path / "x"))
        assert "50,000 images with 9 steps is too large; use at most 8,559 images (--n)" in words


def test_non_finite_samples_are_an_error_and_no_image_is_written(tmp_path: Path, capsys: Capture) -> None:
    config = TrainConfig(model="patch_unet", channels=(16, 16), precision="float32")
    net = build_model(config.model, **config.model_options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1e30)
    write_tensors(tmp_path / "m.safetensors", "model", net.state_dict(), config, 1)
    for arguments in ((str(tmp_path / "m.safetensors"),), (BUILTIN[0], "--guidance", "1e300")):
        words = error_line(capsys, "sample", *arguments, "--device", "cpu", "--output", str(tmp_path / "x.png"))
        assert "the samples are not finite" in words
    assert not (tmp_path / "x.png").exists()


def test_the_history_has_a_frame_or_a_row_for_each_snapshot(home: Path, tmp_path: Path, capsys: Capture) -> None:
    flags = "--n 3 --steps 2 --device cpu --history".split()
    steps = [snapshot.step for snapshot in list_snapshots(home / "done")]
    assert run(["sample", "done", *flags, "h.gif"]) == 0
    assert "wrote h.gif" in capsys.readouterr().out
    with Image.open("h.gif") as picture:
        assert picture.n_frames == len(steps) == 5
    assert run(["sample", "done", *flags, "h.png"]) == 0
    with Image.open("h.png") as figure:
        rows = len(steps) * (28 + 2 * GAP + 4)
        assert figure.height == pytest.approx(2 * rows, abs=60)
    assert [path.name for path in sorted(Path().iterdir())] == ["h.gif", "h.png"]
    assert "starts from noise" in error_line(capsys, "sample", "done", "--history", "h.gif", "--mix", "1:1")
    assert "has no snapshots" in error_line(capsys, "sample", "quick-mnist", "--history", "h.gif")


def test_at_step_samples_from_a_snapshot(home: Path, tmp_path: Path, capsys: Capture) -> None:
    actual = sampled_bytes(tmp_path, "done", "--at-step", "3", "--n", "2", "--steps", "3")
    assert "step 3" in capsys.readouterr().out
    loaded = load_model(home / "done", "cpu", step=3)
    with Image.open(
        write_grid(tmp_path / "expected.png", record(sample(loaded, n=2, steps=3), model="", seed=0))
    ) as image:
        assert actual == image.tobytes()
    assert "no snapshot of step 99; there are those of steps 3, 4" in error_line(
        capsys, "sample", "done", "--at-step", "99"
    )
