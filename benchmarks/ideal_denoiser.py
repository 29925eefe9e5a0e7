"""Time in which the ideal denoiser answers, and in which a run's loss is compared with its floor.

    python benchmarks/ideal_denoiser.py            60,000 random images of 28x28, two threads
    python benchmarks/ideal_denoiser.py --quick    600 images; a smoke test

At a low noise level few training images have any weight, and at a high one all of them. The answer includes the eight
training images of largest weight and their effective number.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import time

import torch

from core import IdealDenoiser, TrainConfig, build_model
from core.data.datasets import LabeledImages
from core.diffusion.loaded_model import LoadedModel
from core.evaluation.loss_by_level import compare_losses
from core.generators import result_of

NOISY, AIM = 8, 300  # noisy images at once; milliseconds


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
    print("| what | time | aim |\n| --- | ---: | ---: |")
    began = time.perf_counter()
    ideal = IdealDenoiser("flow", data.images)
    print(f"| preparation | {(time.perf_counter() - began) * 1000:.0f} ms | |")
    x_0 = ideal.path.normalize(data.images[:NOISY] / 255)
    eps = ideal.path.sample_noise(x_0.shape, torch.Generator().manual_seed(1))
    for t in (0.2, 0.5, 0.9, 1.0):
        x_t, times = ideal.path.interpolate(x_0, eps, torch.full((NOISY,), t)), []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            ideal.predict(x_t, t)
            times.append((time.perf_counter() - began) * 1000)
        print(f"| answer at t = {t} | {statistics.median(times[1:]):.0f} ms | {AIM} ms |", flush=True)
    few = max(NOISY, n // 60)
    local = IdealDenoiser("flow", data.images[:few], patch=7)
    began = time.perf_counter()
    local(x_0, 0.5)
    print(
        f"| with patches of 7x7, {few:,} training images | {(time.perf_counter() - began) * 1000:.0f} ms | |",
        flush=True,
    )
    for labels in (True, False):
        config = TrainConfig(dataset="mnist", class_conditional=labels)
        net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
        model = LoadedModel(net.eval(), config, 0, "untrained")
        began = time.perf_counter()
        report = result_of(compare_losses(model, data, data, n=4 if options.quick else None))
        kind = "with classes" if labels else "without classes"
        print(
            f"| loss and floor, {kind}, {report.n} noisy images per level | {time.perf_counter() - began:.1f} s | 5 s |"
        )


if __name__ == "__main__":
    main()
