"""Dialogs: confirmation, a name, and the start of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ScreenResultType
from textual.widgets import Button, Input, Label

from tui.widgets.modal import Modal


@dataclass(frozen=True)
class Start:
    """Start of a trajectory: pure noise, or test images from index `image` on, corrupted to noise level `t`."""

    image: int | None = None
    t: float = 1.0

    def __str__(self) -> str:
        return "noise" if self.image is None else f"test image {self.image} at noise {self.t:g}"


class Dialog(Modal[ScreenResultType]):
    """A centred dialog with a question and details."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            width: 60; max-width: 94%; height: auto; padding: 1 2;
            background: $panel; border: round $border-blurred;
        }
        .question { text-style: bold; width: 1fr; }
        .detail { color: $text-muted; width: 1fr; margin-top: 1; }
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
        with Vertical():
            yield Label(self._question, classes="question", markup=False)
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
    """Asks for a name of up to `max_length` characters; returns None if cancelled."""

    DEFAULT_CSS = """
    NameDialog {
        Input { margin-top: 1; height: 1; padding: 0 1 !important; background: $surface; }
        Input:focus { background: $primary 30%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, name: str, *, max_length: int = 64) -> None:
        super().__init__()
        self._question, self._name, self._max_length = question, name, max_length

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(self._question, classes="question", markup=False)
            yield Input(self._name, max_length=self._max_length, select_on_focus=True, compact=True)
            yield Label("enter confirms · esc cancels", classes="detail")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip())


class StartDialog(Dialog["Start | None"]):
    """Asks for a test image and a noise level to start from; an empty image means pure noise."""

    DEFAULT_CSS = """
    StartDialog {
        Horizontal { height: 1; margin-top: 1; }
        Horizontal Label { width: 28; }
        Input { height: 1; padding: 0 1 !important; background: $surface; width: 1fr; }
        Input:focus { background: $primary 30%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, start: Start) -> None:
        super().__init__()
        self._start = start

    def compose(self) -> ComposeResult:
        image = "" if self._start.image is None else str(self._start.image)
        with Vertical():
            yield Label("Start from a test image", classes="question")
            with Horizontal():
                yield Label("Test image, 0 to 999")
                yield Input(
                    image, id="image", type="integer", max_length=3, placeholder="none (pure noise)", compact=True
                )
            with Horizontal():
                yield Label("Noise level, above 0 to 1")
                yield Input(f"{self._start.t:g}", id="amount", type="number", max_length=5, compact=True)
            yield Label("enter confirms · esc cancels", classes="detail", id="message")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        image, t = (self.query_one(f"#{name}", Input).value.strip() for name in ("image", "amount"))
        try:
            level = float(t)
        except ValueError:
            level = 0.0
        if not 0 < level <= 1:
            self.query_one("#message", Label).update(f"noise level must be above 0 and at most 1, not {t or 'nothing'}")
            self.query_one("#amount", Input).focus()
        elif image and not image.isdecimal():
            self.query_one("#message", Label).update(f"test image must be a whole number from 0 to 999, not {image}")
            self.query_one("#image", Input).focus()
        else:
            self.dismiss(Start(int(image) if image else None, level if image else 1.0))
