"""Training from the memory map of a prepared dataset, compared with training from a tensor in the device's memory.

    python benchmarks/feeding.py                20,000 RGB images of 64x64, some minutes on two cores
    python benchmarks/feeding.py --device cuda  batches then go through pinned memory
    python benchmarks/feeding.py --quick        few images and steps; a smoke test

Two trainers with the same small network, batches and seed alternate in one process, a few steps at a time, and each
round starts with the other one. The ratio is that of the medians of all rounds. The mapped file has just been written,
so it is in the page cache; a file larger than memory is also limited by its disk.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from floors import seconds_of
from torch import Tensor

from core import TrainConfig, pick_device
from core.config.datasets import ImageOptions
from core.data.prepared import Prepared, prepare
from core.generators import result_of
from core.training.trainer import Trainer

SIDE = 64
AIM = 1.05


def prepared_images(folder: Path, count: int) -> Prepared:
    """Random images in a cache below `folder`, as of a user's own dataset."""
    images = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    return result_of(prepare(folder / "images.npy", ImageOptions(), folder / "cache"))


def trainer_with(images: Tensor, labels: Tensor, config: TrainConfig, device: torch.device) -> Trainer:
    """A trainer whose images stay where they are."""
    trainer = Trainer(config, device)
    trainer.images, trainer.labels = images, labels.to(device)
    return trainer


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="number of images")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=4, help="per trainer and round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="few images and steps")
    asked = parser.parse_args()
    if asked.quick:
        asked.count, asked.batch, asked.rounds, asked.steps = 200, 8, 2, 1
    device = pick_device(asked.device)
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    with tempfile.TemporaryDirectory() as folder:
        data = prepared_images(Path(folder), asked.count)
        mapped, labels = (torch.from_numpy(values) for values in data.read("train"))
        config = TrainConfig(size="tiny", class_conditional=False, batch_size=asked.batch, dataset_info=data.info)
        trainers = {
            "resident": trainer_with(mapped.clone().to(device), labels, config, device),
            "memory map": trainer_with(mapped, labels, config, device),
        }
        times: dict[str, list[float]] = {name: [] for name in trainers}
        for trainer in trainers.values():
            seconds_of(device, trainer.train_step, 2)
        for number in range(asked.rounds):
            for name in list(trainers)[:: 1 if number % 2 else -1]:
                times[name].append(seconds_of(device, trainers[name].train_step, asked.steps) / asked.steps)
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"{datetime.date.today()}, {device}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, load before")
    print(f"{load}; {asked.count:,} RGB images of {SIDE}x{SIDE}, batches of {asked.batch},")
    print(f"{trainers['resident'].parameters:,} parameters\n")
    print("| resident | memory map | ratio | target |\n| ---: | ---: | ---: | ---: |")
    cells = [
        *(f"{1000 * medians[name]:.1f} ms" for name in trainers),
        f"{medians['memory map'] / medians['resident']:.3f}",
    ]
    print(f"| {' | '.join(cells)} | {AIM:.2f} |")


if __name__ == "__main__":
    main()
