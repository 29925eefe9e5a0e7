"""`minidiff doctor`: its report, and that each known problem is reported with a fix."""

from __future__ import annotations

import dataclasses
import getpass
import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.cli import doctor
from core.cli.doctor import Problem, Torch
from core.config import datasets
from core.system.devices import DeviceInfo
from core.system.logout import logout_warnings
from core.system.terminal import Terminal

GPU = DeviceInfo("NVIDIA H100", "cuda:0", "cuda", "GPU-1")
CPU = DeviceInfo("A CPU", "cpu", "cpu")
GOOD = dict.fromkeys(doctor.PACKAGES, "1.0") | {"torch": "2.9.0", "torchvision": "0.24.0"}
SCREEN = Terminal(
    term="xterm-256color",
    colorterm="truecolor",
    colors="truecolor",
    colors_reason="COLORTERM=truecolor",
    encoding="utf-8",
    utf8=True,
    blocks=True,
    quadrants=True,
    columns=80,
    rows=24,
    stdin_is_terminal=True,
    stdout_is_terminal=True,
    tmux=False,
    ssh=False,
)


@pytest.fixture
def fake_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that shadows torch and torchvision with fakes in new processes."""

    def install(torch: str, torchvision: str = "") -> None:
        (tmp_path / "torch.py").write_text(torch)
        (tmp_path / "torchvision.py").write_text(torchvision)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that sets the requirements in the metadata of the installed torchvision."""

    def install(*requirements: str) -> None:
        monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: list(requirements))

    return install


WORKING_TORCH = """
class cuda:
    is_available = staticmethod(lambda: {count} > 0)
    device_count = staticmethod(lambda: {count})
    get_device_name = staticmethod(lambda index: f"GPU {{index}}")
class version:
    cuda, hip = "12.8", None
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
__version__ = "2.9.0+cu128"
"""


def only(problems: list[Problem]) -> Problem:
    (problem,) = problems
    return problem


def test_the_report_is_json_and_its_text_names_every_part(
    fake_torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch(WORKING_TORCH.format(count=0))
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "nothing"))
    result = doctor.report(tmp_path / "runs")
    record = json.loads(json.dumps(dataclasses.asdict(result)))
    assert record["versions"]["python"] == sys.version.split()[0]
    assert record["versions"]["torch"]
    assert record["devices"][-1]["device"] == "cpu"
    assert record["data_roots"][0] == str(tmp_path / "nothing")
    assert record["root"] == str(tmp_path / "runs")
    text = "\n".join(doctor.lines(result))
    for part in ("Versions", "Devices", "Data", "Terminal", "Runs", "2.9.0+cu128", str(tmp_path / "runs")):
        assert part in text
    assert not (tmp_path / "runs").exists(), "looking makes nothing"


