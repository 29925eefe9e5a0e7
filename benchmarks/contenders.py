"""Runs each contender in its own process, and creates the virtual environments of the peers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent / "peers"


class ContenderFailed(Exception):
    """A contender failed; the message is one line."""


@dataclass(frozen=True)
class Peer:
    """Another project's recipe, trained with that project's own code."""

    name: str  # recipe and virtual environment
    file: str  # script that trains it, in the folder peers
    module: str  # imported by its script
    images: str  # input format: "arrays" or "png"; see raw_files.py
    multiple: int  # images are padded to squares with a side divisible by it

    @property
    def script(self) -> Path:
        """The script that trains it."""
        return HOME / self.file

    @property
    def requirements(self) -> Path:
        """Packages in its environment besides torch and torchvision."""
        return HOME / f"requirements-{self.name}.txt"

    @property
    def data(self) -> str:
        """Name of the folder with its input files."""
        return f"{self.images}-{self.multiple}"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("torchcfm-mnist", "torchcfm_mnist.py", "torchcfm.models.unet", "arrays", 4),
        Peer("denoising-diffusion", "denoising_diffusion.py", "denoising_diffusion_pytorch", "png", 8),
        Peer("smalldiffusion", "smalldiffusion_unet.py", "smalldiffusion", "arrays", 4),
        Peer("diffusers-unconditional", "diffusers_unconditional.py", "diffusers", "png", 32),
    )
}


def environment(peer: Peer, root: Path, log: Callable[[str], None]) -> Path:
    """The interpreter of a peer's virtual environment, which is created if missing.

    Args:
        peer: The peer.
        root: Folder of all such environments.
        log: Prints a line before a slow operation.

    Raises:
        ContenderFailed: It cannot be installed or imported.
    """
    folder = root / peer.name
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    requirements = peer.requirements.read_text(encoding="utf-8") + "".join(
        f"{name}=={version(name).partition('+')[0]}\n" for name in ("torch", "torchvision")
    )
    installed = folder / "installed.txt"
    if not installed.is_file() or installed.read_text(encoding="utf-8") != requirements:
        log(f"{peer.name}: installing it into {folder}, some gigabytes with torch; this takes minutes, once")
        _run([sys.executable, "-m", "venv", str(folder)], f"{folder} cannot be created")
        file = folder / "requirements.txt"
        file.write_text(requirements, encoding="utf-8")
        install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(file)]
        _run(install, "it cannot be installed")
        file.rename(installed)
    _run([str(python), "-c", f"import {peer.module}"], "it cannot be imported")  # also fills the file cache
    return python


def _run(command: list[str], error: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ContenderFailed(f"{error}: {_last_line(done.stderr or done.stdout)}")


def run_contender(program: list[str], out: Path, **options: Any) -> dict[str, Any]:
    """Run one contender until it exits.

    Args:
        program: The command, without options.
        out: A new folder for its log, its result and its samples.
        options: Command-line options; those that are None are left out.

    Returns:
        Its result.json, with the whole path of each file of samples.

    Raises:
        ContenderFailed: Its process failed.
    """
    out.mkdir(parents=True)
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    with (out / "log").open("wb") as log:
        command = [*program, f"--out={out}", *given, f"--start={time.monotonic()!r}"]
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
    if status != 0:
        message = _last_line((out / "log").read_text(encoding="utf-8", errors="replace"))
        raise ContenderFailed(message or f"it exited with status {status}")
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    for samples in result["samples"]:
        samples["samples"] = str(out / samples["samples"])
    return result


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
