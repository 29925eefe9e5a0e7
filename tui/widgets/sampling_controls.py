"""What to sample: model, sampler, steps, guidance, class, digits and seed, in one line or two, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.message import Message
from textual.widgets import Input, Label, Select, Static

from core.config.datasets import CLASSES
from core.config.sampling import NO_CLASS, SAMPLER_NAMES, Sampling, defaults_for, evaluations, incompatibility
from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from core.runs.directory import CONFIG, builtin_directories
from tui.widgets.compact_select import CompactSelect

if TYPE_CHECKING:
    from core.config.training import TrainConfig

NEW_SEEDS = 10_000  # seeds of four digits are easy to read out and to type again
LIMITS = {"steps": (1, 1000), "digits": (1, 64), "seed": (0, 2**63 - 1)}
IN_TURN, ANY, NO_CLASSES, NOT_KNOWN = "in turn", "any", "none", "…"  # beside the classes themselves
ONE_LINE, LOOSE, TIGHT = 117, 140, 72  # columns: one line from here; with more room; two lines without


class SamplingControls(Container):
    """Holds a request to be changed; posts `Submitted` when enter is pressed in a field or something else chosen."""

    @dataclass
    class Submitted(Message):
        """The user wants what the bar says now."""

    DEFAULT_CSS = """
    SamplingControls {
        height: 2; layout: vertical;
        & Horizontal { height: 1; }
        & Label { color: $foreground 50%; margin: 0 1 0 2; }
        & .first { margin: 0 1 0 0; }
        & Input { height: 1; border: none; padding: 0 1 !important; background: $panel; }
        & Input:focus { background: $primary 30%; }
        & Input.-invalid { background: $error 40%; }
        & SelectCurrent { background: $panel; border: none; padding: 0 0 0 1 !important; height: 1; }
        & Select:focus > SelectCurrent { background: $primary 30%; border: none; }
        & #model { width: 1fr; max-width: 26; }
        & #sampler { width: 10; }
        & #steps { width: 6; }
        & #guidance { width: 6; }
        & #class { width: 11; }
        & #digits { width: 4; }
        & #seed { width: 1fr; max-width: 22; }
        & #cost { width: auto; margin-left: 2; color: $foreground 50%; }
        &.-one-line {
            height: 1; layout: horizontal;
            & #how { width: auto; }
            & #model { width: 20; }
            & #what { width: auto; }
            & .second { margin: 0 1 0 2; }
            & #seed { width: 8; }
        }
        &.-one-line.-close, &.-tight {
            & Label { margin: 0 1 0 1; }
            & .first { margin: 0 1 0 0; }
            & #sampler { width: 8; }
            & #steps { width: 5; }
            & #class { width: 10; }
            & #cost { margin-left: 1; }
        }
        &.-one-line.-close {
            & .second { margin: 0 1; }
            & #how { width: 1fr; }
            & #seed { width: 7; }
            & #model { width: 1fr; max-width: 100%; }
        }
        &.-tight #sampler-label, &.-tight #how .first { display: none; }
        &.-tight #sampler { margin-left: 1; }
        & Select:disabled SelectCurrent, & Input:disabled { background: $surface; }
    }
    """

    def __init__(self, models: Iterable[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._models = list(models)
        self._config: TrainConfig | None = None  # of the model that the bar suits
        self._own: Sampling | None = None  # that model's defaults
        self._submitted = {"model": next(iter(self._models), ""), "sampler": NOT_KNOWN, "class": NOT_KNOWN}
        self._steps = ""  # what nobody chose

    def compose(self) -> ComposeResult:
        """Labelled fields: how to sample, then what."""
        first = self._models[0] if self._models else Select.NULL
        with Horizontal(id="how"):
            yield Label("model", classes="first")
            yield Select(
                [(name, name) for name in self._models],
                prompt="no model",
                allow_blank=not self._models,
                value=first,
                compact=True,
                id="model",
            )
            yield Label("sampler", id="sampler-label")
            yield CompactSelect([NOT_KNOWN], NOT_KNOWN, id="sampler", disabled=True)
            yield Label("steps")
            yield Input(id="steps", compact=True, type="integer", max_length=4)
            yield Label("guidance")
            yield Input(id="guidance", compact=True, type="number", max_length=6, disabled=True)
        with Horizontal(id="what"):
            yield Label("class", classes="first second")
            yield CompactSelect([NOT_KNOWN], NOT_KNOWN, id="class", disabled=True)
            yield Label("digits")
            yield Input(id="digits", compact=True, type="integer", max_length=2)
            yield Label("seed")
            yield Input(id="seed", compact=True, type="integer", max_length=19)
            cost = Static(id="cost")
            cost.tooltip = "how often the net is evaluated for each digit"
            yield cost

    @property
    def model(self) -> str | None:
        """The model chosen; None while there is none."""
        value: object = self.query_one("#model", Select).value
        return value if isinstance(value, str) else None

    @property
    def models(self) -> list[str]:
        """The models on offer."""
        return list(self._models)

    def follow(self) -> None:
        """Let another bar say how many digits and which seed."""
        for name in ("digits", "seed"):
            self._field(name).disabled = True

    @property
    def seed(self) -> str:
        """What the seed's field holds."""
        return self._field("seed").value

    @seed.setter
    def seed(self, seed: int) -> None:
        self._field("seed").value = str(seed)

    def _field(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def _choice(self, name: str) -> CompactSelect:
        return self.query_one(f"#{name}", CompactSelect)

    def offer(self, models: Iterable[str]) -> None:
        """Let the user choose among `models`; the one chosen stays, if it is among them."""
        chosen = self.model
        self._models = list(models)
        if self._models:
            select = self.query_one("#model", Select)
            with self.prevent(Select.Changed):
                select.set_options((name, name) for name in self._models)
                select.value = chosen if chosen in self._models else self._models[0]

    def choose(self, model: str) -> None:
        """Choose a model without submitting.

        Raises:
            MinidiffError: it is not on offer.
        """
        if model not in self._models:
            raise MinidiffError(f"{model} has no weights to sample from yet; a run writes them at its first checkpoint")
        with self.prevent(Select.Changed):
            self.query_one("#model", Select).value = model

    def set_config(self, config: TrainConfig | None) -> None:
        """Offer what a model trained with `config` can do, None if that is not known.

        What the bar says stays, if it fits; what fits no more, or was only the last model's default, becomes this
        model's default.
        """
        if config == self._config:
            return
        before, self._config = self._own, config
        own = self._own = None if config is None else defaults_for(config)
        sampler, label, guidance, steps = self._choice("sampler"), self._choice("class"), "", self._field("steps")
        for name in ("sampler", "guidance", "class"):
            self.query_one(f"#{name}").disabled = config is None
        if config is None or own is None:
            sampler.offer([NOT_KNOWN], NOT_KNOWN)
            label.offer([NOT_KNOWN], NOT_KNOWN)
        else:
            unfit = [name for name in SAMPLER_NAMES if incompatibility(name, config.path)]
            kept = before is not None and sampler.chosen not in (before.sampler, *unfit)
            sampler.offer(SAMPLER_NAMES, sampler.chosen if kept else own.sampler)
            sampler.grey(unfit)
            if steps.value.strip() == self._steps:
                steps.value = str(own.steps)
            self._steps = str(own.steps)
            names = [IN_TURN, *map(str, range(CLASSES)), ANY] if config.class_conditional else [NO_CLASSES]
            label.offer(names, label.chosen if label.chosen in names else names[0])
            typed = self._field("guidance").value.strip()
            kept = before is not None and config.class_conditional and typed not in ("", f"{before.guidance:g}")
            guidance = typed if kept else f"{own.guidance:g}"
            for name in ("guidance", "class"):
                self.query_one(f"#{name}").disabled = not config.class_conditional
        self._field("guidance").value = guidance
        self._submitted |= {"sampler": sampler.chosen, "class": label.chosen}
        self._tell_cost()

    def fill(self, request: SampleRequest) -> None:
        """Show a request; its model is the one chosen last."""
        for name, value in (("steps", request.steps), ("digits", request.n), ("seed", request.seed)):
            self._field(name).value = str(value)
        if self._own is None:
            self._steps = str(request.steps)
        self._submitted = {
            "model": request.model,
            "sampler": self._choice("sampler").chosen,
            "class": self._choice("class").chosen,
        }

    def read(self) -> SampleRequest:
        """What the fields say; a field that is wrong gets the focus.

        Raises:
            MinidiffError: there is no model, a field's value is out of its range, or the model cannot do it.
        """
        if self.model is None:
            raise MinidiffError("there is no model to sample from; train one first (key 2)")
        values: dict[str, int] = {}
        for name, (least, most) in LIMITS.items():
            text = self._field(name).value.strip()
            if not text.isdecimal() or not least <= int(text) <= most:
                self._field(name).focus()
                raise MinidiffError(f"{name} takes a whole number from {least} to {most:,}, not {text!r}")
            values[name] = int(text)
        request = SampleRequest(model=self.model, steps=values["steps"], n=values["digits"], seed=values["seed"])
        if self._config is None:
            return request
        label = self._choice("class").chosen
        return replace(
            request,
            sampler=self._choice("sampler").chosen,
            guidance=self._guidance(),
            label=NO_CLASS if label == ANY else int(label) if label.isdecimal() else None,
        )

    def _guidance(self) -> float:
        field = self._field("guidance")
        try:
            guidance = float(field.value)
        except ValueError:
            guidance = math.nan
        if not 0 <= guidance < math.inf:
            field.focus()
            raise MinidiffError(f"guidance takes a number from 0, not {field.value!r}")
        return guidance

    @on(Input.Changed)
    @on(Select.Changed)
    def _tell_cost(self) -> None:
        """Say how often the net is evaluated for each digit."""
        steps, guidance = self._field("steps").value.strip(), self._field("guidance").value
        text = ""
        if self._config is not None and steps.isdecimal() and int(steps):
            try:
                scale = float(guidance)
            except ValueError:
                scale = 1.0
            if self._choice("class").chosen == ANY:
                scale = 1.0  # guidance has nothing to push towards
            count = evaluations(Sampling(self._choice("sampler").chosen, int(steps), scale, 1.0), self._config.path)
            text = f"{count:,} {'evals' if self.has_class('-close') else 'evaluations' if count > 1 else 'evaluation'}"
        self.query_one("#cost", Static).update(text)

    def on_resize(self, event: events.Resize) -> None:
        """One line where there is room for it."""
        width = event.size.width
        self.set_class(width >= ONE_LINE, "-one-line")
        self.set_class(ONE_LINE <= width < LOOSE, "-close")
        self.set_class(width < TIGHT, "-tight")
        self._tell_cost()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field submits."""
        event.stop()
        self.post_message(self.Submitted())

    def on_select_changed(self, event: Select.Changed) -> None:
        """Another model, sampler or class submits."""
        event.stop()
        name = event.select.id or ""
        if isinstance(event.value, str) and event.value != self._submitted[name]:
            self._submitted[name] = event.value
            self.post_message(self.Submitted())


def config_of(model: str, root: Path) -> TrainConfig:
    """What a built-in model, else a run under the root, was trained with."""
    from core.config.training import TrainConfig  # brings pydantic, which the first screen does without

    return TrainConfig.from_toml(builtin_directories().get(model, root / model) / CONFIG)
