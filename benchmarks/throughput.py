"""Throughput of our training loop and samplers, compared with the tutorial's loop and with roofline bounds.

    python benchmarks/throughput.py               BasicUNet, UNet2DModel and PatchUNet, some minutes on two cores
    python benchmarks/throughput.py --compile     also with torch.compile
    python benchmarks/throughput.py --quick       tiny batches, one round; a smoke test

Three loops train the same network, alternating, in one process: the tutorial's (torchvision's MNIST with a DataLoader
and ToTensor, float32, eager, the loss read at every step), ours (`core.training.trainer.Trainer.train_step`, channels
last), and a bare loop: forward, backward and torch's fused optimizer step on a constant batch. The speedup is ours over
the tutorial's; the overhead is ours against the bare loop. Both are ratios of medians over the rounds. The tutorial's
loop calls PatchUNet at noise level 0 and without a class.

Two bounds accompany each result, in images per second:
- arithmetic: operations of convolutions and matrix products, as counted by torch, at the measured rate of a large
  matrix product in the same precision (float32 on a GPU: with TF32, as convolutions use it);
- bytes: minimal memory traffic at the measured rate of a large copy: the output of every convolution and linear layer
  written and read once; in training, weights and both moments read and written once per step; in sampling, weights read
  once per evaluation. Inputs, normalizations, activations, gradients and attention matrices are not counted, as a
  perfect compiler could keep them out of memory. Caches can exceed this bound.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from floors import PRECISIONS, Rates, Work, measured_rates, sampling_work, seconds_of, training_work
from raw_files import write_idx
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from core import MinidiffError, TrainConfig, load_dataset, pick_device, sample
from core.compute.precision import in_precision, pick_precision
from core.config.sampling import defaults_for, evaluations
from core.data.datasets import LabeledImages
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.samplers import call_network
from core.system.devices import list_devices
from core.training.optimizer import BETAS
from core.training.trainer import Trainer

NETS = {"BasicUNet": "quick", "UNet2DModel": "tutorial", "PatchUNet": "default"}  # and its preset
Loop = Callable[[], object]  # runs one step


@dataclass(frozen=True)
class Plan:
    """Settings of the measurement."""

    device: torch.device
    rounds: int
    seconds: float  # per loop and round, at least one step
    batch: int
    samples: int


def tutorial_loop(net: nn.Module, root: Path, batch: int, device: torch.device) -> Iterator[None]:
    """The tutorial's training loop, infinite; each value is a step."""
    images = torchvision.datasets.MNIST(root, train=True, transform=torchvision.transforms.ToTensor())
    loader = DataLoader(images, batch_size=batch, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    while True:
        for x, _ in loader:
            x = x.to(device)
            amount = torch.rand(x.shape[0]).to(device).view(-1, 1, 1, 1)
            noisy = x * (1 - amount) + torch.rand_like(x) * amount
            loss = functional.mse_loss(net(noisy, 0), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            yield


def bare_step(trainer: Trainer, compiled: bool) -> Loop:
    """A bare step: forward, backward and optimizer, in the trainer's precision."""
    config, net = trainer.config, trainer.net
    asked = torch.compile(net) if compiled else net
    images, labels = trainer.batch(0)
    x = trainer.path.normalize(images).contiguous(memory_format=trainer.layout)
    amount = torch.rand(len(x), device=trainer.device)
    if config.optimizer in BETAS and config.optimizer != "muon":
        cls = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        fused = trainer.device.type in ("cpu", "cuda")
        own = cls(net.parameters(), lr=config.learning_rate, betas=BETAS[config.optimizer], fused=fused)
        move: Callable[[torch.Tensor], object] = lambda _: own.step()  # noqa: E731
    else:  # torch has no equivalent
        move = lambda loss: trainer.optimizer.step(loss, trainer.optimizer.rate(0, trainer.total_steps))  # noqa: E731

    def step() -> None:
        with in_precision(config.precision, trainer.device):
            output = call_network(
                asked,
                x,
                amount,
                labels if config.class_conditional else None,
                time_conditioning=config.time_conditioning,
            )
        loss = functional.mse_loss(output.float(), x)
        net.zero_grad(set_to_none=True)
        loss.backward()
        move(loss)

    return step


def our_trainer(preset: str, precision: str, data: LabeledImages, plan: Plan, compiled: bool = False) -> Trainer:
    """A trainer with its images."""
    config = TrainConfig(
        preset=preset, precision=precision, channels_last=True, batch_size=plan.batch, device=plan.device.type
    )
    trainer = Trainer(config, plan.device)
    trainer.set_data(data.images, data.labels)
    if compiled:
        trainer.compile()
    return trainer


def in_turns(loops: dict[str, Loop], plan: Plan) -> dict[str, float]:
    """Median images per second of each loop; loops alternate, and each round starts with another one."""
    steps, paces = {}, {name: [] for name in loops}
    for name, loop in loops.items():
        first = seconds_of(plan.device, loop)
        if "compiled" in name and "bare" not in name:  # the bare loop reuses the compiled network
            print(f"{name}: the first step, which compiles, took {first:.1f} s", file=sys.stderr)
        second = seconds_of(plan.device, loop, 2) / 2  # a second step may compile again
        steps[name] = max(1, round(plan.seconds / second))
    names = list(loops)
    for index in range(plan.rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            seconds = seconds_of(plan.device, loops[name], steps[name])
            paces[name].append(steps[name] * plan.batch / seconds)
    return {name: statistics.median(found) for name, found in paces.items()}


def train_rows(net: str, data: LabeledImages, root: Path, plan: Plan, rates: Rates, compiling: bool) -> Iterator[str]:
    """Table rows for one network, one per training mode."""
    preset = NETS[net]
    ways = [
        (precision, compiled) for precision in precisions(plan.device) for compiled in (False, True)[: 1 + compiling]
    ]
    theirs = tutorial_loop(
        our_trainer(preset, "float32", data, plan).net.to(memory_format=torch.contiguous_format),
        root,
        plan.batch,
        plan.device,
    )
    loops: dict[str, Loop] = {"tutorial": lambda: next(theirs)}
    work = {}
    for precision, compiled in ways:
        way = f"{precision}, compiled" if compiled else precision
        trainer = our_trainer(preset, precision, data, plan, compiled)
        twin = our_trainer(preset, precision, data, plan)
        loops[way], loops[f"bare {way}"] = trainer.train_step, bare_step(twin, compiled)
        counted = our_trainer(preset, precision, data, plan)
        work[way] = training_work(counted.net, counted.train_step, plan.batch)
    found = in_turns(loops, plan)
    for precision, compiled in ways:
        way = f"{precision}, compiled" if compiled else precision
        gain, cost = found[way] / found["tutorial"], found[f"bare {way}"] / found[way] - 1
        cells = [net, way, f"{found['tutorial']:,.0f}", f"{found[way]:,.0f}", f"{gain:.2f}", f"{cost:+.1%}"]
        yield row([*cells, *floor_cells(work[way], rates, precision, found[way])])


def sample_row(net: str, precision: str, data: LabeledImages, plan: Plan, rates: Rates) -> str:
    """Table row for sampling from one network with its preset's defaults, including guidance."""
    trainer = our_trainer(NETS[net], precision, data, plan)
    model = LoadedModel(trainer.ema_net.eval(), trainer.config, 0, net)
    own = defaults_for(trainer.config)
    asked = evaluations(own, trainer.config.path)

    def draw() -> None:
        *_, _last = sample(model, n=plan.samples)

    work = sampling_work(model.net, draw, plan.samples, asked)  # warms up, too
    times = [seconds_of(plan.device, draw)]
    while len(times) < plan.rounds and sum(times) < plan.rounds * plan.seconds:
        times.append(seconds_of(plan.device, draw))
    pace = plan.samples / statistics.median(times)
    cells = [net, precision, f"{own.sampler}, {own.steps} steps", f"{asked}", f"{pace:,.1f}"]
    return row([*cells, *floor_cells(work, rates, precision, pace)])


def floor_cells(work: Work, rates: Rates, precision: str, pace: float) -> list[str]:
    """Operations per image, and the ratio of each bound to `pace`."""
    arithmetic, moved = work.most(rates, precision)
    return [
        f"{work.operations / 1e9:.3f}",
        f"{arithmetic:,.0f} ({pace / arithmetic:.0%})",
        f"{work.moved / 1e6:.2f}",
        f"{moved:,.0f} ({pace / moved:.0%})",
    ]


def precisions(device: torch.device) -> list[str]:
    """float32, and our loop's choice on this device if it differs."""
    return list(dict.fromkeys(["float32", pick_precision("auto", device)]))


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def arguments() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS), help="comma-separated; default: all")
    parser.add_argument("--batch", type=int, default=128, help="images per step")
    parser.add_argument("--samples", type=int, default=64, help="images per sampling batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="per loop and round, at least one step")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, a minute or more per network")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-root", type=Path, help="folder with the dataset's files")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="tiny batches of glyphs, one round")
    asked = parser.parse_args()
    if unknown := [net for net in asked.nets.split(",") if net not in NETS]:
        raise MinidiffError(f"there is no net {unknown[0]!r} here; take some of {', '.join(NETS)}")
    return asked


def main() -> None:
    """Measure and print Markdown tables."""
    asked = arguments()
    device = pick_device(asked.device)
    plan = Plan(device, asked.rounds, asked.seconds, asked.batch, asked.samples)
    side, size = (2048, 2**28) if device.type == "cpu" else (8192, 2**30)
    limit = None
    if asked.quick:
        plan, side, size, limit = Plan(device, 1, 0.0, 4, 2), 256, 2**22, 64
        asked.dataset = "glyphs"
    splits = {
        split: load_dataset(asked.dataset, asked.data_root, split=split, limit=limit) for split in ("train", "test")
    }
    name = next(found.name for found in list_devices() if found.kind == device.type)
    print(f"{datetime.date.today()}, {name}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads,")
    print(f"torch {torch.__version__}, Python {platform.python_version()}; batches of {plan.batch},")
    print(f"{plan.rounds} rounds of {plan.seconds:g} s for each loop\n")
    rates = measured_rates(device, side, size)
    reached = ", ".join(f"{rates.products[name] / 1e9:,.0f} GFLOP/s in {name}" for name in PRECISIONS)
    print(f"Matrix products of {side} rows reach {reached}; copies {rates.copying / 1e9:.1f} GB/s.\n")

    floors = ["GFLOP an image", "arithmetic allows", "MB an image", "bytes allow"]
    head = ["net", "ours in", "tutorial's loop, images/s", "ours, images/s", "ratio", "over the bare step", *floors]
    print(row(head))
    print(row(["---", "---", *["---:"] * (len(head) - 2)]))
    with tempfile.TemporaryDirectory() as folder:
        write_idx(Path(folder), splits)
        for net in asked.nets.split(","):
            for line in train_rows(net, splits["train"], Path(folder), plan, rates, asked.compile):
                print(line, flush=True)
    head = ["sampling from", "in", "sampler", "evaluations", "images/s", *floors]
    print("\n" + row(head))
    print(row(["---", "---", "---", *["---:"] * (len(head) - 3)]))
    for net in asked.nets.split(","):
        for precision in precisions(device):
            print(sample_row(net, precision, splits["train"], plan, rates), flush=True)


if __name__ == "__main__":
    try:
        main()
    except MinidiffError as error:
        sys.exit(str(error))
