"""Creates a built-in model from a finished run: `python checkpoints/make_builtin.py RUN default-mnist --half`.

Keeps the config and the weights, in float16 with --half; merges the log to a few hundred windows; removes
machine-specific values; records a denoising trajectory for the UI; and generates 64 samples for the docs.
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
    """The run's log, merged to a few hundred events."""
    size = -(-len(history.progress) // WINDOWS)
    windows = [merged(history.progress[i : i + size]) for i in range(0, len(history.progress), size)]
    assert history.started is not None, "a finished run has a start event"
    assert history.dataset is not None, "and a dataset"
    assert isinstance(history.lifecycle, Finished), "checked by the caller"
    started = dataclasses.replace(history.started, name=name)
    dataset: DatasetLoaded = dataclasses.replace(history.dataset, source="MNIST/raw")
    middle = sorted([*windows, *history.epochs, history.previews[-1]], key=lambda event: event.time)
    return [started, dataset, *middle, history.lifecycle]


def main() -> None:
    """Create the built-in model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="directory of a finished run on MNIST")
    parser.add_argument("name", choices=BUILTIN, help="name of the built-in model")
    parser.add_argument("--half", action="store_true", help="store the weights in float16")
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
    stored = {key: value.half() if arguments.half else value for key, value in tensors.items()}
    write_tensors(target / MODEL, "model", stored, config, step)
    write_csv(target / "loss.csv", RunHistory.of(target / EVENTS))

    model = load_model(target, device="cpu")
    classifier = available_classifier("conv", model.config.dataset)
    classes_of = None if classifier is None else partial(classify, classifier)
    recording = record(sample(model, n=8, seed=SEED), model=name, seed=SEED, classify=classes_of)
    save_recording(recording, target / RECORDING)
    images = HERE.parent / "docs" / "images"
    write_grid(images / f"{name}-64.png", record(sample(model, n=64, seed=SEED), model=name, seed=SEED))


if __name__ == "__main__":
    main()
