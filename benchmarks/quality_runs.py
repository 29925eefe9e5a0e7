"""Trains, samples and evaluates the contenders of `time_to_quality.py`."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import PEERS, environment, run_contender
from quality_report import Point
from raw_files import write_arrays, write_png

from core import TrainConfig
from core.evaluation.reference import Reference
from core.evaluation.scores import Evaluation, measure
from core.models.registry import build_meta_model

HOME = Path(__file__).resolve().parent
BUILTIN = "quick-mnist"  # built-in model of preset quick after 30 epochs, for comparison
UTILIZATION = 0.97  # fraction of a budget planned for a run, since rates vary
CALIBRATION = 10_000  # images of the short run; validation uses the whole test split, as in the measured runs


@dataclass
class Runs:
    """Training runs of all contenders, with the same settings."""

    options: argparse.Namespace
    budgets: list[float]
    n: int  # samples of our recipes
    common_n: int  # samples of the peers, and of ours for comparison
    reference: Reference
    scratch: Path
    labels: Path  # file of the requested class of each sample, for class-conditional networks
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)  # by recipe: its latest result, and its epochs

    def points(self, recipe: str, seed: int) -> Iterator[Point]:
        """Train, sample and evaluate."""
        for result in self._results(recipe, seed):
            about = {name: result[name] for name in ("startup", "parameters", "network", "sampler")}
            for entry in result["samples"]:
                with np.load(entry.pop("samples")) as arrays:
                    images = torch.from_numpy(arrays["images"])
                    labels = torch.from_numpy(arrays["labels"]) if "labels" in arrays else None
                evaluation = common = self._evaluate(recipe, images, labels)
                if self.common_n < len(images):
                    first = None if labels is None else labels[: self.common_n]
                    common = self._evaluate(recipe, images[: self.common_n], first)
                yield Point(recipe=recipe, seed=seed, **entry, **about, evaluation=evaluation, common_evaluation=common)

    def _results(self, recipe: str, seed: int) -> Iterator[dict[str, Any]]:
        """Results of a recipe: one process for all budgets, or one per budget if the learning rate decays."""
        if recipe == BUILTIN:
            yield self._run_own(BUILTIN, [0.0], seed, model=BUILTIN)
        elif recipe in PEERS:
            yield self._run_peer(recipe, seed)
        elif TrainConfig(preset=recipe).lr_schedule == "constant":
            yield self._run_own(f"{recipe}-{seed}", self.budgets, seed, recipe=recipe, limit=self.options.limit)
        else:
            for budget in self.budgets:
                epochs, limit = self._plan(recipe, budget)
                name = f"{recipe}-{seed}-{budget:g}"
                yield self._run_planned(name, budget, self.n, seed, recipe=recipe, epochs=epochs, limit=limit)

    def _plan(self, recipe: str, budget: float) -> tuple[int, int]:
        """Estimated epochs and images of a run of `budget` seconds."""
        train_images = len(self.reference.train.images)
        if recipe not in self.latest:
            log(f"{recipe}: a short run, not counted, to measure its speed")
            limit = min(CALIBRATION, train_images)
            self._run_planned(f"{recipe}-calibration", 0.0, 2, 0, recipe=recipe, epochs=1, limit=limit)
        latest = self.latest[recipe]
        epoch_end = latest["epoch_ends"] / latest["epochs"]
        remaining = UTILIZATION * budget - sum(latest["startup"].values())
        for epochs in range(1, 1_000_000):
            images = int((remaining - epochs * epoch_end) * latest["images_per_second"] / epochs)
            if images <= train_images:
                break
        batch = TrainConfig(preset=recipe).batch_size
        return epochs, max(images // batch, 1) * batch

    def _run_planned(self, name: str, budget: float, n: int, seed: int, **options: Any) -> dict[str, Any]:
        result = self._run_own(name, [budget], seed, n, **options)
        self.latest[options["recipe"]] = result | {"epochs": options["epochs"]}
        return result

    def _run_own(
        self, name: str, budgets: list[float], seed: int, n: int | None = None, **options: Any
    ) -> dict[str, Any]:
        return run_contender(
            [sys.executable, str(HOME / "own_recipe.py")],
            self.scratch / name,
            **self._shared(budgets, seed, n or self.n),
            dataset=self.reference.name,
            data=self.options.data_root,
            **options,
        )

    def _run_peer(self, recipe: str, seed: int) -> dict[str, Any]:
        peer = PEERS[recipe]
        python = environment(peer, self.options.venvs, log)
        return run_contender(
            [str(python), str(peer.script)],
            self.scratch / f"{recipe}-{seed}",
            **self._shared(self.budgets, seed, self.common_n),
            data=self.scratch / peer.data,
            parameters=self._parameters() if self.options.peer_size == "matched" else None,
        )

    def _shared(self, budgets: list[float], seed: int, n: int) -> dict[str, Any]:
        """Options of all contenders."""
        return {
            "budgets": ",".join(f"{budget:g}" for budget in budgets),
            "seed": seed,
            "n": n,
            "labels": self.labels,
            "shape": ",".join(map(str, self.reference.info.shape)),
            "classes": self.reference.info.classes,
            "device": self.options.device,
        }

    def _parameters(self) -> int:
        """Number of parameters of `default`'s network for these images."""
        info = self.reference.info
        default = TrainConfig(preset="default", dataset_info=info, class_conditional=info.classes > 0)
        net = build_meta_model(default.model, **default.model_options)
        return sum(parameter.numel() for parameter in net.parameters())

    def _evaluate(self, recipe: str, images: torch.Tensor, labels: torch.Tensor | None) -> dict[str, Any]:
        *_, evaluation = measure(images, labels, self.reference, recipe)
        assert isinstance(evaluation, Evaluation)
        return asdict(evaluation)

    def write_inputs(self, recipes: list[str]) -> None:
        """Write the training images in the formats of the peers among the recipes."""
        writers = {"arrays": write_arrays, "png": write_png}
        for peer in {PEERS[name].data: PEERS[name] for name in recipes if name in PEERS}.values():
            log(f"writing the training images to {peer.data}")
            writers[peer.images](self.scratch / peer.data, self.reference.train, peer.multiple)


def log(text: str) -> None:
    """Print progress to stderr."""
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)
