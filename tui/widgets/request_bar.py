"""The line that says what to sample: model, steps, digits and seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label, Select

from core.errors import MinidiffError

LIMITS = {"steps": (1, 1000), "digits": (1, 64), "seed": (0, 2**63 - 1)}


@dataclass(frozen=True)
class Request:
    """What to sample."""

    model: str
    steps: int = 40
    n: int = 8
    seed: int = 0


class RequestBar(Horizontal):
    """Holds a request to be changed; posts `Submitted` when enter is pressed in a field or another model chosen."""

    @dataclass
    class Submitted(Message):
        """The user wants what the bar says now."""

    DEFAULT_CSS = """
    RequestBar {
        height: 1;
        & Label { color: $foreground 50%; margin: 0 1 0 2; }
        & #model-label { margin: 0 1 0 0; }
        & Input { width: 8; height: 1; border: none; padding: 0 1 !important; background: $panel; }
        & Input:focus { background: $primary 30%; }
        & Input.-invalid { background: $error 40%; }
        & Select { width: 24; max-width: 30%; }
        & SelectCurrent { background: $panel; border: none; padding: 0 1 !important; height: 1; }
        & Select:focus > SelectCurrent { background: $primary 30%; border: none; }
        & #steps { width: 7; }
        & #digits { width: 5; }
        & #seed { width: 1fr; max-width: 22; }
    }
    """

    def __init__(self, models: Iterable[str]) -> None:
        super().__init__()
        self._models = list(models)
        self._submitted = next(iter(self._models), None)  # the model of the last request, not to ask for it twice

    def compose(self) -> ComposeResult:
        """Four labelled fields in one line."""
        first = self._models[0] if self._models else Select.NULL
        yield Label("model", id="model-label")
        yield Select(
            [(name, name) for name in self._models],
            prompt="no model",
            allow_blank=not self._models,
            value=first,
            compact=True,
        )
        for name, length in (("steps", 4), ("digits", 2), ("seed", 19)):
            yield Label(name)
            yield Input(id=name, compact=True, type="integer", max_length=length)

    @property
    def model(self) -> str | None:
        """The model chosen; None while there is none."""
        value: object = self.query_one(Select).value
        return value if isinstance(value, str) else None

    @property
    def seed(self) -> str:
        """What the seed's field holds."""
        return self.query_one("#seed", Input).value

    @seed.setter
    def seed(self, seed: int) -> None:
        self.query_one("#seed", Input).value = str(seed)

    def offer(self, models: Iterable[str]) -> None:
        """Let the user choose among `models`; the one chosen stays, if it is among them."""
        chosen = self.model
        self._models = list(models)
        if self._models:
            select = self.query_one(Select)
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
            self.query_one(Select).value = model

    def fill(self, request: Request) -> None:
        """Show a request's numbers; its model is the one chosen last."""
        self._submitted = request.model
        for name, value in (("steps", request.steps), ("digits", request.n), ("seed", request.seed)):
            self.query_one(f"#{name}", Input).value = str(value)

    def read(self) -> Request:
        """What the fields say; a field that is wrong gets the focus.

        Raises:
            MinidiffError: there is no model, or a field's value is out of its range.
        """
        if self.model is None:
            raise MinidiffError("there is no model to sample from; train one first (key 2)")
        values: dict[str, int] = {}
        for name, (least, most) in LIMITS.items():
            field = self.query_one(f"#{name}", Input)
            text = field.value.strip()
            if not text.isdecimal() or not least <= int(text) <= most:
                field.focus()
                raise MinidiffError(f"{name} takes a whole number from {least} to {most:,}, not {text!r}")
            values[name] = int(text)
        return Request(self.model, values["steps"], values["digits"], values["seed"])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field submits."""
        event.stop()
        self.post_message(self.Submitted())

    def on_select_changed(self, event: Select.Changed) -> None:
        """Another model submits."""
        event.stop()
        if self.model is not None and self.model != self._submitted:
            self.post_message(self.Submitted())
