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
    module: str  # imported by its script
    images: str  # input format: "idx" or "png"

    @property
    def script(self) -> Path:
        """The script that trains it."""
        return HOME / f"{self.name.replace('-', '_')}.py"

    @property
    def requirements(self) -> Path:
        """Packages in its environment besides torch."""
        return HOME / f"requirements-{self.name}.txt"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("torchcfm-mnist", "torchcfm.models.unet", "idx"),
        Peer("denoising-diffusion", "denoising_diffusion_pytorch", "png"),
    )
}


def environment(peer: Peer, root: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of a peer's virtual environment, which is created if missing.

    Args:
        peer: whose.
        root: folder of all such environments.
        say: prints a line before what takes long.

    Raises:
        ContenderFailed: it cannot be installed or does not start.
    """
    folder = root / peer.name
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = peer.requirements.read_text(encoding="utf-8") + "".join(
        f"{name}=={version(name).partition('+')[0]}\n" for name in ("torch", "torchvision")
    )
    made = folder / "installed.txt"
    if not made.is_file() or made.read_text(encoding="utf-8") != wanted:
        say(f"{peer.name}: installing it into {folder}, some gigabytes with torch; this takes minutes, once")
        _succeed([sys.executable, "-m", "venv", str(folder)], f"{folder} cannot be made")
        listed = folder / "requirements.txt"
        listed.write_text(wanted, encoding="utf-8")
        install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(listed)]
        _succeed(install, "it cannot be installed")
        listed.rename(made)
    _succeed([str(python), "-c", f"import {peer.module}"], "it does not start")  # also fills the file cache
    return python


def _succeed(command: list[str], otherwise: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ContenderFailed(f"{otherwise}: {_last_line(done.stderr or done.stdout)}")


def contend(program: list[str], out: Path, **options: Any) -> dict[str, Any]:
    """Run one contender until it exits.

    Args:
        program: the command, without options.
        out: a new folder for its log, its result and its samples.
        options: what it is asked; None is left out.

    Returns:
        Its result.json, with the whole path of each file of samples.

    Raises:
        ContenderFailed: its process ended badly.
    """
    out.mkdir(parents=True)
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    with (out / "log").open("wb") as log:
        command = [*program, f"--out={out}", *given, f"--began={time.monotonic()!r}"]
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
    if status != 0:
        raise ContenderFailed(_last_line((out / "log").read_text(errors="replace")) or f"it ended with status {status}")
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    for drawn in result["drawn"]:
        drawn["samples"] = str(out / drawn["samples"])
    return result


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
