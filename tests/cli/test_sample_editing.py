"""`minidiff sample` from image files, with masks, between seeds or images, of mixed classes, and as single files."""

from __future__ import annotations

import os
from pathlib import Path

import pexpect
import pytest
import torch
from command_line import Capture, command, environment, error_line
from PIL import Image
from toy_models import colour_model

from core import inpaint, interpolate_images, interpolate_seeds, mix_classes, sample
from core.cli import run
from core.cli import sampling as cli_sampling
from core.data.input_image import read_image
from core.diffusion import sampling
from core.diffusion.frames import quantized
from core.diffusion.sampling import SampleStep, noised
from core.models.weights import write_tensors

SHAPE = (3, 16, 12)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    loaded = colour_model()
    file = tmp_path_factory.mktemp("weights") / "colour.safetensors"
    write_tensors(file, "model", loaded.net.state_dict(), loaded.config, 1)
    return str(file)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the color images a.png and b.png and a mask of their right half."""
    monkeypatch.chdir(tmp_path)
    for seed, name in ((1, "a.png"), (2, "b.png")):
        pixels = torch.randint(256, (16, 12, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(name)
    mask = Image.new("L", (12, 16))
    mask.paste(255, (6, 0, 12, 16))
    mask.save("mask.png")
    return tmp_path


def files(model: str, *arguments: str) -> torch.Tensor:
    """The images that `--output-dir out` writes, (n, C, H, W) uint8."""
    assert run(["sample", model, "--device", "cpu", "--steps", "3", "--output-dir", "out", *arguments]) == 0
    names = sorted(os.listdir("out"))
    assert names == [f"{index:06}.png" for index in range(len(names))]
    return torch.cat([(read_image(f"out/{name}", SHAPE) * 255).round().to(torch.uint8) for name in names])


def assert_last(actual: torch.Tensor, steps: object) -> None:
    *_, step = steps  # type: ignore[misc]
    assert isinstance(step, SampleStep)
    difference = actual.int() - quantized(step.x).int()
    assert difference.abs().max() <= 1  # float sums may differ in the last digits


def test_single_files_are_the_samples_in_colour(model: str, pictures: Path, capsys: Capture) -> None:
    assert_last(files(model, "--n", "3", "--seed", "4"), sample(colour_model(), n=3, steps=3, seed=4))
    assert "wrote 3 images to out" in capsys.readouterr().out
    assert not Path("samples.png").exists()


def test_a_start_image_is_noised_to_the_given_level(model: str, pictures: Path) -> None:
    loaded = colour_model()
    start = noised(loaded, read_image("a.png", SHAPE).expand(3, *SHAPE), 0.4, seed=5)
    actual = files(model, "--start", "a.png", "--noise-level", "0.4", "--n", "3", "--seed", "5", "--class", "1")
    assert_last(actual, sample(loaded, steps=3, seed=5, start=start, start_t=0.4, labels=1))


def test_a_masked_image_keeps_the_black_part_of_the_mask(model: str, pictures: Path) -> None:
    image, mask = read_image("a.png", SHAPE), torch.zeros(16, 12)
    mask[:, 6:] = 1
    actual = files(model, "--start", "a.png", "--mask", "mask.png", "--n", "2")
    original = (image * 255).round().to(torch.uint8)
    assert torch.equal(actual[..., :6], original[..., :6].expand(2, 3, 16, 6))
    assert not torch.equal(actual[..., 6:], original[..., 6:].expand(2, 3, 16, 6))
    assert_last(actual, inpaint(colour_model(), image, mask, n=2, steps=3))


def test_two_whole_numbers_are_seeds_and_two_files_are_images_to_interpolate(model: str, pictures: Path) -> None:
    assert_last(files(model, "--interpolate", "3", "8", "--n", "4"), interpolate_seeds(colour_model(), 3, 8, 4, 3))
    for name in os.listdir("out"):
        os.remove(f"out/{name}")
    a, b = read_image("a.png", SHAPE), read_image("b.png", SHAPE)
    actual = files(model, "--interpolate", "a.png", "b.png", "--n", "4")
    assert_last(actual, interpolate_images(colour_model(), a, b, 4, 3))


def test_mixed_classes_are_given_with_their_weights(model: str, pictures: Path) -> None:
    assert_last(files(model, "--mix", "0:0.25", "1:0.75"), mix_classes(colour_model(), {0: 0.25, 1: 0.75}, steps=3))


def test_an_image_does_not_depend_on_how_many_are_sampled_with_it(
    model: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch and in several; each value may differ by one gray level from the rounding of sums."""
    many = files(model, "--n", "7", "--seed", "2", "--class", "0", "--sampler", "ddpm")
    os.rename("out", "seven")
    few = files(model, "--n", "2", "--seed", "2", "--class", "0", "--sampler", "ddpm")
    os.rename("out", "two")
    monkeypatch.setattr(sampling, "BATCH", 3)
    split = files(model, "--n", "7", "--seed", "2", "--class", "0", "--sampler", "ddpm")
    assert (many[:2].int() - few.int()).abs().max() <= 1
    assert (many.int() - split.int()).abs().max() <= 1


