"""Consistency distillation: the loss on a distribution with a known solution, resuming, and the distilled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import error_line
from torch import Tensor, nn

from core import TrainConfig, distillation_config, load_model, resume, sample, train
from core.cli import run
from core.config.sampling import CONTRAST, defaults_for
from core.errors import MinidiffError
from core.models.weights import read_weights
from core.runs.directory import MODEL, STATE
from core.runs.events import Finished
from core.training.consistency import FIRST_STEPS, LAST_FROM, LAST_STEPS, ConsistencyLoss
from core.training.state import read_state

TINY: dict[str, Any] = {
    "dataset": "glyphs",
    "limit": 48,
    "size": "tiny",
    "batch_size": 16,
    "epochs": 2,
    "device": "cpu",
    "threads": 1,
    "precision": "float32",
}
SCALE = 0.5  # standard deviation of the images of the toy distribution


def variance(t: Tensor) -> Tensor:
    """Of x_t, (B,), for normally distributed images."""
    return ((1 - t) * SCALE) ** 2 + t**2


class Teacher(nn.Module):
    """The velocity of normally distributed images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return x * ((t - (1 - t) * SCALE**2) / variance(t)).view(-1, 1, 1, 1)


class Student(nn.Module):
    """The velocity that leads in one step to the end of the trajectory along which the teacher's contrast moves."""

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        end = x * ((SCALE**2 / variance(t)) ** ((1 + CONTRAST) / 2)).view(-1, 1, 1, 1)
        return (x - end) / t.clamp(min=1e-6).view(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to distill."""
    root = tmp_path_factory.mktemp("teacher")
    *_, last = train(TrainConfig(**TINY, root=root, name="teacher"))
    assert isinstance(last, Finished)
    return root


def test_the_loss_vanishes_for_the_solution_of_the_teachers_equation() -> None:
    config = TrainConfig(class_conditional=False, precision="float32", objective="consistency", init_from="a")
    loss = ConsistencyLoss(Teacher(), config)
    loss.__dict__["_mean_image"] = torch.zeros(1, 1, 28, 28)  # of this distribution
    t = loss.sample_times(64, torch.Generator().manual_seed(0))
    x_t = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * variance(t).sqrt().view(-1, 1, 1, 1)
    coarse, fine = (steps * loss.errors(Student(), x_t, t, None, steps).mean() / steps for steps in (20.0, 2000.0))
    assert fine < coarse < 0.01  # Euler's method has an error
    assert fine < 1e-3
    assert loss.errors(Teacher(), x_t, t, None, 20.0).mean() > 10 * coarse


def test_steps_of_the_teacher_grow_and_some_images_are_noise() -> None:
    assert ConsistencyLoss.steps(0) == FIRST_STEPS
    assert ConsistencyLoss.steps(LAST_FROM) == pytest.approx(LAST_STEPS)
    assert ConsistencyLoss.steps(1) == pytest.approx(LAST_STEPS)
    t = ConsistencyLoss.sample_times(10_000, torch.Generator().manual_seed(0))
    assert float((t == 1).float().mean()) == pytest.approx(0.2, abs=0.02)
    assert float(t[t < 1].mean()) == pytest.approx(0.5, abs=0.02)


def test_a_distillation_resumes_bit_for_bit_without_its_teacher(teacher: Path, tmp_path: Path) -> None:
    options = {**TINY, "init_from": str(teacher / "teacher"), "root": tmp_path}
    list(train(distillation_config(str(teacher / "teacher"), name="whole", **options)))
    running = train(distillation_config(str(teacher / "teacher"), name="parts", **options))
    for event in running:
        if getattr(event, "step", 0) >= 2:
            break
    running.close()
    moved = teacher / "teacher"
    moved.rename(teacher / "moved")
    try:
        *_, last = resume(tmp_path / "parts")
    finally:
        (teacher / "moved").rename(moved)
    assert isinstance(last, Finished)
    for name, read in ((MODEL, read_weights), (STATE, read_state)):
        whole, parts = (read(tmp_path / run_name / name)[0] for run_name in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    state, original = read_state(tmp_path / "whole" / STATE)[0], read_weights(moved / MODEL)[0]
    assert all(torch.equal(state[f"teacher.{name}"], value) for name, value in original.items())


def test_the_command_distils_a_run_and_its_model_samples_in_few_steps(teacher: Path) -> None:
    assert run(["distill", "teacher", "--root", str(teacher), "--name", "fast", "--epochs", "1"]) == 0
    model = load_model("fast", "cpu", teacher)
    assert (model.config.objective, model.config.size, model.config.limit) == ("consistency", "tiny", 48)
    assert model.config.init_from == "teacher"
    assert defaults_for(model.config).sampler == "consistency"
    assert len(list(sample(model, n=2, steps=1))) == 2
    with pytest.raises(MinidiffError, match="guidance and contrast are part of a distilled model"):
        sample(model, n=2, guidance=2.0)
    with pytest.raises(MinidiffError, match="guidance and contrast are part of a distilled model"):
        sample(model, n=2, contrast=0.1)


def test_a_model_that_cannot_be_distilled_is_refused_in_one_line(
    teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(teacher)]
    list(train(TrainConfig(**{**TINY, "size": None, "epochs": 1}, preset="quick", root=teacher, name="mixed")))
    message = error_line(capsys, "distill", "mixed", *root, code=2)
    assert "mixed cannot be distilled: it predicts clean on the path mix without time conditioning; " in message
    assert "--preset default" in message
    assert "objective" not in message
    list(train(distillation_config("teacher", teacher, **{**TINY, "epochs": 1}, name="once")))
    capsys.readouterr()
    message = error_line(capsys, "distill", "once", *root, code=2)
    assert "once is distilled already; distill the model that it was made from" in message
    assert "nothing" in error_line(capsys, "distill", "nothing", *root)
    with pytest.raises(MinidiffError, match="consistency distills a trained model; name it with init_from"):
        TrainConfig(objective="consistency")
