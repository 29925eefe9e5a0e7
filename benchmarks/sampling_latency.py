"""Time in which a model generates a few images on a GPU, with the network replayed as CUDA graphs and without.

    python benchmarks/sampling_latency.py                 8 images of default-mnist on a GPU
    python benchmarks/sampling_latency.py --device cpu    without graphs only

All settings alternate; the first samplings, in which graphs are recorded, do not count.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time
from dataclasses import replace

import torch

from core import load_model, pick_device, sample
from core.config.sampling import defaults_for, evaluations
from core.diffusion.loaded_model import LoadedModel
from core.system.devices import list_devices

WARMUP = 3


def seconds(model: LoadedModel, n: int, steps: int) -> float:
    """Time of one sampling, until the images are on the CPU."""
    began = time.perf_counter()
    *_, last = sample(model, n=n, steps=steps)
    last.x.cpu()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default-mnist")
    parser.add_argument("--n", type=int, default=8, help="images")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    models = {"without graphs": load_model(options.model, device)}
    if device.type == "cuda":
        models["CUDA graphs"] = load_model(options.model, device, cuda_graphs=True)
    config = next(iter(models.values())).config
    default = defaults_for(config)
    print(
        f"{datetime.date.today()}, {next(found.name for found in list_devices() if found.kind == device.type)}, "
        f"torch {torch.__version__}; {options.n} images of {options.model}, medians of {options.rounds} rounds\n"
    )
    print(f"| NFE | {' | '.join(models)} |\n| ---: |{' ---: |' * len(models)}")
    for steps in (default.steps, default.steps // 4):
        times: dict[str, list[float]] = {name: [] for name in models}
        for index in range(-WARMUP, options.rounds):
            for name, model in models.items():
                spent = seconds(model, options.n, steps)
                if index >= 0:
                    times[name].append(spent)
        nfe = evaluations(replace(default, steps=steps), config.path)
        medians = (f"{statistics.median(found) * 1000:.1f} ms" for found in times.values())
        print(f"| {nfe} | {' | '.join(medians)} |")


if __name__ == "__main__":
    main()
