"""Checks of a run's log: losses that are not finite, rise or do not fall are found, and usual logs have no finding."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import REPOSITORY
from runlogs import dataset, started, training, window

from core.config.training import TrainConfig
from core.runs.directory import BUILTIN, EVENTS
from core.runs.events import DatasetLoaded, Epoch, Event, Failed, Warned
from core.runs.findings import Finding, check_log, is_fine_tuned, log_hint
from core.runs.history import RunHistory


def history_of(events: list[Event]) -> RunHistory:
    history = RunHistory()
    history.extend(events)
    return history


def findings(history: RunHistory, *, fine_tuned: bool = False) -> list[Finding]:
    return [finding for result in check_log(history, fine_tuned=fine_tuned) for finding in result.findings]


def curve(loss: Callable[[float], float], windows: int = 100) -> RunHistory:
    """The history of a run with a loss per window, of the fraction of the run that is done."""
    points = [window(12 * (index + 1), loss(index / windows), 2.0 + index) for index in range(windows)]
    return history_of([started(0.0), dataset(1.0), *points])


def epochs(*losses: tuple[float, float]) -> RunHistory:
    """The history of a run with these training and validation losses per epoch."""
    ended = [
        Epoch(epoch=index, step=100 * index, loss=loss, validation_loss=validation, seconds=1.0, time=10.0 * index)
        for index, (loss, validation) in enumerate(losses, start=1)
    ]
    return history_of([started(0.0), dataset(1.0), *ended])


@pytest.mark.parametrize("name", BUILTIN)
def test_the_logs_of_the_built_in_models_have_no_finding(name: str) -> None:
    assert findings(RunHistory.of(REPOSITORY / "checkpoints" / name / EVENTS)) == []


@pytest.mark.parametrize("done", [0.0, 0.1, 1.0, 7.3, 30.0])
def test_the_log_of_a_usual_run_has_no_finding_at_any_time(done: float) -> None:
    assert findings(history_of(training(done))) == []
    assert log_hint(RunHistory()) is None


def test_losses_that_are_not_finite_are_found() -> None:
    history = history_of([*training(1), window(470, math.nan, 100.0)])
    (finding,) = findings(history)
    assert (finding.check, finding.severity) == ("finite loss", "error")
    history.add(window(480, 0.02, 101.0))
    assert [finding.severity for finding in findings(history)] == ["warning"], "it went on"


def test_skipped_steps_of_a_training_are_counted(tiny: Callable[..., TrainConfig], tmp_path: Path) -> None:
    """The message is that of the training loop."""
    import torch

    from core.training.api import train

    history = RunHistory()
    events = train(tiny(epochs=3, max_skipped=100, root=tmp_path, name="a"))
    with pytest.raises(Exception, match="training diverged"):
        for event in events:
            history.add(event)
            if isinstance(event, DatasetLoaded):
                trainer = events.gi_frame.f_locals["loop"]._trainer  # type: ignore[attr-defined]
                trainer.images = torch.full(trainer.images.shape, math.nan)
    failure = Failed(step=6, message="training diverged: the loss or a gradient was not finite in the last 6 steps")
    assert any(isinstance(note, Warned) for note in history.notes)
    history.add(failure)
    (finding,) = findings(history)
    assert finding.evidence.startswith("6 steps without a finite loss")
    assert finding.severity == "error"


def test_a_loss_that_rises_again_is_found_with_its_steps() -> None:
    (finding,) = findings(curve(lambda done: 0.05 if done < 0.5 else 0.5))
    assert (finding.check, finding.severity) == ("loss curve", "error")
    assert "from 0.05000 to 0.50000, between steps" in finding.evidence
    (finding,) = findings(curve(lambda done: 0.5 if 0.3 < done < 0.6 else 0.05))
    assert finding.severity == "warning"
    assert finding.evidence.endswith("and fell again")


def test_a_loss_that_does_not_fall_is_found_unless_the_weights_were_trained_before() -> None:
    flat = curve(lambda done: 1.0 + 0.02 * math.sin(100 * done))
    assert [finding.check for finding in findings(flat)] == ["loss curve"]
    assert findings(flat, fine_tuned=True) == []
    assert findings(curve(lambda done: 1.0, windows=15)) == [], "too short to tell"
    assert is_fine_tuned({"init_from": "other"})
    assert not is_fine_tuned({})
    assert not is_fine_tuned(None)


def test_a_loss_that_is_flat_after_a_fall_is_normal() -> None:
    assert findings(curve(lambda done: 0.15 + math.exp(-60 * done))) == []


@pytest.mark.parametrize("batch_size", [1, 4])
def test_windows_that_differ_by_chance_are_no_rise_and_a_rise_among_them_is_found(batch_size: int) -> None:
    """Windows of one step with a small batch: their losses have a gamma distribution."""
    noise = random.Random(0)

    def loss(mean: float) -> float:
        return mean * noise.gammavariate(batch_size, 1 / batch_size)

    for _ in range(10):
        assert findings(curve(lambda done: loss(0.2 + math.exp(-40 * done)))) == []
    assert [finding.check for finding in findings(curve(lambda done: loss(0.2 if done < 0.5 else 2.0)))] == [
        "loss curve"
    ]


def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_found() -> None:
    (finding,) = findings(epochs((0.2, 0.19), (0.16, 0.17), (0.14, 0.18), (0.12, 0.2), (0.1, 0.24)))
    assert finding.check == "validation loss"
    assert "0.17000 in epoch 2 to 0.24000 in epoch 5" in finding.evidence
    assert findings(epochs((0.2, 0.19), (0.16, 0.17), (0.15, 0.172), (0.15, 0.175))) == []
    assert findings(epochs((0.2, 0.19), (0.16, 0.17), (0.2, 0.2), (0.3, 0.29))) == [], "both rise"


def test_the_hint_is_the_most_severe_finding() -> None:
    history = curve(lambda done: 0.05 if done < 0.5 else 0.5)
    history.extend(epochs((0.2, 0.17), (0.1, 0.2), (0.05, 0.3)).epochs)
    assert len(findings(history)) == 2
    hint = log_hint(history)
    assert hint is not None
    assert hint.check == "loss curve"
