"""Turns a finished run into a built-in model: `python checkpoints/make_builtin.py RUN default-mnist --half`.

Keeps the config as it is, and the weights too, or in half as many digits; thins the log to a few hundred windows,
leaves out what belongs to the machine it was trained on, records a denoising for the screen to play, and draws the
first 64 samples for the docs.
"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path

from core import load_model, sample
from core.config.training import TrainConfig
from core.diffusion.frames import record
from core.evaluation.feature_classifiers import available_classifier, classify
from core.export.images import write_csv, write_grid
from core.models.weights import read_weights, write_tensors
from core.runs.directory import BUILTIN, CONFIG, EVENTS, MODEL
from core.runs.events import DatasetLoaded, Event, Finished, to_line
from core.runs.history import RunHistory, merged
from core.runs.status import Status, run_status
from core.runs.trajectory import RECORDING, save_recording
from core.system.atomic_write import write_atomically

HERE = Path(__file__).resolve().parent
WINDOWS = 300
SEED = 0


def thinned(history: RunHistory, name: str) -> list[Event]:
    """The run's story in a few hundred events."""
    share = -(-len(history.progress) // WINDOWS)
    windows = [merged(history.progress[i : i + share]) for i in range(0, len(history.progress), share)]
    assert history.started is not None, "a finished run has begun"
    assert history.dataset is not None, "and has seen its data"
    assert isinstance(history.lifecycle, Finished), "as was checked"
    started = dataclasses.replace(history.started, name=name)
    dataset: DatasetLoaded = dataclasses.replace(history.dataset, source="MNIST/raw")
    middle = sorted([*windows, *history.epochs, history.previews[-1]], key=lambda event: event.time)
    return [started, dataset, *middle, history.lifecycle]


def main() -> None:
    """Make the built-in model from the run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="directory of a finished run on genuine MNIST")
    parser.add_argument("name", choices=BUILTIN, help="which built-in model it becomes")
    parser.add_argument("--half", action="store_true", help="keep the weights in float16, half as large")
    arguments = parser.parse_args()
    run, name = arguments.run, arguments.name
    if run_status(run) != Status.FINISHED:
        raise SystemExit(f"{run} is not a finished run")
    target = HERE / name
    target.mkdir(exist_ok=True)
    history = RunHistory.of(run / EVENTS)
    config = TrainConfig.from_toml(run / CONFIG).changed(name=name, data_root=None)
    write_atomically(target / CONFIG, config.to_toml().encode())
    write_atomically(target / EVENTS, "".join(map(to_line, thinned(history, name))).encode())
    tensors, _, step, _ = read_weights(run / MODEL)
    kept = {key: value.half() if arguments.half else value for key, value in tensors.items()}
    write_tensors(target / MODEL, "model", kept, config, step)
    write_csv(target / "loss.csv", RunHistory.of(target / EVENTS))

    model = load_model(target, device="cpu")
    classifier = available_classifier("conv", model.config.dataset)
    reader = None if classifier is None else partial(classify, classifier)
    recording = record(sample(model, n=8, seed=SEED), model=name, seed=SEED, classify=reader)
    save_recording(recording, target / RECORDING)
    pictures = HERE.parent / "docs" / "images"
    write_grid(pictures / f"{name}-64.png", record(sample(model, n=64, seed=SEED), model=name, seed=SEED))


if __name__ == "__main__":
    main()
