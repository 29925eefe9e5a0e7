"""A report on this installation: versions, devices, data, terminal, and known problems with their fixes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core import __version__
from core.config.datasets import SOURCES, File, Source
from core.data import cifar10
from core.data.datasets import search_roots
from core.errors import MinidiffError
from core.runs.directory import root_directory, run_directories
from core.runs.snapshots import snapshots_bytes
from core.system import disk_usage, subprocesses
from core.system.devices import DeviceInfo, cuda_driver, list_devices, nvml_failure
from core.system.import_path import FIX, HOME, shadows
from core.system.logout import logout_warnings
from core.system.terminal import Terminal, describe_terminal
from core.text import file_size, memory_size

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "numpy",
    "textual",
    "textual-plotext",
    "rich",
    "pillow",
    "safetensors",
    "pydantic",
    "platformdirs",
    "psutil",
    "nvidia-ml-py",
    "cyclopts",
    "tomli-w",
)
LITTLE_SPACE = 500 * 1024**2  # bytes; a run of the largest preset takes two thirds of that, with its snapshots

# Prints facts about torch as one line of JSON, then imports torchvision, so torch is imported only once.
_PROBE = """
import json, sys, warnings
import torch
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    works = torch.cuda.is_available()
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if works else []
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip,
    "devices": names, "mps": torch.backends.mps.is_available(),
    "warnings": [" ".join(str(w.message).split()) for w in caught]}), flush=True)
import torchvision
print("torchvision", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Torch:
    """Facts about torch and torchvision, imported in a fresh process."""

    version: str | None = None  # including the build, such as +cpu; None if the import failed
    cuda: str | None = None  # the CUDA version it is built for
    hip: str | None = None
    devices: tuple[str, ...] = ()  # names of the usable CUDA devices
    mps: bool = False
    warnings: tuple[str, ...] = ()
    error: str | None = None  # the last line of a failed `import torch`
    vision_error: str | None = None  # the last line of a failed `import torchvision`


@dataclass(frozen=True, slots=True)
class Data:
    """The splits of one dataset in one folder; only file sizes and labels are checked here, training verifies all."""

    name: str
    directory: str
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem, or a hint at a possible improvement, and how to fix it."""

    what: str
    fix: str
    level: Literal["problem", "hint"] = "problem"


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report; `dataclasses.asdict` makes it serializable as JSON."""

    versions: dict[str, str | None]  # None if not installed
    torch: Torch
    devices: list[DeviceInfo]
    data: list[Data]
    data_roots: list[str]  # the searched folders, in order
    terminal: Terminal
    root: str  # folder with the runs
    root_free: int | None  # bytes
    problems: list[Problem]
    snapshot_bytes: int = 0  # that the snapshots of all runs take


def report(root: Path | None = None, *, limit: float = 60.0) -> Report:
    """Collect the report. Importing torch takes most of the time, at most `limit` seconds.

    `root` is the folder with the runs, by default $MINIDIFF_HOME, else ./checkpoints.
    """
    versions = {"minidiff": __version__, "python": platform.python_version(), "platform": platform.platform()}
    packages = {name: _version(name) for name in PACKAGES}
    torch = probe_torch(limit)
    devices = list_devices()
    terminal = describe_terminal()
    roots = search_roots()
    data, data_problems = find_data(roots)
    runs = root_directory(root)
    space = disk_usage.disk_space(runs)
    free = None if space is None else space[0]
    shadowed = _shadow_problems()
    problems = [
        *(shadowed or _package_problems(packages, torch)),
        *_current_folder_hints(),
        *_gpu_problems(devices, torch, cuda_driver()),
        *data_problems,
        *_root_problems(runs, free),
        *_terminal_problems(terminal),
        *(Problem(what, fix, "hint") for what, fix in logout_warnings()),
    ]
    return Report(
        versions={**versions, **packages},
        torch=torch,
        devices=devices,
        data=data,
        data_roots=[str(folder) for folder in roots],
        terminal=terminal,
        root=str(runs),
        root_free=free,
        snapshot_bytes=_snapshot_bytes(runs),
        problems=sorted(problems, key=lambda problem: problem.level == "hint"),
    )


def lines(report: Report) -> list[str]:
    """The report as plain text."""
    terminal = report.terminal
    size = f"{terminal.columns}x{terminal.rows}" if terminal.columns is not None else "no terminal"
    sessions = [name for name, active in (("tmux", terminal.tmux), ("SSH", terminal.ssh)) if active]
    features = [size, terminal.encoding, *sessions]
    free = "N/A" if report.root_free is None else file_size(report.root_free)
    out = ["Versions", *(f"  {name:<16} {version or 'not installed'}" for name, version in report.versions.items())]
    out += ["Devices", *(f"  {_device_line(device)}" for device in report.devices)]
    out.append(f"  {_torch_line(report.torch)}")
    out += ["Data", *(f"  {data.name:<16} {' and '.join(data.splits)} in {data.directory}" for data in report.data)]
    if not report.data:
        folders = ", ".join(report.data_roots)
        out.append(f"  none in {folders}: run `minidiff download`, or use glyphs or sprites, which need no files")
    out += ["Terminal", f"  TERM={terminal.term or '(not set)'}: {', '.join(features)}"]
    colors = {"truecolor": "true color", "none": "no colors"}.get(terminal.colors, f"{terminal.colors} colors")
    out.append(f"  {colors}: {terminal.colors_reason}")
    blocks = (("half blocks", terminal.blocks), ("quarter blocks", terminal.quadrants))
    out.append("  " + ", ".join(f"{name} {'supported' if usable else 'not supported'}" for name, usable in blocks))
    kept = f", {file_size(report.snapshot_bytes)} taken by snapshots" if report.snapshot_bytes else ""
    out += ["Runs", f"  in {report.root}, {free} free{kept}"]
    out.append("Problems" if report.problems else "No problems found")
    for problem in report.problems:
        out += [f"  {problem.level}: {problem.what}", f"    fix: {problem.fix}"]
    return out


def probe_torch(limit: float) -> Torch:
    """Import torch and torchvision in a separate process, for at most `limit` seconds."""
    command = subprocesses.python("-c", _PROBE)
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit, check=False)
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else expired.stdout
        return _read_probe(output or "", f"the import took more than {limit:g} s")
    last = result.stderr.strip().splitlines()[-1:] or [f"the process exited with code {result.returncode}"]
    return _read_probe(result.stdout, last[0])


