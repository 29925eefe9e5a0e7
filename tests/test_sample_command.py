"""`minidiff sample` with the options of samplers: run in this process, as the entry point runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import Capture
from PIL import Image

from core import TrainConfig, build_model, load_model, sample
from core.checkpoint import write_tensors
from core.cli import run
from core.export import write_grid
from core.recording import record
from core.runs import BUILTIN, builtin_directories


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


def drawn(tmp_path: Path, *arguments: str) -> bytes:
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
            "--sampler heun --steps 3 --spacing 2.5 --contrast 0.1",
            {"sampler": "heun", "steps": 3, "spacing": 2.5, "contrast": 0.1},
        ),
        (
            "--sampler diffusers:FlowMatchEulerDiscreteScheduler --steps 3",
            {"sampler": "diffusers:FlowMatchEulerDiscreteScheduler", "steps": 3},
        ),
    ],
)
def test_flags_are_the_options_of_sample(
    model: str, tmp_path: Path, flags: str, options: dict[str, object], capsys: Capture
) -> None:
    found = drawn(tmp_path, model, "--n", "2", "--seed", "3", *flags.split())
    expected = record(sample(load_model(model, "cpu"), n=2, seed=3, **options), model="", seed=3)  # type: ignore[arg-type]
    with Image.open(write_grid(tmp_path / "expected.png", expected)) as image:
        assert found == image.tobytes()
    assert "wrote" in capsys.readouterr().out


def test_a_model_of_the_documents_recipe_takes_its_40_steps(without_classes: str, tmp_path: Path) -> None:
    whole = drawn(tmp_path, without_classes, "--n", "2")
    assert whole == drawn(tmp_path, without_classes, "--n", "2", "--steps", "40", "--sampler", "mix")
    assert whole != drawn(tmp_path, without_classes, "--n", "2", "--steps", "20")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--sampler hein", "did you mean heun"),
        ("--sampler diffusers:DDIMScheduler", "does not know the path flow"),
        ("--sampler diffusers:FlowMatchNothing", "no scheduler"),
        ("--class 12", "from 0 to 9"),
        ("--class seven", "seven"),
        ("--guidance -1", "guidance must be"),
        ("--guidance nan", "guidance must be"),
        ("--spacing 0", "spacing must be"),
        ("--steps 0", "steps must be"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(model: str, flags: str, words: str, capsys: Capture) -> None:
    assert run(["sample", model, "--device", "cpu", *flags.split()]) != 0
    complaint = capsys.readouterr().err.strip()
    assert words in complaint
    assert "Traceback" not in complaint


@pytest.mark.parametrize("flags", ["--class 3", "--guidance 2"])
def test_a_model_without_classes_says_so(without_classes: str, flags: str, capsys: Capture) -> None:
    assert run(["sample", without_classes, "--device", "cpu", *flags.split()]) == 1
    (complaint,) = capsys.readouterr().err.strip().splitlines()
    assert "without classes" in complaint


def test_help_names_every_sampler(capsys: Capture) -> None:
    run(["sample", "--help"])
    said = capsys.readouterr().out
    for word in ("--sampler", "dpm2m", "heun", "--guidance", "--spacing", "--class"):
        assert word in said


@pytest.mark.skipif(BUILTIN[0] not in builtin_directories(), reason="the built-in model is not in this tree")
def test_without_a_name_the_model_that_ships_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["sample", "--class", "7", "--guidance", "2", "--steps", "16", "--n", "2"]) == 0
    steps = sample(load_model(BUILTIN[0]), n=2, labels=7, guidance=2.0, steps=16)
    write_grid(tmp_path / "expected.png", record(steps, model=BUILTIN[0], seed=0))
    with Image.open(tmp_path / "samples.png") as drawn, Image.open(tmp_path / "expected.png") as expected:
        assert drawn.tobytes() == expected.tobytes()
