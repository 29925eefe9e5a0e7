"""How many validation images and seeds detect a difference of 2% of the validation loss: paired, and independent.

    python benchmarks/race_power.py                      glyphs, 400 steps, 5 seeds
    python benchmarks/race_power.py --dataset mnist
    python benchmarks/race_power.py --quick              a smoke test

Pairs of candidates are raced with several seeds. Paired: both are measured on the same images with the same noise, and
have the same seed (initial weights, batches, noise), as in `minidiff race`. Independent: each is measured on images and
noise of its own, and has seeds of its own. The numbers follow from the standard deviations s of the difference that
were measured: n = ((z(0.975) + z(0.8)) s / (2% of the loss))^2, for a two-sided test at 5% that finds the difference
with a probability of 80%. Images are those of one seed; for seeds, the number of images is taken as unlimited.
"""

from __future__ import annotations

import argparse
import datetime
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core import RaceRules, TrainConfig, run_race
from core.race.folder import LOG, Measurement, read_log
from core.race.records import Mark, RaceResult

DIFFERENCE = 0.02  # of the loss
Z = statistics.NormalDist().inv_cdf(0.975) + statistics.NormalDist().inv_cdf(0.8)
PAIRS: tuple[tuple[str, Mapping[str, Sequence[Any]]], ...] = (
    ("learning rate 0.002, 0.0022", {"learning_rate": [2e-3, 2.2e-3]}),
    ("learning rate 0.002, 0.001", {"learning_rate": [2e-3, 1e-3]}),
    ("Muon, AdamW", {"optimizer": ["muon", "adamw"]}),
    ("width small, tiny", {"size": ["small", "tiny"]}),
)


def main() -> None:
    """Race the pairs and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="glyphs")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--size", default="small", help="width of the network, unless a pair differs in it")
    parser.add_argument("--pairs", default="1,2,3,4", help="numbers of the pairs that are raced")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one pair, few steps, a tiny network")
    options = parser.parse_args()
    shared: dict[str, Any] = {"dataset": options.dataset, "device": "cpu", "threads": options.threads}
    pairs = [PAIRS[int(number) - 1] for number in options.pairs.split(",")]
    steps, seeds, images = options.steps, options.seeds, options.images
    if options.quick:
        shared |= {"limit": 64, "batch_size": 16, "channels": (16, 16), "threads": 1}
        pairs, steps, seeds, images = pairs[:1], 2, 2, 40
    else:
        shared |= {
            "limit": max(images, 64 * steps),
            "size": options.size,
        }  # one epoch, so that the learning rate decays to the end
    width = f"width {options.size}, {steps} steps, {seeds} seeds, {images:,} images"
    print(f"{datetime.date.today()}, {options.dataset}, {width}\n")
    print("| candidates | difference | images, paired | independent | ratio | seeds, paired | independent | ratio |")
    print("| --- | " + "---: | " * 7)
    for name, settings in pairs:
        with tempfile.TemporaryDirectory() as root:
            config = TrainConfig(**shared, epochs=1, root=root, name="race")
            losses = measured(config, settings, steps, images, tuple(range(seeds)))
        print(row(name, losses), flush=True)


def measured(
    config: TrainConfig, settings: Mapping[str, Sequence[Any]], steps: int, images: int, seeds: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The losses of both candidates, (S, n) float64 each, after `steps` steps."""
    rules = RaceRules(steps=steps, comparisons=1, images=images, samples=0, stop_after=0)
    *_, result = run_race(config, settings, rules, seeds=seeds)
    assert isinstance(result, RaceResult)
    assert config.root is not None
    entries = [entry for entry in read_log(Path(config.root) / "race" / LOG) if isinstance(entry, Measurement)]
    last = {(entry.candidate, entry.seed): entry.losses for entry in entries if entry.mark == Mark("steps", steps)}
    first, second = (torch.stack([last[candidate, seed] for seed in seeds]) for candidate in (1, 2))
    return first, second


def row(name: str, losses: tuple[Tensor, Tensor]) -> str:
    """A row of the table."""
    a, b = losses
    delta = DIFFERENCE * float(a.mean())
    paired_images = math.sqrt(float((a - b).var(1).mean()))
    own_images = math.sqrt(float((a.var(1) + b.var(1)).mean()))
    paired_seeds = float((a - b).mean(1).std())
    own_seeds = math.sqrt(float(a.mean(1).var() + b.mean(1).var()))
    cells = [name, f"{float((b - a).mean()) / float(a.mean()):+.1%}"]
    for paired, own in ((paired_images, own_images), (paired_seeds, own_seeds)):
        numbers = [(Z * spread / delta) ** 2 for spread in (paired, own)]
        cells += [*(f"{max(2, math.ceil(number)):,}" for number in numbers), f"{numbers[1] / numbers[0]:,.1f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
