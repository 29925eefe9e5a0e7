"""Sampling settings: model, sampler, steps, guidance, class, number of images and seed, and the resulting NFE."""

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

from core.config.sampling import (
    NO_CLASS,
    SAMPLER_INFO,
    SAMPLER_NAMES,
    Sampling,
    defaults_for,
    evaluations,
    incompatibility,
)
from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from core.runs.directory import builtin_directories
from core.runs.pipelines import model_config
from tui.class_names import class_name
from tui.widgets.compact_select import CompactSelect
from tui.widgets.field import SampleField

if TYPE_CHECKING:
    from core.config.training import TrainConfig

NEW_SEEDS = 10_000  # random seeds are below this, so they are easy to type
LIMITS = {"steps": (1, 1000), "images": (1, 64), "seed": (0, 2**63 - 1)}
IN_TURN, ANY, NO_CLASSES, UNKNOWN = "in turn", "any", "none", "…"  # options besides the classes
NAME_WIDTH = 16  # of a sampler's name in the list; more than in the closed select, which shows the name only
SAMPLERS = {name: f"{name:{NAME_WIDTH}}{info.title}" for name, info in SAMPLER_INFO.items()}
ONE_LINE, WIDE, NARROW = 117, 140, 72  # widths: one line from here; with wide gaps; two lines with narrow gaps


