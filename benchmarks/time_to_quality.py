"""Sample quality against training time, including startup; docs/benchmarks.md has the rules and how to submit a result.

    python benchmarks/time_to_quality.py --plot --json results.json     our recipes and the peers, hours on two cores
    python benchmarks/time_to_quality.py --dataset ./photos --n 5000    a folder of images, with a folder per class
    python benchmarks/time_to_quality.py --peer-n 500                   fewer samples of the peers: slow samplers
    python benchmarks/time_to_quality.py --quick                        ours for seconds; a smoke test

Every training run is a separate process, and its time starts just before the process: imports, reading data and warmup
count, and are listed separately. At each budget the clock pauses while weights are saved; after the largest, the same
process generates samples from all saved weights with its own sampler and defaults, timed separately. Class-conditional
networks get the labels of the validation images. Recipes for few steps also sample with half and a quarter of them. All
samples are evaluated by `core.evaluation.scores`; if peers generate fewer, the same number of ours is evaluated too.
Seeds alternate between recipes, so that a slower machine affects all.

The learning rate of `default` decays to the end of the run, so each budget is a separate run; its epochs and images are
estimated from a short run, which is not counted. The others train once, for the largest budget, and save weights on the
way. File caches are warm: each contender has been started before. Peers run in virtual environments of their own, which
are created on first use, with the same version of torch. Their input files are written beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import PEERS, ContenderFailed
from platformdirs import user_cache_dir
from quality_plot import plot
from quality_report import Results, report
from quality_runs import BUILTIN, Runs, log

from core import MinidiffError, __version__, pick_device
from core.config.datasets import INFO
from core.data.datasets import images_sha256, locate
from core.evaluation.reference import prepare
from core.generators import result_of
from core.runs.directory import builtin_directories
from core.system.devices import list_devices

HOME = Path(__file__).resolve().parent
PLOT = HOME.parent / "docs" / "images" / "time-to-quality.png"
RECIPES = ("default", "quick", "tutorial", BUILTIN, *PEERS)
LOCAL = ("dataset", "data_root", "venvs", "keep", "plot", "json")  # options with paths, left out of the results
QUICK = {"recipes": "default,quick", "budgets": "2,4", "seeds": 1, "n": 50, "dataset": "glyphs", "limit": 640}


def save(results: Results, path: Path | None) -> None:
    """Write all results so far, if requested."""
    if path:
        path.write_text(results.to_json(), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipes",
        help=f"comma-separated, from {', '.join(RECIPES)}; default: all, but tutorial only on a GPU, and {BUILTIN} "
        "only for MNIST",
    )
    parser.add_argument("--budgets", default="60,300", help="seconds, comma-separated")
    parser.add_argument("--factor", type=float, default=2, help="target distance, times the real-vs-real baseline")
    parser.add_argument("--seeds", type=int, default=3, help="training runs per recipe")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--n", type=int, default=10_000, help="samples, at most the number of validation images")
    parser.add_argument("--peer-n", type=int, help="samples of each peer; default: --n")
    parser.add_argument(
        "--peer-size",
        choices=("own", "matched"),
        help="width of the peers' networks: their published one, or the closest to the number of parameters of "
        "default; default: own on a GPU, else matched",
    )
    parser.add_argument("--dataset", default="mnist", help="name, or path of a folder of images")
    parser.add_argument("--data-root", type=Path, help="folder with the dataset's files")
    parser.add_argument("--limit", type=int, help="use only the first images of each split")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--venvs",
        type=Path,
        default=Path(user_cache_dir("minidiff")) / "peers",
        help="folder of the peers' virtual environments",
    )
    parser.add_argument("--keep", type=Path, help="folder for weights, samples and logs; must not exist")
    parser.add_argument("--plot", nargs="?", type=Path, const=PLOT, help=f"plot the curves; default: {PLOT.name}")
    parser.add_argument("--json", type=Path, help="file for all results")
    parser.add_argument("--quick", action="store_true", help="glyphs, seconds, ours only; other options override it")
    if "--quick" in sys.argv[1:]:
        parser.set_defaults(**QUICK)
    options = parser.parse_args()
    options.device = pick_device(options.device).type
    options.peer_size = options.peer_size or ("own" if options.device == "cuda" else "matched")
    return options


def choose_recipes(options: argparse.Namespace, dataset: str) -> list[str]:
    """The requested recipes, or all that suit the device and the dataset."""
    if options.recipes is None:
        excluded = set() if options.device == "cuda" else {"tutorial"}
        if dataset != "mnist" or BUILTIN not in builtin_directories():
            excluded.add(BUILTIN)
        return [name for name in RECIPES if name not in excluded]
    recipes: list[str] = options.recipes.split(",")
    if unknown := [name for name in recipes if name not in RECIPES]:
        raise MinidiffError(f"Unknown recipe {unknown[0]!r}. Choose from: {', '.join(RECIPES)}.")
    return recipes


def describe_machine(device: str) -> dict[str, Any]:
    """Device, cores and versions."""
    return {
        "date": f"{datetime.date.today()}",
        "device": next(found.name for found in list_devices() if found.kind == device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "minidiff": __version__,
        "commit": commit(),
    }


def commit() -> str:
    """The commit of this repository, with "-dirty" after changes; empty without git."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Run the benchmark, print the tables, and write the requested files."""
    options = arguments()
    located = result_of(locate(options.dataset, options.data_root, limit=options.limit))
    info = located.prepared.info if located.prepared else INFO[located.name]
    recipes = choose_recipes(options, located.name)
    log("preparing the images and the feature classifiers; training missing classifiers takes minutes")
    reference = result_of(prepare(options.dataset, options.data_root, options.limit, info=info))
    n = min(options.n, len(reference.validation.images))
    if n < options.n:
        log(f"{n:,} samples instead of {options.n:,}, the number of validation images")
    common_n = min(options.peer_n or n, n)
    machine = describe_machine(options.device)
    results = Results(
        n=n,
        common_n=common_n,
        factor=options.factor,
        settings={name: value for name, value in vars(options).items() if name not in LOCAL},
        machine=machine,
        dataset={"name": located.title, **asdict(info), "train_sha256": images_sha256(reference.train)},
        classifiers={shape: classifier.sha256 for shape, classifier in reference.classifiers.items()},
    )
    with contextlib.ExitStack() as stack:
        if options.keep:
            options.keep.mkdir(parents=True)
        scratch = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        budgets = sorted(float(budget) for budget in options.budgets.split(","))
        labels = scratch / "labels.npy"  # of real images, for their class frequencies
        np.save(labels, reference.validation.labels[:n].numpy())
        runs = Runs(options, budgets, n, common_n, reference, scratch, labels)
        runs.write_inputs(recipes)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for recipe in recipes:
                if recipe in results.failures or (recipe == BUILTIN and seed > options.first_seed):
                    continue
                log(f"{recipe}, seed {seed}")
                try:
                    for point in runs.points(recipe, seed):
                        results.points.append(point)
                        save(results, options.json)  # after each, since runs take hours
                        distance = f"Frechet {point.frechet(common_n):.3g} after {point.seconds:.1f} s"
                        log(f"{recipe}, seed {seed}: {distance}, NFE {point.nfe or 'varies'}")
                except ContenderFailed as error:
                    results.failures[recipe] = str(error)
                    save(results, options.json)
                    log(f"{recipe}: {error}")
    print("{date}, {device}, {cores} cores, {threads} threads, torch {torch}, Python {python};".format(**machine))
    print(f"{located.title}, {options.seeds} seeds, peers of {options.peer_size} size\n")
    print(report(results))
    if options.plot and results.curves():
        plot(results, options.plot)


if __name__ == "__main__":
    try:
        main()
    except MinidiffError as error:
        sys.exit(str(error))
