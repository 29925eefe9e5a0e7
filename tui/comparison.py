"""What the panes of a comparison show: their titles, the frames of one noise level, and what to compare at first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.config.sampling import CONSISTENCY_STEPS, NO_CLASS, defaults_for
from core.engine.protocol import SampleRequest
from core.runs.trajectory import Denoising, Frame
from tui.class_names import class_name

if TYPE_CHECKING:
    from core.config.training import TrainConfig

MAX_PANES = 4


@dataclass(eq=False)
class Compared:
    """One side of a comparison: what is requested, and what is sampled of it so far.

    Attributes:
        request: Without options that are None, except the class.
        config: Of the model.
        denoising: Complete or in progress; None before the first frame.
        labels: The requested class of each image; None for an unconditional model.
        class_names: Of the model.
        nfe: Network function evaluations per image.
        seconds: The sampling time; None until it is sampled.
        error: Why it could not be sampled; empty if it could.
    """

    request: SampleRequest
    config: TrainConfig
    denoising: Denoising | None = None
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()
    nfe: int = 0
    seconds: float | None = None
    error: str = ""

    @property
    def complete(self) -> bool:
        """Whether all steps are sampled."""
        return self.denoising is not None and self.denoising.complete

    @property
    def steps(self) -> int:
        """The requested number of steps."""
        return self.request.steps or 0

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames sampled so far."""
        return self.denoising.frames if self.denoising is not None else ()

    def reset(self) -> None:
        """Forget what was sampled."""
        self.denoising, self.seconds, self.error = None, None, ""


def leader_of(sides: Sequence[Compared]) -> Compared:
    """The side with the most steps, which defines the timeline; one that failed only if all did."""
    return max(sides, key=lambda side: (not side.error, side.steps))


def resolved(request: SampleRequest, config: TrainConfig) -> SampleRequest:
    """`request` with the model's defaults instead of None."""
    defaults = defaults_for(config)
    return dataclasses.replace(
        request,
        sampler=request.sampler or defaults.sampler,
        steps=request.steps or defaults.steps,
        guidance=defaults.guidance if request.guidance is None else request.guidance,
        label=request.label if config.class_conditional else None,
        start=None,
    )


def same_options(first: SampleRequest, second: SampleRequest) -> bool:
    """Whether two requests differ in nothing that a pane remembers."""
    return _options(first) == _options(second)


def _options(request: SampleRequest) -> tuple[object, ...]:
    return request.model, request.sampler, request.steps, request.guidance, request.label


def titles(sides: Sequence[Compared]) -> list[str]:
    """What differs between the sides, of each; the model and the sampler if nothing does.

    Guidance and classes are compared between class-conditional models only.
    """
    options = [_described(side) for side in sides]
    differing = [i for i, values in enumerate(zip(*options, strict=True)) if len(set(values) - {""}) > 1]
    return [", ".join(values[i] for i in differing or (0, 1) if values[i]) for values in options]


def _described(side: Compared) -> tuple[str, ...]:
    request, config = side.request, side.config
    steps = f"{side.steps:,} {'step' if side.steps == 1 else 'steps'}"
    if not config.class_conditional:
        return request.model, str(request.sampler), steps, "", ""
    label = (
        "classes in turn" if request.label is None else f"class {class_name(request.label, config.info.class_names)}"
    )
    guidance = 1.0 if request.label == NO_CLASS or request.guidance is None else request.guidance
    return request.model, str(request.sampler), steps, f"guidance {guidance:g}", label


def agreement(side: Compared, first: Compared) -> str:
    """How many images are classified as requested or, without classes, as those of the first side; empty if unknown."""
    read = side.frames[-1].read if side.complete else None
    if not read:
        return ""
    if side.labels is not None and NO_CLASS not in side.labels:
        right = sum(label == wanted for (label, _), wanted in zip(read, side.labels, strict=False))
        return f"{right}/{len(read)} correct"
    other = first.frames[-1].read if first.complete and first is not side else None
    if not other or len(other) != len(read) or first.class_names != side.class_names:
        return ""
    same = sum(a[0] == b[0] for a, b in zip(read, other, strict=True))
    return f"{same}/{len(read)} as pane 1"


def frame_at(position: int, side: Compared, leader: Compared, *, states: bool) -> Frame | None:
    """The frame of a side that belongs to a step of the leader, as far as it is sampled; None without any.

    States are shown at comparable noise levels. Predictions are those made from states at comparable noise levels.

    Args:
        position: The step of the timeline.
        side: Any side.
        leader: The side with the most steps, which defines the timeline.
        states: Whether states are shown, instead of predictions.
    """
    frames = side.frames
    if side is leader or not frames:
        return frames[position] if position < len(frames) else None
    if position >= min(len(leader.frames), leader.steps):
        return frames[-1]
    if states:
        t = leader.frames[position].t
        return next((frame for frame in reversed(frames) if frame.t >= t - 1e-6), frames[0])
    if not position:
        return frames[0]
    t = leader.frames[position - 1].t
    # Each frame, and the state that its prediction was made from.
    made = zip(reversed(frames[:-1]), reversed(frames[1:]), strict=True)
    return next((frame for before, frame in made if before.t >= t - 1e-6), frames[0])


def default_comparison(request: SampleRequest, config: TrainConfig, models: Sequence[str]) -> SampleRequest:
    """What to compare with a request: the same model with another sampler.

    A consistency model is compared with the model that it was distilled from, with that model's defaults, or, if that
    is missing, with itself in one step.
    """
    if config.objective == "consistency":
        if config.init_from is not None and config.init_from in models:
            return dataclasses.replace(request, model=config.init_from, steps=None, sampler=None, guidance=None)
        return dataclasses.replace(request, steps=1 if request.steps != 1 else CONSISTENCY_STEPS)
    current = request.sampler or defaults_for(config).sampler
    return dataclasses.replace(request, sampler="heun" if current == "euler" else "euler")