class SamplingControls(Container):
    """Displays and edits a `SampleRequest`; posts `Submitted`."""

    @dataclass
    class Submitted(Message):
        """Posted when enter is pressed in a field, or another model, sampler or class is selected."""

    DEFAULT_CSS = """
    SamplingControls {
        height: 2; layout: vertical;
        & Horizontal { height: 1; }
        & Label { color: $foreground 50%; margin: 0 1 0 2; }
        & .first { margin: 0 1 0 0; }
        & Input { height: 1; border: none; padding: 0 0 0 1 !important; background: $panel; }
        & Input:focus { background: $primary 30%; }
        & Input.-invalid { background: $error 40%; }
        & SelectCurrent { background: $panel; border: none; padding: 0 0 0 1 !important; height: 1; }
        & Select:focus > SelectCurrent { background: $primary 30%; border: none; }
        & #model { width: 1fr; max-width: 26; }
        & #sampler { width: 15; }
        & #sampler SelectCurrent #label { text-overflow: clip; }
        & #sampler > SelectOverlay { max-width: 54; }
        & #steps { width: 6; }
        & #guidance { width: 6; }
        & #class { width: 11; }
        & #images { width: 4; }
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
        &.-one-line.-close, &.-narrow {
            & Label { margin: 0 1 0 1; }
            & .first { margin: 0 1 0 0; }
            & #sampler { width: 14; }
            & #steps { width: 5; }
            & #class { width: 10; }
            & #cost { margin-left: 1; }
        }
        &.-narrow Label { margin: 0 0 0 1; }
        &.-one-line.-close {
            & .second { margin: 0 1; }
            & #how { width: 1fr; }
            & #seed { width: 7; }
            & #model { width: 1fr; max-width: 100%; }
        }
        &.-one-line.-close #sampler-label, &.-narrow #sampler-label, &.-narrow #how .first { display: none; }
        &.-one-line.-close #sampler, &.-narrow #sampler { margin-left: 1; }
        & Select:disabled SelectCurrent, & Input:disabled { background: $surface; }
    }
    """

    def __init__(self, models: Iterable[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._models = list(models)
        self._config: TrainConfig | None = None  # of the selected model, None if unknown
        self._defaults: Sampling | None = None  # of that model
        self._submitted = {"model": next(iter(self._models), ""), "sampler": UNKNOWN, "class": UNKNOWN}
        self._class_names: tuple[str, ...] | None = None  # the options of the class
        self._default_steps = ""  # the steps that were filled in, not typed

    def compose(self) -> ComposeResult:
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
            yield CompactSelect([UNKNOWN], UNKNOWN, id="sampler", disabled=True)
            yield Label("steps")
            yield SampleField(id="steps", compact=True, type="integer", max_length=4)
            yield Label("guidance")
            yield SampleField(id="guidance", compact=True, type="number", max_length=6, disabled=True)
        with Horizontal(id="what"):
            yield Label("class", classes="first second")
            yield CompactSelect([UNKNOWN], UNKNOWN, id="class", disabled=True)
            yield Label("images")
            yield SampleField(id="images", compact=True, type="integer", max_length=2)
            yield Label("seed")
            yield SampleField(id="seed", compact=True, type="integer", max_length=19)
            cost = Static(id="cost")
            cost.tooltip = "Number of function evaluations: network calls per image"
            yield cost

    @property
    def model(self) -> str | None:
        """The selected model; None if there are no models."""
        value: object = self.query_one("#model", Select).value
        return value if isinstance(value, str) else None

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Height and width of the model's images; None if they are not known."""
        return None if self._config is None else self._config.info.shape[1:]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the model; empty if it is unconditional or not known."""
        return self._class_names or ()

    @property
    def models(self) -> list[str]:
        """The available models."""
        return list(self._models)

    @property
    def seed(self) -> str:
        """The text of the seed field."""
        return self._field("seed").value

    @seed.setter
    def seed(self, seed: int) -> None:
        self._field("seed").value = str(seed)

    def _field(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def _choice(self, name: str) -> CompactSelect:
        return self.query_one(f"#{name}", CompactSelect)

    def set_models(self, models: Iterable[str]) -> None:
        """Set the available models; keeps the selection if possible."""
        selected = self.model
        self._models = list(models)
        if self._models:
            select = self.query_one("#model", Select)
            with self.prevent(Select.Changed):
                select.set_options((name, name) for name in self._models)
                select.value = selected if selected in self._models else self._models[0]

    def select_model(self, model: str) -> None:
        """Select a model without posting `Submitted`.

        Raises:
            MinidiffError: The model is not available.
        """
        if model not in self._models:
            raise MinidiffError(f"there is no model {model} with weights; a run writes them at its first checkpoint")
        with self.prevent(Select.Changed):
            self.query_one("#model", Select).value = model

    def set_config(self, config: TrainConfig | None) -> None:
        """Adapt the fields to a model trained with `config`; None if the config is unknown.

        Values that the model does not support, or that were the previous model's defaults, become its defaults.
        """
        if config == self._config:
            return
        previous, self._config = self._defaults, config
        defaults = self._defaults = None if config is None else defaults_for(config)
        sampler, label, guidance, steps = self._choice("sampler"), self._choice("class"), "", self._field("steps")
        for name in ("sampler", "guidance", "class"):
            self.query_one(f"#{name}").disabled = config is None
        if config is None or defaults is None:
            sampler.set_values([UNKNOWN], UNKNOWN)
            label.set_values([UNKNOWN], UNKNOWN)
            self._class_names = None
        else:
            unsupported = [name for name in SAMPLER_NAMES if incompatibility(name, config.path)]
            keep = previous is not None and sampler.chosen not in (previous.sampler, *unsupported)
            sampler.set_values(SAMPLERS, sampler.chosen if keep else defaults.sampler)
            sampler.disable_options(unsupported)
            if steps.value.strip() == self._default_steps:
                steps.value = str(defaults.steps)
            self._default_steps = str(defaults.steps)
            self._set_classes(config.info.class_names if config.class_conditional else None)
            typed = self._field("guidance").value.strip()
            keep = previous is not None and config.class_conditional and typed not in ("", f"{previous.guidance:g}")
            guidance = typed if keep else f"{defaults.guidance:g}"
            for name in ("guidance", "class"):
                self.query_one(f"#{name}").disabled = not config.class_conditional
        self._field("guidance").value = guidance
        self._submitted |= {"sampler": sampler.chosen, "class": label.chosen}
        self._update_cost()

    def _set_classes(self, names: tuple[str, ...] | None) -> None:
        """Set the options of the class, by index; None for an unconditional model."""
        select = self._choice("class")
        if names is None:
            select.set_values([NO_CLASSES], NO_CLASSES)
        elif names != self._class_names:
            labels = {str(label): class_name(label, names) for label in range(len(names))}
            select.set_values({IN_TURN: IN_TURN, **labels, ANY: ANY}, IN_TURN)
        self._class_names = names

    def set_request(self, request: SampleRequest) -> None:
        """Show a request, whose choices count as submitted; sampler, guidance and class need the model's config."""
        for name, value in (("steps", request.steps), ("images", request.n), ("seed", request.seed)):
            if value is not None:
                self._field(name).value = str(value)
        if self._config is not None:
            self._show_options(request, self._config)
        if self._defaults is None:
            self._default_steps = str(request.steps)
        self._submitted = {
            "model": request.model,
            "sampler": self._choice("sampler").chosen,
            "class": self._choice("class").chosen,
        }

    def _show_options(self, request: SampleRequest, config: TrainConfig) -> None:
        """Show the sampler, the guidance scale and the class, as far as the model has them."""
        label = {None: IN_TURN, NO_CLASS: ANY}.get(request.label, str(request.label))
        for name, value in (("sampler", request.sampler), ("class", label)):
            select = self._choice(name)
            if value in select.values:
                with select.prevent(Select.Changed):
                    select.value = value
        if request.guidance is not None and config.class_conditional:
            self._field("guidance").value = f"{request.guidance:g}"
        self._update_cost()

    def step_sampler(self, by: int) -> None:
        """Select another sampler that the model supports, `by` places on in the list; posts `Submitted`."""
        if self._config is not None:
            path = self._config.path
            samplers = [name for name in SAMPLER_NAMES if incompatibility(name, path) is None]
            chosen = self._choice("sampler").chosen
            at = samplers.index(chosen) if chosen in samplers else 0
            self._choice("sampler").value = samplers[(at + by) % len(samplers)]

    def read(self) -> SampleRequest:
        """Return the request in the fields; an invalid field gets the focus.

        Raises:
            MinidiffError: There is no model, a value is out of range, or the model does not support it.
        """
        if self.model is None:
            raise MinidiffError("there is no model to sample from; train one first (key 2)")
        values: dict[str, int] = {}
        for name, (minimum, maximum) in LIMITS.items():
            text = self._field(name).value.strip()
            if not text.isdecimal() or not minimum <= int(text) <= maximum:
                self._field(name).focus()
                raise MinidiffError(f"{name} must be a whole number from {minimum} to {maximum:,}, not {text!r}")
            values[name] = int(text)
        request = SampleRequest(model=self.model, steps=values["steps"], n=values["images"], seed=values["seed"])
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
            raise MinidiffError(f"guidance must be a number of at least 0, not {field.value!r}")
        return guidance

    @on(Input.Changed)
    @on(Select.Changed)
    def _update_cost(self) -> None:
        """Show the number of function evaluations per image."""
        steps, guidance = self._field("steps").value.strip(), self._field("guidance").value
        text = ""
        if self._config is not None and steps.isdecimal() and int(steps):
            try:
                scale = float(guidance)
            except ValueError:
                scale = 1.0
            if self._choice("class").chosen == ANY:
                scale = 1.0  # no class to guide toward
            count = evaluations(Sampling(self._choice("sampler").chosen, int(steps), scale, 1.0), self._config.path)
            text = f"NFE {count:,}"
        self.query_one("#cost", Static).update(text)

    def on_resize(self, event: events.Resize) -> None:
        width = event.size.width
        self.set_class(width >= ONE_LINE, "-one-line")
        self.set_class(ONE_LINE <= width < WIDE, "-close")
        self.set_class(width < NARROW, "-narrow")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted())

    def on_select_changed(self, event: Select.Changed) -> None:
        event.stop()
        name = event.select.id or ""
        if isinstance(event.value, str) and event.value != self._submitted[name]:
            self._submitted[name] = event.value
            self.post_message(self.Submitted())


def config_of(model: str, root: Path) -> TrainConfig:
    """Load the config of a built-in model, or else of a run or a folder of diffusers under `root`.

    Raises:
        MinidiffError: The config cannot be read.
    """
    return model_config(builtin_directories().get(model, root / model))
