"""`minidiff sample --show`: samples in the terminal's colors, and as ASCII in a pipe."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_line import Capture

from benchmarks.pseudo_terminal import PseudoTerminal
from core.cli import preview, run
from core.cli.preview import Layout, arrange
from core.runs.trajectory import Denoising, Frame
from core.system.terminal import RAMPS

SHOW = ["sample", "done", "--show", "--steps", "1", "--device", "cpu"]


def denoising(pixels: list[int], n: int, height: int, width: int, channels: int = 1) -> Denoising:
    return Denoising("model", 0, 1, n, height, width, (Frame(1, 0.0, bytes(pixels), None),), channels)


@pytest.mark.parametrize(
    ("n", "columns", "rows", "layout"),
    [
        (1, 80, 20, Layout(1, 1, 28, 28)),
        (8, 80, 20, Layout(8, 4, 19, 18)),
        (8, 232, 20, Layout(8, 8, 28, 28)),
        (3, 300, 100, Layout(3, 3, 28, 28)),
        (3, 60, 100, Layout(3, 2, 28, 28)),
        (100, 60, 16, Layout(10, 5, 11, 10)),
        (2, 5, 1, Layout(1, 1, 5, 4)),  # larger than the terminal
    ],
)
def test_images_are_as_large_as_fits(n: int, columns: int, rows: int, layout: Layout) -> None:
    assert arrange(n, 28, 28, columns, rows) == layout


def test_without_a_terminal_each_character_is_two_pixels(capsys: Capture) -> None:
    preview.show(denoising([255, 0, 255, 0, 0, 128, 255, 128], 2, 2, 2))
    assert capsys.readouterr().out == "@  =+\n"


def test_colours_count_by_their_luminance(capsys: Capture) -> None:
    green, blue = [0, 255, 0], [0, 0, 255]
    preview.show(denoising((green + blue) * 2, 1, 2, 2, 3))
    assert capsys.readouterr().out == "+.\n"


def test_in_a_pipe_samples_are_ascii_and_no_file_is_written(home: Path, capsys: Capture) -> None:
    assert run([*SHOW, "--n", "2"]) == 0
    model, *lines = capsys.readouterr().out.splitlines()
    assert model.startswith("sampling from done")
    assert len(lines) == 14
    assert {character for line in lines for character in line} <= set(RAMPS["ascii"])
    assert list(Path().iterdir()) == []
    assert run([*SHOW, "--n", "2000", "--output", "grid.png"]) == 0
    assert "the first 21 of 2,000 samples" in capsys.readouterr().out
    assert Path("grid.png").exists()


@pytest.mark.parametrize(
    ("variables", "characters", "colors"),
    [
        ({"COLORTERM": "truecolor"}, {"▀"}, (b"38;2;", b"48;2;")),
        ({}, {"▀"}, (b"38;5;", b"48;5;")),
        ({"NO_COLOR": "1"}, set(RAMPS["shade"]), ()),
        ({"LC_ALL": "C"}, set(RAMPS["ascii"]), ()),
    ],
    ids=["truecolor", "256", "no colours", "ASCII"],
)
def test_on_a_terminal_samples_are_drawn_as_it_can_show_them(
    variables: dict[str, str], characters: set[str], colors: tuple[bytes, ...]
) -> None:
    program = (
        "from core.system.streams import prepare_streams; from core.cli import preview;"
        "from core.runs.trajectory import Denoising, Frame;"
        "frame = Frame(1, 0.0, bytes(range(0, 256, 4)) * 8, None);"
        "prepare_streams(); preview.show(Denoising('model', 0, 1, 2, 16, 16, (frame,)))"
    )
    command = [sys.executable, "-c", program]
    with PseudoTerminal(command=command, columns=40, lines=14, env=variables) as terminal:
        assert terminal.exit_status() == 0
        terminal.draw()
        lines = terminal.text.splitlines()
        drawn = set("".join(lines[:8]))
        assert len(drawn & characters) > len(characters) // 2
        assert drawn <= characters | {" "}
        assert all(sequence in terminal.output for sequence in colors)
        assert (b"\x1b[" in terminal.output) == bool(colors)
