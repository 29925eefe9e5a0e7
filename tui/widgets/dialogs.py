"""Questions: yes or no before anything is lost, a name, and where to start from."""

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
    """What a denoising starts from: pure noise, or test images, this one first, noised to an amount."""

    image: int | None = None
    t: float = 1.0

    def __str__(self) -> str:
        return "noise" if self.image is None else f"test digit {self.image} at noise {self.t:g}"


class Dialog(Modal[ScreenResultType]):
    """A box in the middle, with a question and, below it, a detail."""

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
    """Asks `question`; True if the answer is yes. What changes nothing is focused first."""

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
    """Asks for a name of up to `longest` characters, beginning with the present one; None if it was left."""

    DEFAULT_CSS = """
    NameDialog {
        Input { margin-top: 1; height: 1; padding: 0 1 !important; background: $surface; }
        Input:focus { background: $primary 30%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave")]

    def __init__(self, question: str, name: str, *, longest: int = 64) -> None:
        super().__init__()
        self._question, self._name, self._longest = question, name, longest

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(self._question, classes="question", markup=False)
            yield Input(self._name, max_length=self._longest, select_on_focus=True, compact=True)
            yield Label("enter takes it · esc leaves", classes="detail")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip())


class StartDialog(Dialog["Start | None"]):
    """Asks from which test image, noised how far, to start; an empty image stands for pure noise."""

    DEFAULT_CSS = """
    StartDialog {
        Horizontal { height: 1; margin-top: 1; }
        Horizontal Label { width: 28; }
        Input { height: 1; padding: 0 1 !important; background: $surface; width: 1fr; }
        Input:focus { background: $primary 30%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave")]

    def __init__(self, start: Start) -> None:
        super().__init__()
        self._given = start

    def compose(self) -> ComposeResult:
        image = "" if self._given.image is None else str(self._given.image)
        with Vertical():
            yield Label("Start from a real digit", classes="question")
            with Horizontal():
                yield Label("test image, 0 to 999")
                yield Input(
                    image, id="image", type="integer", max_length=3, placeholder="none: pure noise", compact=True
                )
            with Horizontal():
                yield Label("noise, above 0 to 1")
                yield Input(f"{self._given.t:g}", id="amount", type="number", max_length=5, compact=True)
            yield Label("enter takes it · esc leaves", classes="detail", id="told")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        image, t = (self.query_one(f"#{name}", Input).value.strip() for name in ("image", "amount"))
        try:
            share = float(t)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            self.query_one("#told", Label).update(f"noise takes a number above 0, at most 1, not {t or 'nothing'}")
            self.query_one("#amount", Input).focus()
        elif image and not image.isdecimal():
            self.query_one("#told", Label).update(f"the test image takes a whole number from 0 to 999, not {image}")
            self.query_one("#image", Input).focus()
        else:
            self.dismiss(Start(int(image) if image else None, share if image else 1.0))