def _read_probe(output: str, failure: str) -> Torch:
    """Parse the probe's output; `failure` describes how it ended if the output is incomplete."""
    lines = output.splitlines()
    facts: dict[str, Any] | None = next((json.loads(line) for line in lines if line.startswith('{"version"')), None)
    if facts is None:
        return Torch(error=failure)
    return Torch(
        **{**facts, "devices": tuple(facts["devices"]), "warnings": tuple(facts["warnings"])},
        vision_error=None if "torchvision" in lines else failure,
    )


def find_data(roots: list[Path], sources: dict[str, Source] = SOURCES) -> tuple[list[Data], list[Problem]]:
    """The datasets in `roots`, and problems with uncompressed files of the wrong size."""
    data = []
    problems = {}  # by path, because a plain folder is searched once per dataset
    for root in roots:
        data += [Data("cifar10", str(directory), splits) for directory, splits in cifar10.on_disk(root)]
        for name, source in sources.items():
            for directory, named in ((root / source.folder / "raw", True), (root, False)):
                splits = tuple(
                    split
                    for split, (images, labels) in source.splits.items()
                    if _is_file(directory, labels, named) and _has_size(directory, images)
                )
                if splits:
                    data.append(Data(name, str(directory), splits))
                for file in (file for pair in source.splits.values() for file in pair):
                    path = directory / file.name  # not archives: in a plain folder one may belong to another dataset
                    if path.is_file() and path.stat().st_size != _raw_size(file):
                        what = f"{path} has {path.stat().st_size} bytes instead of {_raw_size(file)}"
                        problems[path] = Problem(what, "delete it, then run `minidiff download`")
    return data, list(problems.values())


def _raw_size(file: File) -> int:
    return 4 + 4 * len(file.shape) + math.prod(file.shape)  # the IDX header, then one byte per value


