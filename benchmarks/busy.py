"""Training on a CPU that another process keeps busy, by number of threads and by how long OpenMP's threads spin.

    python benchmarks/busy.py           some minutes on two cores
    python benchmarks/busy.py --quick   one round of a second; a smoke test

OpenMP's threads wait for each other several times in a convolution, and first spin: on a machine of their own they
continue sooner, beside other processes they spend the core that the thread they wait for needs. GOMP_SPINCOUNT of GNU's
OpenMP, which torch's wheels contain, limits the spinning. Every measurement is a process of its own that takes steps of
the preset `default`; all settings alternate, with and without a process that occupies one core.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.system.threads import SPINS, SPINS_NAME, WAIT_NAMES

HERE = Path(__file__).resolve()
OTHERS = (None, 0, 1_000, 10_000)  # spins besides our own; None: OpenMP's default


def images_per_second(seconds: float, threads: int) -> float:
    """Steps of the preset `default` on random images, after two that do not count."""
    import torch

    from core import TrainConfig
    from core.training.trainer import Trainer

    torch.set_num_threads(threads)
    config = TrainConfig(precision="bfloat16", channels_last=True)
    trainer = Trainer(config, torch.device("cpu"))
    trainer.set_data(torch.randint(0, 256, (1024, 1, 28, 28), dtype=torch.uint8), torch.arange(1024) % 10)
    for _ in range(2):
        trainer.train_step()
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        images += trainer.train_step()[1]
    return images / (time.perf_counter() - began)


def measured(seconds: float, threads: int, spins: int | None) -> float:
    """`images_per_second` in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in WAIT_NAMES}
    if spins is not None:
        environment[SPINS_NAME] = str(spins)
    command = [sys.executable, str(HERE), "--child", f"{seconds},{threads}"]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """A process that occupies one core, if `busy`."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="per setting and round")
    parser.add_argument("--threads", help="comma-separated; default: 1 and the number of cores")
    parser.add_argument("--quick", action="store_true", help="one round of a second, two settings")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        seconds, threads = options.child.split(",")
        print(images_per_second(float(seconds), int(threads)))
        return
    cores = len(os.sched_getaffinity(0))
    threads = [int(number) for number in options.threads.split(",")] if options.threads else sorted({1, cores})
    settings = [(number, spins) for number in threads for spins in ((SPINS, *OTHERS) if number > 1 else (SPINS,))]
    if options.quick:
        options.rounds, options.seconds, settings = 1, 1.0, [(1, SPINS), (cores, SPINS)]
    found: dict[tuple[int, int | None, bool], list[float]] = {}
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    for index in range(options.rounds):
        for number, spins in settings[:: 1 if index % 2 else -1]:
            for busy in (False, True):
                with neighbour(busy):
                    found.setdefault((number, spins, busy), []).append(measured(options.seconds, number, spins))
    medians = {key: statistics.median(values) for key, values in found.items()}
    print(
        f"{datetime.date.today()}, {cores} cores, load before {load}; medians of {options.rounds} rounds of "
        f"{options.seconds:g} s, images/s\n"
    )
    print("| threads | spins | quiet | beside a busy process |\n| ---: | ---: | ---: | ---: |")
    for number, spins in settings:
        label = "OpenMP's default" if spins is None else f"{spins:,}" + (" (ours)" if spins == SPINS else "")
        print(f"| {number} | {label} | {medians[number, spins, False]:,.0f} | {medians[number, spins, True]:,.0f} |")


if __name__ == "__main__":
    main()
