"""The benchmarks complete and print their tables; speed is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import REPOSITORY

from core.data.datasets import LabeledImages
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
    (noise,) = (row for row in cells(printed, "noise") if row[1] == "kitty")
    assert 8 < float(noise[4].split()[0]) < 20
    values = dict(cells(printed, "at rest") + cells(printed, "training") + cells(printed, "drawing its curves"))
    assert len(values) == 6, printed


@pytest.mark.slow
def test_the_lab_benchmark_prints_the_latency_of_each_bench_for_each_model() -> None:
    if builtin_directories().get("default-mnist") is None:
        pytest.skip("no built-in model in this tree")
    rows = [row for row in cells(run("lab.py", "--quick"), "") if row[0] not in ("bench", "---")]
    assert [row[:2] for row in rows][-3:] == [["inside", name] for name in ("default-mnist", "quick-mnist", "unet2d")]
    assert [row[:2] for row in rows][:2] == [["plane", "new particles"], ["plane", "a frame"]]
    assert len(rows) == 11
    assert all(float(row[3].split()[0]) > 0 for row in rows)


def test_the_benchmark_of_the_ideal_denoiser_prints_the_time_of_each_answer() -> None:
    printed = run("ideal_denoiser.py", "--quick")
    rows = cells(printed, "answer") + cells(printed, "loss and floor")
    assert [row[-1] for row in rows] == ["300 ms"] * 4 + ["5,000 ms"] * 2
    assert all(float(cell.split()[0].replace(",", "")) >= 0 for row in rows for cell in row[1:3])


def test_the_benchmark_of_races_prints_how_many_images_and_seeds_are_needed() -> None:
    (row,) = cells(run("race_power.py", "--quick"), "learning rate")
    paired, independent = (int(cell.replace(",", "")) for cell in row[2:4])
    assert 2 <= paired < independent


@pytest.mark.slow
def test_the_quality_benchmark_prints_and_plots_a_distance_for_each_recipe_and_budget(
    tmp_path: Path,
) -> None:
    plotted, written = tmp_path / "results.png", tmp_path / "results.json"
    printed = run("time_to_quality.py", "--quick", "--peer-n", "20", "--plot", str(plotted), "--json", str(written))
    results = json.loads(written.read_text(encoding="utf-8"))
    for recipe in ("default", "quick"):
        rows = cells(printed, recipe)
        nfe = ["16", "8", "4"] if recipe == "default" else ["40"]
        *rows, target = [row for row in rows if row[0] == recipe]
        assert [(row[2], row[6]) for row in rows] == [(f"{s} s", value) for s in (2, 4) for value in nfe], printed
        for row in rows:
            assert all(float(part) > 0 for part in row[4].removesuffix(" s").split(" + ")), row  # startup time by phase
            assert int(row[5].replace(",", "")) > 0  # images
            assert float(row[7]) > 0  # distance of all samples
            assert float(row[10]) > 0  # of the common number
        assert target == [recipe, results["time_to_target"][recipe]]
    assert results["failures"] == {}
    assert results["settings"]["peer_size"] == "matched"
    assert set(results["classifiers"]) == {"conv", "mlp"}
    assert all(f"- {shape}: SHA-256 {digest}" in printed for shape, digest in results["classifiers"].items())
    for point in results["points"]:
        assert sum(point["startup"].values()) <= point["seconds"]
        assert sum(point["evaluation"]["samples"]["conv"]["classes"]) == results["n"] == 50
        assert sum(point["common_evaluation"]["samples"]["conv"]["classes"]) == results["common_n"] == 20
        assert point["evaluation"]["sha256"] == results["classifiers"]
    with Image.open(plotted) as picture:
        assert len(picture.getcolors(maxcolors=2**20) or ()) > 10  # axes and curves


def test_a_contender_of_the_quality_benchmark_writes_colour_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.arange(6))
    given = ["--recipe=quick", "--dataset=sprites", "--shape=3,16,16", "--classes=12", "--limit=256", "--device=cpu"]
    counts = ["--budgets=0.1", "--seed=0", "--n=6", f"--labels={tmp_path / 'labels.npy'}"]
    run("own_recipe.py", *given, *counts, f"--out={tmp_path}", f"--start={time.monotonic()!r}")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    (entry,) = result["samples"]
    assert entry["budget"] == 0.1 < sum(result["startup"].values()) <= entry["seconds"]
    with np.load(tmp_path / entry["samples"]) as arrays:
        assert arrays["images"].shape == (6, 3, 16, 16)
        assert arrays["images"].dtype == np.uint8


@pytest.mark.parametrize(
    ("curve", "seconds", "text"),
    [
        # From 100 s to 400 s the distance falls from 8 to 2: half of it, in logarithms, at sqrt(100 * 400) s.
        ([(100, 8), (400, 2)], 200, "200 s"),
        # A quarter of the way from 32 to 2 in logarithms, after 60 s: 60 * 10**(3/4) s.
        ([(60, 32), (600, 2)], 60 * 10**0.75, "337 s"),
        ([(60, 64), (120, 8), (480, 2), (960, 8)], 240, "240 s"),  # the first time that it is reached
        ([(60, 8), (300, 4)], 300, "300 s"),
        ([(60, 4), (300, 1)], 60, "< 60 s"),
        ([(60, 3)], 60, "< 60 s"),
        ([(60, 8), (300, 4.1)], None, "not within 300 s"),
    ],
)
def test_time_to_a_target_is_interpolated_between_budgets(
    curve: list[tuple[float, float]], seconds: float | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from quality_report import seconds_to_reach, time_to_target

    assert seconds_to_reach(4, curve) == pytest.approx(seconds, rel=1e-12)
    assert time_to_target(4, curve) == text


@pytest.mark.parametrize("channels", [1, 3])
def test_raw_files_hold_padded_images_in_grey_and_colour(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from raw_files import write_arrays, write_png

    images = torch.randint(1, 256, (3, channels, 10, 13), dtype=torch.uint8)
    data = LabeledImages(images, torch.tensor([2, 0, 2]))
    expected = torch.zeros(3, channels, 16, 16, dtype=torch.uint8)
    expected[:, :, 3:13, 1:14] = images
    write_arrays(tmp_path / "arrays", data, multiple=4)
    assert (np.load(tmp_path / "arrays" / "images.npy") == expected.movedim(1, 3).numpy()).all()
    assert np.load(tmp_path / "arrays" / "labels.npy").tolist() == [2, 0, 2]
    write_png(tmp_path / "png", data, multiple=8)
    files = sorted((tmp_path / "png").rglob("*.png"), key=lambda path: path.name)
    assert [path.parent.name for path in files] == ["2", "0", "2"]
    for path, image in zip(files, expected, strict=True):
        with Image.open(path) as picture:
            assert picture.mode == ("L" if channels == 1 else "RGB")
            assert (np.asarray(picture).reshape(16, 16, channels) == image.movedim(0, 2).numpy()).all()


def test_every_peer_of_the_quality_benchmark_has_a_script_and_pinned_requirements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from contenders import PEERS

    for peer in PEERS.values():
        assert peer.script.is_file()
        assert peer.script.stem != peer.module.partition(".")[0]  # which it would hide
        assert all("==" in line for line in peer.requirements.read_text(encoding="utf-8").splitlines())


def test_the_gpu_script_prints_its_tables_on_a_machine_without_a_gpu(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh"), str(tmp_path)],
        env={**os.environ, "CPU": "1", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    parts = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert parts.keys() == {"machine", "tests", "throughput", "feeding", "latency"}
    assert_throughput(parts["throughput"])
    (row,) = [row for row in cells(parts["feeding"], "") if row[0].endswith("ms")]
    assert float(row[2]) > 0
    rows = [row for row in cells(parts["latency"], "") if row[-1].endswith("ms")]
    assert [row[0] for row in rows] == ["40", "10"]
    assert all(float(row[1].split()[0]) > 0 for row in rows)


def assert_throughput(printed: str) -> None:
    """A table has our loop, the tutorial's and both bounds for each network."""
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