def test_the_doctor_imports_nothing_from_the_current_folder(
    fake_torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch(WORKING_TORCH.format(count=0))
    here = tmp_path / "here"
    here.mkdir()
    for module in ("json", "warnings", "torch", "torchvision", "platform", "core"):
        (here / f"{module}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').write({module!r})")
    monkeypatch.chdir(here)
    assert doctor.probe_torch(60).version == "2.9.0+cu128"
    assert not (tmp_path / "imported").exists()


def test_the_text_shows_na_for_unknown_values_and_a_fix_for_every_problem() -> None:
    result = doctor.Report(
        versions={"torch": None},
        torch=Torch(error="no such thing"),
        devices=[dataclasses.replace(GPU, device=None)],
        data=[doctor.Data("mnist", "/d", ("train", "test"))],
        data_roots=["/d"],
        terminal=SCREEN,
        root="/r",
        root_free=None,
        problems=[Problem("it broke", "mend it")],
    )
    text = "\n".join(doctor.lines(result))
    assert "hidden" in text
    assert "NVIDIA H100: N/A of N/A used, N/A, N/A, N/A" in text
    assert "train and test in /d" in text
    assert "problem: it broke\n    fix: mend it" in text


def test_doctor_imports_no_torch() -> None:
    program = "import core.cli.doctor, sys; print({'torch', 'torchvision', 'textual', 'rich'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_the_probe_reports_the_devices_torch_can_use(fake_torch: Any) -> None:
    fake_torch(WORKING_TORCH.format(count=2))
    assert doctor.probe_torch(30) == Torch("2.9.0+cu128", "12.8", None, ("GPU 0", "GPU 1"))


def test_the_probe_keeps_the_message_of_a_failed_import(fake_torch: Any) -> None:
    fake_torch("raise ImportError('libc10.so is gone')")
    assert doctor.probe_torch(30) == Torch(error="ImportError: libc10.so is gone")


def test_the_probe_times_out(fake_torch: Any) -> None:
    fake_torch(WORKING_TORCH.format(count=0), "import threading; threading.Event().wait()")
    assert doctor.probe_torch(1.5).vision_error == "the import took more than 1.5 s"


def test_a_torchvision_of_another_build_is_recognised_by_its_error(fake_torch: Any, needs: Any) -> None:
    needs("torch==2.9.0")
    fake_torch(WORKING_TORCH.format(count=0), "raise RuntimeError('operator torchvision::nms does not exist')")
    problem = only(doctor._package_problems(GOOD, doctor.probe_torch(30)))
    assert "different builds" in problem.what
    assert "pip install --force-reinstall torch torchvision" in problem.fix


def test_different_local_versions_are_different_builds(needs: Any) -> None:
    needs("torch==2.9.0")
    packages = GOOD | {"torch": "2.9.0+cpu", "torchvision": "0.24.0+cu128"}
    problem = only(doctor._package_problems(packages, Torch("2.9.0+cpu", vision_error="x")))
    assert "2.9.0+cpu and torchvision 0.24.0+cu128 are different builds" in problem.what


def test_a_torchvision_for_another_torch_version_is_reported(needs: Any) -> None:
    needs("numpy", "torch==2.8.0")
    problem = only(doctor._package_problems(GOOD, Torch("2.9.0+cu128")))
    assert "belongs to torch 2.8.0" in problem.what


@pytest.mark.parametrize("requirement", ["torch==2.9.0", "torch (==2.9.0)", "torch (>=2.8.0)"])
def test_matching_torch_and_torchvision_are_not_a_problem(needs: Any, requirement: str) -> None:
    needs(requirement)
    assert doctor._package_problems(GOOD, Torch("2.9.0+cu128")) == []


def test_a_missing_package_is_reported_with_its_install_command(needs: Any) -> None:
    needs()
    problem = only(doctor._package_problems(GOOD | {"diffusers": None}, Torch("2.9.0")))
    assert problem.fix == "run `pip install diffusers`"


def test_a_cpu_build_of_torch_on_a_gpu_machine_is_reported() -> None:
    problem = only(doctor._gpu_problems([GPU, CPU], Torch("2.9.0+cpu"), (13, 0)))
    assert "not built for CUDA" in problem.what
    assert "CUDA build of torch" in problem.fix


def test_hidden_gpus_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hidden = dataclasses.replace(GPU, device=None)
    problem = only(doctor._gpu_problems([hidden, CPU], Torch("2.9.0+cu128", "12.8"), (13, 0)))
    assert problem.fix == "unset CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(("driver", "old"), [((12, 2), True), ((13, 0), False), (None, False)])
def test_a_driver_older_than_the_cuda_version_of_torch_is_reported(driver: tuple[int, int] | None, old: bool) -> None:
    torch = Torch("2.15.0+cu132", "13.2", warnings=("it said so",))
    problem = only(doctor._gpu_problems([GPU, CPU], torch, driver))
    assert ("update the driver" in problem.fix) == old
    assert ("it said so" in problem.what) == (not old)


def test_a_working_gpu_or_no_gpu_is_not_a_problem() -> None:
    assert doctor._gpu_problems([GPU, CPU], Torch("2.9.0+cu128", "12.8", devices=("NVIDIA H100",)), (13, 0)) == []
    assert doctor._gpu_problems([CPU], Torch("2.9.0+cu128", "12.8"), None) == []


def test_a_torch_warning_about_a_gpu_is_reported() -> None:
    torch = Torch("2.9.0+cu128", "12.8", devices=("NVIDIA Old",), warnings=("NVIDIA Old is too old",))
    assert "too old" in only(doctor._gpu_problems([GPU, CPU], torch, (13, 0))).what


@pytest.fixture
def small_sets() -> tuple[dict[str, datasets.Source], dict[str, dict[str, bytes]]]:
    """Two fake published datasets of 2 + 1 one-pixel images, and the content of their files by dataset and name."""
    contents: dict[str, dict[str, bytes]] = {}
    sources = {}
    for value, name in enumerate(("one", "two"), start=1):
        contents[name] = {}
        splits = {}
        for split, count in (("train", 2), ("test", 1)):
            files = []
            for what, shape in (("images", (count, 1, 1)), ("labels", (count,))):
                data = bytes([0, 0, 8, len(shape), *(byte for size in shape for byte in (0, 0, 0, size))])
                data += bytes([value] * count)
                packed = gzip.compress(data, mtime=0)
                digest = hashlib.sha256(data).hexdigest()
                contents[name][f"{split}-{what}"] = data
                files.append(
                    datasets.File(f"{split}-{what}", shape, len(packed), hashlib.sha256(packed).hexdigest(), digest)
                )
            splits[split] = (files[0], files[1])
        sources[name] = datasets.Source(name, name.upper(), splits)
    return sources, contents


def test_datasets_are_found_in_both_layouts_raw_and_gzipped(tmp_path: Path, small_sets: Any) -> None:
    sources, contents = small_sets
    kept = tmp_path / "kept"
    (kept / "ONE" / "raw").mkdir(parents=True)
    for name, content in contents["one"].items():
        (kept / "ONE" / "raw" / name).write_bytes(content)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("test-images", "test-labels"):
        (plain / f"{name}.gz").write_bytes(gzip.compress(contents["two"][name], mtime=0))
    result, problems = doctor.find_data([tmp_path / "absent", kept, plain], sources)
    assert result == [
        doctor.Data("one", str(kept / "ONE" / "raw"), ("train", "test")),
        doctor.Data("two", str(plain), ("test",)),
    ]
    assert problems == []


def test_a_truncated_data_file_is_reported(tmp_path: Path, small_sets: Any) -> None:
    sources, contents = small_sets
    raw = tmp_path / "ONE" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents["one"].items():
        (raw / name).write_bytes(content[:-1] if name == "train-images" else content)
    result, problems = doctor.find_data([tmp_path], sources)
    assert result == [doctor.Data("one", str(raw), ("test",))]
    problem = only(problems)
    assert f"{raw / 'train-images'} has 17 bytes instead of 18" in problem.what
    assert "delete it" in problem.fix


def test_a_root_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in only(doctor._root_problems(tmp_path / "file" / "runs", None)).what


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_an_unwritable_root_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "not writable" in only(doctor._root_problems(tmp_path / "runs", None)).what


def test_low_disk_space_is_reported_in_megabytes(tmp_path: Path) -> None:
    assert "only 3.0 MB" in only(doctor._root_problems(tmp_path, 3_000_000)).what
    assert doctor._root_problems(tmp_path, doctor.LITTLE_SPACE) == []


@pytest.mark.parametrize(
    ("change", "words", "level"),
    [
        ({"term": "dumb"}, "TERM=dumb", "problem"),
        ({"term": ""}, "TERM=(not set)", "problem"),
        ({"term": "linux", "colors": "16"}, "bare console", "hint"),
        ({"encoding": "iso8859-1", "utf8": False}, "iso8859-1, not UTF-8", "problem"),
        ({"ssh": True, "colors": "256", "colorterm": ""}, "SSH did not forward COLORTERM", "hint"),
    ],
)
def test_a_limited_terminal_is_reported(change: dict[str, Any], words: str, level: str) -> None:
    problem = only(doctor._terminal_problems(dataclasses.replace(SCREEN, **change)))
    assert words in problem.what
    assert problem.level == level


def test_the_report_says_why_the_ui_uses_these_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.delenv("TEXTUAL_COLOR_SYSTEM", raising=False)
    monkeypatch.setenv("TERM", "xterm-ghostty")
    report = doctor.report(limit=0)
    assert "  true color: TERM is the name of a terminal with true color" in doctor.lines(report)


def test_a_capable_terminal_or_a_pipe_is_not_a_problem() -> None:
    assert doctor._terminal_problems(SCREEN) == []
    assert doctor._terminal_problems(dataclasses.replace(SCREEN, term="dumb", stdout_is_terminal=False)) == []


def test_blocks_and_utf8_follow_the_output_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "from core.system.terminal import describe_terminal as d; t = d(); print(t.encoding, t.utf8, t.blocks)"
    for encoding, message in (
        ("utf-8", "utf-8 True True"),
        ("cp437", "cp437 False True"),
        ("ascii", "ascii False False"),
    ):
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == message


def test_settings_that_kill_training_at_logout_are_reported_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busctl = tmp_path / "busctl"
    busctl.write_text('#!/bin/sh\ncase "$*" in *KillUserProcesses) echo "b true";; esac\n')
    busctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("core.system.logout.LINGER", tmp_path / "linger")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    ((what, fix),) = logout_warnings()
    assert "KillUserProcesses" in what
    assert "enable-linger" in fix
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / getpass.getuser()).touch()
    assert logout_warnings() == []
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert "job 42" in logout_warnings()[0][0]