def test_many_files_are_written_with_a_progress_bar(model: str, pictures: Path) -> None:
    flags = ["--n", "600", "--steps", "1", "--device", "cpu", "--output-dir", "out"]
    program, *arguments = command("sample", model, *flags)
    with pexpect.spawn(program, arguments, env=environment(TERM="xterm-256color"), timeout=120) as child:
        child.expect(r"\d+/600")
        child.expect("wrote 600 images to out")
        child.expect(pexpect.EOF)
    assert len(os.listdir("out")) == 600


def test_grid_and_gif_of_an_edit_are_in_colour(model: str, pictures: Path) -> None:
    flags = "--interpolate 1 2 --n 3 --steps 2 --device cpu --output grid.png --gif steps.gif --figure figure.png"
    assert run(["sample", model, *flags.split()]) == 0
    for name in ("grid.png", "figure.png", "steps.gif"):
        with Image.open(name) as image:
            colours = image.convert("RGB").getcolors(maxcolors=2**24)
        assert colours is not None
        assert any(max(colour) - min(colour) > 60 for _, colour in colours)  # type: ignore[type-var, arg-type]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--mask mask.png", "name it with --start FILE"),
        ("--noise-level 0.5", "name it with --start FILE"),
        ("--start a.png --noise-level 2", "--noise-level must be from 0.0001 to 1, not 2"),
        ("--start nothing.png", "cannot read the image nothing.png (No such file"),
        ("--start text.txt", "text.txt (it is not an image)"),
        ("--start cut.png", "cut.png"),
        ("--start a.png --mask black.png", "the mask black.png is black everywhere"),
        ("--interpolate 1 2 --start a.png", "--interpolate excludes --start"),
        ("--interpolate 1 a.png", "cannot read the image 1"),
        ("--interpolate a.png b.png --guidance 2", "leave out --guidance"),
        ("--interpolate 1 2 --n 1", "n must be at least 2"),
        ("--mix 0:0.5 --class 1", "--mix replaces --class"),
        ("--mix 0", "such as 3:0.5 8:0.5, not 0"),
        ("--mix 2:1", "a class must be a number from 0 to 1, not 2"),
        ("--output-dir full", "full is not empty; name a new folder"),
        ("--output-dir a.png", "cannot write to a.png: Not a directory"),
    ],
)
def test_an_invalid_edit_is_a_one_line_error(
    model: str, pictures: Path, flags: str, words: str, capsys: Capture
) -> None:
    Path("text.txt").write_text("not an image")
    Path("cut.png").write_bytes(Path("a.png").read_bytes()[:200])
    Image.new("L", (12, 16)).save("black.png")
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    before = sorted(pictures.rglob("*"))
    assert words in error_line(capsys, "sample", model, "--device", "cpu", *flags.split())
    assert sorted(pictures.rglob("*")) == before


def test_a_grid_too_large_for_memory_is_refused_with_the_number_that_fits(
    model: str, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(cli_sampling, "GRID_BYTES", 10 * 3 * 16 * 12)
    words = error_line(capsys, "sample", model, "--device", "cpu", "--n", "11")
    assert "a grid of 11 images is too large; use at most 10 images (--n); or write files with --output-dir" in words
