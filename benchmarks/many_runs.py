"""Cost of thousands of runs: opening the Runs screen, idle load, quitting, and `minidiff runs`.

    python benchmarks/many_runs.py            2,000 finished runs with logs of 100 kB, in a temporary folder (200 MB)
    python benchmarks/many_runs.py --runs 38  another number of runs

The app runs on a real pseudo-terminal of 120x40 cells. The time to the first table ends when the newest run's name has
been written; it starts just before the process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from pseudo_terminal import HOME, PseudoTerminal

from core.runs.events import Checkpoint, DatasetLoaded, Epoch, Event, Finished, Progress, Started, to_line

AIMS = {"first table": 1.5, "share of a core at rest": 0.03, "q to the end": 1.0, "minidiff runs": 3.0}
STEPS_PER_EPOCH = 469
EPOCHS = 30
BEGAN = 1_700_000_000.0  # seconds since the epoch


def log(name: str, kilobytes: float, began: float) -> str:
    """Log of a finished run, about `kilobytes` long."""
    head: list[Event] = [
        Started(name=name, device="cpu", threads=1, parameters=309_057, epochs=EPOCHS, time=began),
        DatasetLoaded(
            name="mnist", source="data/MNIST/raw", train=60_000, test=10_000, sha256="0" * 64,
            steps_per_epoch=STEPS_PER_EPOCH, time=began + 1,
        ),
    ]  # fmt: skip
    total = EPOCHS * STEPS_PER_EPOCH
    epochs = "".join(
        to_line(event)
        for epoch in range(1, EPOCHS + 1)
        for event in (
            Epoch(epoch=epoch, step=epoch * STEPS_PER_EPOCH, loss=0.02, validation_loss=0.02, seconds=31.0, time=began),
            Checkpoint(step=epoch * STEPS_PER_EPOCH, time=began),
        )
    )
    a_window = to_line(_window(total, began))
    count = max(1, round((1000 * kilobytes - len(epochs)) / len(a_window)))
    lines = [to_line(event) for event in head]
    epoch = 0
    for number in range(1, count + 1):
        step = max(1, number * total // count)
        lines.append(to_line(_window(step, began + step)))
        while epoch < step // STEPS_PER_EPOCH:
            epoch += 1
            at = {"step": epoch * STEPS_PER_EPOCH, "time": began + step}
            lines.append(to_line(Epoch(epoch=epoch, loss=0.02, validation_loss=0.02, seconds=31.0, **at)))
            lines.append(to_line(Checkpoint(**at)))
    return "".join([*lines, to_line(Finished(step=total, seconds=930.0, time=began + total))])


def _window(step: int, at: float) -> Progress:
    return Progress(
        step=step, epoch=(step - 1) // STEPS_PER_EPOCH + 1, loss=0.0187654, loss_min=0.0176543, loss_max=0.0198765,
        images_per_second=1940.123, learning_rate=0.001, memory=412_000_000, time=at,
    )  # fmt: skip


def make_runs(root: Path, count: int, kilobytes: float) -> None:
    """Create `count` run directories; the last is the newest."""
    config = 'preset = "quick"\ndataset = "mnist"\nmodel = "basic_unet"\nepochs = 30\nbatch_size = 128\nseed = 0\n'
    whole = log("NAME", kilobytes, BEGAN)
    for number in range(count):
        path = root / f"run-{number:05}"
        path.mkdir(parents=True)
        (path / "config.toml").write_text(config)
        (path / "lock").write_text("{}")
        (path / "model.safetensors").write_bytes(b"weights")
        finished = to_line(Finished(step=EPOCHS * STEPS_PER_EPOCH, seconds=930.0, time=BEGAN + 100_000 + number))
        body, _, _ = whole.rstrip("\n").rpartition("\n")
        body = body.replace(json.dumps(BEGAN), json.dumps(BEGAN + number), 1)  # runs are sorted by their start
        (path / "events.jsonl").write_text(f"{body}\n{finished}".replace("NAME", path.name))


def measure_screen(root: Path, newest: str, seconds: float) -> dict[str, float]:
    """Time to the first table, idle CPU use and output rate, and the time from `q` to exit."""
    with PseudoTerminal("--root", str(root), "--screen", "runs", columns=120, lines=40) as terminal:
        while newest.encode() not in terminal.output:
            terminal.read(1.0)
        first = terminal.chunks[-1][0]
        share, rate = at_rest(terminal, seconds)
        began = time.monotonic()
        terminal.press("q")
        terminal.exit_status(300.0)
        leaving = time.monotonic() - began
    return {
        "first table": first,
        "share of a core at rest": share,
        "bytes a second at rest": rate,
        "q to the end": leaving,
    }


def at_rest(terminal: PseudoTerminal, seconds: float) -> tuple[float, float]:
    """Fraction of a core and bytes per second while idle."""
    read_for(terminal, 3.0)  # the details and the devices come last
    process = psutil.Process(terminal.pid)
    cpu, written = sum(process.cpu_times()[:2]), len(terminal.output)
    read_for(terminal, seconds)
    share = (sum(process.cpu_times()[:2]) - cpu) / seconds
    return share, (len(terminal.output) - written) / seconds


def read_for(terminal: PseudoTerminal, seconds: float) -> None:
    """Read the app's output for `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        terminal.read(0.2)


def bytes_at_rest(root: Path, screen: str, *options: str, seconds: float) -> float:
    """Bytes per second of another screen while idle."""
    with PseudoTerminal("--root", str(root), "--screen", screen, *options, columns=120, lines=40) as terminal:
        terminal.wait_for("GiB")
        return at_rest(terminal, seconds)[1]


def measure_command(root: Path) -> float:
    """Seconds of `minidiff runs`."""
    began = time.monotonic()
    command = [sys.executable, "-m", "core", "runs", "--root", str(root)]
    subprocess.run(command, cwd=HOME, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="number of runs (2000)")
    parser.add_argument("--kilobytes", type=float, default=100.0, help="size of each log (100)")
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of idle measurements (20)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        make_runs(root, given.runs, given.kilobytes)
        measure_command(root)  # fills the file cache
        found = measure_screen(root, f"run-{given.runs - 1:05}", given.seconds)
        found["minidiff runs"] = measure_command(root)
        found["bytes a second, Train at rest"] = bytes_at_rest(
            root, "train", "--run", "run-00000", seconds=given.seconds
        )
        found["bytes a second, Devices at rest"] = bytes_at_rest(root, "devices", seconds=given.seconds)
    print(f"| {given.runs:,} runs with logs of {given.kilobytes:g} kB | seen | aim |")
    print("| --- | ---: | ---: |")
    for name, value in found.items():
        print(f"| {name} | {_shown(name, value)} | {_shown(name, AIMS[name]) if name in AIMS else ''} |")


def _shown(name: str, value: float) -> str:
    if name.startswith("share"):
        return f"{value:.1%}"
    return f"{value:.0f}" if name.startswith("bytes") else f"{value:.2f} s"


if __name__ == "__main__":
    main()