def _has_size(directory: Path, file: File) -> bool:
    candidates = ((directory / file.name, _raw_size(file)), (directory / f"{file.name}.gz", file.archive_bytes))
    return any(path.is_file() and path.stat().st_size == size for path, size in candidates)


def _is_file(directory: Path, file: File, named: bool) -> bool:
    """Whether the folder has this small file, by digest; if none is published, by size in a folder `named` after it."""
    if not _has_size(directory, file):
        return False
    for path, sha256 in ((directory / file.name, file.sha256), (directory / f"{file.name}.gz", file.archive_sha256)):
        if path.is_file() and os.access(path, os.R_OK):
            if sha256 is None and named:
                return True
            if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
                return True
    return False


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _needed_torch() -> str | None:
    """The exact torch version that the installed torchvision was built for, if its metadata names one."""
    if _version("torchvision") is None:
        return None
    needs = importlib.metadata.requires("torchvision") or []
    exact = (re.match(r"torch\s*\(?\s*==\s*([0-9a-z.]+)", need) for need in needs)
    return next((match[1] for match in exact if match), None)


def _package_problems(packages: dict[str, str | None], torch: Torch) -> list[Problem]:
    """Packages that are missing or incompatible."""
    reinstall = "run `pip install --force-reinstall torch torchvision` to install matching versions"
    missing = [name for name, version in packages.items() if version is None]
    problems = [Problem(f"{name} is not installed", f"run `pip install {name}`") for name in missing]
    if torch.error is not None and packages["torch"] is not None:
        problems.append(Problem(f"torch {packages['torch']} cannot be imported: {torch.error}", reinstall))
    version, vision = torch.version or packages["torch"], packages["torchvision"]
    if version is None or vision is None:
        return problems
    public, _, build = version.partition("+")
    vision_build = vision.partition("+")[2]
    needed = _needed_torch()
    if needed is not None and needed != public:
        problems.append(Problem(f"torchvision {vision} belongs to torch {needed}, but torch is {version}", reinstall))
    elif vision_build and build and build != vision_build:
        problems.append(Problem(f"torch {version} and torchvision {vision} are different builds", reinstall))
    elif torch.vision_error is not None:
        what = f"torchvision {vision} cannot be imported with torch {version}: {torch.vision_error}"
        if "torchvision::nms does not exist" in torch.vision_error:
            what += " (the two are different builds, such as one for CPUs and one for CUDA)"
        problems.append(Problem(what, reinstall))
    return problems


def _shadow_problems() -> list[Problem]:
    """Modules that shadow those needed; errors of the torch probe may be caused by them."""
    return [Problem(str(shadow), FIX) for shadow in shadows()]


def _current_folder_hints() -> list[Problem]:
    """Files in the current folder that scripts and `python -m` would import."""
    if os.path.realpath(os.curdir) == os.path.realpath(HOME):
        return []
    return [
        Problem(
            f"{shadow.path} would be imported as `{shadow.module}` by scripts in this folder",
            "rename it; `minidiff` and `minidiff-tui` do not import it",
            "hint",
        )
        for shadow in shadows([os.curdir])
    ]


def _gpu_problems(devices: list[DeviceInfo], torch: Torch, driver: tuple[int, int] | None) -> list[Problem]:
    """GPUs that torch cannot use, and why; `driver` is the latest CUDA version that the driver supports."""
    gpus = [device for device in devices if device.kind == "cuda"]
    failure = nvml_failure()
    if not gpus and failure is not None and Path("/proc/driver/nvidia/version").exists():
        fix = "if the driver was just updated, reboot; in a container, enable the driver's utility capability"
        return [Problem(f"an NVIDIA driver is loaded, but NVML does not work: {failure}", fix)]
    if torch.version is None or torch.devices or not gpus:
        problems = [Problem(f"torch warns: {text}", "install a build of torch for this GPU") for text in torch.warnings]
        return problems if torch.devices else []
    unusable = f"NVML lists {', '.join(gpu.name for gpu in gpus)}, but torch {torch.version} cannot use it"
    if torch.cuda is None:
        fix = "install a CUDA build of torch and torchvision together (pytorch.org has the command)"
        return [Problem(f"{unusable}: this torch is not built for CUDA", fix)]
    if all(gpu.device is None for gpu in gpus):
        setting = os.environ.get("CUDA_VISIBLE_DEVICES")
        return [Problem(f"{unusable}: CUDA_VISIBLE_DEVICES={setting!r} hides it", "unset CUDA_VISIBLE_DEVICES")]
    if driver is not None and driver[0] < int(torch.cuda.partition(".")[0]):
        what = f"{unusable}: its driver supports CUDA {driver[0]}.{driver[1]}, and torch is built for {torch.cuda}"
        return [Problem(what, f"update the driver, or install a torch built for CUDA {driver[0]}")]
    warning = f" ({torch.warnings[0]})" if torch.warnings else ""
    fix = 'run `python -c "import torch; torch.zeros(1).cuda()"` for the driver\'s message'
    return [Problem(f"{unusable}{warning}", fix)]


