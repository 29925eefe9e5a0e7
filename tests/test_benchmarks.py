"""The benchmarks complete and print their tables; speed is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from repository import REPOSITORY

from core.runs.directory import builtin_directories
from core.runs.trajectory import RECORDING


def run(script: str, *options: str) -> str:
    """The output of a benchmark run on one thread."""
    pythonpath = os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *options],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{pythonpath}".rstrip(os.pathsep),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(printed: str, begins: str) -> list[list[str]]:
    """The cells of the table rows whose first cell starts with `begins`."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in printed.splitlines()
        if line.startswith(f"| {begins}")
    ]


def test_the_terminal_benchmark_prints_startup_time_and_bytes_per_frame() -> None:
    home = builtin_directories().get("quick-mnist")
    if home is None or not (home / RECORDING).is_file():
        pytest.skip("the built-in checkpoint quick-mnist and its recording are not in this tree")
    printed = run("terminal.py", "--quick")
    rows = cells(printed, "80x24")
    assert len(rows) == 1, printed
    assert float(rows[0][1].split()[0]) > 0
    (noise,) = (row for row in cells(printed, "noise") if row[1] == "ours")
    assert 40 < float(noise[4].split()[0]) < 120  # kB
    values = dict(cells(printed, "at rest") + cells(printed, "training") + cells(printed, "drawing its curves"))
    assert len(values) == 6, printed


def test_the_lab_benchmark_prints_the_latency_of_each_bench_for_each_model() -> None:
    if builtin_directories().get("default-mnist") is None:
        pytest.skip("no built-in model in this tree")
    rows = [row for row in cells(run("lab.py", "--quick"), "") if row[0] not in ("bench", "---")]
    assert [row[:2] for row in rows][-3:] == [["inside", name] for name in ("default-mnist", "quick-mnist", "unet2d")]
    assert len(rows) == 7
    assert all(float(row[2].split()[0]) > 0 for row in rows)


def test_the_quality_benchmark_prints_and_plots_a_distance_for_each_recipe_and_budget(
    tmp_path: Path,
) -> None:
    drawn, results = tmp_path / "race.png", tmp_path / "race.json"
    printed = run("time_to_quality.py", "--quick", "--peer-n", "20", "--plot", str(drawn), "--json", str(results))
    for recipe in ("default", "quick"):
        rows = cells(printed, recipe)
        few = ["16", "8", "4"] if recipe == "default" else ["40"]
        assert [(row[2], row[6]) for row in rows] == [(f"{s} s", asked) for s in (2, 4) for asked in few], printed
        for row in rows:
            assert all(float(part) > 0 for part in row[4].removesuffix(" s").split(" + ")), row  # startup time by phase
            assert int(row[5].replace(",", "")) > 0  # images seen
            assert float(row[7]) > 0  # distance with all samples
            assert float(row[10]) > 0  # with the first few
    race = json.loads(results.read_text(encoding="utf-8"))
    assert race["failures"] == {}
    for point in race["points"]:
        assert sum(point["start"].values()) <= point["seconds"]
        assert sum(point["evaluation"]["samples"]["conv"]["classes"]) == race["n"] == 50
        assert sum(point["few"]["samples"]["conv"]["classes"]) == race["few"] == 20
    with Image.open(drawn) as picture:
        assert len(picture.getcolors(maxcolors=2**20) or ()) > 10  # axes and curves


def test_the_throughput_benchmark_prints_our_loop_the_tutorial_loop_and_both_lower_bounds() -> None:
    printed = run("throughput.py", "--quick")
    for net in ("BasicUNet", "UNet2DModel", "PatchUNet"):
        training, *_ = [row for row in cells(printed, net) if len(row) == 10]
        theirs, ours, ratio = (float(cell.replace(",", "")) for cell in training[2:5])
        assert ratio == pytest.approx(ours / theirs, rel=0.2)  # the printed numbers are rounded
        sampling, *_ = [row for row in cells(printed, net) if len(row) == 9]
        operations = [float(row[column]) for row, column in ((training, 6), (sampling, 5))]
        # A training step is a forward and a backward pass of about twice the cost; an evaluation is a forward pass.
        both = 3 * operations[1] / int(sampling[3])
        if net == "PatchUNet":
            assert operations[0] > both  # Muon's matrix multiplications are expensive for such a small batch
        else:
            assert operations[0] == pytest.approx(both, rel=0.1)


def test_the_folder_benchmark_prints_the_time_of_two_starts_and_the_peak_memory() -> None:
    rows = cells(run("prepare_folder.py", "--quick"), "")
    assert [row[0] for row in rows[2:]] == ["first start", "second start", "peak memory"]
    assert all(float(row[2].split()[0]) > 0 for row in rows[2:])
