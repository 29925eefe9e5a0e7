"""Time in which the ideal denoiser answers, and in which a run's loss is compared with its floor.

    python benchmarks/ideal_denoiser.py            60,000 random images of 28x28, two threads
    python benchmarks/ideal_denoiser.py --quick    600 images; a smoke test

With --threads 1 the processor time hardly depends on what else the machine does.
At a low noise level few training images have any weight, and at a high one all of them. The answer includes the eight
training images of largest weight and their effective number.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import statistics
import time
from collections.abc import Callable

import torch

from core import IdealDenoiser, TrainConfig, build_model
from core.data.datasets import LabeledImages
from core.diffusion.loaded_model import LoadedModel
from core.evaluation.loss_by_level import compare_losses
from core.generators import result_of

NOISY = 8  # noisy images at once


def digits(n: int) -> LabeledImages:
    """Random images with about the mean and variance of MNIST, and ten classes."""
    generator = torch.Generator().manual_seed(0)
    ink = torch.rand((n, 1, 7, 7), generator=generator).sub_(0.75).clamp_(min=0).mul_(4)
    images = torch.nn.functional.interpolate(ink, (28, 28), mode="bilinear")
    return LabeledImages((images * 255).byte(), torch.randint(10, (n,), generator=generator))


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, one round")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n, rounds = (600, 1) if options.quick else (60_000, 15)
    data = digits(n)
    print(
        f"{datetime.date.today()}, {options.threads} threads, load {os.getloadavg()[0]:.1f}, "
        f"{n:,} training images, {NOISY} noisy images, medians of {rounds} rounds\n"
    )
    print("| what | time | CPU time | aim |\n| --- | ---: | ---: | ---: |")
    row("preparation", lambda: IdealDenoiser("flow", data.images), rounds)
    ideal = IdealDenoiser("flow", data.images)
    x_0 = ideal.path.normalize(data.images[:NOISY] / 255)
    eps = ideal.path.sample_noise(x_0.shape, torch.Generator().manual_seed(1))
    for t in (0.2, 0.5, 0.9, 1.0):
        x_t = ideal.path.interpolate(x_0, eps, torch.full((NOISY,), t))
        row(f"answer at t = {t}", functools.partial(ideal.predict, x_t, t), rounds, "300 ms")
    few = max(NOISY, n // 60)
    local = IdealDenoiser("flow", data.images[:few], patch=7)
    row(f"with patches of 7x7, {few:,} training images", lambda: local(x_0, 0.5), 1)
    for labels in (True, False):
        config = TrainConfig(dataset="mnist", class_conditional=labels)
        net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
        model = LoadedModel(net.eval(), config, 0, "untrained")
        report = functools.partial(compare_losses, model, data, data, n=4 if options.quick else None)
        kind = "with classes" if labels else "without classes"
        row(f"loss and floor, {kind}", lambda report=report: result_of(report()), 1, "5,000 ms")


def row(what: str, function: Callable[[], object], rounds: int, aim: str = "") -> None:
    """Print the median time and processor time of a function; the first of several calls is not counted."""
    times = []
    for _ in range(rounds + (rounds > 1)):
        began, processor = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - began, time.process_time() - processor))
    medians = (statistics.median(part) * 1000 for part in zip(*times[-rounds:], strict=True))
    print(f"| {what} | {' | '.join(f'{median:,.0f} ms' for median in medians)} | {aim} |", flush=True)


if __name__ == "__main__":
    main()
