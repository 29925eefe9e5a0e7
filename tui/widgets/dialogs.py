"""Dialogs: confirmation, a name, and what samples start from."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ScreenResultType
from textual.widgets import Button, Input, Label

from core.config.sampling import MIN_NOISE_LEVEL
from core.engine.protocol import TEST_IMAGES, DrawnImage, Interpolation, Start
from core.errors import MinidiffError
from core.text import sanitize
from tui.widgets.field import Field
from tui.widgets.modal import Modal

MAX_PATH = 4096  # characters
MAX_SEED = 2**63 - 1
DRAWING = "drawing"  # stands for a drawing in a field
CONFIRMS = "enter confirms · esc cancels"
NOISE_LEVEL = 0.6  # suggested for an image to start from


class Dialog(Modal[ScreenResultType]):
    """A dialog of one width with fields in one style."""

    DEFAULT_CSS = """
    Dialog {
        & > Vertical { width: 66; }
        .detail { color: $text-muted; width: 1fr; }
        Input { height: 1; padding: 0 1 !important; background: $panel; width: 1fr; }
        Input:focus { background: $primary 30%; }
    }
    """


class ConfirmDialog(Dialog[bool]):
    """Asks for confirmation; returns True for yes. The safe button has the initial focus."""

    DEFAULT_CSS = """
    ConfirmDialog {
        Horizontal { height: auto; margin-top: 1; align-horizontal: right; }
        Button { margin-left: 2; min-width: 10; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No"),
        Binding("y", "answer(True)", "Yes"),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, detail: str = "", *, yes: str = "Delete", no: str = "Keep") -> None:
        super().__init__()
        self._question, self._detail, self._yes, self._no = question, detail, yes, no

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._question)
            box.border_subtitle = f"y {self._yes.lower()}s · esc {self._no.lower()}s"
            if self._detail:
                yield Label(self._detail, classes="detail", markup=False)
            with Horizontal():
                yield Button(f"{self._no} (n)", id="no", compact=True)
                yield Button(f"{self._yes} (y)", id="yes", variant="error", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class NameDialog(Dialog[str | None]):
    """Asks for a name of up to `max_length` characters; returns None if canceled."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, name: str, *, max_length: int = 64) -> None:
        super().__init__()
        self._question, self._name, self._max_length = question, name, max_length

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._question)
            box.border_subtitle = CONFIRMS
            yield Field(self._name, max_length=self._max_length, select_on_focus=True, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip())


class FieldsDialog(Dialog[ScreenResultType]):
    """Asks for the values of `FIELDS`, shown above a line of help, which an error message replaces."""

    QUESTION: ClassVar[str]
    FIELDS: ClassVar[dict[str, str]]  # labels by id
    HELP_LINE: ClassVar[str]
    DEFAULT_CSS = """
    FieldsDialog {
        Horizontal { height: 1; margin-bottom: 1; }
        Horizontal Label { width: 14; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, **values: str) -> None:
        super().__init__()
        self._values = values  # by id

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self.QUESTION
            box.border_subtitle = CONFIRMS
            for name, label in self.FIELDS.items():
                with Horizontal():
                    yield Label(label)
                    yield Field(self._values[name], id=name, max_length=MAX_PATH, select_on_focus=True, compact=True)
            yield Label(self.HELP_LINE, classes="detail", id="message", markup=False)

    def value(self, name: str) -> str:
        """The text of a field."""
        return self.query_one(f"#{name}", Input).value.strip()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self.dismiss(self.read())
        except MinidiffError as error:
            self.query_one("#message", Label).update(str(error))

    def read(self) -> ScreenResultType:
        """Return the result of the dialog.

        Raises:
            MinidiffError: A field is invalid; it has the focus.
        """
        raise NotImplementedError

    def invalid(self, name: str, message: str) -> MinidiffError:
        """An error in a field, which gets the focus."""
        self.query_one(f"#{name}", Input).focus()
        return MinidiffError(message)

    def number_or_file(self, name: str, what: str, maximum: int) -> int | str:
        """The number or the path of an existing file in a field.

        Raises:
            MinidiffError: The number is above `maximum`, or there is no such file.
        """
        text = self.value(name)
        if text.isdecimal():
            if int(text) > maximum:
                raise self.invalid(name, f"{what} must be a number from 0 to {maximum:,}, not {text}")
            return int(text)
        if not os.path.isfile(os.path.expanduser(text)):
            raise self.invalid(
                name, f"{sanitize(text) or 'nothing'} is neither a number ({what}) nor a file; change it"
            )
        return text


class StartDialog(FieldsDialog["Start | Literal['noise'] | None"]):
    """Asks for an image and a noise level to start from; an empty image means pure noise."""

    QUESTION = "Start from an image with added noise"
    FIELDS: ClassVar[dict[str, str]] = {"image": "Image", "amount": "Noise level"}
    HELP_LINE = f"A test image, 0 to {TEST_IMAGES - 1}, or a file; empty: only noise. w draws one; m masks a part."

    def __init__(self, start: Start | None) -> None:
        self._start = start
        level = NOISE_LEVEL if start is None else start.t
        image = "" if start is None else DRAWING if isinstance(start.image, DrawnImage) else str(start.image)
        super().__init__(image=image, amount=f"{level:g}")

    def read(self) -> Start | Literal["noise"]:
        """Return the start; a mask is kept with its image."""
        if not self.value("image"):
            return "noise"
        start = self._start
        image: int | str | DrawnImage
        if start is not None and isinstance(start.image, DrawnImage) and self.value("image") == DRAWING:
            image = start.image
        else:
            image = self.number_or_file("image", "test image", TEST_IMAGES - 1)
        try:
            t = float(self.value("amount"))
        except ValueError:
            t = 0.0
        if not MIN_NOISE_LEVEL <= t <= 1:
            found = sanitize(self.value("amount")) or "nothing"
            raise self.invalid("amount", f"noise level must be from {MIN_NOISE_LEVEL:g} to 1, not {found}")
        return Start(image, t, start.mask if start is not None and start.image == image else None)


class InterpolationDialog(FieldsDialog["Interpolation | Literal['noise'] | None"]):
    """Asks for two seeds or two image files; two empty fields mean no interpolation."""

    QUESTION = "Interpolate between two seeds or two images"
    FIELDS: ClassVar[dict[str, str]] = {"first": "From", "last": "To"}
    HELP_LINE = "Two seeds, or two image files, which DDIM inverts to noise; empty ends the interpolation."

    def __init__(self, ends: Interpolation) -> None:
        super().__init__(first=str(ends.first), last=str(ends.last))

    def read(self) -> Interpolation | Literal["noise"]:
        """Return the ends."""
        if not self.value("first") and not self.value("last"):
            return "noise"
        first, last = (self.number_or_file(name, "a seed", MAX_SEED) for name in self.FIELDS)
        if isinstance(first, int) != isinstance(last, int):
            raise self.invalid("last", "give two seeds or two image files, not one of each")
        return Interpolation(first, last)


def describe_start(start: Start | Interpolation | None, class_of_drawing: str = "") -> str:
    """What samples start from, for captions; empty for noise."""
    match start:
        case Interpolation(int(first), last):
            return f"between seeds {first} and {last}"
        case Interpolation(first, last):
            return f"between {_name(first)} and {_name(last)}"
        case Start(image, t, mask):
            level = f" at noise {t:g}" if mask is None or t < 1 else ""
            name = _name(image)
            if class_of_drawing and isinstance(image, DrawnImage):
                name += f" ({class_of_drawing})"
            return f"{'from' if mask is None else 'inpainting'} {name}{level}"
    return ""


def _name(image: int | str | DrawnImage) -> str:
    if isinstance(image, DrawnImage):
        return "a drawing"
    return f"test image {image}" if isinstance(image, int) else sanitize(os.path.basename(image))