def _root_problems(root: Path, free: int | None) -> list[Problem]:
    """Whether runs can be written to `root`, and whether there is enough space."""
    folder = disk_usage.nearest_existing(root)
    fix = "choose another folder with --root or MINIDIFF_HOME"
    if not folder.is_dir():
        return [Problem(f"runs cannot be written to {root}: {folder} is a file", fix)]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [Problem(f"runs cannot be written to {root}: {folder} is not writable", fix)]
    if free is not None and free < LITTLE_SPACE:
        return [Problem(f"only {file_size(free)} of disk space is free in {root}", f"free disk space, or {fix}")]
    return []


def _snapshot_bytes(root: Path) -> int:
    """Bytes that the snapshots of all runs take."""
    total = 0
    with contextlib.suppress(MinidiffError):  # a folder that this user may not read
        for run in run_directories(root):
            with contextlib.suppress(MinidiffError):
                total += snapshots_bytes(run)
    return total


def _terminal_problems(terminal: Terminal) -> list[Problem]:
    """Terminal settings that limit the UI."""
    if not terminal.stdout_is_terminal:
        return []  # a pipe or a file
    if terminal.term in ("dumb", "unknown", ""):
        what = f"TERM={terminal.term or '(not set)'} supports neither colors nor cursor movement"
        fix = "use a terminal that sets TERM, or run `export TERM=xterm-256color` if yours supports it"
        return [Problem(what, fix)]
    problems = []
    if not terminal.utf8:
        what = f"the output's encoding is {terminal.encoding}, not UTF-8: images cannot be drawn with block characters"
        problems.append(Problem(what, "run `export LC_ALL=C.UTF-8` (and start tmux as `tmux -u`)"))
    if terminal.term == "linux":
        what = "TERM=linux, the bare console, has 16 colors and no quarter blocks: images are coarse"
        problems.append(Problem(what, "use a graphical terminal, or SSH from one", "hint"))
    elif terminal.ssh and terminal.colors in ("256", "16") and not terminal.colorterm:
        what = f"SSH did not forward COLORTERM, so the UI uses {terminal.colors} colors: {terminal.colors_reason}"
        fix = (
            "if your terminal supports true color, run `export COLORTERM=truecolor` here, or add `SendEnv COLORTERM` "
            "to your ~/.ssh/config and `AcceptEnv COLORTERM` to the server's sshd_config"
        )
        problems.append(Problem(what, fix, "hint"))
    return problems


def _torch_line(torch: Torch) -> str:
    if torch.version is None:
        return f"{'torch':<16} cannot be imported: {torch.error}"
    build = f"CUDA {torch.cuda}" if torch.cuda else f"ROCm {torch.hip}" if torch.hip else "no NVIDIA or AMD GPU"
    usable = [*torch.devices, *(["MPS"] if torch.mps else [])]
    return f"{'torch':<16} {torch.version}, built for {build}, usable GPUs: {', '.join(usable) or 'none'}"


def _device_line(device: DeviceInfo) -> str:
    used, total = map(memory_size, (device.memory_used, device.memory_total))
    readings = [f"{used} of {total} used"]
    for value, unit in ((device.utilization, "%"), (device.temperature, "°C"), (device.power, "W")):
        readings.append("N/A" if value is None else f"{value:.0f} {unit}")
    return f"{device.device or 'hidden':<16} {device.name}: {', '.join(readings)}"
