"""What the benches of the lab have in common: fields that ask at once, a timeline, a text, and how they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label, Select, Static, Switch

from core.errors import MinidiffError
from tui.messages import BenchShown
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

TALL = 30  # rows of a terminal that has room for a whole text, and
MIDDLING = 22  # for what to try
WORDY = 72  # columns that have room for a formula


class Panel(NamedTuple):
    """A picture of what a bench shows, uint8 row by row, to be exported."""

    title: str
    shape: tuple[int, int]
    image: bytes


@dataclass(frozen=True)
class LabInput:
    """What all benches look at: a digit, a model, and the seed of all noise."""

    dataset: str
    index: int
    model: str
    seed: int = 0
    pixels: str | None = None  # hexadecimal, of a digit drawn by hand

    @property
    def request(self) -> dict[str, Any]:
        """The part of a request that says so."""
        digit = {"dataset": self.dataset, "index": self.index} if self.pixels is None else {"pixels": self.pixels}
        return {"digit": digit, "model": self.model, "seed": self.seed}

    @property
    def script(self) -> list[str]:
        """Lines of Python that have the digit as `image`, (28, 28) in [0, 1]."""
        if self.pixels is not None:
            return [
                "import torch",
                "",
                f'drawn = bytearray.fromhex("{self.pixels}")',
                "image = torch.frombuffer(drawn, dtype=torch.uint8).reshape(28, 28) / 255",
            ]
        return [
            "from core import load_dataset",
            "",
            f'digits = load_dataset("{self.dataset}", split="test", limit={self.index + 1})',
            f"image = digits.images[{self.index}, 0] / 255",
        ]


class FieldRow(Horizontal):
    """A line of fields, each with its label."""

    SCOPED_CSS = False  # the rules for narrow terminals look at the screen's classes
    DEFAULT_CSS = """
    FieldRow {
        height: 1;
        & Label { color: $foreground 50%; margin: 0 1 0 2; }
        & Label.first { margin: 0 1 0 0; }
        & Input { height: 1; border: none; padding: 0 1 !important; background: $panel; width: 5; }
        & Input:focus { background: $primary 30%; }
        & Input.-wrong { background: $error 40%; }
        & SelectCurrent { background: $panel; border: none; padding: 0 0 0 1 !important; height: 1; }
        & Select:focus > SelectCurrent { background: $primary 30%; border: none; }
        & Switch { border: none; height: 1; padding: 0; width: 4; background: $panel; }
        & Switch:focus { background: $primary 30%; }
    }
    .-narrow Bench FieldRow Label { margin: 0 0 0 1; }
    .-narrow Bench FieldRow Label.first { margin: 0; }
    """

    def __init__(self, *fields: Widget | tuple[str, Widget], id: str | None = None) -> None:
        parts: list[Widget] = []
        for number, field in enumerate(fields):
            name, widget = field if isinstance(field, tuple) else ("", field)
            if name:
                parts.append(Label(name, classes="" if number else "first"))
            parts.append(widget)
        super().__init__(*parts, id=id)


class Bench(Vertical):
    """One bench; posts `Changed` when what it asks the engine is another, and shows what the answer brings."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    NAME: ClassVar[str]  # as the engine has it
    TITLE: ClassVar[str]
    ABOUT: ClassVar[str]  # a short text in plain words, whose first sentence stands alone where there is little room
    TRY: ClassVar[str]  # what to try next
    DEFAULT_CSS = """
    Bench {
        height: 1fr; padding: 0 1;
        & .pictures { height: 1fr; }
        & .caption { height: 1; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        & .captions { height: 1; }
        & .captions Static { width: 1fr; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        & .captions .right { width: auto; max-width: 75%; margin: 0 0 0 1; text-align: right; }
        & .told { height: auto; color: $foreground 70%; }
        & .told.-wrong { color: $text-error; }
    }
    """

    @dataclass
    class Changed(Message):
        """What the bench shows has to be asked for anew."""

        bench: Bench

    def __init__(self) -> None:
        super().__init__(id=self.NAME)
        self.shown: BenchShown | None = None  # the first part of the newest answer
        self.about = self.ABOUT
        self._said = Content()

    def compose(self) -> ComposeResult:
        """Fields, pictures, the timeline, the text."""
        yield from self.fields()
        yield from self.pictures()
        yield Static(classes="told", markup=False)

    def fields(self) -> Iterator[Widget]:
        """Lines of fields."""
        yield from ()

    def pictures(self) -> Iterator[Widget]:
        """All below them but the text."""
        yield from ()

    def on_mount(self) -> None:
        """Tell what this is about."""
        self.tell()

    def on_resize(self) -> None:
        """Tell more or less of it."""
        self.tell()

    @property
    def timeline(self) -> Timeline | None:
        """The bench's timeline, if it has one."""
        found = self.query(Timeline)
        return found.first() if found else None

    @property
    def switches(self) -> bool:
        """Whether there are more views than are in sight."""
        return False

    def next_view(self) -> None:
        """Another view."""

    def enter(self) -> None:
        """The bench came in sight: give the keys to what has to have them, if anything has."""

    # What it asks

    def request(self) -> dict[str, Any]:
        """What the engine is asked, besides digit and model.

        Raises:
            MinidiffError: a field holds something that makes no sense.
        """
        raise MinidiffError(f"{self.TITLE} asks nothing")

    def number(self, name: str, least: int, most: int) -> int:
        """The whole number in a field.

        Raises:
            MinidiffError: it is none, or lies outside the range.
        """
        field = self.query_one(f"#{name}", Input)
        text = field.value.strip()
        if not text.lstrip("-").isdecimal() or not least <= int(text) <= most:
            raise MinidiffError(f"{name} takes a whole number from {least} to {most}, not {text or 'nothing'}")
        return int(text)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Ask at once."""
        event.stop()
        self.changed()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Ask at once."""
        event.stop()
        self.changed()

    def on_switch_changed(self, event: Switch.Changed) -> None:
        """Ask at once."""
        event.stop()
        self.changed()

    def changed(self) -> None:
        """Ask for what the fields say, or say what is wrong with them; what was typed stays."""
        try:
            self.request()
        except MinidiffError as error:
            self.show_error(str(error))
        else:
            self.tell()
            self.post_message(self.Changed(self))

    # What it shows

    def hear(self, answer: BenchShown) -> None:
        """Show what the engine answered."""

    def draw(self) -> None:
        """Draw what the timeline is at."""

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        """Draw the step that the timeline is at."""
        message.stop()
        self.draw()

    def tell(self) -> None:
        """Say what this is about, and what to try."""
        rows = self.screen.size.height
        about = self.about if rows >= TALL else self.about.partition(". ")[0].rstrip(".") + "."
        hint = Content.assemble("\n", ("Try ", "bold $accent"), self.TRY) if rows >= MIDDLING else Content()
        self._say(Content(about) + hint, wrong=False)

    def show_error(self, wrong: str) -> None:
        """Say what is wrong."""
        self._say(Content(wrong), wrong=True)

    def _say(self, text: Content, *, wrong: bool) -> None:
        told = self.query_one(".told", Static)
        told.set_class(wrong, "-wrong")
        if text != self._said:
            self._said = text
            told.update(text)

    def caption(self, where: str, text: str) -> None:
        """Put another text above a picture."""
        self.query_one(where, Static).update(text, layout=self.query_one(where).has_class("right"))

    # What can be taken away

    def panels(self) -> list[Panel]:
        """The pictures, as they are now."""
        return []

    def script(self, subject: LabInput) -> list[str]:
        """Lines of Python that compute what is shown."""
        return subject.script


def captions(left: str, right: str) -> Horizontal:
    """The line above the pictures; its parts are told by `Bench.caption`, `#left` and `#right`."""
    return Horizontal(Static(left, id="left"), Static(right, id="right", classes="right"), classes="captions")


def entry(name: str, value: str, *, width: int = 5) -> Input:
    """A field for something short."""
    made = Input(value, id=name, compact=True, select_on_focus=True)
    made.styles.width = width
    return made


def choice(name: str, values: Iterable[str], value: str, *, width: int) -> CompactSelect:
    """A field that offers some values."""
    made = CompactSelect(values, value, id=name)
    made.styles.width = width
    return made
