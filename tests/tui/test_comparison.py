"""What the panes of a comparison are called, which frames they show, and what is remembered of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from core.config.training import TrainConfig
from core.engine.protocol import SampleRequest
from core.runs.trajectory import Denoising, Frame
from tui.comparison import Compared, agreement, default_comparison, frame_at, leader_of, resolved, titles
from tui.state import remember_comparison, remembered_comparison, state_directory

CONFIG = TrainConfig()


def side(read: str = "", labels: tuple[int, ...] | None = None, **options: object) -> Compared:
    """A side whose last frame is classified as `read`, one digit for each image."""
    request = dataclasses.replace(
        SampleRequest(model="a", sampler="euler", steps=16, guidance=1.0),
        **options,  # type: ignore[arg-type]
    )
    compared = Compared(resolved(request, CONFIG), CONFIG, labels=labels)
    if read:
        frames = (Frame(0, 1.0, b"", None), Frame(1, 0.0, b"", b"", tuple((int(digit), 90) for digit in read)))
        compared.denoising = Denoising("a", 0, 1, len(read), 28, 28, frames)
    return compared


def test_a_title_says_only_what_differs() -> None:
    assert titles([side(), side(sampler="heun")]) == ["euler", "heun"]
    assert titles([side(), side(sampler="heun", steps=8)]) == ["euler, 16 steps", "heun, 8 steps"]
    assert titles([side(steps=1), side(model="b", steps=1)]) == ["a", "b"]
    assert titles([side(steps=1), side(guidance=2.5)]) == ["1 step, guidance 1", "16 steps, guidance 2.5"]
    assert titles([side(label=3), side(), side(label=-1)]) == ["class 3", "classes in turn", "class any"]
    assert titles([side(), side()]) == ["a, euler", "a, euler"]
    unconditional = Compared(SampleRequest(model="b", sampler="euler", steps=16), TrainConfig(preset="quick"))
    assert titles([side(guidance=2), unconditional]) == ["a", "b"]


def test_images_are_counted_that_are_classified_as_requested_or_as_in_the_first_pane() -> None:
    first = side("0123")
    assert agreement(side("0124", labels=(0, 1, 2, 3)), first) == "3/4 correct"
    assert agreement(side("0144"), first) == "2/4 as pane 1"
    assert agreement(side("0144", labels=(-1, -1, -1, -1)), first) == "2/4 as pane 1"
    assert agreement(first, first) == agreement(side(), first) == agreement(side("01234"), first) == ""


def trajectory(steps: int, frames: int | None = None) -> Compared:
    """Noise levels from 1 to 0 in equal steps, of which the first `frames` are sampled."""
    compared = side(steps=steps)
    sampled = tuple(Frame(i, 1 - i / steps, b"", b"" if i else None) for i in range(steps + 1))[:frames]
    compared.denoising = Denoising("a", 0, steps, 1, 28, 28, sampled)
    return compared


@pytest.mark.parametrize(
    ("states", "shown"), [(True, [0, 0, 0, 0, 1, 1, 1, 1, 2]), (False, [0, 1, 1, 1, 1, 2, 2, 2, 2])]
)
def test_frames_of_fewer_steps_are_shown_at_the_noise_level_of_the_leader(states: bool, shown: list[int]) -> None:
    leader, other = trajectory(8), trajectory(2)
    assert leader_of([other, leader]) is leader
    frames = [frame_at(position, other, leader, states=states) for position in range(9)]
    assert [frame.index if frame else None for frame in frames] == shown
    assert [frame_at(i, leader, leader, states=states) for i in range(9)] == list(leader.frames)


def test_frames_are_shown_as_far_as_they_are_sampled() -> None:
    leader, other = trajectory(8), trajectory(4, frames=2)
    assert frame_at(8, other, leader, states=False) == other.frames[-1]
    partial = trajectory(8, frames=3)
    assert frame_at(5, partial, partial, states=False) is None
    assert frame_at(0, side(), leader, states=False) is None


def test_a_side_that_failed_does_not_define_the_timeline() -> None:
    failed, other = side(steps=100), side(steps=2)
    failed.error = "no weights"
    assert leader_of([failed, other]) is other


def test_a_model_is_first_compared_with_another_sampler_and_a_distilled_model_with_its_teacher() -> None:
    request = SampleRequest(model="a", n=8, steps=12, seed=1)
    assert default_comparison(request, CONFIG, ["a"]) == dataclasses.replace(request, sampler="euler")
    with_euler = dataclasses.replace(request, sampler="euler")
    assert default_comparison(with_euler, CONFIG, ["a"]) == dataclasses.replace(request, sampler="heun")
    distilled = CONFIG.changed(objective="consistency", init_from="teacher")
    fast = dataclasses.replace(request, model="fast", steps=1)
    teacher = default_comparison(fast, distilled, ["fast", "teacher"])
    assert (teacher.model, teacher.steps, teacher.sampler) == ("teacher", None, None)
    assert default_comparison(fast, distilled, ["fast"]) == dataclasses.replace(fast, steps=4)


def test_panes_are_remembered_and_forgotten() -> None:
    panes = [
        SampleRequest(model="a", sampler="euler", steps=16, guidance=1.5, label=3),
        SampleRequest(model="é b", label=-1),
    ]
    remember_comparison([dataclasses.replace(pane, n=3, seed=7) for pane in panes])
    assert remembered_comparison() == panes
    (state_directory() / "comparison.json").unlink()
    assert remembered_comparison() == []


OPTIONS = {"model": "a", "sampler": "euler", "steps": 4, "guidance": 1.0, "label": None}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "3",
        "[1]",
        "[{}]",
        *(
            json.dumps([OPTIONS | change])
            for change in (
                {"model": 1},
                {"sampler": "x"},
                {"sampler": []},
                {"steps": 0},
                {"steps": True},
                {"guidance": -1},
                {"label": -2},
            )
        ),
        json.dumps([OPTIONS | {"guidance": float("inf")}]),
    ],
)
def test_a_damaged_file_of_panes_is_ignored(content: str) -> None:
    Path(state_directory() / "comparison.json").write_text(content)
    assert remembered_comparison() == []
    (state_directory() / "comparison.json").write_text(json.dumps([OPTIONS]))
    assert len(remembered_comparison()) == 1
