"""Sample quality against training time, including startup.

    python benchmarks/time_to_quality.py --plot --json race.json     our recipes and two peers, hours on two cores
    python benchmarks/time_to_quality.py --peer-n 500                fewer samples of the peers, whose samplers are slow
    python benchmarks/time_to_quality.py --quick                     ours for seconds; a smoke test

Every training is a separate process, and its time starts just before the process: imports, reading data and warmup
count, and are listed separately. At each budget the clock pauses while weights are saved; after the largest, the same
process generates samples from all saved weights with its own sampler and defaults, timed separately. Class-conditional
networks get the labels of the validation images. Recipes for few steps also sample with half and a quarter of them. All
samples are evaluated by `core.evaluation.scores`; if peers generate fewer, the same number of ours is evaluated too.
Seeds alternate between recipes, so that a slower machine affects all.

The learning rate of `default` decays to the end of the run, so each budget is a separate run; its epochs and images are
estimated from a short run, which is not counted. The others train once, for the largest budget, and save weights on the
way. File caches are warm: each contender has been started before. Peers get about as many parameters as ours, the same
version of torch, and a virtual environment, which is created on first use. Their input files are written beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import PEERS, ContenderFailed, contend, environment
from platformdirs import user_cache_dir
from quality_report import Point, Race, plot, table
from raw_files import write_idx, write_png

from core import MinidiffError, TrainConfig, build_model, load_dataset, pick_device
from core.evaluation.reference import Reference, prepare
from core.evaluation.scores import Evaluation, measure
from core.generators import result_of
from core.runs.directory import builtin_directories
from core.system.devices import list_devices

HOME = Path(__file__).resolve().parent
PLOT = HOME.parent / "docs" / "images" / "time-to-quality.png"
SHIPPED = "quick-mnist"  # built-in model of preset quick after 30 epochs, for comparison
OURS = ("default", "quick", "tutorial")
AIM = 0.97  # fraction of a budget planned for a run, since rates vary
CALIBRATION = 10_000  # images of the short run; validation uses the whole test split, as in the measured runs


@dataclass
class Contest:
    """Settings shared by all contenders."""

    asked: argparse.Namespace
    budgets: list[float]
    n: int  # samples of our recipes
    few: int  # samples of the peers, and of ours for comparison
    parameters: int  # of `default`'s network
    reference: Reference
    scratch: Path
    train_images: int
    labels: Path  # file of the requested class of each sample, for class-conditional networks
    paces: dict[str, dict[str, Any]] = field(default_factory=dict)  # by recipe: its latest run and epochs

    def results(self, recipe: str, seed: int) -> Iterator[dict[str, Any]]:
        """Results of a recipe: one process for all budgets, or one per budget if the learning rate decays."""
        if recipe == SHIPPED:
            yield self._ours(SHIPPED, [0.0], seed, model=SHIPPED)
        elif recipe in PEERS:
            yield self._peer(recipe, seed)
        elif TrainConfig(preset=recipe).lr_schedule == "constant":
            yield self._ours(f"{recipe}-{seed}", self.budgets, seed, recipe=recipe, limit=self.asked.limit)
        else:
            for budget in self.budgets:
                epochs, limit = self._planned(recipe, budget)
                name = f"{recipe}-{seed}-{budget:g}"
                yield self._planned_run(name, budget, self.n, seed, recipe=recipe, epochs=epochs, limit=limit)

    def _planned(self, recipe: str, budget: float) -> tuple[int, int]:
        """Estimated epochs and images of a run of `budget` seconds."""
        if recipe not in self.paces:
            say(f"{recipe}: a short run, not counted, to learn its pace")
            limit = min(CALIBRATION, self.train_images)
            self._planned_run(f"{recipe}-pace", 0.0, 2, 0, recipe=recipe, epochs=1, limit=limit)
        known = self.paces[recipe]
        between = known["between"] / known["epochs"]
        left = AIM * budget - sum(known["start"].values())
        for epochs in range(1, 1_000_000):
            images = int((left - epochs * between) * known["pace"] / epochs)
            if images <= self.train_images:
                break
        batch = TrainConfig(preset=recipe).batch_size
        return epochs, max(images // batch, 1) * batch

    def _planned_run(self, name: str, budget: float, n: int, seed: int, **options: Any) -> dict[str, Any]:
        result = self._ours(name, [budget], seed, n, **options)
        self.paces[options["recipe"]] = result | {"epochs": options["epochs"]}
        return result

    def _ours(self, name: str, budgets: list[float], seed: int, n: int | None = None, **options: Any) -> dict[str, Any]:
        return contend(
            [sys.executable, str(HOME / "own_recipe.py")],
            self.scratch / name,
            budgets=_listed(budgets),
            seed=seed,
            n=n or self.n,
            labels=self.labels,
            device=self.asked.device,
            dataset=self.reference.name,
            data=self.asked.data_root,
            **options,
        )

    def _peer(self, recipe: str, seed: int) -> dict[str, Any]:
        peer = PEERS[recipe]
        python = environment(peer, self.asked.venvs, say)
        return contend(
            [str(python), str(peer.script)],
            self.scratch / f"{recipe}-{seed}",
            budgets=_listed(self.budgets),
            seed=seed,
            n=self.few,
            labels=self.labels,
            device=self.asked.device,
            data=self.scratch / peer.images,
            parameters=self.parameters,
        )

    def points(self, recipe: str, seed: int) -> Iterator[Point]:
        """Train, sample and evaluate."""
        for result in self.results(recipe, seed):
            about = {name: result[name] for name in ("start", "parameters", "shape", "sampler")}
            for drawn in result["drawn"]:
                with np.load(drawn.pop("samples")) as arrays:
                    images = torch.from_numpy(arrays["images"]).unsqueeze(1)
                    labels = torch.from_numpy(arrays["labels"]) if "labels" in arrays else None
                evaluation = self._measured(recipe, images, labels)
                first = None if labels is None else labels[: self.few]
                few = self._measured(recipe, images[: self.few], first) if self.few < len(images) else evaluation
                yield Point(recipe=recipe, seed=seed, **drawn, **about, evaluation=evaluation, few=few)

    def _measured(self, recipe: str, images: torch.Tensor, labels: torch.Tensor | None) -> dict[str, Any]:
        *_, evaluation = measure(images, labels, self.reference, recipe)
        assert isinstance(evaluation, Evaluation)
        return asdict(evaluation)


def _listed(budgets: list[float]) -> str:
    return ",".join(f"{budget:g}" for budget in budgets)


def say(text: str) -> None:
    """Print progress to stderr."""
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def save(race: Race, path: Path | None) -> None:
    """Write all results so far, if requested."""
    if path:
        path.write_text(json.dumps(asdict(race), indent=1), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipes",
        help=f"comma-separated, from {', '.join((*OURS, SHIPPED, *PEERS))}; default: all "
        "of them, tutorial only on a GPU",
    )
    parser.add_argument("--budgets", default="60,300", help="seconds, comma-separated")
    parser.add_argument("--seeds", type=int, default=3, help="training runs per recipe")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--n", type=int, default=10_000, help="samples to evaluate")
    parser.add_argument("--peer-n", type=int, help="samples of each peer; default: --n")
    parser.add_argument("--dataset", default="mnist")
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
    parser.add_argument("--quick", action="store_true", help="glyphs, seconds, ours only")
    asked = parser.parse_args()
    if asked.quick:
        asked.recipes, asked.budgets, asked.seeds, asked.n = "default,quick", "2,4", 1, 50
        asked.dataset, asked.limit = "glyphs", 640
    asked.device = pick_device(asked.device).type
    if asked.recipes is None:
        left_out = set() if asked.device == "cuda" else {"tutorial"}
        if SHIPPED not in builtin_directories():
            left_out.add(SHIPPED)
        asked.recipes = ",".join(name for name in (*OURS, SHIPPED, *PEERS) if name not in left_out)
    return asked


def main() -> None:
    """Run the benchmark, print the table, and write the requested files."""
    asked = arguments()
    recipes = asked.recipes.split(",")
    if unknown := [name for name in recipes if name not in (*OURS, SHIPPED, *PEERS)]:
        raise MinidiffError(f"there is no recipe {unknown[0]!r}; take some of {', '.join((*OURS, SHIPPED, *PEERS))}")
    few = asked.peer_n or asked.n
    if few > asked.n:
        raise MinidiffError(f"--peer-n {few} is more than the {asked.n} samples of ours; give at most so many")
    race = Race(asked.n, few)
    with contextlib.ExitStack() as stack:
        if asked.keep:
            asked.keep.mkdir(parents=True)
        scratch = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        reference = result_of(prepare(asked.dataset, asked.data_root, asked.limit, asked.n))
        train = load_dataset(reference.name, asked.data_root, limit=asked.limit)
        if used := {PEERS[name].images for name in recipes if name in PEERS}:
            say("laying out the images for the peers")
            if "idx" in used:
                write_idx(scratch / "idx", {"train": train, "test": reference.test})
            if "png" in used:
                write_png(scratch / "png", train)
        default = TrainConfig(preset="default")
        net = build_model(default.model, **default.model_options)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        budgets = sorted(float(budget) for budget in asked.budgets.split(","))
        labels = scratch / "labels.npy"  # of real images, for their class frequencies
        np.save(labels, reference.validation.labels[: asked.n].numpy())
        contest = Contest(asked, budgets, asked.n, few, parameters, reference, scratch, len(train.images), labels)
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            for recipe in recipes:
                if recipe in race.failures or (recipe == SHIPPED and seed > asked.first_seed):
                    continue
                say(f"{recipe}, seed {seed}")
                try:
                    for point in contest.points(recipe, seed):
                        race.points.append(point)
                        save(race, asked.json)  # after each, since runs take hours
                        found = f"{point.frechet(few):.3g} after {point.seconds:.1f} s, {point.asked}"
                        say(f"{recipe}, seed {seed}: {found}")
                except ContenderFailed as error:
                    race.failures[recipe] = str(error)
                    save(race, asked.json)
                    say(f"{recipe}: {error}")
    name = next(found.name for found in list_devices() if found.kind == asked.device)
    print(f"{datetime.date.today()}, {name}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads,")
    print(f"torch {torch.__version__}, Python {platform.python_version()}; {reference.name}, {asked.seeds} seeds\n")
    print(table(race))
    if asked.plot and race.points:
        plot(race, asked.plot)


if __name__ == "__main__":
    try:
        main()
    except MinidiffError as error:
        sys.exit(str(error))
